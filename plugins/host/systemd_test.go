package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
)

func TestMapService(t *testing.T) {
	v := dbus.MakeVariant
	props := map[string]dbus.Variant{
		"UnitFileState": v("enabled"), "Type": v("notify"), "FragmentPath": v("/lib/systemd/system/ssh.service"),
		"Environment": v([]string{"A=1", "B=x=y z", "C=", "D"}),
		"ExecStart": v([][]any{{"/usr/sbin/sshd", []string{"sshd", "-D"}, false, uint64(1), uint64(2), uint64(3), uint64(4), uint32(5),
			int32(6), int32(7)}}),
		"EnvironmentFiles": v([][]any{{"/etc/default/ssh", true}}), "NRestarts": v(uint32(2)), "MainPID": v(uint32(77)),
		"MemoryCurrent": v(uint64(4096)),
		"MemoryMax":     v(uint64(math.MaxUint64)), "CPUUsageNSec": v(uint64(1500000000)), "TasksMax": v("not a number"),
		"Slice":                v("system.slice"),
		"StateChangeTimestamp": v(uint64(1700000000000000)),
	}
	u := systemd.Unit{Name: "ssh.service", Description: "SSH", LoadState: "loaded", ActiveState: "active", SubState: "running"}
	want := service{
		Name: "ssh.service", Description: "SSH", LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled",
		Type:         "notify",
		FragmentPath: "/lib/systemd/system/ssh.service", Environment: []string{"A=[redacted]", "B=[redacted]", "C=", "D"},
		EnvironmentFiles: []string{"/etc/default/ssh"},
		ExecStart:        []command{{Path: "/usr/sbin/sshd", Arguments: []string{"sshd", "-D"}}}, RestartCount: 2, MainPID: 77,
		Memory: quantity{Current: 4096},
		CPU:    cpuTime{Time: 1.5}, Slice: "system.slice",
	}
	if got := mapService(u, props); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	o, err := observeService(testID, u, props)
	if err != nil || o.UID != testID+"/service/ssh.service" || o.Status != "active" || o.UpdatedAt.Unix() != 1700000000 {
		t.Errorf("%+v %v", o, err)
	}
	// Whatever a systemd to come may say, it must not be our end.
	for name := range props {
		props[name] = v([]int32{1})
	}
	props["ExecStart"] = v([][]any{{}, {1}, {1, 2}})
	mapService(u, props)
	mapService(u, nil)
}

func TestUnitChanges(t *testing.T) {
	c := newUnitChanges()
	deliver := func(iface, name string, path dbus.ObjectPath, body ...any) bool {
		c.DeliverSignal(iface, name, &dbus.Signal{Path: path, Body: body})
		return drain(c.pending)
	}
	const properties = "org.freedesktop.DBus.Properties"
	if deliver(properties, "PropertiesChanged", "/org/freedesktop/systemd1/unit/tmp_2emount") ||
		deliver(systemd.ManagerInterface, "UnitNew", systemd.Path, "a.mount") ||
		deliver(systemd.ManagerInterface, "JobNew", systemd.Path) || deliver(systemd.ManagerInterface, "Reloading", systemd.Path, true) ||
		deliver(systemd.ManagerInterface, "UnitNew", systemd.Path) ||
		deliver(systemd.ManagerInterface, "Reloading", systemd.Path) {
		t.Error("what is not a service's change was noted")
	}
	if !deliver(properties, "PropertiesChanged", "/org/freedesktop/systemd1/unit/a_2eservice") ||
		!deliver(systemd.ManagerInterface, "UnitRemoved", systemd.Path, "b.service") {
		t.Error("a change was not noted")
	}
	if dirty, everything := c.take(); everything || len(dirty) != 1 {
		t.Errorf("took %v, %v", dirty, everything)
	}
	if !deliver(systemd.ManagerInterface, "Reloading", systemd.Path, false) {
		t.Error("a reload was not noted")
	}
	if _, everything := c.take(); !everything {
		t.Error("a reload does not concern everything")
	}
}

// TestNoSystemd sweeps a scope that was there once and certainly is not now.
func TestNoSystemd(t *testing.T) {
	c := testCollector(t, options{Root: writeTree(t, nil).Root()})
	if s := sweepScope(t, c, scopeServices); len(s.all()) != 0 {
		t.Error("services without systemd")
	}
	checks, err := c.Verify(t.Context())
	i := slices.IndexFunc(checks, func(c plugin.Check) bool { return c.Subject == "systemd" })
	if err != nil || i < 0 || checks[i].Err != nil || !strings.Contains(checks[i].Detail, "does not run systemd") {
		t.Errorf("%v %v", checks, err)
	}
	// With a systemd that does not answer, nothing is known.
	if err := os.MkdirAll(c.tree.Path("run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSink()
	if err := c.Sweep(t.Context(), plugin.Scope{Name: scopeServices}, s); err == nil || s.sweeps > 0 {
		t.Errorf("a sweep without connection: %v", err)
	}
}

// insideVariable tells a test that it runs beside a systemd of its own.
const insideVariable = "REEVE_TEST_BESIDE_SYSTEMD"

// besideSystemd runs a test again, in a process beside a systemd that was
// started for it. It returns true in that process, and else when the test is
// over. From outside, systemd would not talk to us: it does not see our pid.
func besideSystemd(t testing.TB, flags ...string) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	pid := bootSystemd(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-t", pid, "-m", "-p", "-i", binary, "-test.v", "-test.timeout=2m"}, flags...)
	cmd := exec.Command("nsenter", args...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

func systemctl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", append([]string{"--no-pager"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// bootSystemd runs a systemd of its own as the first process of fresh
// namespaces, with hardly any units, and returns its process id.
func bootSystemd(t testing.TB) (pid string) {
	t.Helper()
	binary := ""
	for _, path := range []string{"/lib/systemd/systemd", "/usr/lib/systemd/systemd"} {
		if _, err := os.Stat(path); err == nil {
			binary = path
		}
	}
	if binary == "" || os.Geteuid() != 0 {
		t.Skip("no systemd can be started here (this needs root and an installed systemd)")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	cgroups := ""
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " - cgroup2 ") {
			cgroups = strings.Fields(line)[4]
		}
	}
	cgroup := filepath.Join(cgroups, fmt.Sprintf("reeve-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if cgroups == "" || os.Mkdir(cgroup, 0o755) != nil {
		t.Skip("no systemd can be started here (this needs a writable cgroup2 hierarchy)")
	}
	const outer = `set -e
echo $$ > "$1/cgroup.procs"
exec unshare --pid --fork --mount --uts --ipc --net --cgroup --kill-child sh -c "$2" sh "$3"`
	const inner = `set -e
mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd/system
cd /etc/systemd/system
printf '[Unit]\nDefaultDependencies=no\n' > reeve-test.target
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation\n' > dbus.service
printf '[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n' > dbus.socket
printf '[Unit]\nDescription=A probe\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\nEnvironment=A=1 "B=x y"\n' > probe.service
exec env -i container=test PATH="$PATH" "$1" --system --unit=reeve-test.target --log-target=console --log-level=warning --show-status=0`
	var log bytes.Buffer
	cmd := exec.Command("sh", "-c", outer, "sh", cgroup, inner, binary)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Skipf("no systemd can be started here: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for range 100 { // until the namespace's processes are gone
			var dirs []string
			_ = filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				_ = os.Remove(dir)
			}
			if _, err := os.Stat(cgroup); errors.Is(err, fs.ErrNotExist) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("the cgroup %s is left behind", cgroup)
	})
	// The first process of the namespace is the child of unshare.
	children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if raw, err := os.ReadFile(children); err == nil && len(bytes.Fields(raw)) > 0 {
			pid = string(bytes.Fields(raw)[0])
		}
		root := "/proc/" + pid + "/root"
		if pid != "" {
			if _, err := os.Stat(root + "/run/systemd/private"); err == nil {
				// Without a new /run, this would be the machine's own.
				if name, _ := os.ReadFile(root + "/run/systemd/container"); string(bytes.TrimSpace(name)) == "test" {
					break
				}
			}
		}
		if time.Now().After(deadline) {
			t.Skipf("no systemd can be started here: %s", log.String())
		}
	}
	return pid
}

// TestSystemd follows the services of a real systemd.
func TestSystemd(t *testing.T) {
	if !besideSystemd(t, "-test.run=^TestSystemd$") {
		return
	}
	c := testCollector(t, options{})
	t.Run("direct", func(t *testing.T) { followServices(t, c) })
	startBus(t)
	s, err := systemd.Dial(t.Context(), c.tree)
	must(t, err)
	s.Close()
	if s.Direct {
		t.Fatal("the bus is not used")
	}
	t.Run("bus", func(t *testing.T) { followServices(t, c) })
}

// startBus starts the system bus and waits until systemd is on it.
func startBus(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("no dbus-daemon is installed")
	}
	systemctl(t, "start", "dbus.socket", "dbus.service")
	for range 100 {
		if out, _ := exec.Command("busctl", "--acquired", "list").Output(); bytes.Contains(out, []byte(systemd.Name+" ")) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Skip("systemd does not join the bus")
}

func followServices(t *testing.T, c *collector) {
	checks, err := c.Verify(t.Context())
	i := slices.IndexFunc(checks, func(c plugin.Check) bool { return c.Subject == "systemd" })
	if err != nil || checks[i].Err != nil || !strings.HasPrefix(checks[i].Detail, "systemd ") {
		t.Errorf("verify: %+v %v", checks[i], err)
	}
	t.Log(checks[i].Detail)

	systemctl(t, "start", "probe.service")
	swept := sweepScope(t, c, scopeServices)
	var want []string
	for line := range strings.Lines(systemctl(t, "list-units", "--type=service", "--all", "--plain", "--no-legend")) {
		if f := strings.Fields(line); f[1] != "not-found" {
			want = append(want, strings.Join(f[:4], " "))
		}
	}
	var got []string
	for _, o := range swept.ofType(typeService) {
		d := document[service](t, o)
		got = append(got, strings.Join([]string{d.Name, d.LoadState, d.ActiveState, d.SubState}, " "))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("services\n%s\nsystemctl has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	o, _ := swept.named(typeService, "probe.service")
	d := document[service](t, o)
	if o.Status != "active" || d.Description != "A probe" || d.MainPID == 0 ||
		!slices.Equal(d.Environment, []string{"A=[redacted]", "B=[redacted]"}) ||
		len(d.ExecStart) != 1 || d.ExecStart[0].Path != "/bin/sleep" || !slices.Equal(d.ExecStart[0].Arguments, []string{"/bin/sleep", "1000"}) ||
		d.FragmentPath != "/etc/systemd/system/probe.service" || o.UpdatedAt.IsZero() {
		t.Errorf("probe.service: %s", o.Document)
	}
	t.Logf("%s", o.Document)
	again := sweepScope(t, c, scopeServices).all()
	for key, a := range swept.all() {
		for _, typ := range types() {
			if typ.Name == typeService && stable(t, a, typ.Volatile) != stable(t, again[key], typ.Volatile) {
				t.Errorf("%s changed by itself:\n%s\n%s", a.UID, a.Document, again[key].Document)
			}
		}
	}

	s := startWatch(t, c, scopeServices)
	status := func(name string) string { o, _ := s.named(typeService, name); return o.Status }
	systemctl(t, "stop", "probe.service")
	s.eventually(t, "stopped", func() bool { return status("probe.service") != "active" })
	systemctl(t, "start", "probe.service")
	s.eventually(t, "started", func() bool { return status("probe.service") == "active" })
	systemctl(t, "kill", "--signal=KILL", "probe.service")
	s.eventually(t, "killed", func() bool { return status("probe.service") == "failed" })
	if err := os.WriteFile("/etc/systemd/system/later.service",
		[]byte("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1001\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
	systemctl(t, "start", "later.service")
	s.eventually(t, "new service", func() bool { return status("later.service") == "active" })
	systemctl(t, "stop", "later.service")
	s.eventually(t, "service gone", func() bool { return status("later.service") == "" })
	s.mu.Lock()
	t.Logf("%d sweeps, %d facts", s.sweeps, s.applied)
	s.mu.Unlock()
}

// TestSystemdDies makes sure that a lost connection ends the watch.
func TestSystemdDies(t *testing.T) {
	if !besideSystemd(t, "-test.run=^TestSystemdDies$") {
		return
	}
	startBus(t)
	c := testCollector(t, options{})
	s, done := newSink(), make(chan error, 1)
	go func() { done <- c.Watch(t.Context(), plugin.Scope{Name: scopeServices}, "", s) }()
	s.eventually(t, "first sweep", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.sweeps > 0 })
	systemctl(t, "stop", "dbus.service")
	select {
	case err := <-done:
		if err == nil {
			t.Error("Watch returned no error")
		}
		t.Log(err)
	case <-time.After(20 * time.Second):
		t.Error("Watch goes on without systemd")
	}
}

func BenchmarkSweepServices(b *testing.B) {
	if besideSystemd(b, "-test.run=^$", "-test.bench=^BenchmarkSweepServices$") {
		benchmarkSweep(b, testCollector(b, options{}), scopeServices)
	}
}
