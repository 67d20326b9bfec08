//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	novaVersion   = "compute 2.73"
	tenant        = "web-shop"
	otherTenant   = "data-platform"
	nodesPath     = "/api/v1/nodes"
	podsPath      = "/api/v1/pods"
	defaultPods   = "/api/v1/namespaces/default/pods"
	defaultClaims = "/api/v1/namespaces/default/persistentvolumeclaims"
	volumesPath   = "/api/v1/persistentvolumes"
	tenantSecret  = "lab-tenant-secret" // the seeder's
)

// nova makes a request to Nova that must succeed.
func (q *asking) nova(method, path string, body, into any) {
	q.t.Helper()
	data, err := q.api.do(method, q.api.catalog["compute"]+path, asJSON(q.t, body), map[string]string{"OpenStack-API-Version": novaVersion})
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) string {
	if v == nil {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// as logs in as the user that the seeder made in a project.
func (q *asking) as(project string) *openStackAPI {
	q.t.Helper()
	return newOpenStackAPI(q.t, q.os.auth(), project+"-ops", tenantSecret, project)
}

// project is the id of a project.
func (c *clouds) project(name string) string {
	c.t.Helper()
	return c.the("identity.Project", "name", name)
}

// the is the id of what has a text at a path.
func (c *clouds) the(typ, path, value string) string {
	c.t.Helper()
	for _, o := range c.list(typ) {
		if text(o, path) == value {
			return text(o, "id")
		}
	}
	c.t.Fatalf("there is no %s whose %s is %s", typ, path, value)
	return ""
}

// prepare makes nodes of servers, pods on them, and what is asked for beside what the
// seeders make.
func (q *asking) prepare() {
	c := &clouds{asking: q}
	// Servers that may go anywhere, by where they are.
	on := make(map[string][]string)
	for _, s := range c.list("compute.Server") {
		name := text(s, "name")
		bound := slices.ContainsFunc([]string{"apart", "together", "zone-b", "boots"}, func(w string) bool { return strings.Contains(name, w) })
		if host := text(s, "OS-EXT-SRV-ATTR:hypervisor_hostname"); text(s, "status") == "ACTIVE" && strings.HasPrefix(name, tenant) && !bound {
			on[host] = append(on[host], text(s, "id"))
		}
	}
	for host := range on {
		if len(on[host]) > len(on[q.host]) {
			q.host = host
		}
	}
	free := slices.Clone(on[q.host])
	for host, servers := range on {
		if host != q.host {
			free = append(free, servers...)
		}
	}
	if len(on[q.host]) < 3 || len(free) < 4 {
		q.t.Fatalf("there are too few servers that run: %v", on)
	}
	q.servers = make(map[string]string)
	for i, node := range []string{"worker-a", "worker-b", "worker-c", "worker-d"} {
		q.servers[node] = free[i]
		q.kube.create(nodesPath, fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"annotations":{"kwok.x-k8s.io/node":"fake"},
			"labels":{"owner":"platform"}},"spec":{"providerID":"openstack:///%s"},"status":{"capacity":{"cpu":"4","memory":"8Gi","pods":"110"},
			"allocatable":{"cpu":"4","memory":"8Gi","pods":"110"}}}`, node, free[i]))
		for n := range 2 {
			q.pod(fmt.Sprintf("%s-app-%d", node, n+1), node, "registry.example.com/app:1", "64Mi")
		}
	}
	for node := range q.servers {
		eventually(q.t, time.Minute, node+" is ready", func() error {
			var n object
			q.kube.read(nodesPath+"/"+node, &n)
			if status := nodeStatus(n); status != "Ready" {
				return errors.New(status)
			}
			return nil
		})
	}
	q.pod("unpinned-1", "worker-a", "nginx", "1Mi")
	q.persistentVolume("pv-there", c.the("storage.Volume", "name", "database"))
	q.quota(c, "billing")
}

func (q *asking) pod(name, node, image, memory string) {
	q.t.Helper()
	q.kube.create(defaultPods, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"nodeName":%q,"containers":[
		{"name":"x","image":%q,"resources":{"requests":{"cpu":"10m","memory":%q}}}]}}`, name, node, image, memory))
}

func (q *asking) persistentVolume(name, handle string) {
	q.t.Helper()
	q.kube.create(volumesPath, fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":%q},"spec":{"capacity":{"storage":"1Gi"},
		"accessModes":["ReadWriteOnce"],"csi":{"driver":"cinder.csi.openstack.org","volumeHandle":%q}}}`, name, handle))
}

// quota lets a project have the cores that it has.
func (q *asking) quota(c *clouds, project string) {
	q.t.Helper()
	id := c.project(project)
	used := text(c.cores(id), "in_use")
	q.nova(http.MethodPut, "/os-quota-sets/"+id, object{"quota_set": object{"cores": json.Number(used)}}, nil)
}

// happen changes both clouds.
func (q *asking) happen() {
	q.then = &clouds{asking: q}
	for _, typ := range []string{"compute.Server", "storage.Volume"} {
		q.then.list(typ)
	}
	q.then.objects(nodesPath)
	q.moment, q.cut = time.Now(), time.Now()
	time.Sleep(100 * time.Millisecond)
	q.openStackChanges()
	q.kubernetesChanges()
	// Quotas and credentials are looked at each time, and seldom in between.
	q.agent.stop()
	q.agent.start()
}

func (q *asking) openStackChanges() {
	c, own := &clouds{asking: q}, q.as(tenant)
	compute := where(c.list("compute.Service"), func(o object) bool {
		return text(o, "binary") == "nova-compute" && text(o, "host") == q.host
	})
	q.nova(http.MethodPut, "/os-services/"+text(compute[0], "id"), object{"status": "disabled", "disabled_reason": "new memory"}, nil)
	moves := q.servers["worker-b"]
	q.nova(http.MethodPost, "/servers/"+moves+"/action", object{"os-migrateLive": object{"host": nil, "block_migration": "auto"}}, nil)
	q.nova(http.MethodDelete, "/servers/"+q.servers["worker-d"], nil, nil)

	q.nova(http.MethodPost, "/flavors", object{"flavor": object{"name": "huge", "vcpus": 500, "ram": 1024, "disk": 10}}, nil)
	var flavors struct{ Flavors []struct{ ID, Name string } }
	q.nova(http.MethodGet, "/flavors", nil, &flavors)
	for _, f := range flavors.Flavors {
		if f.Name == "huge" {
			q.nova(http.MethodPost, "/servers", object{"server": object{"name": "too-big", "flavorRef": f.ID, "networks": "none",
				"imageRef": c.the("image.Image", "name", "debian-12")}}, nil)
		}
	}
	attached := where(c.list("compute.Server"), func(o object) bool { return text(o, "name") == tenant+"-in-zone-b" })
	own.call(http.MethodPost, "compute", "/servers/"+text(attached[0], "id")+"/os-volume_attachments",
		asJSON(q.t, object{"volumeAttachment": object{"volumeId": c.the("storage.Volume", "name", "database-copy")}}), nil)
	own.call(http.MethodDelete, "volumev3", "/volumes/"+c.the("storage.Volume", "name", "tapes"), "", nil)
	q.api.call(http.MethodDelete, "image", "/v2/images/"+c.the("image.Image", "name", "build-private"), "", nil)

	var group struct {
		Group struct{ ID string } `json:"security_group"`
	}
	own.call(http.MethodPost, "network", "/v2.0/security-groups", `{"security_group":{"name":"everything"}}`, &group)
	own.call(http.MethodPost, "network", "/v2.0/security-group-rules", asJSON(q.t, object{"security_group_rule": object{
		"security_group_id": group.Group.ID, "direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": "0.0.0.0/0"}}), nil)
	port := where(c.list("network.Port"), func(o object) bool {
		return strings.HasPrefix(text(o, "device_owner"), "compute:") && text(o, "project_id") == c.project(tenant)
	})
	own.call(http.MethodPut, "network", "/v2.0/ports/"+text(port[0], "id"),
		asJSON(q.t, object{"port": object{"security_groups": []string{group.Group.ID}}}), nil)
	address := where(c.list("network.FloatingIP"), func(o object) bool {
		return text(o, "port_id") != "" && text(o, "project_id") == c.project(otherTenant)
	})
	q.api.call(http.MethodPut, "network", "/v2.0/floatingips/"+text(address[0], "id"), `{"floatingip":{"port_id":null}}`, nil)

	// A network with the other project's addresses.
	taken := where(c.list("network.Port"), func(o object) bool {
		return strings.HasPrefix(text(o, "device_owner"), "compute:") && text(o, "project_id") == c.project(otherTenant)
	})
	ip := elements(taken[0], "fixed_ips")[0]
	var network struct{ Network struct{ ID string } }
	own.call(http.MethodPost, "network", "/v2.0/networks", `{"network":{"name":"twin"}}`, &network)
	own.call(http.MethodPost, "network", "/v2.0/subnets", asJSON(q.t, object{"subnet": object{"network_id": network.Network.ID, "ip_version": 4,
		"cidr": text(ip, "ip_address") + "/24", "gateway_ip": nil}}), nil)
	own.call(http.MethodPost, "network", "/v2.0/ports", asJSON(q.t, object{"port": object{"network_id": network.Network.ID,
		"fixed_ips": []object{{"ip_address": text(ip, "ip_address")}}}}), nil)

	soon := time.Now().Add(10 * 24 * time.Hour).UTC().Format("2006-01-02T15:04:05")
	own.call(http.MethodPost, "identity", "/users/"+c.the("identity.User", "name", tenant+"-ops")+"/application_credentials",
		asJSON(q.t, object{"application_credential": object{"name": "for-a-while", "expires_at": soon}}), nil)

	eventually(q.t, time.Minute, "a server is migrated, one is deleted and one cannot be made", func() error {
		now := &clouds{asking: q}
		servers := now.list("compute.Server")
		for _, s := range servers {
			switch id := text(s, "id"); {
			case id == moves && (text(s, "status") != "ACTIVE" || text(s, "OS-EXT-SRV-ATTR:hypervisor_hostname") == q.host):
				return errors.New("it is not migrated yet")
			case id == q.servers["worker-d"]:
				return errors.New("it is not deleted yet")
			case text(s, "name") == "too-big" && text(s, "status") != "ERROR":
				return errors.New("it has not failed yet")
			}
		}
		return nil
	})
}

func (q *asking) kubernetesChanges() {
	const node = nodesPath + "/worker-c"
	q.kube.patch(node, `{"metadata":{"labels":{"maintenance":"planned"}},"spec":{"unschedulable":true}}`)
	q.pod("worker-c-late", "worker-c", "registry.example.com/late:1", "1Mi")
	time.Sleep(1100 * time.Millisecond) // its conditions have whole seconds
	q.kube.read(node, &q.node)
	// Without it the kubelets' stand-in makes the node ready again.
	q.kube.patch(node, `{"metadata":{"annotations":{"kwok.x-k8s.io/node":null}}}`)
	q.notReady = time.Now().Truncate(time.Second)
	at := q.notReady.UTC().Format(time.RFC3339)
	q.kube.must(http.MethodPatch, node+"/status", "application/strategic-merge-patch+json", fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready",
		"status":"False","reason":"KubeletNotReady","message":"the runtime is down","lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`, at, at))

	q.pod("unpinned-2", "worker-b", "registry.example.com/next:latest", "300Gi")
	q.kube.create(defaultClaims, `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"spare"},"spec":{"accessModes":["ReadWriteOnce"],
		"storageClassName":"none","resources":{"requests":{"storage":"1Gi"}}}}`)
	q.persistentVolume("pv-lost", "2c0ddc5d-6c3a-4a3e-9dc4-0d3e0b0c7a11")
}
