package host

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/mounts"
	"github.com/reeve-cloud/reeve/plugins/host/statfs"
)

type lsblkDevice struct {
	Name   string
	KName  string
	MajMin string `json:"maj:min"`
	Size   uint64
	Type   string
	RO     bool
	RM     bool
	Rota   bool
}

// lsblk lists all block devices with the reference tool.
func lsblk(t *testing.T) []lsblkDevice {
	t.Helper()
	out, err := exec.Command("lsblk", "--json", "--bytes", "--list", "-o", "NAME,KNAME,MAJ:MIN,SIZE,TYPE,RO,RM,ROTA").Output()
	if err != nil {
		t.Skipf("lsblk cannot be run to compare with: %v", err)
	}
	var listing struct{ Blockdevices []lsblkDevice }
	if err := json.Unmarshal(out, &listing); err != nil {
		t.Fatal(err)
	}
	return listing.Blockdevices
}

func compareWithLsblk(t *testing.T) {
	t.Helper()
	s := sweepScope(t, testCollector(t, options{}), scopeStorage)
	got := map[string]lsblkDevice{}
	for _, o := range s.ofType(typeBlockDevice) {
		d := document[blockDevice](t, o)
		got[d.DeviceNumber] = lsblkDevice{Name: d.Name, Size: d.Size, Type: d.Type, RO: d.ReadOnly, RM: d.Removable, Rota: d.Rotational}
	}
	for _, o := range s.ofType(typePartition) {
		p := document[partition](t, o)
		got[p.DeviceNumber] = lsblkDevice{Name: p.Name, Size: p.Size, Type: "part", RO: p.ReadOnly}
	}
	for _, want := range lsblk(t) {
		g, ok := got[want.MajMin]
		delete(got, want.MajMin)
		if want.Size == 0 && !ok {
			continue
		}
		if !ok || g.Size != want.Size || g.Name != want.Name || g.Type != want.Type || g.RO != want.RO ||
			(g.Type != "part" && (g.Rota != want.Rota || g.RM != want.RM)) {
			t.Errorf("lsblk has %+v, the collector %+v", want, g)
		}
	}
	for number, extra := range got {
		t.Errorf("lsblk does not have %s %+v", number, extra)
	}
}

func TestBlockDevicesAsLsblk(t *testing.T) { compareWithLsblk(t) }

// TestLoopDevice sets up a disk with two partitions.
func TestLoopDevice(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(image, masterBootRecord([2]uint32{2048, 16 << 11}, [2]uint32{20 << 11, 8 << 11}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--partscan", image).Output()
	if err != nil {
		t.Skipf("no loop device can be set up here (this needs root): %v", err)
	}
	device := strings.TrimPrefix(strings.TrimSpace(string(out)), "/dev/")
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", "/dev/"+device).Run() })

	compareWithLsblk(t)
	s := sweepScope(t, testCollector(t, options{}), scopeStorage)
	o, ok := s.named(typeBlockDevice, device)
	if d := document[blockDevice](t, o); !ok || d.Size != 64<<20 || d.Loop == nil || d.Loop.BackingFile != image || d.Type != "loop" {
		t.Errorf("loop device: %s", o.Document)
	}
	p, ok := s.named(typePartition, device+"p2")
	if !ok {
		t.Skipf("the kernel did not scan the partitions of %s", device)
	}
	doc := document[partition](t, p)
	if doc.Size != 8<<20 || doc.Number != 2 || doc.Start < 16<<20 || doc.Disk != device {
		t.Errorf("partition: %s", p.Document)
	}
	if want := []plugin.Relation{relate(partOf, o.Key)}; !slices.Equal(p.Relations, want) {
		t.Errorf("partition's relations: %v, want %v", p.Relations, want)
	}
}

// masterBootRecord is a partition table of (start, length) in sectors.
func masterBootRecord(partitions ...[2]uint32) []byte {
	record := make([]byte, 512)
	for i, p := range partitions {
		entry := record[446+16*i:]
		entry[4] = 0x83
		binary.LittleEndian.PutUint32(entry[8:], p[0])
		binary.LittleEndian.PutUint32(entry[12:], p[1])
	}
	record[510], record[511] = 0x55, 0xaa
	return record
}

// TestFilesystemsAsDf compares with what df(1) lists.
func TestFilesystemsAsDf(t *testing.T) {
	out, err := exec.Command("df", "--block-size=1", "--output=target,fstype,size").Output()
	if err != nil {
		t.Skipf("df cannot be run to compare with: %v", err)
	}
	s := sweepScope(t, testCollector(t, options{}), scopeStorage)
	got := map[string]filesystem{}
	for _, o := range s.ofType(typeFilesystem) {
		if o.Status != "mounted" {
			t.Errorf("%s is %s", o.Name, o.Status)
		}
		got[o.Name] = document[filesystem](t, o)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "Mounted" || mounts.Pseudo[f[1]] || mounts.IsContainers(f[0]) {
			continue
		}
		fs, ok := got[f[0]]
		if !ok {
			t.Errorf("df has %s, the collector has not", line)
			continue
		}
		var size uint64
		for _, digit := range f[2] {
			size = size*10 + uint64(digit-'0')
		}
		if fs.Type != f[1] || fs.Usage == nil || fs.Usage.Total != size {
			t.Errorf("df has %s, the collector %+v", line, fs)
		}
		delete(got, f[0])
	}
	for point := range got {
		t.Errorf("df does not have %s", point)
	}
}

// TestRootFilesystem follows the root filesystem to its device.
func TestRootFilesystem(t *testing.T) {
	s := sweepScope(t, testCollector(t, options{}), scopeStorage)
	o, ok := s.named(typeFilesystem, "/")
	if !ok {
		t.Fatal("no root filesystem")
	}
	doc := document[filesystem](t, o)
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		t.Fatal(err)
	}
	if doc.Usage == nil || doc.Usage.Total != st.Blocks*uint64(st.Frsize) || doc.Usage.Inodes != nil && doc.Usage.Inodes.Total != st.Files {
		t.Errorf("usage: %+v", doc.Usage)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var options []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == "/" {
			options = strings.Split(f[3], ",")
		}
	}
	if got := sorted(doc.Options); !slices.Equal(got, sorted(options)) {
		t.Errorf("options %v, /proc/mounts has %v", got, options)
	}
	if !strings.HasPrefix(doc.Device, "/dev/") {
		t.Skipf("the root filesystem is on no block device: %s", doc.Device)
	}
	if !slices.ContainsFunc(o.Relations, func(r plugin.Relation) bool {
		_, exists := s.all()[r.To]
		return r.Kind == backedBy && exists
	}) {
		t.Errorf("not backed by a device that was observed: %v", o.Relations)
	}
}

func TestExcludedFilesystem(t *testing.T) {
	s := sweepScope(t, testCollector(t, options{Exclude: []string{"/"}}), scopeStorage)
	if list := s.ofType(typeFilesystem); len(list) != 0 {
		t.Errorf("listed in spite of the exclusion: %v", list)
	}
}

const mountinfo = `20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
21 20 0:5 / /proc rw - proc proc rw
22 20 0:30 / /mnt/with\040blank ro,noatime master:2 - nfs4 server:/export rw,vers=4.2,addr=192.0.2.9
23 20 8:1 /srv/data /data rw - ext4 /dev/sda1 rw,errors=remount-ro
24 20 0:40 / /run/user/0 rw - tmpfs tmpfs rw,size=1024k
25 20 0:41 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw,lowerdir=/a:/b
26 20 0:42 / /var/lib/kubelet/pods/1/volumes/secret rw - tmpfs tmpfs rw
27 20 0:50 /@ /btrfs rw - btrfs /dev/sdb rw,subvol=/@
28 20 0:50 /@home /btrfs/home rw - btrfs /dev/sdb rw,subvol=/@home
29 20 0:60 / /over rw - tmpfs lower rw
30 20 0:61 / /over rw - tmpfs upper rw
31 20 252:7 / /var/lib/kubelet/plugins/kubernetes.io/csi/rbd/1/globalmount rw - ext4 /dev/rbd7 rw
32 20 252:7 / /var/lib/kubelet/pods/1/volumes/csi/mount rw - ext4 /dev/rbd7 rw
33 20 0:70 / /auto rw - autofs systemd-1 rw
34 20 0:71 / /blank-source rw - tmpfs  rw
`

func TestMounts(t *testing.T) {
	all, unread, err := mounts.Parse(strings.NewReader(mountinfo))
	if err != nil || len(unread) > 0 {
		t.Fatal(unread, err)
	}
	var got []string
	for _, m := range mounts.Select(all, options{}.excluded) {
		got = append(got, m.Point+" "+m.Source)
	}
	want := []string{
		"/ /dev/sda1", "/blank-source ", "/btrfs /dev/sdb", "/btrfs/home /dev/sdb", "/mnt/with blank server:/export", "/over upper",
		"/run/user/0 tmpfs",
		"/var/lib/kubelet/plugins/kubernetes.io/csi/rbd/1/globalmount /dev/rbd7",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	nfs := all[2]
	if want := []string{"ro", "noatime", "vers=4.2", "addr=192.0.2.9"}; !slices.Equal(nfs.Options, want) {
		t.Errorf("options %q, want %q", nfs.Options, want)
	}
	for _, bad := range []string{"20 1 8:1 / / rw", "x - y", "20 1 8:1 / / rw - ext4\n"} {
		if all, unread, err := mounts.Parse(strings.NewReader(bad)); len(all) > 0 || len(unread) != 1 || err != nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add(mountinfo)
	f.Add(`1 2 3 4 \777 \ - a b \04`)
	f.Fuzz(func(_ *testing.T, text string) {
		all, _, err := mounts.Parse(strings.NewReader(text))
		if err == nil {
			mounts.Select(all, options{Exclude: []string{"/mnt/*"}}.excluded)
		}
	})
}

// TestUnreadableListing makes sure that what cannot be listed is not taken for
// nothing.
func TestUnreadableListing(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no sysfs":        {"proc/1/mountinfo": ""},
		"no mountinfo":    {"sys/class/block/sda/size": "8", "sys/class/block/sda/dev": "8:0"},
		"strange mounts":  {"sys/class/block/sda/size": "8", "sys/class/block/sda/dev": "8:0", "proc/1/mountinfo": "what is this\n"},
		"unreadable size": {"sys/class/block/sda/size": "many", "proc/1/mountinfo": ""},
	} {
		s := newSink()
		c := testCollector(t, options{Root: writeTree(t, files).Root()})
		if err := c.Sweep(t.Context(), plugin.Scope{Name: scopeStorage}, s); err == nil || s.sweeps > 0 {
			t.Errorf("%s: error %v, %d sweeps committed", name, err, s.sweeps)
		} else {
			t.Log(err)
		}
	}
}

// TestHungFilesystem has one filesystem that does not answer, as with a dead NFS
// server.
func TestHungFilesystem(t *testing.T) {
	root := writeTree(t, map[string]string{
		"sys/class/block/.keep/size": "",
		"proc/1/mountinfo": "1 0 0:9 / /good rw - ext4 /dev/x rw\n" +
			"2 0 0:8 / /dead rw - ext4 /dev/y rw\n",
	})
	if err := os.RemoveAll(root.Path("sys/class/block/.keep")); err != nil {
		t.Fatal(err)
	}
	c := testCollector(t, options{Root: root.Root()})
	hang := make(chan struct{})
	var mu sync.Mutex
	dead, calls := false, 0
	c.probes.Limit = 50 * time.Millisecond
	c.probes.Statfs = func(path string) (statfs.Result, error) {
		mu.Lock()
		wait := dead && strings.HasSuffix(path, "/dead")
		if wait {
			calls++
		}
		mu.Unlock()
		if wait {
			<-hang
		}
		number := map[bool]string{true: "0:8", false: "0:9"}[strings.HasSuffix(path, "/dead")]
		return statfs.Result{Usage: statfs.Usage{Total: 1000}, Number: number, IsDir: true}, nil
	}
	check := func(status string) {
		t.Helper()
		s := sweepScope(t, c, scopeStorage)
		good, _ := s.named(typeFilesystem, "/good")
		bad, _ := s.named(typeFilesystem, "/dead")
		if good.Status != "mounted" || bad.Status != status {
			t.Errorf("status %q and %q, want mounted and %s", good.Status, bad.Status, status)
		}
		if doc := document[filesystem](t, bad); doc.Size != 1000 || (doc.Usage == nil) != (status != "mounted") {
			t.Errorf("%+v", doc)
		}
	}
	check("mounted")
	mu.Lock()
	dead = true
	mu.Unlock()
	check("unresponsive")
	check("unresponsive")
	if n := c.probes.Stuck(); n != 1 || calls != 1 {
		t.Errorf("%d calls are stuck of %d, want one", n, calls)
	}
	mu.Lock()
	dead = false
	mu.Unlock()
	close(hang)
	for range 100 {
		if c.probes.Stuck() == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	check("mounted")
}

func TestStatfsErrors(t *testing.T) {
	c := testCollector(t, options{})
	index := map[string]plugin.Key{}
	m := mounts.Mount{Point: "/x", Type: "nfs4", Root: "/"}
	for _, test := range []struct {
		a      statfs.Answer
		status string
	}{
		{statfs.Answer{Err: unix.ENOENT}, ""},
		{statfs.Answer{Err: unix.EACCES}, "mounted"},
		{statfs.Answer{Err: unix.ESTALE}, "unavailable"},
		{statfs.Answer{Err: statfs.ErrUnresponsive}, "unresponsive"},
		{statfs.Answer{Result: statfs.Result{IsDir: true}}, ""},
		{statfs.Answer{Result: statfs.Result{Usage: statfs.Usage{Total: 1}}}, ""},
	} {
		obs, ok, err := c.observeFilesystem(testID, m, test.a, index)
		if err != nil || ok != (test.status != "") || obs.Status != test.status {
			t.Errorf("%+v: %q %v %v", test.a, obs.Status, ok, err)
		}
	}
	if !errors.Is(unix.EACCES, os.ErrPermission) {
		t.Error("EACCES is no permission error")
	}
}

// TestForeignDevices reads the sysfs and udev of a larger machine.
func TestForeignDevices(t *testing.T) {
	files := map[string]string{"proc/1/mountinfo": "1 0 253:0 / /mnt rw - xfs /dev/mapper/vg-root rw\n"}
	device := func(path, kernel string, attributes map[string]string) {
		files["sys/class/block/"+kernel] = "-> ../../devices/" + path
		for name, content := range attributes {
			files["sys/devices/"+path+"/"+name] = content
		}
	}
	const sda = "pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda"
	device(sda, "sda", map[string]string{
		"size": "1000215216\n", "dev": "8:0\n", "ro": "0\n", "removable": "0\n", "queue/rotational": "0\n", "queue/logical_block_size": "512\n",
		"device/vendor": "ATA     \n", "device/model": "Samsung SSD 860 \n", "device/state": "running\n", "device/type": "0\n",
	})
	files["run/udev/data/b8:0"] = "S:disk/by-id/x\nE:ID_BUS=ata\nE:ID_SERIAL=Samsung_SSD_S1\nE:ID_SERIAL_SHORT=S1\nE:ID_WWN=0x5002\nE:ID_MODEL_ENC=Samsung\\x20SSD\\x20860\\x20\\x20\nE:ID_PART_TABLE_TYPE=gpt\n"
	device(sda+"/sda2", "sda2", map[string]string{"size": "2048\n", "dev": "8:2\n", "partition": "2\n", "start": "4096\n"})
	files["run/udev/data/b8:2"] = "E:ID_FS_TYPE=LVM2_member\nE:ID_PART_ENTRY_UUID=abcd\nE:ID_PART_ENTRY_NAME=root\\x20disk\n"
	device("virtual/block/dm-0", "dm-0", map[string]string{
		"size": "1024\n", "dev": "253:0\n", "dm/name": "vg-root\n", "dm/uuid": "LVM-xyz\n", "slaves/sda2": "",
	})
	device("virtual/block/md0", "md0", map[string]string{
		"size": "1024\n", "dev": "9:0\n", "md/level": "raid1\n", "md/raid_disks": "2\n", "md/degraded": "1\n", "slaves/sda2": "",
	})
	device("pci0000:00/ata2/host1/target1:0:0/1:0:0:0/block/sr0", "sr0",
		map[string]string{"size": "0\n", "dev": "11:0\n", "removable": "1\n", "device/type": "5\n"})
	device("pci0000:00/nvme/nvme0/nvme0n1", "nvme0n1", map[string]string{"size": "2048\n", "dev": "259:0\n", "device/serial": "NV1 \n",
		"device/model": "P4510\n"})
	device("pci0000:00/nvme/nvme0/nvme0c0n1", "nvme0c0n1", map[string]string{"size": "2048\n", "hidden": "1\n"})
	device("virtual/block/loop0", "loop0", map[string]string{"size": "0\n", "dev": "7:0\n"})
	device("virtual/block/ram0", "ram0", map[string]string{"size": "8192\n", "dev": "1:0\n"})

	c := testCollector(t, options{Root: writeTree(t, files).Root()})
	c.probes.Statfs = func(string) (statfs.Result, error) {
		return statfs.Result{Usage: statfs.Usage{Total: 9}, Number: "253:0", IsDir: true}, nil
	}
	s := sweepScope(t, c, scopeStorage)
	uid := func(typ, natural string) plugin.Key { return partKey(testID, typ, natural) }
	onMachine := relate(partOf, machineKey(testID))
	want := map[plugin.Key][]plugin.Relation{
		uid(typeBlockDevice, "sda"):            {onMachine},
		uid(typeBlockDevice, "mapper/vg-root"): {onMachine, relate(backedBy, uid(typePartition, "sda2"))},
		uid(typeBlockDevice, "md0"):            {onMachine, relate(backedBy, uid(typePartition, "sda2"))},
		uid(typeBlockDevice, "sr0"):            {onMachine},
		uid(typeBlockDevice, "nvme0n1"):        {onMachine},
		uid(typePartition, "sda2"):             {relate(partOf, uid(typeBlockDevice, "sda"))},
		uid(typeFilesystem, "/mnt"):            {onMachine, relate(backedBy, uid(typeBlockDevice, "mapper/vg-root"))},
	}
	state := s.all()
	for key, relations := range want {
		if o, ok := state[key]; !ok || !slices.Equal(o.Relations, relations) {
			t.Errorf("%v: relations %v, want %v", key, o.Relations, relations)
		}
		delete(state, key)
	}
	for key := range state {
		t.Errorf("%v should not be listed", key)
	}
	doc := func(name string) blockDevice {
		o, _ := s.named(typeBlockDevice, name)
		return document[blockDevice](t, o)
	}
	if d := doc("sda"); d.Serial != "S1" || d.Model != "Samsung SSD 860" || d.Bus != "ata" || d.Size != 1000215216*512 ||
		d.PartitionTable.Type != "gpt" {
		t.Errorf("sda: %+v", d)
	}
	if d := doc("vg-root"); d.Type != "lvm" || d.Path != "/dev/mapper/vg-root" {
		t.Errorf("vg-root: %+v", d)
	}
	if d := doc("md0"); d.Type != "raid1" || d.RAID == nil || *d.RAID != (raid{Level: "raid1", Disks: 2, Degraded: 1}) {
		t.Errorf("md0: %+v", d)
	}
	if d := doc("sr0"); d.Type != "rom" || !d.Removable {
		t.Errorf("sr0: %+v", d)
	}
	if d := doc("nvme0n1"); d.Serial != "NV1" || d.Model != "P4510" {
		t.Errorf("nvme0n1: %+v", d)
	}
	if o, _ := s.named(typePartition, "sda2"); document[partition](t, o).Label != "root disk" ||
		document[partition](t, o).Content.Type != "LVM2_member" {
		t.Errorf("sda2: %s", o.Document)
	}
}
