package kinds

// gatewayReference is a reference of the Gateway API. It may leave out what is
// the usual: the group, the kind, and the namespace of the object that refers.
type gatewayReference struct {
	Group     *string `json:"group"`
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
}

// relateGateway adds a relation to what a reference of the Gateway API names.
func (r *reader) relateGateway(verb string, to gatewayReference, group, kind string) {
	if to.Group != nil {
		group = *to.Group // the core group is written as ""
	}
	r.relateIn(or(to.Namespace, r.object.Meta.Namespace), verb, group, or(to.Kind, kind), to.Name)
}

func (r *reader) gateway() error {
	var g struct {
		Spec struct {
			Class     string `json:"gatewayClassName"`
			Listeners []struct {
				Hostname string `json:"hostname"`
				TLS      struct {
					Certificates []gatewayReference `json:"certificateRefs"`
				} `json:"tls"`
			} `json:"listeners"`
		} `json:"spec"`
		Status struct {
			conventions
			Addresses []struct {
				Value string `json:"value"`
			} `json:"addresses"`
		} `json:"status"`
	}
	if err := r.object.Decode(&g); err != nil {
		return err
	}
	r.relate(uses, groupGateway, "GatewayClass", g.Spec.Class)
	var hosts, addresses []string
	for _, l := range g.Spec.Listeners {
		if l.Hostname != "" {
			hosts = append(hosts, l.Hostname)
		}
		for _, certificate := range l.TLS.Certificates {
			r.relateGateway(uses, certificate, groupCore, "Secret")
		}
	}
	for _, a := range g.Status.Addresses {
		addresses = append(addresses, a.Value)
	}
	r.state(g.Status.word())
	r.list("hosts", hosts)
	r.list("addresses", addresses)
	return nil
}

// route reads the routes of all protocols.
func (r *reader) route() error {
	var route struct {
		Spec struct {
			Parents []gatewayReference `json:"parentRefs"`
			Hosts   []string           `json:"hostnames"`
			Rules   []struct {
				Backends []gatewayReference `json:"backendRefs"`
			} `json:"rules"`
		} `json:"spec"`
		Status struct {
			Parents []conventions `json:"parents"`
		} `json:"status"`
	}
	if err := r.object.Decode(&route); err != nil {
		return err
	}
	for _, parent := range route.Spec.Parents {
		r.relateGateway(attachedTo, parent, groupGateway, "Gateway")
	}
	for _, rule := range route.Spec.Rules {
		for _, backend := range rule.Backends {
			r.relateGateway(routesTo, backend, groupCore, "Service")
		}
	}
	// Each gateway decides for itself. What one of them refuses is of interest.
	for i := range route.Status.Parents {
		if word := route.Status.Parents[i].word(); i == 0 || word != "Accepted" {
			r.state(word)
		}
	}
	r.list("hosts", route.Spec.Hosts)
	return nil
}
