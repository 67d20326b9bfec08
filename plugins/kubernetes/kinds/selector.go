package kinds

import (
	"fmt"
	"slices"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// Selector is what a policy selects pods of its own namespace by. The zero
// Selector selects none.
type Selector struct {
	terms *labelSelector
}

type labelSelector struct {
	Labels      map[string]string `json:"matchLabels"`
	Expressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

// SelectorOf returns the selector of a NetworkPolicy or a PodDisruptionBudget.
// Not ok means that objects of the kind select no pods.
func SelectorOf(o *object.Object) (s Selector, ok bool, err error) {
	var policy struct {
		Spec struct {
			PodSelector *labelSelector `json:"podSelector"`
			Selector    *labelSelector `json:"selector"`
		} `json:"spec"`
	}
	kind := groupKind{o.Kind.Group, o.Kind.Kind}
	switch kind {
	case groupKind{groupNetworking, "NetworkPolicy"}, groupKind{"policy", "PodDisruptionBudget"}:
	default:
		return Selector{}, false, nil
	}
	if err := o.Decode(&policy); err != nil {
		return Selector{}, false, err
	}
	s.terms = policy.Spec.Selector
	if kind.group == groupNetworking {
		s.terms = policy.Spec.PodSelector
		if s.terms == nil {
			s.terms = &labelSelector{} // it means the same as an empty one
		}
	}
	if s.terms == nil {
		return s, true, nil
	}
	for _, e := range s.terms.Expressions {
		switch e.Operator {
		case "In", "NotIn", "Exists", "DoesNotExist":
		default:
			return Selector{}, false, fmt.Errorf("reading the selector of %s %s/%s: the operator %q is unknown",
				o.Kind, o.Meta.Namespace, o.Meta.Name, e.Operator)
		}
	}
	return s, true, nil
}

// Matches says whether the selector selects a pod with the labels.
func (s Selector) Matches(labels map[string]string) bool {
	if s.terms == nil {
		return false
	}
	for key, want := range s.terms.Labels {
		if value, ok := labels[key]; !ok || value != want {
			return false
		}
	}
	for _, e := range s.terms.Expressions {
		value, ok := labels[e.Key]
		switch e.Operator {
		case "In":
			ok = ok && slices.Contains(e.Values, value)
		case "NotIn":
			ok = !ok || !slices.Contains(e.Values, value)
		case "DoesNotExist":
			ok = !ok
		}
		if !ok {
			return false
		}
	}
	return true
}
