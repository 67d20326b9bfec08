package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/escape"
	"github.com/reeve-cloud/reeve/plugins/host/mounts"
	"github.com/reeve-cloud/reeve/plugins/host/statfs"
)

// filesystem is the document of a Filesystem.
type filesystem struct {
	Mountpoint   string   `json:"mountpoint"`
	Device       string   `json:"device"`
	Type         string   `json:"type"`
	Mode         string   `json:"mode"`
	Options      []string `json:"options"`
	DeviceNumber string   `json:"device_number"`
	// Root is the directory of the filesystem that is mounted, if not its own.
	Root string `json:"root,omitempty"`
	// Size is there for filesystems whose size changes only when they are
	// resized. Usage has the total of all.
	Size  uint64        `json:"size,omitempty"`
	Usage *statfs.Usage `json:"usage,omitempty"`
}

// sweepStorage lists block devices, partitions and filesystems.
func (c *collector) sweepStorage(ctx context.Context, machine string, out plugin.Sink) error {
	devices, odd, err := c.listBlock()
	if err != nil {
		return err
	}
	mounts, oddMounts, err := c.listMounts()
	if err != nil {
		return err
	}
	all, index, err := observeBlock(machine, devices)
	if err != nil {
		return err
	}
	paths := make([]string, len(mounts))
	for i, m := range mounts {
		// The kernel names mount points without links, and looking for some could hang
		// here where a server is gone.
		paths[i] = filepath.Join(c.tree.Root(), m.Point)
	}
	answers, err := c.probes.Ask(ctx, paths)
	if err != nil {
		return fmt.Errorf("ask filesystems: %w", err)
	}
	for i, m := range mounts {
		obs, ok, err := c.observeFilesystem(machine, m, answers[i], index)
		if err != nil {
			return err
		}
		if ok {
			all = append(all, obs)
		}
	}
	return commit(ctx, out, all, append(odd, oddMounts...)...)
}

// observeFilesystem is not ok for what is no filesystem to people: one without
// a size, or a single file that is mounted over another.
func (c *collector) observeFilesystem(machine string, m mounts.Mount, a statfs.Answer, index map[string]plugin.Key) (obs plugin.Observation, ok bool,
	err error) {
	status := "mounted"
	var usage *statfs.Usage
	switch {
	case errors.Is(a.Err, fs.ErrNotExist):
		return obs, false, nil // unmounted since, or hidden by a later mount above it
	case errors.Is(a.Err, statfs.ErrUnresponsive):
		status = "unresponsive"
	case errors.Is(a.Err, fs.ErrPermission):
		// It is mounted; only its numbers are not ours to know.
	case a.Err != nil:
		status = "unavailable"
	case !a.IsDir || a.Usage.Total == 0:
		return obs, false, nil
	case c.tree.Foreign() && m.Type != "btrfs" && a.Number != m.Number:
		// The mount did not propagate to the agent, who would measure what is
		// under it.
	default:
		usage = &a.Usage
	}
	doc := filesystem{
		Mountpoint: escape.Printable(m.Point), Device: escape.Printable(m.Source), Type: escape.Printable(m.Type), Mode: "rw", Options: m.Options, DeviceNumber: m.Number,
		Usage: usage,
	}
	if slices.Contains(m.Options, "ro") {
		doc.Mode = "ro"
	}
	if m.Root != "/" {
		doc.Root = escape.Printable(m.Root)
	}
	key := partKey(machine, typeFilesystem, m.Point)
	if fixedSize(m.Type) {
		doc.Size = c.rememberSize(key.UID, usage)
	}
	obs = plugin.Observation{Key: key, Name: escape.Printable(m.Point), Status: status,
		Relations: []plugin.Relation{relate(partOf, machineKey(machine))}}
	if device, ok := c.deviceOf(m, index); ok {
		obs.Relations = append(obs.Relations, relate(backedBy, device))
	}
	obs.Document, err = encode(key, doc)
	return obs, err == nil, err
}

// fixedSize says that the total size of such a filesystem is a fact and not
// what is used plus what happens to be free in a pool.
func fixedSize(fstype string) bool {
	switch fstype {
	case "zfs", "bcachefs", "ceph", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "overlay", "glusterfs", "lustre", "afs":
		return false
	}
	return !strings.HasPrefix(fstype, "fuse")
}

// rememberSize keeps a filesystem's last known size for the time in which it
// does not answer: it does not change by that.
func (c *collector) rememberSize(uid string, usage *statfs.Usage) uint64 {
	if usage != nil {
		c.sizes.Store(uid, usage.Total)
		return usage.Total
	}
	if size, ok := c.sizes.Load(uid); ok {
		return size.(uint64)
	}
	return 0
}

// deviceOf finds the device under a filesystem: by number, or for filesystems
// with a number of their own (btrfs) by the path that was mounted.
func (c *collector) deviceOf(m mounts.Mount, index map[string]plugin.Key) (plugin.Key, bool) {
	if key, ok := index[m.Number]; ok {
		return key, true
	}
	if !strings.HasPrefix(m.Source, "/dev/") {
		return plugin.Key{}, false
	}
	if key, ok := index[m.Source]; ok {
		return key, true
	}
	target := c.tree.Path(m.Source)
	if !c.tree.Foreign() {
		var err error
		if target, err = filepath.EvalSymlinks(target); err != nil {
			return plugin.Key{}, false
		}
	}
	key, ok := index[devicePath(filepath.Base(target))]
	return key, ok
}

// listMounts lists the filesystems that are candidates for an asset, each once.
func (c *collector) listMounts() (list []mounts.Mount, odd []unread, err error) {
	file := "proc/self/mountinfo"
	if c.tree.Foreign() {
		// "self" would show the agent's own container.
		file = "proc/1/mountinfo"
	}
	f, err := os.Open(c.tree.Path(file))
	if err != nil {
		return nil, nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	all, bad, err := mounts.Parse(f)
	for _, why := range bad {
		odd = append(odd, unread{why: why})
	}
	if err == nil && len(all) == 0 {
		// There is no process without a root.
		err = errors.New("there is no mount in it")
		if len(odd) > 0 {
			err = odd[0].why
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list mounts: %s: %w", file, err)
	}
	return mounts.Select(all, c.opts.excluded), odd, nil
}
