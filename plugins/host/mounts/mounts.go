// Package mounts reads the kernel's table of mounts, and chooses from it the filesystems of a machine.
package mounts

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/plugins/host/escape"
)

// Mount is one line of mountinfo.
type Mount struct {
	Number  string // "major:minor" of the filesystem
	Root    string // the directory of the filesystem that is mounted
	Point   string
	Type    string
	Source  string
	Options []string
}

// Pseudo are filesystems that hold no files of anyone's. Most of them have no
// size either, but asking is not free: statfs on autofs can trigger a mount.
var Pseudo = map[string]bool{
	"autofs": true, "binfmt_misc": true, "bpf": true, "cgroup": true, "cgroup2": true, "configfs": true,
	"debugfs": true, "devpts": true, "devtmpfs": true, "efivarfs": true, "fuse.gvfsd-fuse": true,
	"fuse.lxcfs": true, "fuse.portal": true, "fusectl": true, "hugetlbfs": true, "mqueue": true,
	"nfsd": true, "nsfs": true, "proc": true, "pstore": true, "ramfs": true, "resctrl": true,
	"rpc_pipefs": true, "securityfs": true, "selinuxfs": true, "smackfs": true, "sysfs": true, "tracefs": true,
}

// containerDirs are where container engines mount: images, and volumes that are
// also mounted elsewhere. They come and go with containers and are theirs, not
// the machine's.
var containerDirs = []string{
	"/var/lib/docker/", "/var/lib/containers/", "/var/lib/containerd/",
	"/run/containerd/", "/run/docker/", "/run/k3s/", "/run/netns/", "/run/credentials/",
}

// containerForms tell what they mount wherever their directories are: the volumes of
// a pod below any kubelet's root (k0s, microk8s, k3s ...; a static pod's id has no
// dashes), what lies in a directory named by the hash of a container or a layer, and
// containerd's own. What a kubelet mounts once for all pods is a filesystem like
// any other.
var containerForms = regexp.MustCompile(`/kubelet/pods/|/kubernetes\.io~|/pods/([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})/` +
	`|/[0-9a-f]{64}(-init)?(/|$)` +
	`|/io\.containerd\.[^/]+/|/containers/storage/(overlay|vfs|btrfs|zfs)`)

// globalMount is how a kubelet names what it mounts once, also in directories named
// by a hash.
const globalMount = "/globalmount"

// Select drops pseudo filesystems, containers' mounts, what another mount
// hides, what is excluded, and all but one mount of each filesystem.
func Select(all []Mount, excluded func(point string) bool) []Mount {
	top := make(map[string]int, len(all)) // the last mount on a point is the visible one
	for i, m := range all {
		top[m.Point] = i
	}
	chosen := map[string]Mount{}
	for i, m := range all {
		if top[m.Point] != i || Pseudo[m.Type] || IsContainers(m.Point) || excluded(m.Point) {
			continue
		}
		id := m.Number
		switch {
		case m.Type == "btrfs":
			// Its subvolumes share a number and are filesystems of their own.
			id += m.Root
		case remote(m):
			// A client may have one number for all exports of a server.
			id += " " + m.Source
		}
		if old, ok := chosen[id]; !ok || compareMounts(m, old) < 0 {
			chosen[id] = m
		}
	}
	mounts := make([]Mount, 0, len(chosen))
	for _, m := range chosen {
		mounts = append(mounts, m)
	}
	slices.SortFunc(mounts, func(a, b Mount) int { return strings.Compare(a.Point, b.Point) })
	return mounts
}

// compareMounts orders the mounts of one filesystem: a whole one goes before
// one of a part (a bind mount), then the shorter path wins, as with df(1).
func compareMounts(a, b Mount) int {
	return cmp.Or(cmp.Compare(len(a.Root), len(b.Root)), cmp.Compare(len(a.Point), len(b.Point)), strings.Compare(a.Point, b.Point))
}

// remote says that a filesystem is another machine's, by what df(1) goes by: it is
// mounted from HOST:DIRECTORY, or //HOST/SHARE.
func remote(m Mount) bool {
	return strings.HasPrefix(m.Source, "//") || strings.Contains(m.Source, ":") && !strings.HasPrefix(m.Source, "/")
}

// IsContainers reports whether what is mounted there is a container's or a pod's.
func IsContainers(point string) bool {
	return slices.ContainsFunc(containerDirs, func(dir string) bool { return strings.HasPrefix(point, dir) }) ||
		containerForms.MatchString(point) && !strings.HasSuffix(point, globalMount)
}

// maxMountLine is how long a line may be: an overlay lists all its layers in one option,
// of which it has up to 500.
const maxMountLine = 8 << 20

// Parse reads the format of proc_pid_mountinfo(5). A line of another form costs
// itself alone: an error of its own in odd.
func Parse(r io.Reader) (all []Mount, odd []error, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMountLine)
	lines.Split(scanKernelLines)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		// The kernel escapes blank, tab, newline and backslash, and nothing else that
		// could pass for a blank.
		left, right := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(left) < 6 || len(right) < 3 {
			odd = append(odd, fmt.Errorf("mount %.200q is not in the known format", lines.Text()))
			continue
		}
		all = append(all, Mount{
			Number: left[2], Root: unescapeMount(left[3]), Point: unescapeMount(left[4]),
			Type: right[0], Source: unescapeMount(right[1]), Options: mergeOptions(left[5], right[2]),
		})
	}
	return all, odd, lines.Err()
}

// scanKernelLines splits at newlines, and at nothing else: a carriage return is part
// of a name.
func scanKernelLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// mergeOptions joins the options of a mount and of its filesystem as
// /proc/mounts does: read-only wins, and nothing is said twice.
func mergeOptions(mount, super string) []string {
	merged := strings.Split(mount, ",")
	for o := range strings.SplitSeq(super, ",") {
		if o != "" && !slices.Contains(merged, o) {
			merged = append(merged, o)
		}
	}
	if slices.Contains(merged, "ro") {
		merged = slices.DeleteFunc(merged, func(o string) bool { return o == "rw" })
	}
	for i, o := range merged {
		merged[i] = escape.Printable(unescapeMount(o))
	}
	return merged
}

// unescapeMount undoes the octal escapes of blanks and backslashes.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) && s[i+1] < '4' {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
