//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// openStackAPI asks a cloud without any of the collector's code.
type openStackAPI struct {
	t       *testing.T
	auth    string
	token   string
	cloud   string
	catalog map[string]string
}

func newOpenStackAPI(t *testing.T, auth, user, password, project string) *openStackAPI {
	t.Helper()
	s := &openStackAPI{t: t, auth: strings.TrimRight(auth, "/"), catalog: make(map[string]string)}
	domain := map[string]any{"id": "default"}
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": user, "password": password, "domain": domain},
		}},
		"scope": map[string]any{"project": map[string]any{"name": project, "domain": domain}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(s.auth+"/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var token struct {
		Token struct {
			Catalog []struct {
				ID, Type  string
				Endpoints []struct{ Interface, URL string }
			}
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("logging in: %d, %v", answer.StatusCode, err)
	}
	s.token = answer.Header.Get("X-Subject-Token")
	for _, entry := range token.Token.Catalog {
		if entry.Type == "identity" {
			s.cloud = entry.ID
		}
		for _, e := range entry.Endpoints {
			if e.Interface == "public" {
				s.catalog[entry.Type] = strings.TrimRight(e.URL, "/")
			}
		}
	}
	return s
}

// try makes a request, and returns the answer's body and status.
func (s *openStackAPI) try(method, address, body string, headers map[string]string) ([]byte, int, error) {
	r, err := http.NewRequestWithContext(s.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("X-Auth-Token", s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range headers {
		if v != "" {
			r.Header.Set(k, v)
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return data, answer.StatusCode, err
}

func (s *openStackAPI) do(method, address, body string, headers map[string]string) ([]byte, error) {
	data, code, err := s.try(method, address, body, headers)
	if err == nil && code >= 300 {
		err = fmt.Errorf("%s %s: %d: %.300s", method, address, code, data)
	}
	return data, err
}

// call makes a request that must succeed, and reads the answer.
func (s *openStackAPI) call(method, service, path, body string, into any) {
	s.t.Helper()
	data, err := s.do(method, s.catalog[service]+path, body, nil)
	if err == nil && into != nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// object is what an API sent.
type object = map[string]any

// list reads all pages of a list.
func (s *openStackAPI) list(address, envelope string, headers map[string]string) ([]object, error) {
	var all []object
	for address != "" {
		data, err := s.do(http.MethodGet, address, "", headers)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var page map[string]any
		if err := d.Decode(&page); err != nil {
			return nil, fmt.Errorf("GET %s: %w", address, err)
		}
		elements, ok := page[envelope].([]any)
		if !ok {
			return nil, fmt.Errorf("GET %s: there is no %s", address, envelope)
		}
		for _, e := range elements {
			all = append(all, e.(object))
		}
		next := ""
		if links, ok := page[envelope+"_links"].([]any); ok {
			for _, l := range links {
				if l := l.(object); l["rel"] == "next" {
					next = l["href"].(string)
				}
			}
		}
		if path, ok := page["next"].(string); ok && envelope == "images" {
			next = s.catalog["image"] + path
		}
		// Nova may take a full page for the last.
		if base, _, _ := strings.Cut(address, "&marker="); next == "" && len(elements) > 0 {
			switch last := all[len(all)-1]; envelope {
			case "servers":
				next = base + "&marker=" + last["id"].(string)
			case "tenant_usages":
				servers := last["server_usages"].([]any)
				next = base + "&marker=" + servers[len(servers)-1].(object)["instance_id"].(string)
			}
		}
		address = next
	}
	return all, nil
}

// counted are the listings that are compared: the type, the service and path, the
// envelope, the microversion header, and how the uid is made where it is not the id.
var counted = []struct {
	typ, service, path, envelope string
	version                      string
	uid                          func(o object) string
}{
	{"identity.Domain", "identity", "/domains", "domains", "", named("", "domain", "id")},
	{"identity.Project", "identity", "/projects", "projects", "", nil},
	{"identity.User", "identity", "/users", "users", "", nil},
	{"identity.Group", "identity", "/groups", "groups", "", nil},
	{"identity.Role", "identity", "/roles", "roles", "", nil},
	{"identity.Service", "identity", "/services", "services", "", nil},
	{"identity.Endpoint", "identity", "/endpoints", "endpoints", "", nil},
	{"identity.Region", "identity", "/regions", "regions", "", named("", "region", "id")},
	{"compute.Server", "compute", "/servers/detail?all_tenants=1&limit=500", "servers", "compute 2.73", nil},
	{"compute.Flavor", "compute", "/flavors/detail?is_public=None", "flavors", "compute 2.61", named("RegionOne", "flavor", "name")},
	{"compute.Hypervisor", "compute", "/os-hypervisors/detail", "hypervisors", "compute 2.53",
		named("RegionOne", "hypervisor", "hypervisor_hostname")},
	{"compute.Aggregate", "compute", "/os-aggregates", "aggregates", "compute 2.41", named("RegionOne", "aggregate", "name")},
	{"compute.AvailabilityZone", "compute", "/os-availability-zone/detail", "availabilityZoneInfo", "",
		named("RegionOne", "availability-zone", "zoneName")},
	{"compute.ServerGroup", "compute", "/os-server-groups?all_projects=True&limit=1000", "server_groups", "compute 2.64", nil},
	{"compute.Service", "compute", "/os-services", "services", "compute 2.53", named("RegionOne", "compute-service", "binary", "host")},
	{"compute.Migration", "compute", "/os-migrations", "migrations", "compute 2.80", func(o object) string { return o["uuid"].(string) }},
	{"placement.ResourceProvider", "placement", "/resource_providers", "resource_providers", "placement 1.14",
		func(o object) string { return o["uuid"].(string) }},
	{"network.Network", "network", "/v2.0/networks", "networks", "", nil},
	{"network.Subnet", "network", "/v2.0/subnets", "subnets", "", nil},
	{"network.SubnetPool", "network", "/v2.0/subnetpools", "subnetpools", "", nil},
	{"network.AddressScope", "network", "/v2.0/address-scopes", "address_scopes", "", nil},
	{"network.Port", "network", "/v2.0/ports?limit=500", "ports", "", nil},
	{"network.Router", "network", "/v2.0/routers", "routers", "", nil},
	{"network.FloatingIP", "network", "/v2.0/floatingips", "floatingips", "", nil},
	{"network.SecurityGroup", "network", "/v2.0/security-groups", "security_groups", "", nil},
	{"network.Agent", "network", "/v2.0/agents", "agents", "", nil},
	{"network.QoSPolicy", "network", "/v2.0/qos/policies", "policies", "", nil},
	{"network.RBACPolicy", "network", "/v2.0/rbac-policies", "rbac_policies", "", nil},
	{"storage.Volume", "volumev3", "/volumes/detail?all_tenants=1&limit=500", "volumes", "volume 3.60", nil},
	{"storage.VolumeType", "volumev3", "/types?is_public=None", "volume_types", "", named("RegionOne", "volume-type", "name")},
	{"storage.Snapshot", "volumev3", "/snapshots/detail?all_tenants=1", "snapshots", "volume 3.41", nil},
	{"storage.Backup", "volumev3", "/backups/detail?all_tenants=1", "backups", "volume 3.56", nil},
	{"storage.Attachment", "volumev3", "/attachments/detail?all_tenants=1", "attachments", "volume 3.27", nil},
	{"storage.Pool", "volumev3", "/scheduler-stats/get_pools?detail=true", "pools", "", named("RegionOne", "storage-pool", "name")},
	{"storage.Service", "volumev3", "/os-services", "services", "volume 3.49", named("RegionOne", "storage-service", "binary", "host")},
	{"image.Image", "image", "/v2/images", "images", "", nil},
	{"loadbalancer.LoadBalancer", "load-balancer", "/v2/lbaas/loadbalancers", "loadbalancers", "", nil},
	{"loadbalancer.Listener", "load-balancer", "/v2/lbaas/listeners", "listeners", "", nil},
	{"loadbalancer.Pool", "load-balancer", "/v2/lbaas/pools", "pools", "", nil},
	{"loadbalancer.HealthMonitor", "load-balancer", "/v2/lbaas/healthmonitors", "healthmonitors", "", nil},
	{"loadbalancer.L7Policy", "load-balancer", "/v2/lbaas/l7policies", "l7policies", "", nil},
}

// named makes the uid of what has a name that is unique in the region only.
func named(region, kind string, keys ...string) func(object) string {
	return func(o object) string {
		var names []string
		for _, k := range keys {
			names = append(names, o[k].(string))
		}
		uid := kind + "/" + strings.Join(names, "@")
		if region != "" {
			uid = region + "/" + uid
		}
		return "CLOUD/" + uid
	}
}

// truth returns every element of every listing, by the asset's type and uid.
func (s *openStackAPI) truth() (map[string]object, error) {
	objects := make(map[string]object)
	add := func(typ, uid string, o object) {
		objects["openstack."+typ+" "+strings.Replace(uid, "CLOUD", s.cloud, 1)] = o
	}
	for _, l := range counted {
		headers := map[string]string{}
		if l.version != "" {
			headers["OpenStack-API-Version"] = l.version
		}
		all, err := s.list(s.catalog[l.service]+l.path, l.envelope, headers)
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			uid, _ := o["id"].(string)
			if l.uid != nil {
				uid = l.uid(o)
			}
			add(l.typ, uid, o)
		}
	}
	// What is listed for each of something else.
	for key, o := range maps.Clone(objects) {
		switch typ, uid, _ := strings.Cut(key, " "); typ {
		case "openstack.loadbalancer.Pool":
			members, err := s.list(s.catalog["load-balancer"]+"/v2/lbaas/pools/"+uid+"/members", "members", nil)
			if err != nil {
				return nil, err
			}
			for _, m := range members {
				m["pool_id"] = uid
				add("loadbalancer.Member", m["id"].(string), m)
			}
		case "openstack.placement.ResourceProvider":
			for _, part := range []string{"inventories", "usages", "traits", "aggregates"} {
				data, err := s.do(http.MethodGet, s.catalog["placement"]+"/resource_providers/"+uid+"/"+part, "",
					map[string]string{"OpenStack-API-Version": "placement 1.19"})
				if err != nil {
					return nil, err
				}
				d := json.NewDecoder(bytes.NewReader(data))
				d.UseNumber()
				var answer object
				if err := d.Decode(&answer); err != nil {
					return nil, err
				}
				o[part] = answer[part]
			}
		case "openstack.identity.Project":
			for _, q := range []struct{ typ, service, path, version string }{
				{"compute.Quota", "compute", "/os-quota-sets/" + uid + "/detail", "compute 2.57"},
				{"storage.Quota", "volumev3", "/os-quota-sets/" + uid + "?usage=True", ""},
			} {
				data, err := s.do(http.MethodGet, s.catalog[q.service]+q.path, "", map[string]string{"OpenStack-API-Version": q.version})
				if err != nil {
					return nil, err
				}
				d := json.NewDecoder(bytes.NewReader(data))
				d.UseNumber()
				var answer struct {
					Quota object `json:"quota_set"`
				}
				if err := d.Decode(&answer); err != nil {
					return nil, err
				}
				answer.Quota["project_id"] = uid
				kind, _, _ := strings.Cut(q.typ, ".")
				add(q.typ, "CLOUD/RegionOne/"+kind+"-quota/"+uid, answer.Quota)
			}
		}
	}
	return objects, nil
}

// openStackTicking are paths that a version is not made for, so that what the
// centre has may be older.
var openStackTicking = document.Paths{
	".updated_at@Service", ".current_workload", ".running_vms", ".vcpus_used", ".memory_mb_used", ".free_ram_mb", ".local_gb_used",
	".free_disk_gb", ".disk_available_least", ".uptime", ".capabilities.timestamp",
}

// normal takes out of an element what no document has: addresses of the API
// itself, and what lets somebody into a volume.
func normal(v any) any {
	switch v := v.(type) {
	case object:
		for key, inner := range v {
			if key == "links" || strings.HasSuffix(key, "_links") || key == "connection_info" || key == "connector" {
				delete(v, key)
				continue
			}
			v[key] = normal(inner)
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	}
	return v
}

// holds waits until the centre has exactly what the cloud has. What changes while
// it looks is left out, as long as that is little.
func (a *aggregator) holds(s *openStackAPI, limit time.Duration, except ...string) (objects int, types map[string]int) {
	a.t.Helper()
	eventually(a.t, limit, "the centre has exactly what the cloud has", func() error {
		before, err := s.truth()
		if err != nil {
			return err
		}
		have := a.openStackAssets()
		after, err := s.truth()
		if err != nil {
			return err
		}
		left := func(key string) bool {
			return slices.ContainsFunc(except, func(typ string) bool { return strings.HasPrefix(key, "openstack."+typ+" ") })
		}
		var list []string
		moving := 0
		types = make(map[string]int)
		for key, o := range before {
			now, still := after[key]
			one, _ := json.Marshal(o)
			two, _ := json.Marshal(now)
			asset, known := have[key]
			delete(have, key)
			if left(key) {
				continue
			}
			normal(o)
			typ, _, _ := strings.Cut(key, " ")
			where := ""
			if !known {
				where = " is missing"
			} else if at := openStackDiffers(typ, o, asset.document); at != "" {
				where = " differs at " + at
			}
			if where != "" && (!still || !bytes.Equal(one, two)) {
				moving++
				continue
			}
			if where != "" {
				list = append(list, key+where)
				continue
			}
			types[typ]++
		}
		for key := range have {
			if _, made := after[key]; !made && !left(key) && comparable(key) {
				list = append(list, key+" does not exist")
			}
		}
		slices.Sort(list)
		if len(list) > 0 {
			return fmt.Errorf("%d differences, such as %s", len(list), strings.Join(list[:min(len(list), 6)], "; "))
		}
		if moving > len(before)/20 {
			return fmt.Errorf("%d of %d objects change while they are looked at", moving, len(before))
		}
		objects = len(before)
		return nil
	})
	return objects, types
}

// comparable reports whether a key is of a type that truth has.
func comparable(key string) bool {
	typ, _, _ := strings.Cut(strings.TrimPrefix(key, "openstack."), " ")
	for _, l := range counted {
		if l.typ == typ {
			return true
		}
	}
	return slices.Contains([]string{"loadbalancer.Member", "compute.Quota", "storage.Quota"}, typ)
}

func openStackDiffers(typ string, o object, text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var doc object
	if err := d.Decode(&doc); err != nil {
		return err.Error()
	}
	for _, path := range openStackTicking {
		path, kind, limited := strings.Cut(path, "@")
		if limited && !strings.HasSuffix(typ, "."+kind) {
			continue
		}
		keys := strings.Split(path, ".")[1:]
		for _, root := range []object{o, doc} {
			at := root
			for _, k := range keys[:len(keys)-1] {
				at, _ = at[k].(object)
			}
			if at != nil {
				delete(at, keys[len(keys)-1])
			}
		}
	}
	// A service says every few seconds that it is alive; a zone tells that of it.
	if typ == "openstack.compute.AvailabilityZone" {
		for _, root := range []object{o, doc} {
			hosts, _ := root["hosts"].(object)
			for _, services := range hosts {
				for _, service := range services.(object) {
					delete(service.(object), "updated_at")
				}
			}
		}
	}
	return differs("", o, doc)
}

// openStackAssets returns the assets of OpenStack that the API lists as active.
func (a *aggregator) openStackAssets() map[string]stored {
	a.t.Helper()
	have := make(map[string]stored)
	for _, asset := range a.assets("--full", "--state", "active") {
		if !strings.HasPrefix(asset.GetType(), "openstack.") {
			continue
		}
		doc, err := asset.GetDocument().MarshalJSON()
		if err != nil {
			a.t.Fatal(err)
		}
		have[asset.GetType()+" "+asset.GetUid()] = stored{asset.GetName(), asset.GetProject(), string(doc)}
	}
	return have
}
