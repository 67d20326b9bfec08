// Package estate makes up what agents see: Kubernetes clusters and OpenStack clouds with
// documents as the collectors make them. All of it follows from a seed, so nothing is kept,
// and whoever knows the seed knows the truth.
package estate

import (
	"crypto/md5"
	"embed"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// templates are documents of real objects as they leave the collectors (redacted,
// with what was derived, in canonical form), with ${names} where objects differ.
//
//go:embed templates
var templates embed.FS

// kind is one type of assets.
type kind struct {
	assetType string
	// share is how many of a block of assets of an estate are of the kind.
	share    int
	template []part
	statuses [2]string
	// simple kinds are those of wide estates.
	simple bool
}

// part is a piece of a template: text, or the name of a value.
type part struct{ text, name string }

var (
	kubernetes = []*kind{
		newKind("pod", "kubernetes.core.Pod", 50, "Running", "NotReady"),
		newKind("replicaset", "kubernetes.apps.ReplicaSet", 15, "Available", "Progressing"),
		newKind("configmap", "kubernetes.core.ConfigMap", 12, "", ""),
		newKind("deployment", "kubernetes.apps.Deployment", 10, "Available", "Progressing"),
		newKind("service", "kubernetes.core.Service", 8, "", ""),
		newKind("node", "kubernetes.core.Node", 5, "Ready", "Ready,SchedulingDisabled"),
	}
	openstack = []*kind{
		newKind("port", "openstack.network.Port", 40, "ACTIVE", "DOWN"),
		newKind("server", "openstack.compute.Server", 25, "ACTIVE", "SHUTOFF"),
		newKind("volume", "openstack.storage.Volume", 25, "in-use", "reserved"),
		newKind("floatingip", "openstack.network.FloatingIP", 8, "ACTIVE", "DOWN"),
		newKind("network", "openstack.network.Network", 2, "ACTIVE", "BUILD"),
	}
)

func newKind(file, assetType string, share int, statuses ...string) *kind {
	data, err := templates.ReadFile(path.Join("templates", file+".json"))
	if err != nil {
		panic(err) // it is built in
	}
	k := &kind{assetType: assetType, share: share, statuses: [2]string(statuses)}
	for rest := strings.TrimSpace(string(data)); rest != ""; {
		text, behind, found := strings.Cut(rest, "${")
		name, after, _ := strings.Cut(behind, "}")
		k.template = append(k.template, part{text, name})
		if !found {
			break
		}
		rest = after
	}
	return k
}

// Estate is what one agent sees. All of it follows from the seed, the number of
// the agent, the number of an asset in it, and how often that has changed, so
// nothing is kept.
type Estate struct {
	seed   uint64
	number int
	kinds  []*kind
	// block is how many assets the shares of the kinds are.
	block int
}

// New returns the estate of an agent by its number: an even one looks after a cluster, an odd
// one after a cloud. In a hundred assets there are those of six, or five, types.
func New(seed uint64, number int) *Estate {
	e := &Estate{seed: seed, number: number, kinds: kubernetes, block: 100}
	if number%2 == 1 {
		e.kinds = openstack
	}
	return e
}

// of returns the kind of an asset and its number among those of the kind.
func (e *Estate) of(asset int) (kind, number int) {
	within := asset % e.block
	for i, k := range e.kinds {
		if within < k.share {
			return i, asset/e.block*k.share + within
		}
		within -= k.share
	}
	panic("the shares are not a block in all")
}

// bits returns random bits that always are the same for the same thing.
func (e *Estate) bits(what string, n int) uint64 {
	h := e.seed ^ uint64(e.number)<<32 ^ uint64(n)
	for _, c := range []byte(what) {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	// The finish of splitmix64.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// ID returns a random UUID that always is the same for the same thing.
func (e *Estate) ID(what string, n int) string {
	var id uuid.UUID
	for i, half := range [2]uint64{e.bits(what, n), e.bits(what+"'", n)} {
		for j := range 8 {
			id[i*8+j] = byte(half >> (8 * j))
		}
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// hex is an id without its dashes, as the identity service makes them.
func (e *Estate) hex(what string, n int) string {
	return strings.ReplaceAll(e.ID(what, n), "-", "")
}

func (e *Estate) team(n int) string {
	return [...]string{"checkout", "search", "billing", "platform", "media"}[n%5]
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const moment = "2006-01-02T15:04:05"

// Version returns an asset as it is after so many changes. It has no stamp and no
// operation yet. Its hash is the MD5 of the document, so that the warehouse can be
// asked whether the two belong together.
func (e *Estate) Version(asset, generation int) *wirev1.AssetVersion {
	ki, n := e.of(asset)
	k := e.kinds[ki]
	made := epoch.Add(time.Duration(e.bits("made", asset)%(60*24*3600)) * time.Second)
	a := &wirev1.AssetVersion{
		Type: k.assetType, Status: k.statuses[generation/3%2],
		CreatedAt: made.UnixMilli(), UpdatedAt: made.Add(time.Duration(generation) * time.Minute).UnixMilli(),
	}
	v := values{e: e, n: n, generation: generation, asset: a}
	v.made, v.time = made.Format(moment), time.UnixMilli(a.GetUpdatedAt()).UTC().Format(moment)
	switch {
	case k.simple:
		v.simple()
	case e.kinds[0] == kubernetes[0]:
		v.kubernetes()
	default:
		v.openstack()
	}
	doc := make([]byte, 0, 3<<10)
	for _, p := range k.template {
		doc = append(doc, p.text...)
		if p.name != "" {
			doc = append(doc, v.of(p.name)...)
		}
	}
	a.Document = doc
	sum := md5.Sum(doc)
	a.Hash = sum[:]
	return a
}

// values are what stands in for the names in a template.
type values struct {
	e             *Estate
	asset         *wirev1.AssetVersion
	n, generation int
	made, time    string
	// app numbers the Deployment that a Kubernetes object belongs to, server
	// the OpenStack server.
	app, server int
	owner       string
}

func (v *values) name(app int) string { return fmt.Sprintf("%s-api-%d", v.e.team(app), app) }

func (v *values) namespace(app int) string { return fmt.Sprintf("%s-%02d", v.e.team(app), app/5) }

func (v *values) hash(app, length int) string { return v.e.hex("template", app)[:length] }

func (v *values) relate(relation, assetType, uid string) {
	v.asset.Relations = append(v.asset.Relations, &wirev1.Relation{Kind: relation, Type: assetType, Uid: uid})
}

// kubernetes fills in what is beside the document of a Kubernetes object. Of 100
// assets, 50 pods belong to 10 Deployments by 15 ReplicaSets, five of which are old.
func (v *values) kubernetes() {
	a := v.asset
	cluster := v.e.ID("cluster", 0)
	key := func(kind, namespace, name string) string { return cluster + "/" + kind + "/" + namespace + "/" + name }
	a.Region, a.Scope = fmt.Sprintf("cluster-%d", v.e.number),
		"kubernetes/"+strings.ToLower(a.GetType()[strings.LastIndex(a.GetType(), ".")+1:])+"s"
	replicaSet := func(app int) string { return v.name(app) + "-" + v.hash(app, 10) }
	switch a.GetType() {
	case "kubernetes.core.Pod":
		v.app = v.n / 5
		v.owner = replicaSet(v.app)
		a.Name = v.owner + "-" + v.e.hex("pod", v.n)[:5]
		v.relate("owned_by", "kubernetes.apps.ReplicaSet", key("ReplicaSet.apps", v.namespace(v.app), v.owner))
		v.relate("runs_on", "kubernetes.core.Node", cluster+"/Node/"+v.node())
		v.relate("uses", "kubernetes.core.ConfigMap", key("ConfigMap", v.namespace(v.app), v.name(v.app)))
	case "kubernetes.apps.ReplicaSet":
		v.app = v.n * 2 / 3
		v.owner = v.name(v.app)
		a.Name = replicaSet(v.app)
		if v.n%3 == 1 { // the old one
			a.Name = v.owner + "-" + v.e.hex("old", v.app)[:10]
		}
		v.relate("owned_by", "kubernetes.apps.Deployment", key("Deployment.apps", v.namespace(v.app), v.owner))
	case "kubernetes.core.ConfigMap":
		v.app = v.n * 10 / 12
		a.Name = v.name(v.app)
		if v.n%6 == 1 { // two of one application
			a.Name += "-feature-flags"
		}
	case "kubernetes.apps.Deployment":
		v.app = v.n
		a.Name = v.name(v.app)
	case "kubernetes.core.Service":
		v.app = v.n * 10 / 8
		a.Name = v.name(v.app)
	case "kubernetes.core.Node":
		a.Name = fmt.Sprintf("worker-%d", v.n)
		v.server = v.n
		a.Uid = cluster + "/Node/" + a.Name
		a.Labels = map[string]string{"kubernetes.io/hostname": a.Name, "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "nova"}
		v.relate("backed_by", "openstack.compute.Server", v.of("server"))
		return
	}
	kind := a.GetType()[strings.LastIndex(a.GetType(), ".")+1:]
	if strings.HasPrefix(a.GetType(), "kubernetes.apps.") {
		kind += ".apps"
	}
	a.Project = v.namespace(v.app)
	a.Uid = key(kind, a.Project, a.GetName())
	a.Labels = map[string]string{
		"app.kubernetes.io/managed-by": "helm", "app.kubernetes.io/name": v.name(v.app),
		"app.kubernetes.io/part-of": a.Project, "team": v.e.team(v.app), "version": "1.4.2",
	}
}

// memory is in bytes, a power of two from 256 MiB up to 64 GiB.
func (v *values) memory() uint64 { return 1 << (28 + v.e.bits("memory", v.n)%9) }

// node is where a pod runs: each node has ten.
func (v *values) node() string { return fmt.Sprintf("worker-%d", v.n/10) }

// openstack fills in what is beside the document of an OpenStack object. Of 100
// assets, 25 servers have 40 ports, 25 volumes and 8 floating IPs in 2 networks.
func (v *values) openstack() {
	a := v.asset
	cloud := v.e.ID("cloud", 0) + "/RegionOne"
	a.Region, a.Project = "RegionOne", v.of("project")
	what := map[string]string{
		"openstack.network.Port": "port", "openstack.compute.Server": "server", "openstack.storage.Volume": "volume",
		"openstack.network.FloatingIP": "floatingip", "openstack.network.Network": "network",
	}[a.GetType()]
	a.Scope, a.Uid = "openstack/RegionOne/"+what+"s", v.e.ID(what, v.n)
	v.relate("part_of", "openstack.identity.Project", a.GetProject())
	switch what {
	case "server":
		v.server = v.n
		a.Name = fmt.Sprintf("%s-vm-%d", v.e.team(v.n), v.n)
		a.Labels = map[string]string{"team": v.e.team(v.n), "revision": strconv.Itoa(v.generation)}
		v.relate("backed_by", "openstack.image.Image", v.of("image"))
		v.relate("owned_by", "openstack.identity.User", v.of("user"))
		v.relate("runs_on", "openstack.compute.Hypervisor", cloud+"/hypervisor/"+v.of("host"))
		v.relate("uses", "openstack.compute.Flavor", cloud+"/flavor/"+v.of("flavor"))
		v.relate("uses", "openstack.storage.Volume", v.of("volume"))
	case "port":
		v.server = v.n * 25 / 40
		a.Name = v.of("ip")
		v.relate("attached_to", "openstack.compute.Server", v.of("server"))
		v.relate("connected_to", "openstack.network.Network", v.of("network"))
		v.relate("uses", "openstack.network.SecurityGroup", v.of("group"))
	case "volume":
		v.server = v.n
		a.Name = fmt.Sprintf("%s-data-%d", v.e.team(v.n), v.n)
		v.relate("attached_to", "openstack.compute.Server", v.of("server"))
		v.relate("runs_on", "openstack.storage.Pool", cloud+"/storage-pool/"+v.of("pool"))
	case "floatingip":
		v.server = v.n * 25 / 8
		a.Name = v.of("public")
		v.relate("attached_to", "openstack.network.Port", v.of("port"))
		v.relate("routes_to", "openstack.network.Router", v.of("router"))
	case "network":
		v.server = v.n * 25 / 2
		a.Name = fmt.Sprintf("%s-net-%d", v.e.team(v.n), v.n)
	}
}

// of returns the value of a name.
func (v *values) of(name string) string {
	e := v.e
	digits := func(what string, n int, below uint64) string { return strconv.FormatUint(e.bits(what, n)%below, 10) }
	switch name {
	case "n":
		return strconv.Itoa(v.generation)
	case "name":
		return v.asset.GetName()
	case "uid":
		return v.asset.GetUid()
	case "made":
		return v.made
	case "time":
		return v.time
	case "status":
		return v.asset.GetStatus()
	case "team":
		return e.team(v.app + v.server)
	case "id":
		return e.ID(v.asset.GetType(), v.n)
	case "hash":
		return e.hex("hash", v.n) + e.hex("hash2", v.n)
	case "kind":
		return v.asset.GetType()[strings.LastIndex(v.asset.GetType(), ".")+1:]
	case "small":
		return digits("small", v.n, 20)
	case "milli":
		return strconv.FormatUint(100+e.bits("cpu", v.n)%900, 10)
	case "vcpus":
		return strconv.Itoa(1 << (e.bits("cpu", v.n) % 6))
	case "mebi":
		return strconv.FormatUint(v.memory()>>20, 10)
	case "memory":
		return strconv.FormatUint(v.memory(), 10)
	case "rv":
		return strconv.FormatUint(e.bits("rv", v.n)%100_000+uint64(v.generation)*37, 10)

	// Kubernetes
	case "ns":
		return v.namespace(v.app)
	case "app":
		return v.name(v.app)
	case "config":
		return v.name(v.app)
	case "owner":
		return v.owner
	case "ownerid":
		return e.ID("kubernetes.apps."+v.owner, 0)
	case "hash10":
		return v.hash(v.app, 10)
	case "hash5":
		return e.hex("token", v.n)[:5]
	case "patch":
		return digits("patch", v.app, 40)
	case "node":
		return v.node()
	case "nodeip":
		return fmt.Sprintf("10.0.%d.%d", e.number%250, 10+v.n/10%200)
	case "ready":
		return [...]string{"True", "False"}[v.generation/3%2]
	case "isready":
		return [...]string{"true", "false"}[v.generation/3%2]
	case "machine":
		return e.hex("machine", v.n)
	case "nodeport":
		return strconv.FormatUint(30000+e.bits("nodeport", v.n)%2767, 10)

	// OpenStack
	case "server":
		return e.ID("server", v.server)
	case "network":
		return e.ID("network", v.server*2/25)
	case "net":
		return fmt.Sprintf("%s-net-%d", e.team(v.server*2/25), v.server*2/25)
	case "subnet":
		return e.ID("subnet", v.server*2/25)
	case "port":
		return e.ID("port", v.server*40/25)
	case "volume":
		return e.ID("volume", v.server)
	case "attachment":
		return e.ID("attachment", v.n)
	case "image":
		return e.ID("image", v.server%7)
	case "project":
		return e.hex("project", v.server/10)
	case "user":
		return e.hex("user", v.server/10)
	case "group":
		return e.ID("group", v.server/10)
	case "external":
		return e.ID("external", 0)
	case "router":
		return e.ID("router", v.server*2/25)
	case "service":
		return e.ID("service", 0)
	case "host":
		return fmt.Sprintf("cmp-%02d", v.server/12)
	case "flavor":
		return [...]string{"m1.small", "m1.medium", "c1.large"}[v.server%3]
	case "pool":
		return "vol-01@ceph#ssd"
	case "power":
		return [...]string{"1", "4"}[v.generation/3%2]
	case "vmstate":
		return [...]string{"active", "stopped"}[v.generation/3%2]
	case "size":
		return digits("size", v.n, 500)
	case "segment":
		return digits("segment", v.n, 4000)
	case "hex":
		return fmt.Sprintf("%08x", v.n)
	case "mac":
		b := e.bits("mac", v.server)
		return fmt.Sprintf("%02x:%02x:%02x", byte(b), byte(b>>8), byte(b>>16))
	case "ip":
		return fmt.Sprintf("10.%d.%d.%d", 96+v.n>>14&31, v.n>>7&127, v.n&127+1)
	case "dash":
		return strings.ReplaceAll(v.of("ip"), ".", "-")
	case "public":
		return fmt.Sprintf("198.51.%d.%d", v.n>>8&255, v.n&255)
	}
	panic("a template has the name " + name + ", which has no value")
}
