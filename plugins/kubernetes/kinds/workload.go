package kinds

import (
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// replicas is how many pods a workload has.
type replicas struct {
	Desired   int `json:"desired"`
	Ready     int `json:"ready"`
	Available int `json:"available"`
	// Updated are those of the newest template. A ReplicaSet has only one.
	Updated int `json:"updated"`
}

// generations tell whether a workload's controller has seen what is asked of it.
type generations struct {
	Generation int64 `json:"generation"`
}

// workload adds what the workloads have in common.
func (r *reader) workload(count replicas, template *podTemplate) {
	r.fact("replicas", count)
	r.templateFacts(&template.Spec)
}

// health is the state of a workload whose status has no word for it, in the
// words of a Deployment. Rolled says that all pods are of the newest template.
func (n replicas) health(rolled bool) string {
	switch {
	case !rolled:
		return "Progressing"
	case n.Available >= n.Desired:
		return "Available"
	case n.Available == 0:
		return "Unavailable"
	}
	return "Degraded"
}

func (r *reader) deployment() error {
	var d struct {
		Metadata generations `json:"metadata"`
		Spec     struct {
			Replicas int         `json:"replicas"`
			Template podTemplate `json:"template"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64      `json:"observedGeneration"`
			Replicas           int        `json:"replicas"`
			Updated            int        `json:"updatedReplicas"`
			Ready              int        `json:"readyReplicas"`
			Available          int        `json:"availableReplicas"`
			Conditions         conditions `json:"conditions"`
		} `json:"status"`
	}
	if err := r.object.Decode(&d); err != nil {
		return err
	}
	s := &d.Status
	r.workload(replicas{d.Spec.Replicas, s.Ready, s.Available, s.Updated}, &d.Spec.Template)
	progressing := s.Conditions.get("Progressing")
	switch {
	case s.Conditions.holds("ReplicaFailure"), progressing != nil && progressing.Status == "False":
		r.state("Failed")
	case s.ObservedGeneration < d.Metadata.Generation, s.Updated < d.Spec.Replicas, s.Replicas > s.Updated:
		r.state("Progressing")
	case s.Conditions.holds("Available"):
		r.state("Available")
	case progressing != nil && progressing.Reason != "NewReplicaSetAvailable":
		r.state("Progressing")
	default:
		r.state("Unavailable")
	}
	return nil
}

func (r *reader) statefulSet() error {
	var s struct {
		Metadata generations `json:"metadata"`
		Spec     struct {
			Replicas int         `json:"replicas"`
			Template podTemplate `json:"template"`
			Strategy struct {
				Type          string `json:"type"`
				RollingUpdate struct {
					Partition int `json:"partition"`
				} `json:"rollingUpdate"`
			} `json:"updateStrategy"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64 `json:"observedGeneration"`
			Replicas           int   `json:"replicas"`
			Updated            int   `json:"updatedReplicas"`
			Ready              int   `json:"readyReplicas"`
			Available          int   `json:"availableReplicas"`
		} `json:"status"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	count := replicas{s.Spec.Replicas, s.Status.Ready, s.Status.Available, s.Status.Updated}
	r.workload(count, &s.Spec.Template)
	// With OnDelete it is up to people when pods are updated, with a partition
	// only those above it are.
	due := s.Spec.Replicas - s.Spec.Strategy.RollingUpdate.Partition
	if s.Spec.Strategy.Type == "OnDelete" {
		due = 0
	}
	r.state(count.health(s.Status.ObservedGeneration >= s.Metadata.Generation && s.Status.Updated >= due))
	return nil
}

func (r *reader) daemonSet() error {
	var d struct {
		Metadata generations `json:"metadata"`
		Spec     struct {
			Template podTemplate `json:"template"`
			Strategy struct {
				Type string `json:"type"`
			} `json:"updateStrategy"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64 `json:"observedGeneration"`
			Desired            int   `json:"desiredNumberScheduled"`
			Updated            int   `json:"updatedNumberScheduled"`
			Ready              int   `json:"numberReady"`
			Available          int   `json:"numberAvailable"`
		} `json:"status"`
	}
	if err := r.object.Decode(&d); err != nil {
		return err
	}
	count := replicas{d.Status.Desired, d.Status.Ready, d.Status.Available, d.Status.Updated}
	r.workload(count, &d.Spec.Template)
	rolled := count.Updated >= count.Desired || d.Spec.Strategy.Type == "OnDelete"
	r.state(count.health(d.Status.ObservedGeneration >= d.Metadata.Generation && rolled))
	return nil
}

// replicaSet reads ReplicaSets and ReplicationControllers.
func (r *reader) replicaSet() error {
	var s struct {
		Metadata generations `json:"metadata"`
		Spec     struct {
			Replicas int         `json:"replicas"`
			Template podTemplate `json:"template"`
		} `json:"spec"`
		Status struct {
			ObservedGeneration int64      `json:"observedGeneration"`
			Replicas           int        `json:"replicas"`
			Ready              int        `json:"readyReplicas"`
			Available          int        `json:"availableReplicas"`
			Conditions         conditions `json:"conditions"`
		} `json:"status"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	count := replicas{s.Spec.Replicas, s.Status.Ready, s.Status.Available, s.Status.Replicas}
	r.workload(count, &s.Spec.Template)
	if s.Status.Conditions.holds("ReplicaFailure") {
		r.state("Failed")
		return nil
	}
	r.state(count.health(s.Status.ObservedGeneration >= s.Metadata.Generation && s.Status.Replicas == s.Spec.Replicas))
	return nil
}

func (r *reader) podTemplate() error {
	var t struct {
		Template podTemplate `json:"template"`
	}
	if err := r.object.Decode(&t); err != nil {
		return err
	}
	r.templateFacts(&t.Template.Spec)
	return nil
}

func (r *reader) job() error {
	var j struct {
		Spec struct {
			Completions *int        `json:"completions"`
			Template    podTemplate `json:"template"`
		} `json:"spec"`
		Status struct {
			Active         int        `json:"active"`
			Succeeded      int        `json:"succeeded"`
			Failed         int        `json:"failed"`
			StartTime      time.Time  `json:"startTime"`
			CompletionTime time.Time  `json:"completionTime"`
			Conditions     conditions `json:"conditions"`
		} `json:"status"`
	}
	if err := r.object.Decode(&j); err != nil {
		return err
	}
	s := &j.Status
	// A job that has come to its end is not said to be terminating.
	switch {
	case s.Conditions.holds("Complete"):
		r.Status = "Complete"
	case s.Conditions.holds("Failed"):
		r.Status = "Failed"
	case s.Conditions.holds("Suspended"):
		r.state("Suspended")
	case s.Conditions.holds("FailureTarget"):
		r.state("FailureTarget")
	case s.Conditions.holds("SuccessCriteriaMet"):
		r.state("SuccessCriteriaMet")
	default:
		r.state("Running")
	}
	if j.Spec.Completions != nil {
		r.fact("completions", *j.Spec.Completions)
	}
	r.fact("active", s.Active)
	r.fact("succeeded", s.Succeeded)
	r.fact("failed", s.Failed)
	end, failure := s.CompletionTime, s.Conditions.get("Failed")
	if end.IsZero() && r.Status == "Failed" {
		end = failure.LastTransitionTime
	}
	if !s.StartTime.IsZero() && !end.IsZero() {
		r.fact("durationSeconds", end.Sub(s.StartTime).Seconds())
	}
	r.templateFacts(&j.Spec.Template.Spec)
	if r.Status != "Failed" {
		return nil
	}
	data := struct {
		Reason  string `json:"reason,omitempty"`
		Message string `json:"message,omitempty"`
		Failed  int    `json:"failed"`
	}{failure.Reason, failure.Message, s.Failed}
	return r.incident("job.failed", plugin.Error, failure.LastTransitionTime, "Job failed: "+or(failure.Message, failure.Reason), data)
}

func (r *reader) cronJob() error {
	var c struct {
		Spec struct {
			Suspend     bool `json:"suspend"`
			JobTemplate struct {
				Spec struct {
					Template podTemplate `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		} `json:"spec"`
		Status struct {
			Active       []struct{} `json:"active"`
			LastSchedule time.Time  `json:"lastScheduleTime"`
		} `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	if c.Spec.Suspend {
		r.state("Suspended")
	} else {
		r.state("Scheduled")
	}
	r.fact("suspended", c.Spec.Suspend)
	r.fact("active", len(c.Status.Active))
	if !c.Status.LastSchedule.IsZero() {
		r.fact("lastSchedule", c.Status.LastSchedule)
	}
	r.templateFacts(&c.Spec.JobTemplate.Spec.Template.Spec)
	return nil
}
