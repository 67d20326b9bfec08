package firmware

import (
	"os"
	"strings"

	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// Virtualization says on what a machine runs, in the words of
// systemd-detect-virt(1).
type Virtualization struct {
	// System is the hypervisor: "kvm", "vmware". It is empty on bare metal.
	System string `json:"system,omitempty"`
	// Role is "guest", or "host" for a machine that can itself run guests, or
	// empty.
	Role string `json:"role,omitempty"`
	// Container is the container manager if the machine is a container.
	Container string `json:"container,omitempty"`
}

// DetectVirtualization finds out on what a machine runs. It goes by the firmware's vendor, then by the clock that a
// hypervisor offers (a microVM has no firmware), then by the bare CPU flag.
// gopsutil's answer is not used: it takes a guest in which the kvm module is
// loaded for a host, and its answer depends on when it was first asked.
func DetectVirtualization(t tree.Tree, d DMI) Virtualization {
	v := Virtualization{Container: containerManager(t)}
	if v.System = hypervisorByDMI(d); v.System == "" {
		v.System = hypervisorByClock(t.Text("sys/devices/system/clocksource/clocksource0/available_clocksource"))
	}
	if v.System == "" {
		v.System = t.Text("sys/hypervisor/type")
	}
	flagged := hypervisorFlag(t.Text("proc/cpuinfo"))
	if v.System == "" && flagged {
		v.System = "vm-other"
	}
	_, err := os.Stat(t.Path("sys/class/misc/kvm"))
	switch {
	case v.System == "xen" && strings.Contains(t.Text("proc/xen/capabilities"), "control_d"):
		v.Role = "host"
	case v.System != "":
		v.Role = "guest"
	case err == nil:
		v.System, v.Role = "kvm", "host"
	}
	return v
}

func hypervisorByDMI(d DMI) string {
	for _, known := range []struct{ prefix, system string }{
		{"KVM", "kvm"}, {"OpenStack", "kvm"}, {"KubeVirt", "kvm"}, {"QEMU", "kvm"},
		{"Amazon EC2", "amazon"}, {"Google", "google"}, {"VMware", "vmware"}, {"VMW", "vmware"},
		{"innotek GmbH", "oracle"}, {"VirtualBox", "oracle"}, {"Xen", "xen"}, {"Bochs", "bochs"},
		{"Parallels", "parallels"}, {"BHYVE", "bhyve"}, {"Hyper-V", "microsoft"}, {"Apple Virtualization", "apple"},
	} {
		for _, s := range []string{d.System.Product, d.System.Vendor, d.Board.Vendor, d.BIOS.Vendor} {
			if strings.HasPrefix(s, known.prefix) {
				// EC2 and Google also rent out whole machines.
				if strings.Contains(d.System.Product, "metal") || strings.Contains(d.System.Product, "Bare Metal") {
					return ""
				}
				return known.system
			}
		}
	}
	if d.System.Vendor == "Microsoft Corporation" && d.System.Product == "Virtual Machine" {
		return "microsoft"
	}
	return ""
}

func hypervisorByClock(sources string) string {
	switch {
	case strings.Contains(sources, "kvm-clock"):
		return "kvm"
	case strings.Contains(sources, "hyperv"):
		return "microsoft"
	case strings.Contains(sources, "xen"):
		return "xen"
	}
	return ""
}

// hypervisorFlag looks at the flags of the first processor.
func hypervisorFlag(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			return strings.Contains(flags+" ", " hypervisor ") || strings.HasSuffix(strings.TrimSpace(flags), " hypervisor")
		}
	}
	return false
}

func containerManager(t tree.Tree) string {
	if name := t.Text("run/systemd/container"); name != "" {
		return name
	}
	if _, err := os.Stat(t.Path("run/.containerenv")); err == nil {
		return "podman"
	}
	if _, err := os.Stat(t.Path(".dockerenv")); err == nil {
		return "docker"
	}
	return ""
}
