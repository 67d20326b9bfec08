package kinds

import (
	"fmt"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

type pod struct {
	Spec   podSpec   `json:"spec"`
	Status podStatus `json:"status"`
}

type podStatus struct {
	Phase               string            `json:"phase"`
	Reason              string            `json:"reason"`
	Message             string            `json:"message"`
	QOSClass            string            `json:"qosClass"`
	StartTime           time.Time         `json:"startTime"`
	Conditions          conditions        `json:"conditions"`
	InitContainers      []containerStatus `json:"initContainerStatuses"`
	Containers          []containerStatus `json:"containerStatuses"`
	EphemeralContainers []containerStatus `json:"ephemeralContainerStatuses"`
	// Resources and Allocated are there once the node has taken the pod in, for
	// a pod with resources as a whole.
	Resources *resources `json:"resources"`
	Allocated amounts    `json:"allocatedResources"`
}

type containerStatus struct {
	Name         string `json:"name"`
	ImageID      string `json:"imageID"`
	Ready        bool   `json:"ready"`
	Started      bool   `json:"started"`
	RestartCount int    `json:"restartCount"`
	State        state  `json:"state"`
	LastState    state  `json:"lastState"`
	// Resources are what the container has now, Allocated what the node has set
	// aside for it. They differ from its specification while it is resized.
	Resources *resources `json:"resources"`
	Allocated amounts    `json:"allocatedResources"`
}

type state struct {
	Running *struct{} `json:"running"`
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Terminated *terminated `json:"terminated"`
}

type terminated struct {
	Reason     string    `json:"reason"`
	ExitCode   int       `json:"exitCode"`
	Signal     int       `json:"signal"`
	FinishedAt time.Time `json:"finishedAt"`
}

// word says why a container ended.
func (t *terminated) word() string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// groups are the states of all containers.
func (s *podStatus) groups() [3][]containerStatus {
	return [3][]containerStatus{s.InitContainers, s.Containers, s.EphemeralContainers}
}

// container returns the status of a container, or nil.
func (s *podStatus) container(name string) *containerStatus {
	for _, statuses := range s.groups() {
		for i := range statuses {
			if statuses[i].Name == name {
				return &statuses[i]
			}
		}
	}
	return nil
}

func (r *reader) pod() error {
	var p pod
	if err := r.object.Decode(&p); err != nil {
		return err
	}
	meta := &r.object.Meta
	r.relate(runsOn, groupCore, "Node", p.Spec.NodeName)
	r.podUses(&p.Spec, meta.Name)

	// kubectl does not say Terminating of a pod that has come to its end.
	run := p.run()
	switch {
	case r.deleted() && p.Status.Reason == "NodeLost":
		r.Status = "Unknown"
	case !r.deleted() || p.ended():
		r.Status = run.status
	}

	requests := p.requests()
	r.Requests = &Requests{
		Node: p.Spec.NodeName, CPU: requests.milliCPU(), Memory: requests.bytes("memory"),
		Active: p.Spec.NodeName != "" && !p.ended(),
	}
	r.amounts("requests", requests)
	r.amounts("limits", p.limits())
	r.fact("readyContainers", run.ready)
	r.fact("containers", run.containers)
	r.fact("restarts", run.restarts)
	if run.last != nil {
		r.fact("lastRestart", run.last)
	}
	r.images(&p.Spec, func(c *container) string {
		if status := p.Status.container(c.Name); status != nil {
			return imageDigest(status.ImageID)
		}
		return ""
	})
	r.text("qosClass", p.Status.QOSClass)
	if c := r.controller(); c.Name != "" {
		r.fact("controller", c)
	}
	return r.podIncidents(&p)
}

// ended says that no container of the pod will run again.
func (p *pod) ended() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// run is how a pod's containers get on.
type run struct {
	status string
	// containers counts those that run for as long as the pod does, ready how
	// many of them are ready.
	ready, containers int
	restarts          int
	// last is the newest end of a container that was started again.
	last *restart
}

type restart struct {
	Container string    `json:"container"`
	Reason    string    `json:"reason,omitempty"`
	ExitCode  int       `json:"exitCode"`
	Time      time.Time `json:"time,omitzero"`
}

// count counts the restarts of a container.
func (r *run) count(c *containerStatus) {
	r.restarts += c.RestartCount
	if t := c.LastState.Terminated; t != nil && (r.last == nil || r.last.Time.Before(t.FinishedAt)) {
		r.last = &restart{c.Name, t.Reason, t.ExitCode, t.FinishedAt}
	}
}

// run sums up the containers as kubectl does: a pod is where the first init
// container that is not done is, or else what its containers are, the first
// one's word before the others'.
func (p *pod) run() run {
	r := run{status: or(p.Status.Reason, p.Status.Phase), containers: len(p.Spec.Containers)}
	if c := p.Status.Conditions.get("PodScheduled"); c != nil && c.Reason == "SchedulingGated" {
		r.status = c.Reason
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.sidecar() {
			sidecars[c.Name] = true
			r.containers++
		}
	}
	stuck := p.initialize(&r, sidecars)
	if stuck && !p.Status.Conditions.holds("Initialized") {
		return r
	}
	// Init containers that are done are no longer of interest.
	r.restarts, r.last = 0, nil
	for i := range p.Status.InitContainers {
		if c := &p.Status.InitContainers[i]; sidecars[c.Name] {
			r.count(c)
		}
	}
	running, failed := false, ""
	for i := len(p.Status.Containers) - 1; i >= 0; i-- {
		c := &p.Status.Containers[i]
		r.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			r.status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			r.status = c.State.Terminated.word()
			if c.State.Terminated.ExitCode != 0 {
				failed = r.status
			}
		case c.Ready && c.State.Running != nil:
			running = true
			r.ready++
		}
	}
	// One container that is done does not make the pod done.
	if r.status == "Completed" {
		switch {
		case running && p.Status.Conditions.holds("Ready"):
			r.status = "Running"
		case failed != "":
			r.status = failed
		case running:
			r.status = "NotReady"
		}
	}
	return r
}

// initialize goes through the init containers up to the first that is not done,
// and returns whether there is one.
func (p *pod) initialize(r *run, sidecars map[string]bool) bool {
	for i := range p.Status.InitContainers {
		c := &p.Status.InitContainers[i]
		r.count(c)
		ended, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started:
			if c.Ready {
				r.ready++
			}
			continue
		case ended != nil:
			r.status = "Init:" + ended.word()
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			r.status = "Init:" + waiting.Reason
		default:
			r.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

// requests returns what the scheduler counts for the pod. While it is resized
// that is the most of what is asked for, set aside and in use, so that nothing
// is given away twice; a size that the node cannot give does not count.
func (p *pod) requests() amounts {
	infeasible := p.resizeInfeasible()
	held := func(asked amounts, has *resources, allocated amounts) amounts {
		var most amounts
		if !infeasible {
			most = most.atLeast(asked)
		}
		return most.atLeast(has.Requests).atLeast(allocated)
	}
	whole := p.Spec.Resources.Requests
	if has := p.Status.Resources; has != nil {
		whole.take(held(whole, has, p.Status.Allocated))
	}
	return p.Spec.requests(func(c *container, lasting bool) amounts {
		if status := p.Status.container(c.Name); lasting && status != nil && status.Resources != nil {
			return held(c.Resources.Requests, status.Resources, status.Allocated)
		}
		return c.Resources.Requests
	}, whole)
}

// limits is like requests.
func (p *pod) limits() amounts {
	infeasible := p.resizeInfeasible()
	held := func(asked amounts, has *resources) amounts {
		var most amounts
		if !infeasible {
			most = most.atLeast(asked)
		}
		return most.atLeast(has.Limits)
	}
	whole := p.Spec.Resources.Limits
	if has := p.Status.Resources; has != nil {
		whole.take(held(whole, has))
	}
	return p.Spec.limits(func(c *container, lasting bool) amounts {
		if status := p.Status.container(c.Name); lasting && status != nil && status.Resources != nil {
			return held(c.Resources.Limits, status.Resources)
		}
		return c.Resources.Limits
	}, whole)
}

func (p *pod) resizeInfeasible() bool {
	c := p.Status.Conditions.get("PodResizePending")
	return c != nil && c.Reason == "Infeasible"
}

type controller struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// controller returns what controls the pod, as far up as the pod can tell: the
// ReplicaSet of a Deployment is named after it and the hash of the template.
func (r *reader) controller() controller {
	for _, owner := range r.object.Meta.Owners {
		if !owner.Controller {
			continue
		}
		hash := r.object.Meta.Labels["pod-template-hash"]
		if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" && owner.Kind == "ReplicaSet" {
			return controller{"Deployment", name}
		}
		return controller{owner.Kind, owner.Name}
	}
	return controller{}
}

// podIncidents tells of what went wrong with a pod and its containers.
func (r *reader) podIncidents(p *pod) error {
	if p.Status.Reason == "Evicted" {
		// Before Kubernetes 1.26 there is no condition that tells when.
		at := r.startedAt(p)
		if c := p.Status.Conditions.get("DisruptionTarget"); c != nil {
			at = c.LastTransitionTime
		}
		data := struct {
			Node    string `json:"node,omitempty"`
			Message string `json:"message,omitempty"`
		}{p.Spec.NodeName, p.Status.Message}
		if err := r.incident("pod.evicted", plugin.Error, at, "Evicted from node "+p.Spec.NodeName, data); err != nil {
			return err
		}
	}
	for i, statuses := range p.Status.groups() {
		for j := range statuses {
			c := &statuses[j]
			if err := r.outOfMemory(c); err != nil {
				return err
			}
			if c.State.Waiting == nil {
				continue
			}
			since := r.startedAt(p)
			// The containers wait for the init containers first.
			if initialized := p.Status.Conditions.get("Initialized"); i > 0 && initialized != nil && initialized.Status == "True" {
				since = later(since, initialized.LastTransitionTime)
			}
			if err := r.waiting(p, c, since); err != nil {
				return err
			}
		}
	}
	return nil
}

// startedAt returns when the node took the pod in, or else when it was made.
func (r *reader) startedAt(p *pod) time.Time {
	if p.Status.StartTime.IsZero() {
		return r.object.Meta.CreationTimestamp
	}
	return p.Status.StartTime
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// outOfMemory tells of a container that was killed because it took more memory
// than it may have. The kill is first the container's state, and then, when the
// container runs again, its last state.
func (r *reader) outOfMemory(c *containerStatus) error {
	for _, s := range [2]*state{&c.State, &c.LastState} {
		t := s.Terminated
		if t == nil || t.Reason != "OOMKilled" {
			continue
		}
		restarts := c.RestartCount
		if s == &c.LastState && c.State.Waiting == nil && restarts > 0 {
			restarts-- // it counts the run that came after the kill
		}
		data := struct {
			Container    string `json:"container"`
			ExitCode     int    `json:"exitCode"`
			RestartCount int    `json:"restartCount"`
		}{c.Name, t.ExitCode, restarts}
		at := t.FinishedAt
		if err := r.incident("pod.oom_killed", plugin.Error, at, "Container "+c.Name+" was killed: out of memory", data,
			c.Name, at.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return nil
}

// crashLoopEvery is how often a crash loop that goes on is told of.
const crashLoopEvery = 24 * time.Hour

// waiting tells of a container that cannot run. Since is when it could have
// been started for the first time.
func (r *reader) waiting(p *pod, c *containerStatus, since time.Time) error {
	ended := c.LastState.Terminated
	switch reason := c.State.Waiting.Reason; reason {
	case "CrashLoopBackOff":
		// A status does not tell when the loop began, only of the last run. All
		// crashes of a day of the pod's life are one happening, so that a loop is
		// not told of at each turn, and a later one is.
		data := struct {
			Container    string `json:"container"`
			RestartCount int    `json:"restartCount"`
			Reason       string `json:"reason,omitempty"`
			ExitCode     int    `json:"exitCode"`
		}{Container: c.Name, RestartCount: c.RestartCount}
		at := since
		if ended != nil {
			at, data.Reason, data.ExitCode = later(at, ended.FinishedAt), ended.Reason, ended.ExitCode
		}
		day := at.Sub(r.object.Meta.CreationTimestamp) / crashLoopEvery
		return r.incident("pod.crash_loop", plugin.Error, at, "Container "+c.Name+" crashes again and again", data,
			c.Name, fmt.Sprint(int64(day)))
	case "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
		"RegistryUnavailable", "SignatureValidationFailed":
		// The reasons alternate while the node tries again.
		image := ""
		for _, containers := range p.Spec.groups() {
			for i := range containers {
				if containers[i].Name == c.Name {
					image = containers[i].Image
				}
			}
		}
		data := struct {
			Container string `json:"container"`
			Image     string `json:"image"`
			Reason    string `json:"reason"`
			Message   string `json:"message,omitempty"`
		}{c.Name, image, reason, c.State.Waiting.Message}
		if ended != nil {
			since = later(since, ended.FinishedAt)
		}
		return r.incident("pod.image_pull", plugin.Error, since, "Container "+c.Name+" cannot get its image "+image, data,
			c.Name, image, since.UTC().Format(time.RFC3339))
	}
	return nil
}
