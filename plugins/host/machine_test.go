package host

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/plugins/host/firmware"
)

func TestMachineFacts(t *testing.T) {
	machines := sweepScope(t, testCollector(t, options{}), scopeSystem).ofType(typeMachine)
	if len(machines) != 1 || machines[0].UID != testID {
		t.Fatalf("machines: %v", machines)
	}
	doc := document[machine](t, machines[0])
	name, _ := os.Hostname()
	if doc.Host.Name != name || machines[0].Name != name || doc.Host.Arch != runtime.GOARCH || doc.Host.ID != testID {
		t.Errorf("host: %+v", doc.Host)
	}
	info := meminfo(t)
	if doc.Memory.Total != info["MemTotal"] || doc.Swap.Total != info["SwapTotal"] {
		t.Errorf("memory %+v, swap %+v, want totals %d and %d", doc.Memory, doc.Swap, info["MemTotal"], info["SwapTotal"])
	}
	if doc.Memory.Available == 0 || doc.Memory.Available > doc.Memory.Total || doc.Memory.Used > doc.Memory.Total {
		t.Errorf("memory: %+v", doc.Memory)
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Count("\n"+string(cpuinfo), "\nprocessor\t"); want > 0 && doc.Host.CPU.Logical.Count != want {
		t.Errorf("%d logical processors, want %d", doc.Host.CPU.Logical.Count, want)
	}
	if n := doc.Host.CPU.Physical.Count; n < 1 || n > doc.Host.CPU.Logical.Count {
		t.Errorf("%d physical cores", n)
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if doc.Kernel.Release != strings.TrimSpace(string(release)) {
		t.Errorf("kernel: %+v", doc.Kernel)
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if doc.Boot.ID != strings.TrimSpace(string(boot)) || doc.Boot.Time.IsZero() || doc.Boot.Time.After(time.Now()) {
		t.Errorf("boot: %+v", doc.Boot)
	}
	if doc.OS.Type != "linux" || doc.Load == nil {
		t.Errorf("os %+v, load %+v", doc.OS, doc.Load)
	}
}

// meminfo is /proc/meminfo in bytes.
func meminfo(t *testing.T) map[string]uint64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	info := map[string]uint64{}
	for line := range strings.Lines(string(raw)) {
		name, rest, _ := strings.Cut(line, ":")
		var kb uint64
		for _, digit := range strings.TrimSuffix(strings.TrimSpace(rest), " kB") {
			kb = kb*10 + uint64(digit-'0')
		}
		info[name] = kb * 1024
	}
	return info
}

func TestOSRelease(t *testing.T) {
	vars := parseOSRelease("# comment\nID=debian\nNAME='Debian \"GNU\"'\n\nPRETTY_NAME=\"A \\\"b\\\" \\$c\"\nVERSION_ID=\"12\"\nbroken\nEMPTY=\nQ=\"\n")
	for name, want := range map[string]string{"ID": "debian", "NAME": `Debian "GNU"`, "PRETTY_NAME": `A "b" $c`, "VERSION_ID": "12",
		"EMPTY": "", "Q": `"`} {
		if vars[name] != want {
			t.Errorf("%s = %q, want %q", name, vars[name], want)
		}
	}
}

// TestDMI uses files as another machine has them; this one may have none.
func TestDMI(t *testing.T) {
	c := testCollector(t, options{Root: writeTree(t, map[string]string{
		"sys/class/dmi/id/sys_vendor":     "Dell Inc.\n",
		"sys/class/dmi/id/product_name":   "PowerEdge R640\n",
		"sys/class/dmi/id/product_serial": "ABC1234\n",
		"sys/class/dmi/id/product_sku":    "To Be Filled By O.E.M.\n",
		"sys/class/dmi/id/product_uuid":   "4c4c4544-0042-3510-8052-b4c04f4d3132\n",
		"sys/class/dmi/id/board_serial":   "0000000\n",
		"sys/class/dmi/id/bios_date":      "05/03/2023\n",
		"proc/meminfo":                    "MemTotal: 1024 kB\nMemAvailable: 512 kB\nMemFree: 5 kB\n",
		"proc/stat":                       "cpu 1 2 3\nbtime 1700000000\n",
		"proc/cpuinfo":                    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n\n",
		"proc/loadavg":                    "0.1 0.2 0.3 1/100 1000\n",
		"etc/hostname":                    "rack7\n",
		"etc/os-release":                  "ID=rhel\nVERSION_ID=9.4\n",
	}).Root()})
	obs := sweepScope(t, c, scopeSystem).ofType(typeMachine)[0]
	doc := document[machine](t, obs)
	want := firmware.DMI{
		System: firmware.Part{Vendor: "Dell Inc.", Product: "PowerEdge R640", Serial: "ABC1234", UUID: "4c4c4544-0042-3510-8052-b4c04f4d3132"},
		BIOS:   firmware.BIOS{Date: "05/03/2023"},
	}
	if doc.DMI != want {
		t.Errorf("dmi: %+v", doc.DMI)
	}
	if doc.Host.Name != "rack7" || doc.OS.ID != "rhel" || *doc.Memory != (memoryDoc{Total: 1 << 20, Available: 512 << 10, Used: 512 << 10}) ||
		doc.Host.CPU.Model.Name != "Xeon" || doc.Host.CPU.Logical.Count != 1 || doc.Boot.Time.Unix() != 1700000000 {
		t.Errorf("facts of the foreign root are not used: %s", obs.Document)
	}
}

func TestVirtualization(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		dmi   firmware.DMI
		want  firmware.Virtualization
	}{
		"bare metal": {files: map[string]string{"proc/cpuinfo": "flags\t: fpu vme\n"}},
		"hypervisor": {files: map[string]string{"sys/class/misc/kvm/dev": "10:232"}, want: firmware.Virtualization{System: "kvm", Role: "host"}},
		"nested guest": {files: map[string]string{"sys/class/misc/kvm/dev": "10:232"}, dmi: firmware.DMI{System: firmware.Part{Vendor: "QEMU"}},
			want: firmware.Virtualization{System: "kvm", Role: "guest"}},
		"openstack": {dmi: firmware.DMI{System: firmware.Part{Vendor: "OpenStack Foundation", Product: "OpenStack Nova"}},
			want: firmware.Virtualization{System: "kvm", Role: "guest"}},
		"cloud metal": {dmi: firmware.DMI{System: firmware.Part{Vendor: "Amazon EC2", Product: "m5.metal"}}},
		"microvm": {files: map[string]string{"sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc\n"},
			want: firmware.Virtualization{System: "kvm", Role: "guest"}},
		"unknown": {files: map[string]string{"proc/cpuinfo": "flags\t: fpu hypervisor lahf_lm\n"},
			want: firmware.Virtualization{System: "vm-other", Role: "guest"}},
		"container":        {files: map[string]string{"run/systemd/container": "lxc\n"}, want: firmware.Virtualization{Container: "lxc"}},
		"microsoft laptop": {dmi: firmware.DMI{System: firmware.Part{Vendor: "Microsoft Corporation", Product: "Surface"}}},
	} {
		if got := firmware.DetectVirtualization(writeTree(t, test.files), test.dmi); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestOpenStackServer(t *testing.T) {
	const id = "6f1d9c1e-0a3b-4c5d-8e7f-001122334455"
	for name, test := range map[string]struct {
		dmi  firmware.DMI
		want string
	}{
		"a guest of Nova":      {firmware.DMI{System: firmware.Part{Product: "OpenStack Nova", UUID: strings.ToUpper(id)}}, id},
		"a guest of Red Hat's": {firmware.DMI{System: firmware.Part{Product: "OpenStack Compute", UUID: id}}, id},
		"another guest":        {firmware.DMI{System: firmware.Part{Product: "Standard PC", UUID: id}}, ""},
		"not root":             {firmware.DMI{System: firmware.Part{Product: "OpenStack Nova"}}, ""},
		"another form":         {firmware.DMI{System: firmware.Part{Product: "OpenStack Nova", UUID: "urn:uuid:" + id}}, ""},
	} {
		if got := openstackServer(test.dmi); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
