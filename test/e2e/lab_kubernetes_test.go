//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The components of a Kubernetes cluster of the lab.
const (
	etcd              = "etcd"
	apiserver         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kwok              = "kwok"
)

// kubernetes is a real Kubernetes control plane with made-up nodes
// (deploy/lab/kubernetes), with a state and ports of its own. What it runs is
// built once for all, into the cache.
type kubernetes struct {
	t       *testing.T
	dir     string
	scripts string
	cache   string
	port    int
	env     []string
	logFile string
}

// newKubernetes starts a cluster, which ends with the test, also if the test is
// killed. The options are more variables for its scripts, as in
// "K8S_LAB_APISERVER_ARGS=--watch-cache=false".
func newKubernetes(t *testing.T, options ...string) *kubernetes {
	t.Helper()
	cache := os.Getenv("K8S_LAB_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("there is no place for what the Kubernetes lab runs: %v; set HOME", err)
		}
		cache = filepath.Join(dir, "reeve", "lab", "kubernetes")
	}
	k := &kubernetes{
		t: t, dir: t.TempDir(), scripts: filepath.Join(programs.root, "deploy", "lab", "kubernetes"),
		cache: cache, port: freePortRange(t, 6), logFile: logFile(t, "kubernetes"),
	}
	// It builds with the tester's settings of Go if nothing is built yet.
	k.env = append(os.Environ(), "KUBECONFIG=", "K8S_LAB_APISERVER_ARGS=")
	k.env = append(k.env, options...)
	k.env = append(k.env, "K8S_LAB="+k.dir, "K8S_LAB_CACHE="+cache, fmt.Sprintf("K8S_LAB_PORT=%d", k.port))
	k.endWithTest()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, component := range []string{etcd, apiserver, controllerManager, scheduler, kwok} {
			file := filepath.Join(k.dir, "logs", component+".log")
			t.Logf("the end of what %s said:\n%s", component, tail(file, 20))
			if data, err := os.ReadFile(file); err == nil {
				writeFile(t, filepath.Join(t.ArtifactDir(), component+".log"), string(data))
			}
		}
	})
	k.up()
	return k
}

// endWithTest has the cluster stopped when the test ends, or when this process
// does without a chance to clean up: what stops it waits for the end of a pipe.
func (k *kubernetes) endWithTest() {
	k.t.Helper()
	out, err := os.OpenFile(k.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	down := exec.Command("sh", "-c", `cat; exec "$0" --wipe`, filepath.Join(k.scripts, "k8s-down.sh"))
	down.Env, down.Stdout, down.Stderr = k.env, out, out
	down.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := down.StdinPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := down.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		if err := errors.Join(pipe.Close(), down.Wait()); err != nil {
			k.t.Errorf("stopping the Kubernetes lab: %v\n%s", err, tail(k.logFile, 20))
		}
	})
}

// up starts what does not run, and waits until all is ready. It writes an audit
// log.
func (k *kubernetes) up() {
	k.t.Helper()
	// A build takes minutes where nothing is cached.
	if _, err := k.run(15*time.Minute, filepath.Join(k.scripts, "k8s-up.sh"), "--audit"); err != nil {
		k.t.Fatalf("starting the Kubernetes lab (it is built from the Go module proxy; make lab-kubernetes-build does that alone): %v", err)
	}
}

// run runs a program to its end, and returns what it printed. The error has what
// it said, which also goes to the log.
func (k *kubernetes) run(limit time.Duration, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	log, err := os.OpenFile(k.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	var out, complaint strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = k.dir, k.env
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&complaint, log)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// kubeconfig is the file with the administrator's access.
func (k *kubernetes) kubeconfig() string { return filepath.Join(k.dir, "kubeconfig") }

// kubectl runs kubectl as the administrator and returns what it printed.
func (k *kubernetes) kubectl(args ...string) (string, error) {
	return k.run(time.Minute, filepath.Join(k.cache, "bin", "kubectl"), append([]string{"--kubeconfig", k.kubeconfig()}, args...)...)
}

func (k *kubernetes) mustKubectl(args ...string) string {
	k.t.Helper()
	out, err := k.kubectl(args...)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// seed fills the cluster, or changes what is in it; k8s-seed -h says what it can
// do. Without numbers it makes 100 nodes and 2,000 pods.
func (k *kubernetes) seed(args ...string) {
	k.t.Helper()
	if _, err := k.run(30*time.Minute, filepath.Join(k.scripts, "k8s-seed.sh"), args...); err != nil {
		k.t.Fatal(err)
	}
}

// pid returns the process of a component, or 0 if it was never started.
func (k *kubernetes) pid(component string) int {
	k.t.Helper()
	data, err := os.ReadFile(filepath.Join(k.dir, "run", component+".pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	pid := 0
	if err == nil {
		_, err = fmt.Sscan(string(data), &pid)
	}
	if err != nil {
		k.t.Fatalf("which process is %s? %v", component, err)
	}
	return pid
}

func (k *kubernetes) signal(component string, signal syscall.Signal) int {
	k.t.Helper()
	pid := k.pid(component)
	if pid == 0 {
		k.t.Fatalf("%s does not run", component)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		k.t.Fatalf("%s to %s: %v", signal, component, err)
	}
	return pid
}

// kill ends a component with SIGKILL; up brings it back.
func (k *kubernetes) kill(component string) {
	k.t.Helper()
	waitGone(k.t, k.signal(component, syscall.SIGKILL))
}

// stop makes a component stand still, and cont go on.
func (k *kubernetes) stop(component string) { k.t.Helper(); k.signal(component, syscall.SIGSTOP) }
func (k *kubernetes) cont(component string) { k.t.Helper(); k.signal(component, syscall.SIGCONT) }

// compact makes etcd forget all but the current state, and returns its revision.
//
// The apiserver answers watches, and lists at a version, out of its own memory as
// long as it can; expire has it say 410.
func (k *kubernetes) compact() int64 {
	k.t.Helper()
	out, err := k.run(time.Minute, filepath.Join(k.cache, "bin", "k8slab"), "compact", "-endpoint",
		fmt.Sprintf("http://127.0.0.1:%d", k.port+1))
	if err != nil {
		k.t.Fatal(err)
	}
	revision, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		k.t.Fatal(err)
	}
	return revision
}

// expire makes all versions that were ever handed out too old: to watch from them
// or to go on with a list is refused with 410 Gone. The apiserver is away for some
// seconds meanwhile.
func (k *kubernetes) expire() int64 {
	k.t.Helper()
	revision := k.compact()
	k.kill(apiserver)
	k.up()
	return revision
}

// auditLog is the file in which the apiserver writes who asked for what, one JSON
// object of audit.k8s.io/v1 in each line.
func (k *kubernetes) auditLog() string { return filepath.Join(k.dir, "logs", "audit.log") }

// calls counts what a user agent, given by how it begins, has asked the apiserver
// for and got an answer to, by verb and resource, as in "list deployments.apps". A
// watch counts when it begins.
func (k *kubernetes) calls(userAgent string) map[string]int {
	k.t.Helper()
	f, err := os.Open(k.auditLog())
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	counts := make(map[string]int)
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return counts // a line without an end is being written
		}
		var call struct {
			Stage, Verb, UserAgent string
			ObjectRef              struct{ Resource, APIGroup string }
		}
		if err == nil {
			err = json.Unmarshal(line, &call)
		}
		if err != nil {
			k.t.Fatalf("%s: %v", k.auditLog(), err)
		}
		if !strings.HasPrefix(call.UserAgent, userAgent) || (call.Verb == "watch") != (call.Stage == "ResponseStarted") {
			continue
		}
		what := call.Verb + " " + call.ObjectRef.Resource
		if call.ObjectRef.APIGroup != "" {
			what += "." + call.ObjectRef.APIGroup
		}
		counts[what]++
	}
}

// freePortRange returns the first of n ports in a row that are free; see freePorts.
func freePortRange(t *testing.T, n int) int {
	t.Helper()
next:
	for range 1000 {
		first := 20000 + rand.IntN(10000)
		for port := first; port < first+n; port++ {
			if !claim(t, port) {
				continue next
			}
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue next
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return first
	}
	t.Fatalf("found no %d free ports in a row", n)
	return 0
}

// TestKubernetesLab holds the cluster of the tests against what they rely on.
func TestKubernetesLab(t *testing.T) {
	k := newKubernetes(t)
	canaries := filepath.Join(t.TempDir(), "canaries.json")
	k.seed("-nodes", "3", "-pods", "30", "-namespaces", "2", "-canaries", canaries)

	nodes := func() []string {
		t.Helper()
		return strings.Fields(k.mustKubectl("get", "nodes", "-o", "name"))
	}
	if got := nodes(); len(got) != 3 {
		t.Errorf("there are the nodes %v, want 3", got)
	}
	types := strings.Fields(k.mustKubectl("api-resources", "--verbs=list,get", "-o", "name"))
	all := strings.Join(types, ",")
	filled := make(map[string]bool)
	for object := range strings.FieldsSeq(k.mustKubectl("get", all, "-A", "-o", "name")) {
		kind, _, _ := strings.Cut(object, "/")
		filled[kind] = true
	}
	t.Logf("%d of %d types have objects", len(filled), len(types))
	if len(filled) < 60 {
		t.Errorf("objects of %d types, want 60 or more", len(filled))
	}
	checkPlanted(t, readPlanted(t, canaries), []byte(k.mustKubectl("get", all, "-A", "-o", "json")))

	k.seed("-churn", "10", "-for", "2s")
	if calls := k.calls("k8s-seed"); calls["create deployments.apps"] < 2 || calls["create pods"] == 0 &&
		calls["patch deployments.apps"] == 0 {
		t.Errorf("the audit log has these calls of the seeder: %v", calls)
	}
	if calls := k.calls("kubectl/"); calls["list nodes"] < 2 {
		t.Errorf("the audit log has these calls of kubectl: %v", calls)
	}

	// A component that was killed comes back, and the others stay.
	before := map[string]int{}
	for _, component := range []string{etcd, apiserver, controllerManager, scheduler, kwok} {
		before[component] = k.pid(component)
	}
	k.kill(apiserver)
	if out, err := k.kubectl("get", "nodes"); err == nil {
		t.Errorf("the apiserver is killed, and answers: %s", out)
	}
	k.up()
	for component, pid := range before {
		if same := k.pid(component) == pid; same == (component == apiserver) {
			t.Errorf("process %d of %s, before the apiserver was killed and brought back, is %d now", pid, component, k.pid(component))
		}
	}
	if got := nodes(); len(got) != 3 {
		t.Errorf("there are the nodes %v behind the kill, want 3", got)
	}
	k.works("after-kill")

	// One that stands still does not answer, and then goes on.
	k.stop(apiserver)
	if out, err := k.kubectl("get", "nodes", "--request-timeout", "1s"); err == nil {
		t.Errorf("the apiserver stands still, and answers: %s", out)
	}
	k.cont(apiserver)
	eventually(t, time.Minute, "the apiserver answers again", func() error {
		_, err := k.kubectl("get", "nodes", "--request-timeout", "5s")
		return err
	})

	// What was handed out expires.
	k.mustKubectl("create", "namespace", "older")
	version := k.mustKubectl("get", "namespace", "older", "-o", "jsonpath={.metadata.resourceVersion}")
	watch := "/api/v1/namespaces?watch=1&timeoutSeconds=1&resourceVersion=" + version
	k.mustKubectl("create", "namespace", "newer")
	if out := k.mustKubectl("get", "--raw", watch); !strings.Contains(out, `"newer"`) {
		t.Errorf("a watch from version %s tells of no namespace made since: %s", version, out)
	}
	old, err := strconv.ParseInt(version, 10, 64)
	if revision := k.expire(); err != nil || revision <= old {
		t.Errorf("compacted to %d, want more than %s", revision, version)
	}
	if out := k.mustKubectl("get", "--raw", watch); !strings.Contains(out, `"code":410`) {
		t.Errorf("a watch from version %s, which is compacted, is answered with %s; want 410", version, out)
	}
	if got := nodes(); len(got) != 3 {
		t.Errorf("there are the nodes %v behind the compaction, want 3", got)
	}

	// Any component may go.
	for _, component := range []string{etcd, controllerManager, scheduler, kwok} {
		k.kill(component)
	}
	k.up()
	k.works("after-all")
}

// works makes a Deployment and waits until its pod runs, for which it takes all
// components.
func (k *kubernetes) works(name string) {
	k.t.Helper()
	k.mustKubectl("create", "deployment", name, "--image", "registry.example.com/"+name+":1.0.0")
	eventually(k.t, time.Minute, "a pod of the Deployment "+name+" runs", func() error {
		out, err := k.kubectl("get", "pods", "-l", "app="+name, "-o", "jsonpath={.items[*].status.phase}")
		if err == nil && out != "Running" {
			err = fmt.Errorf("the phase of its pods is %q", out)
		}
		return err
	})
}
