//go:build e2e

package e2e

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

var (
	kubernetesNodes   = flag.Int("nodes", 10, "how many nodes the Kubernetes cluster of the tests has")
	kubernetesPods    = flag.Int("pods", 200, "how many pods it has")
	kubernetesCreated = flag.Int("created", 100, "how many pods are created to see how long they take to the centre")
	kubernetesChanges = flag.Int("changes", 500, "how many objects are deleted, changed and created while nobody looks")
)

// observed is a cluster with an agent that collects it and a centre.
type observed struct {
	t   *testing.T
	lab *kubernetes
	api *apiServer
	a   *aggregator
	g   *agent
	// kubeconfig is the agent's.
	kubeconfig string
	// cluster is the uid of kube-system.
	cluster string
}

// observe starts a cluster with an estate, a centre, and an agent that collects
// the cluster; seeding are more arguments for the seeder.
func observe(t *testing.T, seeding ...string) *observed {
	t.Helper()
	o := &observed{t: t, lab: newKubernetes(t), a: newAggregator(t)}
	began := time.Now()
	o.lab.seed(append([]string{"-nodes", strconv.Itoa(*kubernetesNodes), "-pods", strconv.Itoa(*kubernetesPods), "-namespaces", "5"},
		seeding...)...)
	t.Logf("the estate was made in %v", time.Since(began).Round(time.Second))
	o.api = newAPIServer(t, o.lab.kubeconfig())
	var namespace struct{ Metadata struct{ UID string } }
	o.api.read("/api/v1/namespaces/kube-system", &namespace)
	o.cluster = namespace.Metadata.UID
	o.g = newAgent(t, "agent", "")
	o.useKubeconfig(o.lab.kubeconfig())
	return o
}

func (o *observed) useKubeconfig(file string) {
	o.kubeconfig = file
	// Nothing about the value of one canary, or its key, says that it is a secret.
	writeFile(o.t, o.g.config, fmt.Sprintf("redact: {keys: [innocent]}\ncollectors:\n- plugin: kubernetes\n  name: lab\n  options: "+
		"{kubeconfig: %q}\n", file))
}

func (o *observed) join() {
	o.t.Helper()
	began := time.Now()
	o.g.join(o.a.joinToken())
	objects, kinds := o.a.equals(o.api, 10*time.Minute)
	o.t.Logf("%d objects of %d kinds are equal, %v after the agent's start", objects, kinds, time.Since(began).Round(time.Second))
}

// uid returns an object's uid at the centre.
func (o *observed) uid(kind, namespace, name string) string {
	return o.cluster + "/" + kind + "/" + namespace + "/" + name
}

func configMap(name, value string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"value":%q}}}`, name, value)
}

const configMaps = "/api/v1/namespaces/default/configmaps"

// disturb makes what makes changes, concurrently: config maps 0 to 2n-1 exist
// before; 0 to n-1 are deleted, n to 2n-1 are changed, 2n to 3n-1 are created.
func (o *observed) disturb(round, n int) {
	o.t.Helper()
	o.each(n, func(i int) {
		o.api.delete(fmt.Sprintf("%s/r%d-%05d", configMaps, round, i))
		o.api.patch(fmt.Sprintf("%s/r%d-%05d", configMaps, round, n+i), `{"metadata":{"labels":{"value":"changed"}}}`)
		o.api.create(configMaps, configMap(fmt.Sprintf("r%d-%05d", round, 2*n+i), "new"))
	})
}

// before makes what disturb needs.
func (o *observed) before(round, n int) {
	o.t.Helper()
	o.each(2*n, func(i int) { o.api.create(configMaps, configMap(fmt.Sprintf("r%d-%05d", round, i), "old")) })
}

func (o *observed) each(n int, do func(int)) {
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < n; i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// exact checks, once the centre equals the cluster again, that what was done in
// a round is what the history shows.
func (o *observed) exact(round, n int, what string, since time.Time) {
	o.t.Helper()
	objects, kinds := o.a.equals(o.api, 6*time.Minute)
	took := time.Since(since)
	deleted := 0
	for _, asset := range o.a.assets("--state", "deleted", "--type", "kubernetes.core.ConfigMap") {
		name, ok := strings.CutPrefix(asset.GetName(), fmt.Sprintf("r%d-", round))
		if !ok {
			continue
		}
		if i, err := strconv.Atoi(name); err != nil || i >= n {
			o.t.Errorf("%s: %s is deleted at the centre, but not in the cluster", what, asset.GetName())
		}
		deleted++
	}
	if deleted != n {
		o.t.Errorf("%s: %d of %d deletions", what, deleted, n)
	}
	// A falsely deleted asset that came back would have more versions.
	for _, i := range []int{0, n - 1, n, 2*n - 1, 2 * n, 3*n - 1} {
		var history []string
		for _, c := range o.a.changes(o.uid("ConfigMap", "default", fmt.Sprintf("r%d-%05d", round, i))) {
			history = append(history, strings.TrimPrefix(c.GetOperation().String(), "OPERATION_"))
		}
		want := []string{"DELETED", "CREATED"}
		switch {
		case i >= 2*n:
			want = []string{"CREATED"}
		case i >= n:
			want = []string{"UPDATED", "CREATED"}
		}
		if !slices.Equal(history, want) {
			o.t.Errorf("%s: the history of %d is %q, want %q", what, i, history, want)
		}
	}
	o.t.Logf("%s: %d deleted, %d changed, %d created; %d objects of %d kinds are equal after %v", what, n, n, n, objects, kinds,
		took.Round(100*time.Millisecond))
}

// TestKubernetes holds the centre against the cluster, through all that may
// happen to the agent, the API server, and the line between them.
func TestKubernetes(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "canaries.json")
	o := observe(t, "-canaries", planted)
	proxy := newStallingProxy(t, o.api.url)
	o.useKubeconfig(proxy.kubeconfig(o.lab.kubeconfig()))
	o.join()
	n := *kubernetesChanges

	t.Run("definitions", o.definitions)
	t.Run("latency", func(t *testing.T) { o.latency(t, *kubernetesCreated) })
	t.Run("recreated", o.recreated)

	for round, fault := range []struct {
		what         string
		begin, mends func()
	}{
		{"agent killed", func() { o.g.kill() }, o.g.start},
		{"API server killed", func() { o.lab.kill(apiserver); o.lab.up() }, func() {}},
		{"agent away, etcd compacted", func() { o.g.kill() }, func() { o.lab.expire(); o.g.start() }},
		{"watches cut without a word", proxy.stall, func() {}},
	} {
		o.before(round, n)
		o.a.equals(o.api, 5*time.Minute)
		fault.begin()
		began := time.Now()
		o.disturb(round, n)
		fault.mends()
		o.exact(round, n, fault.what, began)
		proxy.goOn()
	}
	t.Run("canaries", func(t *testing.T) { o.canaries(t, planted) })
}

// definitions: kinds come and go while the agent runs.
func (o *observed) definitions(t *testing.T) {
	o.api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
		`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"gadgets.e2e.example.com"},"spec":{"group":"e2e.example.com","scope":"Namespaced","names":{"plural":"gadgets","singular":"gadget","kind":"Gadget","listKind":"GadgetList"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`)
	began := time.Now()
	const path = "/apis/e2e.example.com/v1/namespaces/default/gadgets"
	eventually(t, 30*time.Second, "the kind is served", func() error {
		_, err := o.api.do("POST", path, "application/json",
			`{"apiVersion":"e2e.example.com/v1","kind":"Gadget","metadata":{"name":"one"},"spec":{"futureField":{"n":1}}}`)
		return err
	})
	uid := o.uid("Gadget.e2e.example.com", "default", "one")
	eventually(t, 30*time.Second, "an object of the new kind is at the centre", func() error {
		asset, err := o.a.asset(uid)
		if err == nil && asset.GetDocument().GetFields()["spec"].GetStructValue().GetFields()["futureField"] == nil {
			t.Errorf("a field that nobody knows is missing: %v", asset.GetDocument())
		}
		return err
	})
	t.Logf("a new kind's object was at the centre %v after its definition", time.Since(began).Round(10*time.Millisecond))
	o.api.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.e2e.example.com")
	began = time.Now()
	eventually(t, time.Minute, "it is deleted with its kind", func() error {
		asset, err := o.a.asset(uid)
		if err == nil && asset.GetState() != reevev1.State_STATE_DELETED {
			err = fmt.Errorf("its state is %v", asset.GetState())
		}
		return err
	})
	t.Logf("it was deleted %v after its definition", time.Since(began).Round(10*time.Millisecond))
	if history := o.a.changes(uid); len(history) != 2 {
		t.Errorf("its history is %v", history)
	}
	o.a.equals(o.api, 5*time.Minute)
}

// recreated: an object that takes the name of another is another.
func (o *observed) recreated(t *testing.T) {
	o.api.create(configMaps, configMap("again", "first"))
	uid := o.uid("ConfigMap", "default", "again")
	eventually(t, 30*time.Second, "the first is there", func() error { _, err := o.a.asset(uid); return err })
	o.g.kill()
	time.Sleep(1100 * time.Millisecond) // creation times are in whole seconds
	o.api.delete(configMaps + "/again")
	o.api.create(configMaps, configMap("again", "second"))
	o.lab.expire() // so that only a listing can tell
	o.g.start()
	eventually(t, time.Minute, "the second is there", func() error {
		var history []string
		for _, c := range o.a.changes(uid) {
			history = append(history, strings.TrimPrefix(c.GetOperation().String(), "OPERATION_"))
		}
		if want := []string{"CREATED", "DELETED", "CREATED"}; !slices.Equal(history, want) {
			return fmt.Errorf("the history is %q, want %q", history, want)
		}
		return nil
	})
}

// latency creates pods one by one and measures how long each takes until the API
// of the centre lists its creation.
func (o *observed) latency(t *testing.T, pods int) {
	const watching = "reeve_ingest_feed_subscribers"
	before, err := metric(o.a.health, watching)
	if err != nil {
		t.Fatal(err)
	}
	watch := o.a.watchChanges("--type", "kubernetes.core.Pod")
	eventually(t, time.Minute, "changes are watched", func() error {
		now, err := metric(o.a.health, watching)
		if err == nil && now <= before {
			err = fmt.Errorf("%v watches", now)
		}
		return err
	})
	created := make(map[string]time.Time)
	var mu sync.Mutex
	var took []time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range watch {
			mu.Lock()
			if at, ok := created[c.GetName()]; ok && c.GetOperation() == reevev1.Change_OPERATION_CREATED {
				took = append(took, time.Since(at))
				if len(took) == pods {
					mu.Unlock()
					return
				}
			}
			mu.Unlock()
		}
	}()
	for i := range pods {
		name := fmt.Sprintf("latency-%04d", i)
		mu.Lock()
		created[name] = time.Now()
		mu.Unlock()
		o.api.create("/api/v1/namespaces/default/pods",
			fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"containers":[{"name":"x",`+
				`"image":"registry.example.com/x:1"}]}}`, name))
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%d of %d pods came to the centre", len(took), pods)
	}
	slices.Sort(took)
	t.Logf("created until queryable, %d pods: p50 %v, p99 %v, worst %v", pods, took[len(took)/2].Round(time.Millisecond),
		took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// canaries looks for what the seeder planted in all that the agent and the centre
// have written.
func (o *observed) canaries(t *testing.T, file string) {
	objects := append(objectsOf(t, o.api.truth()), o.api.must("GET", "/api/v1/events", "", "")...)
	lookForPlanted(t, file, objects, o.a, o.g, "asset", "asset_version", "event")
}

// watchChanges follows the changes that the centre tells of, until the test ends.
func (a *aggregator) watchChanges(args ...string) <-chan *reevev1.Change {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), programs.reeve, append([]string{"watch", "-o", "json"}, args...)...)
	cmd.Dir, cmd.Env = a.home, environment(a.home, map[string]string{"REEVE_CONFIG": filepath.Join(a.home, "cli.yaml")})
	out, err := cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	changes := make(chan *reevev1.Change, 1024)
	go func() {
		defer close(changes)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			c := new(reevev1.Change)
			if err := protojson.Unmarshal(lines.Bytes(), c); err != nil {
				a.t.Errorf("%q: %v", lines.Text(), err)
				return
			}
			changes <- c
		}
	}()
	a.t.Cleanup(func() { _ = cmd.Wait() })
	return changes
}

// stallingProxy passes connections on, until it stalls: they stay open, and not
// a byte passes any more. New connections pass.
type stallingProxy struct {
	t       *testing.T
	address string
	target  string

	mu     sync.Mutex
	passes chan struct{} // closed when those that pass now shall stall
	hung   []net.Conn
}

func newStallingProxy(t *testing.T, url string) *stallingProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &stallingProxy{t: t, address: l.Addr().String(), target: strings.TrimPrefix(url, "https://"), passes: make(chan struct{})}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		p.stall()
		p.goOn()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.pass(in) })
		}
	})
	return p
}

func (p *stallingProxy) pass(in net.Conn) {
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		in.Close()
		return
	}
	p.mu.Lock()
	stalls := p.passes
	p.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			buffer := make([]byte, 64<<10)
			for {
				n, err := way[0].Read(buffer)
				select {
				case <-stalls: // swallow what came, and say nothing
					io.Copy(io.Discard, way[0])
					ended <- struct{}{}
					return
				default:
				}
				if n > 0 {
					if _, err := way[1].Write(buffer[:n]); err != nil {
						break
					}
				}
				if err != nil {
					break
				}
			}
			ended <- struct{}{}
		}()
	}
	<-ended
	select {
	case <-stalls:
		// The line is dead but open: neither side is told that the other left.
		p.mu.Lock()
		p.hung = append(p.hung, in, out)
		p.mu.Unlock()
	default:
		in.Close()
		out.Close()
		<-ended
	}
}

// stall lets the connections of now pass nothing any more.
func (p *stallingProxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.passes)
	p.passes = make(chan struct{})
}

// goOn closes what hangs.
func (p *stallingProxy) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.hung {
		c.Close()
	}
	p.hung = nil
}

// kubeconfig writes a copy of a kubeconfig that leads through the proxy.
func (p *stallingProxy) kubeconfig(file string) string {
	p.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	through := filepath.Join(p.t.TempDir(), "kubeconfig")
	writeFile(p.t, through, strings.ReplaceAll(string(data), "https://"+p.target, "https://"+p.address))
	return through
}
