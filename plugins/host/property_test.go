package host

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/host/mounts"
	"github.com/reeve-cloud/reeve/plugins/host/statfs"
)

// recorded are files as a virtual machine of the lab's cloud has them, with a disk of
// a SCSI controller, logical volumes, an array and network shares beside.
func recorded() map[string]string {
	files := map[string]string{
		"etc/machine-id": testID + "\n", "etc/hostname": "web-1\n",
		"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n",
		"proc/stat": "cpu  50136 171 21352 9210000 2123 0 1211 0 0 0\ncpu0 25068 85 10676 4605000 1061 0 605 0 0 0\n" +
			"intr 1 2 3\nctxt 12345\nbtime 1795000000\nprocesses 1200\n",
		"proc/meminfo": "MemTotal:        4025100 kB\nMemFree:         1200000 kB\nMemAvailable:    3000000 kB\nBuffers:           10000 kB\n" +
			"Cached:           900000 kB\nSwapTotal:       1048572 kB\nSwapFree:        1048000 kB\n",
		"proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC-Milan Processor\n" +
			"stepping\t: 1\nphysical id\t: 0\ncore id\t\t: 0\ncpu cores\t: 1\nflags\t\t: fpu vme hypervisor\n\n",
		"proc/loadavg":                                                      "0.08 0.03 0.01 1/120 4321\n",
		"proc/sys/kernel/random/boot_id":                                    "0f5f5e0c-2a0f-4a35-9f0b-3d1b7f5c1c11\n",
		"sys/class/dmi/id/sys_vendor":                                       "OpenStack Foundation\n",
		"sys/class/dmi/id/product_name":                                     "OpenStack Nova\n",
		"sys/class/dmi/id/product_uuid":                                     "4c4c4544-0042-3510-8052-b4c04f4d3132\n",
		"sys/class/dmi/id/chassis_asset_tag":                                "OpenStack Nova\n",
		"sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc acpi_pm\n",
		"proc/1/mountinfo": strings.Join([]string{
			`20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro`,
			`21 20 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=2000k,mode=755`,
			`22 20 0:20 / /proc rw - proc proc rw`,
			`23 20 254:15 / /boot/efi rw,relatime shared:30 - vfat /dev/vda15 rw,fmask=0022`,
			`24 20 253:0 / /srv/data\040disk rw shared:31 - xfs /dev/mapper/vg-data rw,attr2`,
			`25 20 0:50 / /mnt/a rw - nfs4 192.0.2.9:/export/a rw,vers=4.2,addr=192.0.2.9`,
			`26 20 0:50 / /mnt/b rw - nfs4 192.0.2.9:/export/b rw,vers=4.2,addr=192.0.2.9`,
			`27 20 0:60 / /run/user/0 rw,nosuid - tmpfs tmpfs rw,size=400k,mode=700`,
			`28 20 0:61 / /overlay rw - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/u,workdir=/w`,
			"29 20 9:0 / /raid\u00a0disk\r rw - ext4 /dev/md0 rw",
		}, "\n") + "\n",
	}
	device := func(path, kernel string, attributes map[string]string) {
		files["sys/class/block/"+kernel] = "-> ../../devices/" + path
		for name, content := range attributes {
			files["sys/devices/"+path+"/"+name] = content
		}
	}
	const vda, sda = "pci0000:00/0000:00:04.0/virtio1/block/vda", "pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda"
	device(vda, "vda", map[string]string{"size": "41943040\n", "dev": "254:0\n", "ro": "0\n", "removable": "0\n", "queue/rotational": "1\n",
		"queue/logical_block_size": "512\n", "queue/physical_block_size": "512\n", "serial": "a1b2c3d4-e5f6-7890\n", "device/vendor": "0x1af4\n"})
	device(vda+"/vda1", "vda1", map[string]string{"size": "41680863\n", "dev": "254:1\n", "partition": "1\n", "start": "262144\n", "ro": "0\n"})
	device(vda+"/vda15", "vda15", map[string]string{"size": "253952\n", "dev": "254:15\n", "partition": "15\n", "start": "8192\n"})
	device(sda, "sda", map[string]string{"size": "1000215216\n", "dev": "8:0\n", "device/vendor": "ATA     \n", "device/state": "running\n",
		"device/model": "Samsung SSD 860 \n", "device/type": "0\n"})
	device("virtual/block/dm-0", "dm-0", map[string]string{"size": "2097152\n", "dev": "253:0\n", "dm/name": "vg-data\n",
		"dm/uuid": "LVM-Zx3\n", "slaves/sda/x": ""})
	device("virtual/block/md0", "md0", map[string]string{"size": "1024\n", "dev": "9:0\n", "md/level": "raid1\n", "md/raid_disks": "2\n",
		"md/degraded": "1\n", "slaves/sda/x": ""})
	device("virtual/block/loop0", "loop0", map[string]string{"size": "4096\n", "dev": "7:0\n", "loop/backing_file": "/var/lib/snap.img\n"})
	files["run/udev/data/b8:0"] = "S:disk/by-id/x\nE:ID_BUS=ata\nE:ID_SERIAL_SHORT=S1\nE:ID_WWN=0x5002\nE:ID_MODEL_ENC=Samsung\\x20SSD\nE:ID_PART_TABLE_TYPE=gpt\n"
	files["run/udev/data/b254:1"] = "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=abcd\nE:ID_FS_LABEL_ENC=root\\x20fs\nE:ID_PART_ENTRY_UUID=ef01\n"
	return files
}

// TestOneOddFile: of the files of a machine each, and each line and word in it, odd in
// every way, one at a time, fails no listing, changes no asset that it does not speak
// of, and has nothing taken for gone that is still there.
func TestOneOddFile(t *testing.T) {
	files := recorded()
	root := writeTree(t, files).Root()
	sweepAll := func(outs map[string]*plugintest.Sink) map[string]error {
		c := newCollector(slog.New(slog.DiscardHandler), options{Root: root}, netns.None())
		c.probes.Statfs = func(string) (statfs.Result, error) {
			return statfs.Result{Usage: statfs.Usage{Total: 9}, IsDir: true}, nil
		}
		errs := make(map[string]error)
		for scope, out := range outs {
			if err := c.Sweep(t.Context(), plugin.Scope{Name: scope, Local: testID}, out); err != nil {
				errs[scope] = err
			}
		}
		return errs
	}
	sinks := func() map[string]*plugintest.Sink {
		return map[string]*plugintest.Sink{scopeSystem: plugintest.NewTolerantSink(t), scopeStorage: plugintest.NewTolerantSink(t)}
	}
	sound := sinks()
	if errs := sweepAll(sound); len(errs) > 0 {
		t.Fatal(errs)
	}
	if n := len(sound[scopeStorage].All()); n != 15 || len(sound[scopeSystem].All()) != 1 {
		t.Fatalf("there are %d: %s", n, sound[scopeStorage].UIDs())
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(root, name)
		if strings.HasPrefix(files[name], "-> ") {
			continue
		}
		odd := oddTexts(files[name])
		for _, what := range slices.Sorted(maps.Keys(odd)) {
			if n++; n%plugintest.OneOf != 0 {
				continue
			}
			outs := sinks()
			for scope, out := range outs {
				for _, o := range sound[scope].All() {
					if err := out.Apply(t.Context(), "", plugin.Fact{Upsert: &o}); err != nil {
						t.Fatal(err)
					}
				}
			}
			write(t, file, odd[what])
			errs := sweepAll(outs)
			write(t, file, &text{files[name]})
			if len(errs) > 0 && !isSource(name, what, errs) {
				t.Errorf("%s: %s: %v", name, what, errs)
			}
			for scope, out := range outs {
				for _, was := range sound[scope].All() {
					now, there := out.Get(was.UID)
					switch {
					case !there && !strings.HasSuffix(name, "dm/name") && !(was.Type == typeFilesystem && speaksOf(name, what, was)):
						t.Errorf("%s: %s: %s was deleted", name, what, was.UID)
					case there && !speaksOf(name, what, was) && fmt.Sprint(now.Name, now.Status, string(now.Document)) !=
						fmt.Sprint(was.Name, was.Status, string(was.Document)):
						t.Errorf("%s: %s: %s has changed\n%s\n%s", name, what, was.UID, was.Document, now.Document)
					}
				}
			}
		}
	}
	t.Logf("%d machines were listed", n)
}

// text is what is in a file; nil is one that is missing.
type text struct{ string }

func write(t *testing.T, file string, content *text) {
	t.Helper()
	err := os.RemoveAll(file)
	switch {
	case err != nil || content == nil:
	case content.string == "a directory":
		err = os.Mkdir(file, 0o700)
	default:
		err = os.WriteFile(file, []byte(content.string), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// oddTexts are a file's text, odd in one way each.
func oddTexts(sound string) map[string]*text {
	odd := map[string]*text{
		"missing": nil, "empty": {""}, "a directory": {"a directory"}, "blank": {" \n"}, "binary": {"\x00\xff\xfe\n"}, "words": {"what is this\n"},
		"a number": {"7\n"}, "below zero": {"-1\n"}, "out of range": {"18446744073709551616\n"}, "huge": {strings.Repeat("odd ", 1<<14) + "\n"},
		"twice": {sound + sound}, "cut": {sound[:len(sound)/2]},
	}
	lines := strings.SplitAfter(strings.TrimSuffix(sound, "\n"), "\n")
	for i, line := range lines {
		with := func(what, text_ string) {
			odd[fmt.Sprintf("line %d %s", i, what)] = &text{strings.Join(slices.Concat(lines[:i], []string{text_}, lines[i+1:]), "")}
		}
		with("is missing", "")
		with("is there twice", strings.TrimSuffix(line, "\n")+"\n"+line)
		with("is binary", "\x00\xff\xfe\n")
		with("is huge", strings.Repeat("odd ", 1<<14)+"\n")
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		for j := range words {
			for what, word := range map[string]string{"missing": "", "binary": "\xff\x01", "a number": "7", "a word": "odd", "out of range": "99999999999999999999"} {
				changed := slices.Clone(words)
				changed[j] = word
				with(fmt.Sprintf("word %d is %s", j, what), strings.Join(changed, " ")+"\n")
			}
		}
	}
	return odd
}

// isSource reports whether a file is a listing that cannot be had any more: then what is
// known stays.
func isSource(name, what string, errs map[string]error) bool {
	switch name {
	case "proc/1/mountinfo":
		return errs[scopeSystem] == nil && !strings.HasPrefix(what, "line ")
	case "etc/machine-id": // it is another machine, or none that is known
		return true
	}
	return false
}

// speaksOf reports whether what is odd in a file says something of an asset.
func speaksOf(name, what string, o plugin.Observation) bool {
	if name == "proc/1/mountinfo" {
		var line int
		if _, err := fmt.Sscanf(what, "line %d ", &line); err != nil {
			return false
		}
		all, _, _ := mounts.Parse(strings.NewReader(strings.Split(recorded()[name], "\n")[line]))
		return o.Key == partKey(testID, typeFilesystem, all[0].Point)
	}
	if _, device, ok := strings.Cut(name, "/block/"); ok {
		parts := strings.Split(device, "/")
		kernel := parts[0]
		if strings.HasPrefix(parts[1], kernel) {
			kernel = parts[1]
		}
		return o.Name == kernel || o.Name == "vg-data" && kernel == "dm-0"
	}
	switch name {
	case "run/udev/data/b8:0":
		return o.Name == "sda"
	case "run/udev/data/b254:1":
		return o.Name == "vda1"
	}
	return o.Type == typeMachine
}
