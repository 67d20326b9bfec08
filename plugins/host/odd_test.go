package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vishvananda/netlink"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/mounts"
	"github.com/reeve-cloud/reeve/plugins/host/statfs"
	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// TestMountTable: the kernel escapes blank, tab, newline and backslash; all else is
// part of a name.
func TestMountTable(t *testing.T) {
	table := strings.Join([]string{
		`20 1 8:1 / / rw - ext4 /dev/sda1 rw`,
		`21 20 8:17 / /m/USB rw,nosuid - vfat /dev/sdb1 rw,uid=1`,
		"22 20 8:33 / /m/USB\u00a0DISK ro - vfat /dev/sdc1 ro,uid=2",
		"23 20 8:49 / /m/foo\rbar rw - ext4 /dev/sdd1 rw",
		"24 20 8:65 / /m/end\r rw - ext4 /dev/sde1 rw,x=\r",
		"25 20 8:81 / /m/next\u0085line\u2028and\u3000wide\v\f rw - ext4 /dev/sdf1 rw",
		`26 20 8:97 / /m/blank\040tab\011nl\012back\134slash rw - ext4 /dev/sdg1 rw`,
		"27 20 8:113 / /m/latin\xe9 rw - ext4 /dev/sdh1 rw",
		"28 20 8:129 / /m/looks\\134351 rw - ext4 /dev/sdi1 rw",
	}, "\n") + "\n"
	all, unread, err := mounts.Parse(strings.NewReader(table))
	if err != nil || len(unread) > 0 {
		t.Fatal(unread, err)
	}
	var points []string
	for _, m := range all {
		points = append(points, m.Point)
	}
	if want := []string{
		"/", "/m/USB", "/m/USB\u00a0DISK", "/m/foo\rbar", "/m/end\r", "/m/next\u0085line\u2028and\u3000wide\v\f", "/m/blank tab\tnl\nback\\slash",
		"/m/latin\xe9", `/m/looks\351`,
	}; !slices.Equal(points, want) {
		t.Errorf("got  %q\nwant %q", points, want)
	}
	if disk := all[2]; disk.Source != "/dev/sdc1" || !slices.Equal(disk.Options, []string{"ro", "uid=2"}) {
		t.Errorf("%+v", disk)
	}
	// All of them are fit to be recorded, and apart.
	c := testCollector(t, options{})
	seen := make(map[string]bool)
	for _, m := range mounts.Select(all, options{}.excluded) {
		obs, ok, err := c.observeFilesystem(testID, m, statfs.Answer{Result: statfs.Result{Usage: statfs.Usage{Total: 9}, Number: m.Number, IsDir: true}},
			nil)
		if err != nil || !ok {
			t.Fatalf("%q: %v %v", m.Point, ok, err)
		}
		for _, text := range []string{obs.UID, obs.Name, string(obs.Document)} {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
				t.Errorf("%q is not fit to be recorded", text)
			}
		}
		if seen[obs.UID] {
			t.Errorf("two filesystems have the uid %q", obs.UID)
		}
		seen[obs.UID] = true
	}
	if len(seen) != len(all) || !seen[testID+`/filesystem//m/latin\351`] {
		t.Errorf("uids %v", seen)
	}
}

// TestWhichMounts: each filesystem once, and none of a container's.
func TestWhichMounts(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	const pod = "0f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11"
	shown := []mounts.Mount{
		{Number: "0:50", Root: "/", Point: "/a", Type: "nfs4", Source: "srv:/export/a"},
		{Number: "0:50", Root: "/", Point: "/b", Type: "nfs4", Source: "srv:/export/b"},
		{Number: "0:51", Root: "/", Point: "/c", Type: "cifs", Source: "//srv/c"},
		{Number: "0:51", Root: "/", Point: "/d", Type: "cifs", Source: "//srv/d"},
		{Number: "0:52", Root: "/", Point: "/e", Type: "ceph", Source: "10.0.0.1:6789,10.0.0.2:6789:/e"},
		{Number: "0:52", Root: "/", Point: "/f", Type: "ceph", Source: "10.0.0.1:6789,10.0.0.2:6789:/f"},
		{Number: "8:1", Root: "/", Point: "/g", Type: "ext4", Source: "/dev/disk/by-path/pci-0000:00:1"},
		{Number: "8:2", Root: "/", Point: "/var/lib/docker", Type: "ext4", Source: "/dev/sda2"},
		{Number: "8:3", Root: "/", Point: "/var/lib/kubelet", Type: "ext4", Source: "/dev/sda3"},
		{Number: "8:4", Root: "/", Point: "/srv/pods/web", Type: "ext4", Source: "/dev/sda4"},
		{Number: "8:5", Root: "/", Point: "/var/lib/kubelet/plugins/kubernetes.io/csi/rbd/" + hash + "/globalmount", Type: "ext4",
			Source: "/dev/rbd0"},
	}
	hidden := []mounts.Mount{
		{Number: "0:50", Root: "/x", Point: "/bound", Type: "nfs4", Source: "srv:/export/a"},
		{Number: "8:1", Root: "/g", Point: "/h", Type: "ext4", Source: "/dev/sdx1"},
	}
	for _, point := range []string{
		"/var/lib/kubelet/pods/" + pod + "/volumes/kubernetes.io~projected/token",
		"/var/lib/k0s/kubelet/pods/" + pod + "/volumes/kubernetes.io~secret/s",
		"/var/snap/microk8s/common/var/lib/kubelet/pods/" + pod + "/volumes/kubernetes.io~empty-dir/x",
		"/data/k8s/pods/" + pod + "/volume-subpaths/a/b/0",
		"/opt/kube/pods/" + strings.ReplaceAll(pod, "-", "") + "/etc-hosts", "/somewhere/kubernetes.io~csi/pvc/mount",
		"/data/docker/overlay2/" + hash + "/merged", "/data/docker/containers/" + hash + "/mounts/shm",
		"/home/u/.local/share/containers/storage/overlay/" + hash + "/merged",
		"/run/user/1000/containers/overlay-containers/" + hash + "/userdata/shm",
		"/run/containers/storage/overlay-containers/" + hash + "/userdata/shm",
		"/var/lib/k0s/containerd/io.containerd.grpc.v1.cri/sandboxes/x/shm",
		"/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/" + hash + "/rootfs",
		"/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + hash + "/rootfs", "/mnt/pool/docker/zfs/graph/" + hash,
	} {
		hidden = append(hidden, mounts.Mount{Number: "0:" + point, Root: "/", Point: point, Type: "tmpfs", Source: "tmpfs"})
	}
	var got, want []string
	for _, m := range mounts.Select(append(slices.Clone(hidden), shown...), options{}.excluded) {
		got = append(got, m.Point)
	}
	for _, m := range shown {
		want = append(want, m.Point)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestLinksBelowTheRoot: what an absolute link of the machine leads to is the
// machine's, not the agent's.
func TestLinksBelowTheRoot(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("the agent's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"etc/machine-id": "-> /persist/etc/machine-id", "persist/etc/machine-id": testID,
		"etc/os-release": "-> /etc/static/os-release", "etc/static": "-> /nix/store/x-etc/etc", "nix/store/x-etc/etc/os-release": "ID=nixos\n",
		"etc/hostname": "-> ../persist/hostname", "persist/hostname": "rack7\n",
		"up": "-> ../../../../../../../../../../persist/hostname", "out": "-> " + outside,
		"loop": "-> /loop2", "loop2": "-> loop", "dangling": "-> /nowhere",
		"var/lib/dbus": "-> /etc", "sys/class/net/eth0": "-> ../../devices/pci/eth0", "sys/devices/pci/eth0/device": "-> ../../pci",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	machine := tree.New(root)
	for name, want := range map[string]string{
		"etc/machine-id": testID, "var/lib/dbus/machine-id": testID, "etc/os-release": "ID=nixos", "etc/hostname": "rack7", "up": "rack7",
		"out": "", "loop": "", "dangling": "", "nowhere": "", "../../etc/hostname": "rack7",
	} {
		if got := machine.Text(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	net := machine.Sub("sys/class/net/eth0")
	if got := net.Link("device"); got != "pci" {
		t.Errorf("the device of eth0 is %q", got)
	}
	if got := net.Path("device"); got != filepath.Join(root, "sys/devices/pci") {
		t.Errorf("the device of eth0 lies in %q", got)
	}
	c := newCollector(slog.New(slog.DiscardHandler), options{Root: root}, -1)
	if id, _, err := c.identify(); id != testID || err != nil {
		t.Errorf("machine id %q, %v", id, err)
	}
	if name, err := c.hostname(); name != "rack7" || err != nil {
		t.Errorf("host name %q, %v", name, err)
	}
	if os := c.operatingSystem(); os.ID != "nixos" {
		t.Errorf("os %+v", os)
	}
}

// TestPlaceholdersAreNoIdentity: an id that many machines have is none.
func TestPlaceholdersAreNoIdentity(t *testing.T) {
	const uuid = "4c4c4544-0042-3510-8052-b4c04f4d3132"
	for _, id := range []string{
		strings.Repeat("0", 32), strings.Repeat("f", 32), "b", "localhost", "uninitialized", "", "none", testID + "0", testID[1:],
		strings.Repeat("g", 32),
		"00000000-0000-0000-0000-000000000000",
	} {
		files := map[string]string{"etc/machine-id": id + "\n", "sys/class/dmi/id/product_uuid": uuid}
		c := newCollector(slog.New(slog.DiscardHandler), options{Root: writeTree(t, files).Root()}, -1)
		if got, _, err := c.identify(); got != uuid || err != nil {
			t.Errorf("machine-id %q: identity %q, %v", id, got, err)
		}
	}
	c := newCollector(slog.New(slog.DiscardHandler),
		options{Root: writeTree(t, map[string]string{"etc/machine-id": "01234567-89AB-CDEF-0123-456789abcdef"}).Root()}, -1)
	if got, _, err := c.identify(); got != testID || err != nil {
		t.Errorf("a machine-id with dashes: %q, %v", got, err)
	}
	for _, uuid := range []string{
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
		"00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111", "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
		"DEADBEEF-DEAD-BEEF-DEAD-BEEFDEADBEEF", "12345678-1234-5678-90AB-CDDEEFAABBCC", "00010203-0405-0607-0809-0A0B0C0D0E0F", "Not Settable",
	} {
		c := newCollector(slog.New(slog.DiscardHandler),
			options{Root: writeTree(t, map[string]string{"sys/class/dmi/id/product_uuid": uuid}).Root()}, -1)
		if got, _, err := c.identify(); err == nil {
			t.Errorf("DMI UUID %q: identity %q", uuid, got)
		}
		if err := c.Sweep(context.Background(), plugin.Scope{Name: scopeSystem}, newSink()); err == nil {
			t.Errorf("DMI UUID %q: swept", uuid)
		}
	}
}

// TestAnotherMachine: what was known of a machine is not taken for gone when its id is
// another all at once, or cannot be read and its firmware's is taken.
func TestAnotherMachine(t *testing.T) {
	files := map[string]string{"sys/class/dmi/id/product_uuid": "4c4c4544-0042-3510-8052-b4c04f4d3132"}
	c := newCollector(slog.New(slog.DiscardHandler), options{Root: writeTree(t, files).Root()}, -1)
	for _, scope := range []string{scopeSystem, scopeStorage, scopeNetwork, scopeServices} {
		s := newSink()
		if err := c.Sweep(t.Context(), plugin.Scope{Name: scope, Local: testID}, s); err == nil || s.sweeps > 0 ||
			!strings.Contains(err.Error(), testID) {
			t.Errorf("%s: %v, %d sweeps", scope, err, s.sweeps)
		}
	}
	if err := c.Watch(t.Context(), plugin.Scope{Name: scopeNetwork, Local: testID}, "", newSink()); err == nil {
		t.Error("it was watched")
	}
}

// TestNamesOfInterfaces: names that are not UTF-8 are written as those of files are.
func TestNamesOfInterfaces(t *testing.T) {
	c := testCollector(t, options{})
	n := &network{names: map[int]string{1: "br\xff", 2: "eth\xe9"}}
	link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 2, Name: "eth\xe9", MasterIndex: 1, Alias: "up\x1b[31m", AltNames: []string{"a\xff"}}}
	o, err := c.observeInterface(testID, n, link)
	if err != nil {
		t.Fatal(err)
	}
	doc := document[netInterface](t, o)
	if o.Name != `eth\351` || o.UID != testID+`/interface/eth\351` || doc.Name != o.Name || doc.Master != `br\377` ||
		doc.Alias != `up\033[31m` || doc.AlternativeNames[0] != `a\377` ||
		!slices.Contains(o.Relations, relate(memberOf, plugin.Key{Type: typeInterface, UID: testID + `/interface/br\377`})) {
		t.Errorf("%+v\n%s", o, o.Document)
	}
	r, err := observeRoute(testID, n, netlink.Route{LinkIndex: 2, Family: netlink.FAMILY_V4})
	if err != nil {
		t.Fatal(err)
	}
	if got := document[route](t, r).Interface; got != `eth\351` || !strings.HasSuffix(r.UID, `/eth\351/0`) ||
		!slices.Contains(r.Relations, relate(uses, o.Key)) {
		t.Errorf("%+v\n%s", r, r.Document)
	}
}

// TestManyLayers: an overlay of many layers has a line of a megabyte and more.
func TestManyLayers(t *testing.T) {
	line := "30 20 0:61 / /o rw - overlay overlay rw,lowerdir=" + strings.Repeat("/var/lib/layers/"+strings.Repeat("x", 4000)+":", 500) + "/l\n"
	all, odd, err := mounts.Parse(strings.NewReader("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + line + "half a line\n"))
	if len(all) != 2 || len(odd) != 1 || err != nil {
		t.Errorf("%d, %v, %v", len(all), odd, err)
	}
}

// TestOddMemory: what the kernel does not tell of the memory is left out.
func TestOddMemory(t *testing.T) {
	for text, want := range map[string]string{
		"": "<nil> <nil>", "MemTotal: x kB\nSwapTotal: 8 kB\nSwapFree: 9 kB": "<nil> &{8192 0}", "MemTotal: 8 kB\nMemAvailable: 99 kB": "&{8192 8192 0} <nil>",
		"MemTotal: 8 kB\nMemFree: 1 kB\nBuffers: 1 kB\nCached: 2 kB": "&{8192 4096 4096} <nil>", "MemTotal: 99999999999999999999 kB": "<nil> <nil>",
	} {
		memory, swap := memoryOf(text)
		if got := fmt.Sprint(memory, swap); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for text, there := range map[string]bool{"": false, "1 2": false, "nan 1 2": false, "0.1 0.2 0.3 1/2 3": true} {
		if (loadOf(text) != nil) != there {
			t.Errorf("%q", text)
		}
	}
}
