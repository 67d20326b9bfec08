package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/escape"
	"github.com/reeve-cloud/reeve/plugins/host/tree"
	"github.com/reeve-cloud/reeve/plugins/host/udev"
)

// sectorSize is the unit of sizes in sysfs, whatever the device's own is.
const sectorSize = 512

// ramdiskMajor is the major number of /dev/ram*, which lsblk leaves out too.
const ramdiskMajor = "1"

// block is a block device or a partition as sysfs shows it.
type block struct {
	kernel string // the kernel's name: "dm-0"
	name   string // what people call it: "vg-root"
	number string // "major:minor"
	mapped string // of a device mapper: how a mount names it
	disk   string // of a partition: the kernel's name of its disk
	below  []string
	status string

	device    blockDevice
	partition partition
}

// blockDevice is the document of a BlockDevice.
type blockDevice struct {
	Name              string        `json:"name"`
	Path              string        `json:"path"`
	Type              string        `json:"type"`
	Size              uint64        `json:"size"`
	DeviceNumber      string        `json:"device_number"`
	Bus               string        `json:"bus,omitempty"`
	Vendor            string        `json:"vendor,omitempty"`
	Model             string        `json:"model,omitempty"`
	Serial            string        `json:"serial,omitempty"`
	WWN               string        `json:"wwn,omitempty"`
	Firmware          string        `json:"firmware,omitempty"`
	Rotational        bool          `json:"rotational"`
	Removable         bool          `json:"removable"`
	ReadOnly          bool          `json:"read_only"`
	LogicalBlockSize  uint64        `json:"logical_block_size,omitempty"`
	PhysicalBlockSize uint64        `json:"physical_block_size,omitempty"`
	PartitionTable    signature     `json:"partition_table,omitzero"`
	Content           signature     `json:"content,omitzero"`
	DeviceMapper      *deviceMapper `json:"device_mapper,omitempty"`
	RAID              *raid         `json:"raid,omitempty"`
	Loop              *loop         `json:"loop,omitempty"`
}

// signature is what blkid(8) recognised on a device.
type signature struct {
	Type  string `json:"type,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	Label string `json:"label,omitempty"`
}

type deviceMapper struct {
	Name string `json:"name"`
	UUID string `json:"uuid,omitempty"`
}

// raid leaves the array's state out: it goes from clean to active and back
// with every write.
type raid struct {
	Level    string `json:"level,omitempty"`
	Disks    uint64 `json:"disks,omitempty"`
	Degraded uint64 `json:"degraded"`
}

type loop struct {
	BackingFile string `json:"backing_file"`
}

// partition is the document of a Partition.
type partition struct {
	Name         string    `json:"name"`
	Path         string    `json:"path"`
	Number       uint64    `json:"number"`
	Disk         string    `json:"disk"`
	Start        uint64    `json:"start"`
	Size         uint64    `json:"size"`
	DeviceNumber string    `json:"device_number"`
	ReadOnly     bool      `json:"read_only"`
	Type         string    `json:"type,omitempty"`
	UUID         string    `json:"uuid,omitempty"`
	Label        string    `json:"label,omitempty"`
	Content      signature `json:"content,omitzero"`
}

// key is the block device's or partition's identity. A device mapper's number
// depends on the order of activation, so its name counts.
func (b block) key(machine string) plugin.Key {
	switch {
	case b.disk != "":
		return partKey(machine, typePartition, b.kernel)
	case b.device.DeviceMapper != nil:
		return partKey(machine, typeBlockDevice, "mapper/"+b.name)
	}
	return partKey(machine, typeBlockDevice, b.kernel)
}

// listBlock lists what lsblk(8) lists. Sysfs is read directly: ghw says of an
// unreadable /sys/block that the machine has no disks, which would delete them.
// A device that cannot be read costs itself alone.
func (c *collector) listBlock() (all []block, odd []unread, err error) {
	dir := c.tree.Path("sys/class/block")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list block devices: %w", err)
	}
	for _, e := range entries {
		b, err := c.readBlock(e.Name())
		if errors.Is(err, errNotListed) {
			continue
		}
		if err != nil {
			if _, gone := os.Lstat(filepath.Join(dir, e.Name())); errors.Is(gone, fs.ErrNotExist) {
				continue // unplugged while it was read
			}
			odd = append(odd, unread{why: fmt.Errorf("block device %s: %w", e.Name(), err)})
			continue
		}
		all = append(all, b)
	}
	if len(odd) > 0 && len(all) == 0 {
		return nil, nil, fmt.Errorf("none of %d block devices can be read: %w", len(odd), odd[0].why)
	}
	return all, odd, nil
}

// errNotListed is returned for what is a block device only in name.
var errNotListed = errors.New("not listed")

func (c *collector) readBlock(kernel string) (block, error) {
	t := c.tree.Sub("sys/class/block", kernel)
	raw, err := os.ReadFile(t.Path("size"))
	if err != nil {
		return block{}, err
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return block{}, fmt.Errorf("size: %w", err)
	}
	b := block{kernel: kernel, name: kernel, number: t.Text("dev"), below: t.Names("slaves")}
	major, _, ok := strings.Cut(b.number, ":")
	switch {
	case t.Flag("hidden") || major == ramdiskMajor:
		return block{}, errNotListed // the hidden paths of a multipath NVMe disk have no number
	case !ok:
		return block{}, fmt.Errorf("it has no number, but %q", b.number)
	}
	recorded := udev.Properties(c.tree, b.number)
	content := signature{Type: recorded["ID_FS_TYPE"], UUID: recorded["ID_FS_UUID"],
		Label: udev.Unescape(first(recorded["ID_FS_LABEL_ENC"], recorded["ID_FS_LABEL"]))}
	// A partition lies in the directory of its disk.
	dir, err := filepath.EvalSymlinks(t.Path())
	if err != nil {
		return block{}, err
	}
	disk := filepath.Dir(dir)
	number, numbered := t.Number("partition")
	for _, file := range []string{filepath.Join(dir, "partition"), filepath.Join(disk, "size")} {
		if _, err := os.Lstat(file); !numbered && err == nil {
			return block{}, errors.New("it is a partition, and its number cannot be read")
		}
	}
	if numbered {
		b.disk = filepath.Base(disk)
		start, _ := t.Number("start")
		b.partition = partition{
			Name: kernel, Path: devicePath(kernel), Number: number, Disk: unbang(b.disk), Start: start * sectorSize, Size: sectors * sectorSize,
			DeviceNumber: b.number, ReadOnly: t.Flag("ro"), Type: recorded["ID_PART_ENTRY_TYPE"], UUID: recorded["ID_PART_ENTRY_UUID"],
			Label: udev.Unescape(recorded["ID_PART_ENTRY_NAME"]), Content: content,
		}
		return b, nil
	}
	d := blockDevice{
		Name: unbang(kernel), Path: devicePath(kernel), Type: deviceType(t, kernel), Size: sectors * sectorSize, DeviceNumber: b.number,
		Bus:    first(recorded["ID_BUS"], busOf(t)),
		Vendor: first(udev.Unescape(recorded["ID_VENDOR_ENC"]), recorded["ID_VENDOR"], pciVendorless(t.Text("device/vendor"))),
		Model:  first(udev.Unescape(recorded["ID_MODEL_ENC"]), recorded["ID_MODEL"], t.Text("device/model")),
		Serial: first(recorded["SCSI_IDENT_SERIAL"], recorded["ID_SCSI_SERIAL"], recorded["ID_SERIAL_SHORT"], recorded["ID_SERIAL"], t.Text("device/serial"),
			t.Text("serial")),
		WWN:        first(recorded["ID_WWN_WITH_EXTENSION"], recorded["ID_WWN"], recorded["DM_WWN"], t.Text("wwid"), t.Text("device/wwid")),
		Firmware:   first(t.Text("device/firmware_rev"), t.Text("device/rev")),
		Rotational: t.Flag("queue/rotational"), Removable: t.Flag("removable"), ReadOnly: t.Flag("ro"),
		PartitionTable: signature{Type: recorded["ID_PART_TABLE_TYPE"], UUID: recorded["ID_PART_TABLE_UUID"]},
		Content:        content,
	}
	d.LogicalBlockSize, _ = t.Number("queue/logical_block_size")
	d.PhysicalBlockSize, _ = t.Number("queue/physical_block_size")
	switch name := t.Text("dm/name"); {
	case name != "":
		d.DeviceMapper = &deviceMapper{Name: escape.Printable(name), UUID: t.Text("dm/uuid")}
		b.name, b.mapped = name, "/dev/mapper/"+name
		d.Name, d.Path = escape.Printable(name), escape.Printable(b.mapped)
	case strings.HasPrefix(kernel, "dm-"):
		return block{}, errors.New("the name of the device mapper cannot be read")
	}
	if level := t.Text("md/level"); level != "" {
		d.RAID = &raid{Level: level}
		d.RAID.Disks, _ = t.Number("md/raid_disks")
		d.RAID.Degraded, _ = t.Number("md/degraded")
	}
	if file := t.Text("loop/backing_file"); file != "" {
		d.Loop = &loop{BackingFile: escape.Printable(file)}
	}
	if sectors == 0 && d.Loop == nil && virtual(t) {
		return block{}, errNotListed // zram0, nbd0, loop0 ... that nobody set up
	}
	if b.mapped == "" {
		b.name = d.Name
	}
	b.device = d
	b.status = t.Text("device/state")
	return b, nil
}

// virtual says that a device has no hardware under it.
func virtual(t tree.Tree) bool {
	target, err := os.Readlink(t.Entry())
	return err == nil && strings.Contains(target, "/devices/virtual/")
}

// deviceType is a device's type in lsblk's words.
func deviceType(t tree.Tree, kernel string) string {
	if uuid := t.Text("dm/uuid"); uuid != "" {
		prefix, _, _ := strings.Cut(uuid, "-")
		if prefix = strings.ToLower(prefix); strings.HasPrefix(prefix, "part") {
			return "part"
		}
		return prefix
	}
	switch {
	case strings.HasPrefix(kernel, "dm-"):
		return "dm"
	case strings.HasPrefix(kernel, "loop"):
		return "loop"
	case strings.HasPrefix(kernel, "md"):
		return first(t.Text("md/level"), "md")
	}
	switch t.Text("device/type") { // SCSI peripheral device types
	case "4", "7":
		return "worm"
	case "5":
		return "rom"
	}
	return "disk"
}

// busOf is what a device hangs on, where udev does not say: "virtio".
func busOf(t tree.Tree) string {
	switch bus := t.Link("device/subsystem"); bus {
	case "block", "":
		return ""
	default:
		return bus
	}
}

// pciVendorless drops the PCI vendor number that virtio shows for a name.
func pciVendorless(s string) string {
	if strings.HasPrefix(s, "0x") {
		return ""
	}
	return s
}

// unbang gives a name the slash that sysfs cannot have in it: "cciss/c0d0".
func unbang(kernel string) string { return strings.ReplaceAll(kernel, "!", "/") }

func devicePath(kernel string) string { return "/dev/" + unbang(kernel) }

// observeBlock turns devices into observations, and indexes their keys by
// device number and by the paths by which a mount may name them.
func observeBlock(machine string, all []block) ([]plugin.Observation, map[string]plugin.Key, error) {
	index := make(map[string]plugin.Key, 2*len(all))
	for _, b := range all {
		index[b.number] = b.key(machine)
		index[devicePath(b.kernel)] = b.key(machine)
		if b.mapped != "" {
			index[b.mapped] = b.key(machine)
		}
	}
	observations := make([]plugin.Observation, 0, len(all))
	for _, b := range all {
		obs := plugin.Observation{Key: b.key(machine), Name: escape.Printable(b.name), Status: b.status}
		var err error
		if b.disk != "" {
			if disk, ok := index[devicePath(b.disk)]; ok {
				obs.Relations = append(obs.Relations, relate(partOf, disk))
			}
			obs.Document, err = encode(obs.Key, b.partition)
		} else {
			obs.Relations = append(obs.Relations, relate(partOf, machineKey(machine)))
			obs.Document, err = encode(obs.Key, b.device)
		}
		if err != nil {
			return nil, nil, err
		}
		slices.Sort(b.below)
		for _, kernel := range b.below {
			if key, ok := index[devicePath(kernel)]; ok {
				obs.Relations = append(obs.Relations, relate(backedBy, key))
			}
		}
		observations = append(observations, obs)
	}
	return observations, index, nil
}

// first is the first of the values that is not empty.
func first(values ...string) string {
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}
