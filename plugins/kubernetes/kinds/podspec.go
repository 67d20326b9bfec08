package kinds

import (
	"slices"
	"strings"
)

// podSpec is the specification of a pod, in the pod and in the templates of
// workloads.
type podSpec struct {
	NodeName            string      `json:"nodeName"`
	ServiceAccountName  string      `json:"serviceAccountName"`
	PriorityClassName   string      `json:"priorityClassName"`
	RuntimeClassName    string      `json:"runtimeClassName"`
	ImagePullSecrets    []reference `json:"imagePullSecrets"`
	InitContainers      []container `json:"initContainers"`
	Containers          []container `json:"containers"`
	EphemeralContainers []container `json:"ephemeralContainers"`
	Volumes             []volume    `json:"volumes"`
	Overhead            amounts     `json:"overhead"`
	// Resources are those of the pod as a whole.
	Resources resources `json:"resources"`
}

type podTemplate struct {
	Spec podSpec `json:"spec"`
}

type container struct {
	Name          string    `json:"name"`
	Image         string    `json:"image"`
	RestartPolicy string    `json:"restartPolicy"`
	Resources     resources `json:"resources"`
	Env           []struct {
		ValueFrom sources `json:"valueFrom"`
	} `json:"env"`
	EnvFrom []sources `json:"envFrom"`
}

// sources are where environment variables come from. Those of env have a key
// as well, those of envFrom mean all keys.
type sources struct {
	ConfigMapKeyRef reference `json:"configMapKeyRef"`
	SecretKeyRef    reference `json:"secretKeyRef"`
	ConfigMapRef    reference `json:"configMapRef"`
	SecretRef       reference `json:"secretRef"`
}

type volume struct {
	Name      string    `json:"name"`
	ConfigMap reference `json:"configMap"`
	Secret    struct {
		Name string `json:"secretName"`
	} `json:"secret"`
	Claim struct {
		Name string `json:"claimName"`
	} `json:"persistentVolumeClaim"`
	Ephemeral *struct{} `json:"ephemeral"`
	Projected struct {
		Sources []struct {
			ConfigMap reference `json:"configMap"`
			Secret    reference `json:"secret"`
		} `json:"sources"`
	} `json:"projected"`
	CSI struct {
		Secret reference `json:"nodePublishSecretRef"`
	} `json:"csi"`
}

// sidecar says that an init container runs for as long as the pod does.
func (c *container) sidecar() bool { return c.RestartPolicy == "Always" }

// groups are all containers, in the order in which they start.
func (s *podSpec) groups() [3][]container {
	return [3][]container{s.InitContainers, s.Containers, s.EphemeralContainers}
}

// podUses adds what a pod of the specification uses. Pod is the pod's name, or
// empty for a template: the claim of an ephemeral volume is named after the pod.
func (r *reader) podUses(s *podSpec, pod string) {
	r.relate(uses, groupCore, "ServiceAccount", s.ServiceAccountName)
	r.relate(uses, groupScheduling, "PriorityClass", s.PriorityClassName)
	r.relate(uses, groupNode, "RuntimeClass", s.RuntimeClassName)
	for _, secret := range s.ImagePullSecrets {
		r.relate(uses, groupCore, "Secret", secret.Name)
	}
	for _, containers := range s.groups() {
		for i := range containers {
			c := &containers[i]
			if c.Image != "" {
				r.edge(uses, imageKey(c.Image))
			}
			for _, env := range c.Env {
				r.relate(uses, groupCore, "ConfigMap", env.ValueFrom.ConfigMapKeyRef.Name)
				r.relate(uses, groupCore, "Secret", env.ValueFrom.SecretKeyRef.Name)
			}
			for _, from := range c.EnvFrom {
				r.relate(uses, groupCore, "ConfigMap", from.ConfigMapRef.Name)
				r.relate(uses, groupCore, "Secret", from.SecretRef.Name)
			}
		}
	}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		r.relate(uses, groupCore, "ConfigMap", v.ConfigMap.Name)
		r.relate(uses, groupCore, "Secret", v.Secret.Name)
		r.relate(uses, groupCore, "Secret", v.CSI.Secret.Name)
		r.relate(uses, groupCore, "PersistentVolumeClaim", v.Claim.Name)
		if v.Ephemeral != nil && pod != "" {
			r.relate(uses, groupCore, "PersistentVolumeClaim", pod+"-"+v.Name)
		}
		for _, source := range v.Projected.Sources {
			r.relate(uses, groupCore, "ConfigMap", source.ConfigMap.Name)
			r.relate(uses, groupCore, "Secret", source.Secret.Name)
		}
	}
}

// share picks one of the two lists of a container's resources. Lasting says
// that the container runs beside the others and not before them.
type share func(c *container, lasting bool) amounts

func requested(c *container, _ bool) amounts { return c.Resources.Requests }
func limited(c *container, _ bool) amounts   { return c.Resources.Limits }

// requests returns what a pod of the specification requests, by the scheduler's
// rule: what its containers take together, or what one of the init containers
// takes if that is more; what is asked for the pod as a whole goes before that,
// and its overhead on top.
func (s *podSpec) requests(of share, whole amounts) amounts {
	return s.total(of, whole).plus(s.Overhead)
}

// limits is like requests. A pod without a limit does not get one from its
// overhead. The total only binds if all containers have a limit.
func (s *podSpec) limits(of share, whole amounts) amounts {
	total := s.total(of, whole)
	for _, over := range s.Overhead {
		if limit := total.get(over.name); limit != 0 {
			total = total.set(over.name, limit+over.value)
		}
	}
	return total
}

// total is the rule without the overhead. It returns amounts of its own.
func (s *podSpec) total(of share, whole amounts) amounts {
	var total, sidecars, peak amounts
	for i := range s.Containers {
		total = total.plus(of(&s.Containers[i], true))
	}
	for i := range s.InitContainers {
		c := &s.InitContainers[i]
		if c.sidecar() {
			takes := of(c, true)
			total, sidecars = total.plus(takes), sidecars.plus(takes)
			peak = peak.atLeast(sidecars)
			continue
		}
		// An init container runs beside the sidecars that were started before.
		var both amounts
		peak = peak.atLeast(both.plus(of(c, false)).plus(sidecars))
	}
	total = total.atLeast(peak)
	for _, x := range whole {
		if x.name == "cpu" || x.name == "memory" || strings.HasPrefix(x.name, "hugepages-") {
			total = total.set(x.name, x.value)
		}
	}
	return total
}

// image is an image in use. Digest is what the node really runs, if it has said.
type image struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
}

// templateFacts adds what the pods of a workload have in common.
func (r *reader) templateFacts(s *podSpec) {
	r.podUses(s, "")
	r.amounts("requests", s.requests(requested, s.Resources.Requests))
	r.amounts("limits", s.limits(limited, s.Resources.Limits))
	r.images(s, func(*container) string { return "" })
}

// images adds the images of all containers, each once, in the order in which
// they start.
func (r *reader) images(s *podSpec, digest func(*container) string) {
	var all []image
	for _, containers := range s.groups() {
		for i := range containers {
			if containers[i].Image == "" {
				continue
			}
			next := image{normalImage(containers[i].Image), digest(&containers[i])}
			if !slices.Contains(all, next) {
				all = append(all, next)
			}
		}
	}
	if len(all) > 0 {
		r.fact("images", all)
	}
}
