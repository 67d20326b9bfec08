package kinds

// scaleTarget is what an autoscaler scales.
type scaleTarget struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

func (r *reader) scales(t scaleTarget) {
	r.relate(scales, groupOf(t.APIVersion), t.Kind, t.Name)
}

func (r *reader) horizontalPodAutoscaler() error {
	var h struct {
		Spec struct {
			Target scaleTarget `json:"scaleTargetRef"`
			Min    *int        `json:"minReplicas"`
			Max    int         `json:"maxReplicas"`
		} `json:"spec"`
		Status struct {
			Current    int        `json:"currentReplicas"`
			Desired    int        `json:"desiredReplicas"`
			Conditions conditions `json:"conditions"`
		} `json:"status"`
	}
	if err := r.object.Decode(&h); err != nil {
		return err
	}
	r.scales(h.Spec.Target)
	// It is active, or there is a reason why not: FailedGetResourceMetric,
	// ScalingDisabled, FailedGetScale.
	for _, typ := range []string{"ScalingActive", "AbleToScale"} {
		c := h.Status.Conditions.get(typ)
		if c != nil && c.Status != "True" {
			r.state(c.Reason)
			break
		}
		if c != nil {
			r.state("Active")
		}
	}
	r.replicaRange(h.Spec.Min, &h.Spec.Max)
	r.fact("current", h.Status.Current)
	r.fact("desired", h.Status.Desired)
	return nil
}

// replicaRange adds between which numbers of replicas an autoscaler chooses.
func (r *reader) replicaRange(lowest, highest *int) {
	if lowest != nil {
		r.fact("min", *lowest)
	}
	if highest != nil {
		r.fact("max", *highest)
	}
}

func (r *reader) verticalPodAutoscaler() error {
	var v struct {
		Spec struct {
			Target scaleTarget `json:"targetRef"`
		} `json:"spec"`
		Status lenient[conventions] `json:"status"`
	}
	if err := r.object.Decode(&v); err != nil {
		return err
	}
	r.scales(v.Spec.Target)
	r.state(v.Status.value.word())
	return nil
}

// scaledObject reads KEDA's autoscaler, which scales Deployments if it does not
// say otherwise.
func (r *reader) scaledObject() error {
	var s struct {
		Spec struct {
			Target scaleTarget `json:"scaleTargetRef"`
			Min    *int        `json:"minReplicaCount"`
			Max    *int        `json:"maxReplicaCount"`
		} `json:"spec"`
		Status lenient[conventions] `json:"status"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	t := s.Spec.Target
	r.scales(scaleTarget{or(t.APIVersion, groupApps+"/v1"), or(t.Kind, "Deployment"), t.Name})
	r.state(s.Status.value.word())
	r.replicaRange(s.Spec.Min, s.Spec.Max)
	return nil
}
