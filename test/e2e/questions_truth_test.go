//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

const hypervisorOf = "OS-EXT-SRV-ATTR:hypervisor_hostname"

// questions are those of docs/questions.md, with what the clouds answer.
var questions = []question{
	{title: "Pods on hypervisors in maintenance", none: true, truth: func(c *clouds) rows { return c.podsOn(true) }},
	{title: "Pods on hypervisors in service", truth: func(c *clouds) rows { return c.podsOn(false) }},
	{title: "Servers of nodes that are not ready", none: true, truth: func(c *clouds) rows {
		below := make(map[string]bool)
		for _, n := range c.objects(nodesPath) {
			if strings.HasPrefix(nodeStatus(n), "NotReady") {
				below[serverBelow(n)] = true
			}
		}
		of := where(c.list("compute.Server"), func(s object) bool { return below[text(s, "id")] })
		return rowsOf(of, "name", "status", "OS-EXT-SRV-ATTR:host")
	}},
	{title: "Nodes whose server is gone", truth: func(c *clouds) rows {
		servers := ids(c.list("compute.Server"), "id")
		return rowsOf(where(c.objects(nodesPath), func(n object) bool {
			return strings.HasPrefix(text(n, "spec.providerID"), "openstack://") && !servers[serverBelow(n)]
		}), "metadata.name", "spec.providerID")
	}},
	{title: "Persistent volumes whose volume is gone", truth: func(c *clouds) rows {
		volumes := ids(c.list("storage.Volume"), "id")
		return rowsOf(where(c.objects(volumesPath), func(v object) bool {
			return text(v, "spec.csi.driver") == "cinder.csi.openstack.org" && !volumes[text(v, "spec.csi.volumeHandle")]
		}), "metadata.name", "status.phase")
	}},
	{title: "What is between a pod and its hypervisor", ordered: true, read: readNodes, truth: func(c *clouds) rows {
		pod := where(c.objects(podsPath), func(p object) bool { return text(p, "metadata.name") == "worker-b-app-1" })[0]
		node := where(c.objects(nodesPath), func(n object) bool { return text(n, "metadata.name") == text(pod, "spec.nodeName") })[0]
		server := where(c.list("compute.Server"), func(s object) bool { return text(s, "id") == serverBelow(node) })[0]
		return rows{{"Pod", "worker-b-app-1"}, {"Node", text(node, "metadata.name")}, {"Server", text(server, "name")},
			{"Hypervisor", text(server, hypervisorOf)}}
	}},
	{title: "Which pods fall with a hypervisor", read: readNodes, truth: func(c *clouds) rows {
		list := rows{{"Hypervisor", c.host}}
		for _, s := range c.list("compute.Server") {
			for _, n := range c.objects(nodesPath) {
				if text(s, hypervisorOf) != c.host || serverBelow(n) != text(s, "id") {
					continue
				}
				pods := where(c.objects(podsPath), func(p object) bool { return text(p, "spec.nodeName") == text(n, "metadata.name") })
				if len(pods) > 0 {
					list = append(list, []string{"Server", text(s, "name")}, []string{"Node", text(n, "metadata.name")})
				}
				for _, p := range pods {
					list = append(list, []string{"Pod", text(p, "metadata.name")})
				}
			}
		}
		return list
	}},
	{title: "Nodes with their servers", truth: func(c *clouds) (list rows) {
		for _, n := range c.objects(nodesPath) {
			row := []string{"cluster", "kubernetes.core.Node", text(n, "metadata.name"), "", "", "", nodeStatus(n), "", ""}
			for _, s := range c.list("compute.Server") {
				if text(s, "id") == serverBelow(n) {
					copy(row[3:], []string{"cloud", "openstack.compute.Server", text(s, "name"), nodeStatus(n), text(s, "status"),
						text(s, "OS-EXT-SRV-ATTR:host")})
				}
			}
			list = append(list, row)
		}
		return list
	}},
	{title: "Servers and deployments without an owner", truth: func(c *clouds) (list rows) {
		for _, s := range c.list("compute.Server") {
			tags, _ := s["tags"].([]any)
			if at(s, "metadata", "owner") == nil && !slices.Contains(tags, any("owner")) {
				list = append(list, []string{text(s, "name"), "openstack.compute.Server", "cloud"})
			}
		}
		for _, d := range c.objects("/apis/apps/v1/deployments") {
			if at(d, "metadata", "labels", "owner") == nil {
				list = append(list, []string{text(d, "metadata.name"), "kubernetes.apps.Deployment", "cluster"})
			}
		}
		return list
	}},
	{title: "What expires within 30 days", maybe: true, truth: func(c *clouds) (list rows) {
		end := time.Now().Add(30 * 24 * time.Hour)
		soon := func(layout, when string) bool {
			at, err := time.Parse(layout, when)
			return err == nil && at.Before(end)
		}
		for _, u := range c.list("identity.User") {
			data, code, err := c.api.try(http.MethodGet, c.api.auth+"/users/"+text(u, "id")+"/application_credentials", "", nil)
			var of struct {
				All []object `json:"application_credentials"`
			}
			if err == nil && code == http.StatusOK {
				err = into(data, &of)
			}
			if err != nil {
				c.t.Fatal(err)
			}
			for _, a := range of.All {
				if soon("2006-01-02T15:04:05.000000", text(a, "expires_at")) {
					list = append(list, []string{text(a, "name"), "cloud"})
				}
			}
		}
		for _, o := range c.objects("/apis/cert-manager.io/v1/certificates") {
			if soon(time.RFC3339, text(o, "status.notAfter")) {
				list = append(list, []string{text(o, "metadata.name"), "cluster"})
			}
		}
		return list
	}},

	{title: "Servers that hypervisors in maintenance still have", none: true, truth: func(c *clouds) rows {
		down := c.disabled()
		return countOf(c.list("compute.Server"), func(s object) []string {
			if !down[text(s, hypervisorOf)] {
				return nil
			}
			return []string{text(s, "OS-EXT-SRV-ATTR:host"), text(s, "status")}
		})
	}},
	{title: "Volumes attached to nothing for 30 days", truth: func(c *clouds) (list rows) {
		for _, v := range c.list("storage.Volume") {
			at, err := time.Parse("2006-01-02T15:04:05.000000", text(v, "updated_at"))
			if err != nil {
				c.t.Fatal(err)
			}
			if len(elements(v, "attachments")) == 0 && at.Before(c.cut.Truncate(time.Second)) {
				list = append(list, []string{text(v, "name"), text(v, "size"), at.UTC().Format("2006-01-02T15:04:05.000Z")})
			}
		}
		return list
	}},
	{title: "Images that nothing runs from", truth: func(c *clouds) rows {
		used := ids(c.list("compute.Server"), "image.id")
		maps.Copy(used, ids(c.list("storage.Volume"), "volume_image_metadata.image_id"))
		return rowsOf(where(c.list("image.Image"), func(i object) bool { return !used[text(i, "id")] }), "name", "status")
	}},
	{title: "Security groups open to the world and in use", truth: func(c *clouds) (list rows) {
		used := make(map[string]bool)
		for _, p := range c.serverPorts() {
			for _, g := range p["security_groups"].([]any) {
				used[g.(string)] = true
			}
		}
		for _, g := range c.list("network.SecurityGroup") {
			if open := openTo(g); used[text(g, "id")] && len(open) > 0 {
				list = append(list, []string{text(g, "name"), text(g, "project_id"), strings.Join(open, ", ")})
			}
		}
		return list
	}},
	{title: "Servers that anybody reaches by SSH", truth: func(c *clouds) rows {
		reached, ssh := make(map[string]bool), make(map[string]bool)
		for _, g := range c.list("network.SecurityGroup") {
			for _, open := range openTo(g) {
				if open == "tcp/22" || open == "tcp" || open == "any" {
					ssh[text(g, "id")] = true
				}
			}
		}
		addresses := ids(c.list("network.FloatingIP"), "port_id")
		outside := make(map[string]bool)
		for _, p := range c.serverPorts() {
			if addresses[text(p, "id")] {
				outside[text(p, "device_id")] = true
			}
			for _, g := range p["security_groups"].([]any) {
				if ssh[g.(string)] {
					reached[text(p, "device_id")] = true
				}
			}
		}
		return rowsOf(where(c.list("compute.Server"), func(s object) bool { return reached[text(s, "id")] && outside[text(s, "id")] }),
			"name", "tenant_id")
	}},
	{title: "Floating IPs of nothing", truth: func(c *clouds) rows {
		return rowsOf(where(c.list("network.FloatingIP"), func(f object) bool { return f["port_id"] == nil }), "floating_ip_address", "project_id")
	}},
	{title: "Addresses that are there twice", none: true, truth: func(c *clouds) (list rows) {
		ports, networks := make(map[string]int), make(map[string]map[string]bool)
		for _, p := range c.list("network.Port") {
			for ip := range ids(elements(p, "fixed_ips"), "ip_address") {
				ports[ip]++
				if networks[ip] == nil {
					networks[ip] = make(map[string]bool)
				}
				networks[ip][text(p, "network_id")] = true
			}
		}
		for ip, n := range ports {
			if n > 1 {
				list = append(list, []string{ip, strconv.Itoa(n), strconv.Itoa(len(networks[ip]))})
			}
		}
		return list
	}},
	{title: "Servers in ERROR, and why", truth: func(c *clouds) (list rows) {
		for _, s := range where(c.list("compute.Server"), func(s object) bool { return text(s, "status") == "ERROR" }) {
			data, err := c.api.do(http.MethodGet, c.api.catalog["compute"]+"/servers/"+text(s, "id"), "", nil)
			var answer object
			if err == nil {
				err = into(data, &answer)
			}
			if err != nil {
				c.t.Fatal(err)
			}
			list = append(list, []string{text(s, "name"), text(s, "tenant_id"), strings.TrimSpace(text(answer, "server.fault.message"))})
		}
		return list
	}},
	{title: "vCPUs by project and flavor", ordered: true, truth: func(c *clouds) (list rows) {
		sums := make(map[[2]string]int)
		for _, s := range c.list("compute.Server") {
			for _, p := range c.list("identity.Project") {
				if text(p, "id") == text(s, "tenant_id") {
					sums[[2]string{text(p, "name"), text(s, "flavor.original_name")}] += number(c, text(s, "flavor.vcpus"))
				}
			}
		}
		for key, n := range sums {
			list = append(list, []string{key[0], key[1], strconv.Itoa(n)})
		}
		largestFirst(list, 2)
		return list
	}},
	{title: "Projects that have taken more than 80 % of their cores", ordered: true, same: true, truth: func(c *clouds) (list rows) {
		for _, p := range c.list("identity.Project") {
			q := c.cores(text(p, "id"))
			used, limit := float64(number(c, text(q, "in_use"))), float64(number(c, text(q, "limit")))
			if limit > 0 && used/limit > 0.8 {
				list = append(list, []string{text(p, "id"), text(q, "in_use"), text(q, "limit"),
					strconv.FormatFloat(math.Round(used/limit*100)/100, 'g', -1, 64)})
			}
		}
		largestFirst(list, 1)
		return list
	}},
	{title: "How full hypervisors are", truth: func(c *clouds) (list rows) {
		for _, p := range c.list("placement.ResourceProvider") {
			var usages, inventories object
			for path, answer := range map[string]*object{"usages": &usages, "inventories": &inventories} {
				data, err := c.api.do(http.MethodGet, c.api.catalog["placement"]+"/resource_providers/"+text(p, "uuid")+"/"+path, "", nil)
				if err == nil {
					err = into(data, answer)
				}
				if err != nil {
					c.t.Fatal(err)
				}
			}
			vcpus, _ := at(inventories, "inventories", "VCPU").(object)
			ratio, err := strconv.ParseFloat(text(vcpus, "allocation_ratio"), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			list = append(list, []string{text(p, "name"), text(usages, "usages.VCPU"),
				fmt.Sprint(float64(number(c, text(vcpus, "total"))-number(c, text(vcpus, "reserved"))) * ratio),
				strconv.Itoa(number(c, text(usages, "usages.MEMORY_MB")) << 20)})
		}
		return list
	}},
	{title: "Servers by status and flavor", truth: func(c *clouds) rows {
		list := countOf(c.list("compute.Server"), func(s object) []string { return []string{"status", text(s, "status")} })
		return append(list, countOf(c.list("compute.Server"), func(s object) []string {
			return []string{"derived.flavor", text(s, "flavor.original_name")}
		})...)
	}},
	{title: "Servers by status, hour by hour", read: readSeries, truth: func(c *clouds) rows {
		return countOf(c.list("compute.Server"), func(s object) []string { return []string{text(s, "status")} })
	}},
	{title: "What ran on a host before the migration", same: true, truth: func(c *clouds) rows {
		if c.then != nil {
			return c.then.on(c.host)
		}
		return c.on(c.host)
	}},
	{title: "What runs on a host now", truth: func(c *clouds) rows { return c.on(c.host) }},
	{title: "Volumes that were deleted in the last hour", later: true, read: readChanged, truth: func(c *clouds) rows {
		now := ids(c.list("storage.Volume"), "id")
		return rowsOf(where(c.then.list("storage.Volume"), func(v object) bool { return !now[text(v, "id")] }), "name")
	}},

	{title: "What changed on a node in the hour before it went NotReady", later: true, node: true, read: readNodeChanges,
		truth: func(c *clouds) rows {
			list := pathsThat(c.then.object(nodesPath, "worker-c"), c.node)
			for _, p := range c.objects(podsPath) {
				if text(p, "spec.nodeName") == "worker-c" {
					list = append(list, []string{"Pod", text(p, "metadata.name")})
				}
			}
			return list
		}},
	{title: "What is different about a node since then", later: true, read: readDiff, truth: func(c *clouds) rows {
		return pathsThat(c.then.object(nodesPath, "worker-c"), c.object(nodesPath, "worker-c"))
	}},
	{title: "Namespaces by memory that is requested", ordered: true, truth: func(c *clouds) (list rows) {
		sums := make(map[string]int64)
		for _, p := range c.objects(podsPath) {
			if phase := text(p, "status.phase"); phase != "Succeeded" && phase != "Failed" {
				sums[text(p, "metadata.namespace")] += requestedMemory(c, p)
			}
		}
		for name, n := range sums {
			list = append(list, []string{name, strconv.FormatInt(n, 10)})
		}
		largestFirst(list, 1)
		return list[:min(5, len(list))]
	}},
	{title: "Claims that no pod uses", truth: func(c *clouds) (list rows) {
		used := make(map[string]bool)
		for _, p := range c.objects(podsPath) {
			for _, v := range elements(p, "spec.volumes") {
				used[text(p, "metadata.namespace")+"/"+text(v, "persistentVolumeClaim.claimName")] = true
				if v["ephemeral"] != nil {
					used[text(p, "metadata.namespace")+"/"+text(p, "metadata.name")+"-"+text(v, "name")] = true
				}
			}
		}
		return rowsOf(where(c.objects("/api/v1/persistentvolumeclaims"), func(o object) bool {
			return !used[text(o, "metadata.namespace")+"/"+text(o, "metadata.name")]
		}), "metadata.name", "metadata.namespace", "status.phase")
	}},
	{title: "Pods of images without a version", truth: func(c *clouds) rows {
		return rowsOf(where(c.objects(podsPath), func(p object) bool {
			return slices.ContainsFunc(append(elements(p, "spec.containers"), elements(p, "spec.initContainers")...), func(o object) bool {
				image := text(o, "image")
				last := image[strings.LastIndexByte(image, '/')+1:]
				return !strings.ContainsAny(last, ":@") || strings.HasSuffix(last, ":latest")
			})
		}), "metadata.name", "metadata.namespace")
	}},
}

func (c *clouds) podsOn(disabled bool) rows {
	down, servers, nodes := c.disabled(), make(map[string]bool), make(map[string]bool)
	for _, s := range c.list("compute.Server") {
		if host := text(s, hypervisorOf); host != "" && down[host] == disabled {
			servers[text(s, "id")] = true
		}
	}
	for _, n := range c.objects(nodesPath) {
		if servers[serverBelow(n)] {
			nodes[text(n, "metadata.name")] = true
		}
	}
	return rowsOf(where(c.objects(podsPath), func(p object) bool { return nodes[text(p, "spec.nodeName")] }),
		"metadata.namespace", "metadata.name", "spec.nodeName")
}

// disabled are the hypervisors that are to have no more servers.
func (c *clouds) disabled() map[string]bool {
	return ids(where(c.list("compute.Hypervisor"), func(h object) bool { return text(h, "status") == "disabled" }), "hypervisor_hostname")
}

func (c *clouds) on(host string) rows {
	return rowsOf(where(c.list("compute.Server"), func(s object) bool { return text(s, hypervisorOf) == host }), "name")
}

func (c *clouds) serverPorts() []object {
	return where(c.list("network.Port"), func(p object) bool { return strings.HasPrefix(text(p, "device_owner"), "compute:") })
}

// cores is what a project may have of cores, and has.
func (c *clouds) cores(project string) object {
	data, err := c.api.do(http.MethodGet, c.api.catalog["compute"]+"/os-quota-sets/"+project+"/detail", "",
		map[string]string{"OpenStack-API-Version": novaVersion})
	var answer object
	if err == nil {
		err = into(data, &answer)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	cores, _ := at(answer, "quota_set", "cores").(object)
	return cores
}

// object is an object of Kubernetes by its name.
func (c *clouds) object(path, name string) object {
	for _, o := range c.objects(path) {
		if text(o, "metadata.name") == name {
			return o
		}
	}
	c.t.Fatalf("there is no %s", name)
	return nil
}

// nodeStatus is what kubectl says of a node.
func nodeStatus(n object) string {
	status := "Unknown"
	for _, c := range elements(n, "status.conditions") {
		if c["type"] == "Ready" {
			status = map[bool]string{true: "Ready", false: "NotReady"}[c["status"] == "True"]
		}
	}
	if text(n, "spec.unschedulable") == "true" {
		status += ",SchedulingDisabled"
	}
	return status
}

// serverBelow is the id of the server of a node, or what no server has.
func serverBelow(n object) string {
	id, ok := strings.CutPrefix(text(n, "spec.providerID"), "openstack:///")
	if !ok {
		return "none"
	}
	return id
}

// openTo is what the rules of a group let anybody reach.
func openTo(group object) []string {
	open := make(map[string]bool)
	for _, r := range elements(group, "security_group_rules") {
		prefix := text(r, "remote_ip_prefix")
		if r["direction"] != "ingress" || text(r, "remote_group_id")+text(r, "remote_address_group_id") != "" ||
			prefix != "" && prefix != "0.0.0.0/0" && prefix != "::/0" {
			continue
		}
		what := cmp.Or(text(r, "protocol"), "any")
		if low, high := text(r, "port_range_min"), text(r, "port_range_max"); low != "" && low == high {
			what += "/" + low
		} else if low != "" {
			what += "/" + low + "-" + high
		}
		open[what] = true
	}
	return slices.Sorted(maps.Keys(open))
}

// requestedMemory is what the scheduler counts for a pod.
func requestedMemory(c *clouds, p object) int64 {
	bytes := func(o object, path string) int64 {
		if text(o, path) == "" {
			return 0
		}
		q, err := resource.ParseQuantity(text(o, path))
		if err != nil {
			c.t.Fatal(err)
		}
		return q.Value()
	}
	total, beside, most := int64(0), int64(0), int64(0)
	for _, o := range elements(p, "spec.containers") {
		total += bytes(o, "resources.requests.memory")
	}
	for _, o := range elements(p, "spec.initContainers") {
		n := bytes(o, "resources.requests.memory")
		if o["restartPolicy"] == "Always" {
			total, beside = total+n, beside+n
			n = 0
		}
		most = max(most, beside+n)
	}
	total = max(total, most)
	if whole := bytes(p, "spec.resources.requests.memory"); whole > 0 {
		total = whole
	}
	return total + bytes(p, "spec.overhead.memory")
}

// pathsThat are the labels, annotations and the mark of two states of a node that differ.
func pathsThat(was, is object) (list rows) {
	for _, in := range []string{"metadata.labels", "metadata.annotations"} {
		a, _ := at(was, strings.Split(in, ".")...).(object)
		b, _ := at(is, strings.Split(in, ".")...).(object)
		all := make(object)
		maps.Copy(all, a)
		maps.Copy(all, b)
		for key := range all {
			if a[key] != b[key] {
				list = append(list, []string{"Node", in + "." + key})
			}
		}
	}
	if at(was, "spec", "unschedulable") != at(is, "spec", "unschedulable") {
		list = append(list, []string{"Node", "spec.unschedulable"})
	}
	return list
}

// countOf counts elements by what of returns; by nil they are not counted.
func countOf(all []object, of func(object) []string) (list rows) {
	counts := make(map[string]int)
	for _, o := range all {
		if key := of(o); key != nil {
			counts[strings.Join(key, "\x00")]++
		}
	}
	for key, n := range counts {
		list = append(list, append(strings.Split(key, "\x00"), strconv.Itoa(n)))
	}
	return list
}

func number(c *clouds, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// largestFirst sorts by a column of numbers, and then by those before it.
func largestFirst(list rows, column int) {
	slices.SortFunc(list, func(a, b []string) int {
		x, _ := strconv.ParseInt(a[column], 10, 64) // they were written by who asks
		y, _ := strconv.ParseInt(b[column], 10, 64)
		return cmp.Or(cmp.Compare(y, x), slices.Compare(a, b))
	})
}

// readNodes reads the assets of a graph.
func readNodes(_ *clouds, out []byte) (rows, error) {
	var graph object
	if err := into(out, &graph); err != nil {
		return nil, err
	}
	list := rows{}
	for _, n := range elements(graph, "nodes") {
		typ := text(n, "type")
		list = append(list, []string{typ[strings.LastIndexByte(typ, '.')+1:], text(n, "name")})
	}
	return list, nil
}

// readSeries reads the last period of a series. Before the test there was nothing.
func readSeries(c *clouds, out []byte) (rows, error) {
	var answer struct {
		Times  []time.Time
		Series []struct {
			Keys   []string
			Points []struct{ Numbers []json.Number }
		}
	}
	if err := into(out, &answer); err != nil {
		return nil, err
	}
	list := rows{}
	for _, s := range answer.Series {
		for i, at := range answer.Times {
			switch n := s.Points[i].Numbers[0].String(); {
			case n == "0":
			case i == len(answer.Times)-1:
				list = append(list, append(s.Keys, n))
			case at.Add(time.Hour).Before(c.began):
				return nil, fmt.Errorf("there were %s servers before the test, at %v: %v", n, at, s.Keys)
			}
		}
	}
	return list, nil
}

// readChanged reads the names of what changed.
func readChanged(_ *clouds, out []byte) (rows, error) {
	var answer object
	if err := into(out, &answer); err != nil {
		return nil, err
	}
	return rowsOf(elements(answer, "changes"), "name"), nil
}

// readNodeChanges reads what changed of a node's labels, annotations and mark, and which
// pods changed.
func readNodeChanges(_ *clouds, out []byte) (rows, error) {
	var answer object
	if err := into(out, &answer); err != nil {
		return nil, err
	}
	list := rows{}
	for _, change := range elements(answer, "changes") {
		if strings.HasSuffix(text(change, "type"), ".Pod") {
			list = append(list, []string{"Pod", text(change, "name")})
			continue
		}
		paths, _ := change["changed_paths"].([]any)
		for _, path := range paths {
			if ofPerson(path.(string)) {
				list = append(list, []string{"Node", path.(string)})
			}
		}
	}
	slices.SortFunc(list, slices.Compare)
	return slices.CompactFunc(list, slices.Equal), nil
}

// readDiff reads the paths of a comparison, of the same.
func readDiff(_ *clouds, out []byte) (rows, error) {
	var answer object
	if err := into(out, &answer); err != nil {
		return nil, err
	}
	list := rows{}
	for _, change := range elements(answer, "changes") {
		if path := text(change, "path"); ofPerson(path) {
			list = append(list, []string{"Node", path})
		}
	}
	return list, nil
}

// ofPerson says that a path is one of those of [pathsThat].
func ofPerson(path string) bool {
	return strings.HasPrefix(path, "metadata.labels.") || strings.HasPrefix(path, "metadata.annotations.") || path == "spec.unschedulable"
}
