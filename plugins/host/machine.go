package host

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/cpu"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/firmware"
)

// machine is the document of a Machine. Its keys, joined by dots, are the
// resource attributes of OpenTelemetry where there is one.
type machine struct {
	Host           hostDoc                 `json:"host"`
	OS             osDoc                   `json:"os"`
	Kernel         kernelDoc               `json:"kernel"`
	Memory         *memoryDoc              `json:"memory,omitempty"`
	Swap           *swapDoc                `json:"swap,omitempty"`
	Load           *loadDoc                `json:"load,omitempty"`
	Boot           bootDoc                 `json:"boot,omitzero"`
	Virtualization firmware.Virtualization `json:"virtualization,omitzero"`
	DMI            firmware.DMI            `json:"dmi,omitzero"`
	MachineID      string                  `json:"machine_id,omitempty"`
}

type hostDoc struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Arch string `json:"arch"`
	CPU  cpuDoc `json:"cpu"`
}

type cpuDoc struct {
	Vendor   cpuVendor `json:"vendor,omitzero"`
	Family   string    `json:"family,omitempty"`
	Model    cpuModel  `json:"model,omitzero"`
	Stepping string    `json:"stepping,omitempty"`
	Physical cpuCount  `json:"physical,omitzero"`
	Logical  cpuCount  `json:"logical,omitzero"`
}

type cpuVendor struct {
	ID string `json:"id,omitempty"`
}

type cpuModel struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

type cpuCount struct {
	Count int `json:"count"`
}

type osDoc struct {
	Type        string `json:"type"`
	ID          string `json:"id,omitempty"`
	Name        string `json:"name,omitempty"`
	Version     string `json:"version,omitempty"`
	BuildID     string `json:"build_id,omitempty"`
	Description string `json:"description,omitempty"`
}

type kernelDoc struct {
	Release string `json:"release"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
}

type memoryDoc struct {
	Total     uint64 `json:"total"`
	Available uint64 `json:"available"`
	Used      uint64 `json:"used"`
}

type swapDoc struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
}

type loadDoc struct {
	One     float64 `json:"1m"`
	Five    float64 `json:"5m"`
	Fifteen float64 `json:"15m"`
}

type bootDoc struct {
	ID   string    `json:"id,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// sweepSystem lists the one machine.
func (c *collector) sweepSystem(ctx context.Context, id string, out plugin.Sink) error {
	obs, err := c.observeMachine(ctx, id)
	if err != nil {
		return err
	}
	return commit(ctx, out, []plugin.Observation{obs})
}

func (c *collector) observeMachine(ctx context.Context, id string) (plugin.Observation, error) {
	ctx = c.gopsutil(ctx)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return plugin.Observation{}, fmt.Errorf("read kernel name: %w", err)
	}
	name, err := c.hostname()
	if err != nil {
		return plugin.Observation{}, err
	}
	machineID, _ := c.machineID()
	memory, swap := memoryOf(c.tree.Text("proc/meminfo"))
	doc := machine{
		Host: hostDoc{ID: id, Name: name, Arch: runtime.GOARCH, CPU: c.cpu(ctx)},
		OS:   c.operatingSystem(),
		Kernel: kernelDoc{
			Release: unix.ByteSliceToString(uts.Release[:]),
			Version: unix.ByteSliceToString(uts.Version[:]),
			Arch:    unix.ByteSliceToString(uts.Machine[:]),
		},
		Memory:         memory,
		Swap:           swap,
		Load:           loadOf(c.tree.Text("proc/loadavg")),
		Boot:           bootDoc{ID: c.tree.Text("proc/sys/kernel/random/boot_id"), Time: bootTime(c.tree.Text("proc/stat"))},
		Virtualization: c.virtualization(),
		DMI:            c.dmi(),
		MachineID:      machineID,
	}
	if doc.Memory == nil {
		c.oddMemory.Do(func() { c.log.Warn("the size of the memory cannot be read; it is left out") })
	}
	key := machineKey(id)
	raw, err := encode(key, doc)
	if err != nil {
		return plugin.Observation{}, err
	}
	o := plugin.Observation{Key: key, Name: name, Status: "running", Document: raw}
	if server := openstackServer(doc.DMI); server != "" {
		o.Relations = []plugin.Relation{{Kind: "backed_by", To: plugin.Key{Type: typeServer, UID: server}}}
	}
	return o, nil
}

// typeServer is what a guest of OpenStack is to its cloud. That collector must
// name it so.
const typeServer = "openstack.compute.Server"

// openstackServer returns the id of the OpenStack server that a machine is, or
// empty. Nova writes it into the firmware's tables as the UUID of the system.
func openstackServer(d firmware.DMI) string {
	if !strings.HasPrefix(d.System.Product, "OpenStack") {
		return ""
	}
	id, err := uuid.Parse(d.System.UUID)
	if err != nil || len(d.System.UUID) != len(uuid.Nil.String()) {
		return ""
	}
	return id.String()
}

// gopsutil tells gopsutil where the machine's files are.
func (c *collector) gopsutil(ctx context.Context) context.Context {
	if !c.tree.Foreign() {
		return ctx
	}
	return context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: c.tree.Path("proc"),
		common.HostSysEnvKey:  c.tree.Path("sys"),
		common.HostEtcEnvKey:  c.tree.Path("etc"),
		common.HostRootEnvKey: c.tree.Root(),
	})
}

// hostname prefers the file where the machine's root is foreign: the kernel
// would name the agent's container.
func (c *collector) hostname() (string, error) {
	if c.tree.Foreign() {
		if name := c.tree.Text("etc/hostname"); name != "" {
			return name, nil
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	return name, nil
}

// memoryOf reads /proc/meminfo. What it does not say is nil.
func memoryOf(meminfo string) (*memoryDoc, *swapDoc) {
	said := make(map[string]uint64)
	for line := range strings.Lines(meminfo) {
		name, rest, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err == nil && kib < 1<<54 {
			said[name] = kib << 10
		}
	}
	var memory *memoryDoc
	if total := said["MemTotal"]; total > 0 {
		available, ok := said["MemAvailable"]
		if !ok { // the kernel is older than 3.14
			available = said["MemFree"] + said["Buffers"] + said["Cached"]
		}
		available = min(total, available)
		memory = &memoryDoc{Total: total, Available: available, Used: total - available}
	}
	total, there := said["SwapTotal"]
	free, known := said["SwapFree"]
	if !there || !known {
		return memory, nil
	}
	return memory, &swapDoc{Total: total, Used: total - min(total, free)}
}

// loadOf reads /proc/loadavg, or returns nil.
func loadOf(loadavg string) *loadDoc {
	words := strings.Fields(loadavg)
	if len(words) < 3 {
		return nil
	}
	var load [3]float64
	for i := range load {
		n, err := strconv.ParseFloat(words[i], 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return nil
		}
		load[i] = n
	}
	return &loadDoc{One: load[0], Five: load[1], Fifteen: load[2]}
}

// cpu counts the processors anew each time, since they can be plugged, but
// reads their model once: on a large machine that is thousands of lines.
func (c *collector) cpu(ctx context.Context) (doc cpuDoc) {
	doc = c.cpuModel()
	defer c.orNothing()
	doc.Physical.Count, _ = cpu.CountsWithContext(ctx, false)
	doc.Logical.Count, _ = cpu.CountsWithContext(ctx, true)
	return doc
}

// orNothing is deferred around gopsutil, which panics on files that are not as it expects.
func (c *collector) orNothing() {
	if p := recover(); p != nil {
		c.log.Warn("what the kernel tells of the processors cannot be read; it is left out", "error", p)
	}
}

func (c *collector) readCPUModel() (doc cpuDoc) {
	defer c.orNothing()
	infos, err := cpu.InfoWithContext(c.gopsutil(context.Background()))
	if err != nil || len(infos) == 0 {
		return cpuDoc{}
	}
	first := infos[0]
	doc = cpuDoc{Vendor: cpuVendor{ID: first.VendorID}, Family: first.Family, Model: cpuModel{ID: first.Model, Name: first.ModelName}}
	if first.VendorID != "" {
		doc.Stepping = strconv.Itoa(int(first.Stepping))
	}
	return doc
}

func (c *collector) operatingSystem() osDoc {
	text := c.tree.Text("etc/os-release")
	if text == "" {
		text = c.tree.Text("usr/lib/os-release")
	}
	vars := parseOSRelease(text)
	return osDoc{
		Type: "linux", ID: vars["ID"], Name: vars["NAME"], Version: vars["VERSION_ID"],
		BuildID: vars["BUILD_ID"], Description: vars["PRETTY_NAME"],
	}
}

// bootTime finds the btime line of /proc/stat.
func bootTime(stat string) time.Time {
	for line := range strings.Lines(stat) {
		if rest, ok := strings.CutPrefix(line, "btime "); ok {
			if sec, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil {
				return time.Unix(sec, 0).UTC()
			}
		}
	}
	return time.Time{}
}
