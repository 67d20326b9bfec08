package estate

import (
	"slices"
	"strings"
)

// simpleShare is how many of a block of assets are of each simple kind.
const simpleShare = 2

var (
	wideKubernetes = widen(kubernetes, "kubernetes.", "object", "Ready", "Progressing",
		"apps.DaemonSet", "apps.StatefulSet", "autoscaling.HorizontalPodAutoscaler", "batch.CronJob", "batch.Job",
		"core.LimitRange", "core.Namespace", "core.PersistentVolume", "core.PersistentVolumeClaim", "core.ResourceQuota", "core.Secret",
		"core.ServiceAccount", "discovery.k8s.io.EndpointSlice", "gateway.networking.k8s.io.Gateway", "gateway.networking.k8s.io.HTTPRoute",
		"networking.k8s.io.Ingress", "networking.k8s.io.NetworkPolicy", "policy.PodDisruptionBudget",
		"rbac.authorization.k8s.io.ClusterRole", "rbac.authorization.k8s.io.ClusterRoleBinding", "rbac.authorization.k8s.io.Role",
		"rbac.authorization.k8s.io.RoleBinding", "scheduling.k8s.io.PriorityClass", "storage.k8s.io.StorageClass",
		"storage.k8s.io.VolumeAttachment")
	wideOpenStack = widen(openstack, "openstack.", "resource", "ACTIVE", "DOWN",
		"baremetal.Node", "compute.Aggregate", "compute.Flavor", "compute.Hypervisor", "compute.Keypair", "compute.ServerGroup",
		"compute.Service", "dns.RecordSet", "dns.Zone", "identity.Domain", "identity.Project", "identity.User", "image.Image",
		"loadbalancer.Listener", "loadbalancer.LoadBalancer", "loadbalancer.Member", "loadbalancer.Pool", "network.Agent",
		"network.Router", "network.SecurityGroup", "network.Subnet", "network.Trunk", "orchestration.Stack", "share.Share",
		"storage.Backup", "storage.Pool", "storage.Snapshot")
)

// NewWide is New with the simple kinds in addition, which are those that a hundred assets have
// few of: over two estates there are 63 types.
func NewWide(seed uint64, number int) *Estate {
	e := New(seed, number)
	if e.kinds = wideKubernetes; number%2 == 1 {
		e.kinds = wideOpenStack
	}
	e.block = 0
	for _, k := range e.kinds {
		e.block += k.share
	}
	return e
}

func widen(kinds []*kind, prefix, template, good, bad string, types ...string) []*kind {
	kinds = slices.Clone(kinds)
	for _, t := range types {
		k := newKind(template, prefix+t, simpleShare, good, bad)
		k.simple = true
		kinds = append(kinds, k)
	}
	return kinds
}

// simple fills in what is beside the document of an asset of a simple kind. It belongs to
// what an application, or a server, of the estate belongs to.
func (v *values) simple() {
	a := v.asset
	kind := strings.ToLower(a.GetType()[strings.LastIndex(a.GetType(), ".")+1:])
	v.app, v.server = v.n, v.n
	team := v.e.team(v.n)
	a.Labels = map[string]string{"team": team}
	if v.e.kinds[0] == kubernetes[0] {
		a.Region, a.Scope, a.Project = "cluster", "kubernetes/"+kind+"s", v.namespace(v.app)
		a.Name = v.name(v.app) + "-" + kind
		a.Uid = v.e.ID("cluster", 0) + "/" + kind + "/" + a.GetProject() + "/" + a.GetName()
		a.Labels["app.kubernetes.io/name"], a.Labels["app.kubernetes.io/part-of"] = v.name(v.app), a.GetProject()
		v.relate("owned_by", "kubernetes.apps.Deployment",
			v.e.ID("cluster", 0)+"/Deployment.apps/"+a.GetProject()+"/"+v.name(v.app))
		return
	}
	a.Region, a.Scope, a.Project = "RegionOne", "openstack/RegionOne/"+kind+"s", v.of("project")
	a.Name, a.Uid = team+"-"+kind+"-"+v.e.hex(kind, v.n)[:4], v.e.ID(a.GetType(), v.n)
	v.relate("part_of", "openstack.identity.Project", a.GetProject())
}
