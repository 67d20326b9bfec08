package kinds

import (
	"fmt"
	"slices"
	"strings"
)

// loadBalancer is where the world reaches a Service or an Ingress.
type loadBalancer struct {
	Ingress []struct {
		IP       string `json:"ip"`
		Hostname string `json:"hostname"`
	} `json:"ingress"`
}

// addresses are sorted: their order means nothing.
func (l *loadBalancer) addresses() []string {
	var all []string
	for _, i := range l.Ingress {
		if address := or(i.IP, i.Hostname); address != "" {
			all = append(all, address)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *reader) service() error {
	var s struct {
		Spec struct {
			Type         string   `json:"type"`
			ExternalIPs  []string `json:"externalIPs"`
			ExternalName string   `json:"externalName"`
			Ports        []struct {
				Port     int    `json:"port"`
				NodePort int    `json:"nodePort"`
				Protocol string `json:"protocol"`
			} `json:"ports"`
		} `json:"spec"`
		Status struct {
			LoadBalancer loadBalancer `json:"loadBalancer"`
		} `json:"status"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	var external []string
	switch s.Spec.Type {
	case "LoadBalancer":
		external = append(s.Status.LoadBalancer.addresses(), s.Spec.ExternalIPs...)
		if len(external) == 0 {
			r.state("Pending") // kubectl says so in place of the address
		}
	case "ExternalName":
		external = []string{s.Spec.ExternalName}
	default:
		external = s.Spec.ExternalIPs
	}
	ports := make([]string, len(s.Spec.Ports))
	for i, p := range s.Spec.Ports {
		ports[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			ports[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	r.list("externalAddresses", external)
	r.text("ports", strings.Join(ports, ","))
	return nil
}

// target is what an endpoint's address belongs to.
type target struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (r *reader) routeToPod(t target) {
	if t.Kind == "Pod" {
		r.relateIn(or(t.Namespace, r.object.Meta.Namespace), routesTo, groupCore, t.Kind, t.Name)
	}
}

func (r *reader) endpointSlice() error {
	var s struct {
		Endpoints []struct {
			Target     target `json:"targetRef"`
			Conditions struct {
				Ready *bool `json:"ready"`
			} `json:"conditions"`
		} `json:"endpoints"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	r.relate(partOf, groupCore, "Service", r.object.Meta.Labels["kubernetes.io/service-name"])
	ready := 0
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		r.routeToPod(e.Target)
		// Who does not say counts as ready.
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			ready++
		}
	}
	r.fact("readyEndpoints", ready)
	r.fact("endpoints", len(s.Endpoints))
	return nil
}

func (r *reader) endpoints() error {
	type addresses []struct {
		Target target `json:"targetRef"`
	}
	var e struct {
		Subsets []struct {
			Ready    addresses `json:"addresses"`
			NotReady addresses `json:"notReadyAddresses"`
		} `json:"subsets"`
	}
	if err := r.object.Decode(&e); err != nil {
		return err
	}
	r.relate(partOf, groupCore, "Service", r.object.Meta.Name)
	ready, all := 0, 0
	for _, s := range e.Subsets {
		for _, a := range s.Ready {
			r.routeToPod(a.Target)
		}
		for _, a := range s.NotReady {
			r.routeToPod(a.Target)
		}
		ready += len(s.Ready)
		all += len(s.Ready) + len(s.NotReady)
	}
	r.fact("readyEndpoints", ready)
	r.fact("endpoints", all)
	return nil
}

func (r *reader) ingress() error {
	type backend struct {
		Service  reference `json:"service"`
		Resource struct {
			Group string `json:"apiGroup"`
			Kind  string `json:"kind"`
			Name  string `json:"name"`
		} `json:"resource"`
	}
	var i struct {
		Spec struct {
			Class   string  `json:"ingressClassName"`
			Default backend `json:"defaultBackend"`
			Rules   []struct {
				Host string `json:"host"`
				HTTP struct {
					Paths []struct {
						Backend backend `json:"backend"`
					} `json:"paths"`
				} `json:"http"`
			} `json:"rules"`
			TLS []struct {
				Secret string `json:"secretName"`
			} `json:"tls"`
		} `json:"spec"`
		Status struct {
			LoadBalancer loadBalancer `json:"loadBalancer"`
		} `json:"status"`
	}
	if err := r.object.Decode(&i); err != nil {
		return err
	}
	route := func(b *backend) {
		r.relate(routesTo, groupCore, "Service", b.Service.Name)
		r.relate(routesTo, b.Resource.Group, b.Resource.Kind, b.Resource.Name)
	}
	r.relate(uses, groupNetworking, "IngressClass", i.Spec.Class)
	route(&i.Spec.Default)
	var hosts []string
	for j := range i.Spec.Rules {
		rule := &i.Spec.Rules[j]
		if rule.Host != "" && !slices.Contains(hosts, rule.Host) {
			hosts = append(hosts, rule.Host)
		}
		for k := range rule.HTTP.Paths {
			route(&rule.HTTP.Paths[k].Backend)
		}
	}
	for _, tls := range i.Spec.TLS {
		r.relate(uses, groupCore, "Secret", tls.Secret)
	}
	r.list("hosts", hosts)
	r.list("addresses", i.Status.LoadBalancer.addresses())
	return nil
}
