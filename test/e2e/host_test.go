//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// TestHost holds what is listed at the centre against what this machine's own
// tools say of it.
func TestHost(t *testing.T) {
	a := newAggregator(t)
	newAgent(t, "agent", "").join(a.joinToken())
	awaitTypes(a, "host.system.Machine", "host.storage.BlockDevice", "host.storage.Filesystem", "host.network.Interface")
	all := a.assets("--full")
	t.Logf("%d assets: %v", len(all), countTypes(all))

	t.Run("machine", func(t *testing.T) { checkMachine(t, all) })
	t.Run("block devices", func(t *testing.T) { checkBlockDevices(t, all) })
	t.Run("interfaces", func(t *testing.T) { checkInterfaces(t, all) })
	t.Run("filesystems", func(t *testing.T) { checkFilesystems(t, all) })
}

// awaitTypes waits until there are active assets of all the types.
func awaitTypes(a *aggregator, types ...string) {
	a.t.Helper()
	eventually(a.t, 20*time.Second, fmt.Sprintf("there are assets of all of %v", types), func() error {
		found := countTypes(a.assets())
		for _, typ := range types {
			if found[typ] == 0 {
				return fmt.Errorf("there are only %v", found)
			}
		}
		return nil
	})
}

func countTypes(assets map[string]*reevev1.Asset) map[string]int {
	n := make(map[string]int)
	for _, a := range assets {
		n[a.GetType()]++
	}
	return n
}

// documents returns the documents of a type by a key of theirs.
func documents(t *testing.T, all map[string]*reevev1.Asset, key string, types ...string) map[string]map[string]any {
	t.Helper()
	docs := make(map[string]map[string]any)
	for uid, a := range all {
		if !slices.Contains(types, a.GetType()) {
			continue
		}
		doc := a.GetDocument().AsMap()
		name, ok := doc[key].(string)
		if !ok || docs[name] != nil {
			t.Fatalf("asset %s: its %q is %v, which is missing or was seen before", uid, key, doc[key])
		}
		if state := a.GetState(); state != reevev1.State_STATE_ACTIVE {
			t.Errorf("asset %s is in state %s", uid, state)
		}
		docs[name] = doc
	}
	return docs
}

// sameNames wants the documents to be exactly those of the names.
func sameNames(t *testing.T, what string, docs map[string]map[string]any, names []string) {
	t.Helper()
	listed := slices.Sorted(maps.Keys(docs))
	slices.Sort(names)
	if !slices.Equal(listed, names) {
		t.Errorf("%s: listed are %q, this machine has %q", what, listed, names)
	}
}

// same compares a value of a document, whose numbers are all float64.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", want, want) {
		t.Errorf("%s: listed is %v (%T), this machine says %v (%T)", what, got, got, want, want)
	}
}

func tool(t *testing.T, into any, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func checkMachine(t *testing.T, all map[string]*reevev1.Asset) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var kilobytes float64
	for line := range strings.Lines(string(meminfo)) {
		if f := strings.Fields(line); f[0] == "MemTotal:" {
			if kilobytes, err = strconv.ParseFloat(f[1], 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range all {
		if a.GetType() != "host.system.Machine" {
			continue
		}
		n++
		doc := a.GetDocument().AsMap()
		same(t, "name", a.GetName(), hostname)
		same(t, "memory.total", at(doc, "memory", "total"), kilobytes*1024)
		same(t, "boot.id", at(doc, "boot", "id"), strings.TrimSpace(string(bootID)))
	}
	if n != 1 {
		t.Errorf("there are %d machines", n)
	}
}

// at returns the value at a path of a document.
func at(doc any, path ...string) any {
	for _, key := range path {
		m, _ := doc.(map[string]any)
		doc = m[key]
	}
	return doc
}

func checkBlockDevices(t *testing.T, all map[string]*reevev1.Asset) {
	type device struct {
		Name     string
		Number   string `json:"maj:min"`
		Size     float64
		Type     string
		ReadOnly bool `json:"ro"`
		Children []device
	}
	var said struct{ BlockDevices []device }
	tool(t, &said, "lsblk", "--json", "--bytes", "--output", "NAME,MAJ:MIN,SIZE,TYPE,RO")

	listed := documents(t, all, "device_number", "host.storage.BlockDevice", "host.storage.Partition")
	var numbers []string
	var compare func(devices []device)
	compare = func(devices []device) {
		for _, d := range devices {
			compare(d.Children)
			// lsblk shows a device below each of those it is made of, and virtual
			// ones (zram, nbd, loop) that nobody set up, which are no assets.
			if slices.Contains(numbers, d.Number) || d.Size == 0 && listed[d.Number] == nil {
				continue
			}
			numbers = append(numbers, d.Number)
			doc := listed[d.Number]
			if doc == nil {
				continue // sameNames says so
			}
			same(t, d.Name+": name", doc["name"], d.Name)
			same(t, d.Name+": size", doc["size"], d.Size)
			same(t, d.Name+": read_only", doc["read_only"], d.ReadOnly)
			if d.Type != "part" {
				same(t, d.Name+": type", doc["type"], d.Type)
			}
		}
	}
	compare(said.BlockDevices)
	sameNames(t, "device numbers", listed, numbers)
}

func checkInterfaces(t *testing.T, all map[string]*reevev1.Asset) {
	var said []struct {
		Name      string   `json:"ifname"`
		Index     float64  `json:"ifindex"`
		MTU       float64  `json:"mtu"`
		Flags     []string `json:"flags"`
		OperState string   `json:"operstate"`
		LinkType  string   `json:"link_type"`
		MAC       string   `json:"address"`
		Addresses []struct {
			Family string  `json:"family"`
			Local  string  `json:"local"`
			Prefix float64 `json:"prefixlen"`
		} `json:"addr_info"`
	}
	tool(t, &said, "ip", "-json", "addr")

	listed := documents(t, all, "name", "host.network.Interface")
	var names []string
	for _, i := range said {
		names = append(names, i.Name)
		doc := listed[i.Name]
		if doc == nil {
			continue
		}
		same(t, i.Name+": index", doc["index"], i.Index)
		same(t, i.Name+": mtu", doc["mtu"], i.MTU)
		same(t, i.Name+": oper_state", doc["oper_state"], strings.ToLower(i.OperState))
		same(t, i.Name+": admin_state", doc["admin_state"], map[bool]string{true: "up", false: "down"}[slices.Contains(i.Flags, "UP")])
		if i.LinkType == "ether" {
			same(t, i.Name+": mac", doc["mac"], i.MAC)
		}
		var want, got []string
		for _, address := range i.Addresses {
			want = append(want, fmt.Sprintf("%s/%v", address.Local, address.Prefix))
		}
		list, _ := doc["addresses"].([]any)
		for _, address := range list {
			got = append(got, fmt.Sprintf("%v/%v", at(address, "address"), at(address, "prefix_length")))
		}
		slices.Sort(want)
		slices.Sort(got)
		same(t, i.Name+": addresses", got, want)
	}
	sameNames(t, "interfaces", listed, names)
}

// checkFilesystems compares what is mounted on /, and each disk filesystem, with
// /proc/mounts. Which of the others count, the collector decides.
func checkFilesystems(t *testing.T, all map[string]*reevev1.Asset) {
	data, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	type mount struct{ source, fstype, options string }
	mounts := make(map[string]mount)
	sources := make(map[string]bool)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		mounts[f[1]] = mount{f[0], f[2], f[3]} // the last one on a point is what is seen
		// Container engines mount single files, which are no filesystems.
		if info, err := os.Stat(f[1]); err == nil && info.IsDir() && strings.HasPrefix(f[0], "/dev/") {
			sources[f[0]] = true
		}
	}
	listed := documents(t, all, "mountpoint", "host.storage.Filesystem")
	if listed["/"] == nil {
		t.Errorf("the filesystem on / is not listed; listed are %q", slices.Sorted(maps.Keys(listed)))
	}
	for point, doc := range listed {
		m, ok := mounts[strings.ReplaceAll(point, " ", `\040`)]
		if !ok {
			t.Errorf("%s is listed, but not in /proc/mounts", point)
			continue
		}
		same(t, point+": device", doc["device"], m.source)
		same(t, point+": type", doc["type"], m.fstype)
		same(t, point+": mode", doc["mode"], strings.SplitN(m.options, ",", 2)[0])
		delete(sources, m.source)
	}
	for source := range sources {
		t.Errorf("%s is mounted, but no filesystem on it is listed", source)
	}
}
