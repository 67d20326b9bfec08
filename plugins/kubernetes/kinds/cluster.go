package kinds

import "strings"

// serviceReference names a Service that the API server calls.
type serviceReference struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

type clientConfig struct {
	Service serviceReference `json:"service"`
}

func (r *reader) relateService(verb string, to serviceReference) {
	r.relateIn(to.Namespace, verb, groupCore, "Service", to.Name)
}

// webhooks reads the configurations of both kinds of admission webhooks.
func (r *reader) webhooks() error {
	var w struct {
		Webhooks []struct {
			Client clientConfig `json:"clientConfig"`
		} `json:"webhooks"`
	}
	if err := r.object.Decode(&w); err != nil {
		return err
	}
	for _, hook := range w.Webhooks {
		r.relateService(uses, hook.Client.Service)
	}
	return nil
}

func (r *reader) customResourceDefinition() error {
	var c struct {
		Spec struct {
			Conversion struct {
				Webhook struct {
					Client clientConfig `json:"clientConfig"`
				} `json:"webhook"`
			} `json:"conversion"`
		} `json:"spec"`
		Status conventions `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	r.relateService(uses, c.Spec.Conversion.Webhook.Client.Service)
	r.state(c.Status.word())
	return nil
}

func (r *reader) apiService() error {
	var a struct {
		Spec   clientConfig `json:"spec"`
		Status conventions  `json:"status"`
	}
	if err := r.object.Decode(&a); err != nil {
		return err
	}
	r.relateService(backedBy, a.Spec.Service)
	r.state(a.Status.word())
	return nil
}

func (r *reader) certificateSigningRequest() error {
	var c struct {
		Status struct {
			Conditions  conditions `json:"conditions"`
			Certificate string     `json:"certificate"`
		} `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	words := []string{"Pending"}
	switch {
	case c.Status.Conditions.get("Denied") != nil:
		words[0] = "Denied"
	case c.Status.Conditions.get("Approved") != nil:
		words[0] = "Approved"
	}
	if c.Status.Conditions.get("Failed") != nil {
		words = append(words, "Failed")
	}
	if c.Status.Certificate != "" {
		words = append(words, "Issued")
	}
	r.state(strings.Join(words, ","))
	return nil
}

func (r *reader) resourceClaim() error {
	var c struct {
		Status struct {
			Allocation *struct{}  `json:"allocation"`
			Reserved   []struct{} `json:"reservedFor"`
		} `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	switch {
	case c.Status.Allocation == nil:
		r.state("pending")
	case len(c.Status.Reserved) > 0:
		r.state("allocated,reserved")
	default:
		r.state("allocated")
	}
	return nil
}
