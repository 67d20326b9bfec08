//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

var (
	openStackServers  = flag.Int("servers", 48, "how many servers are made in the OpenStack cloud of the tests")
	openStackCopies   = flag.Int("copies", 200, "to how many they are multiplied")
	openStackCreated  = flag.Int("server-latency", 8, "how many servers are created to see how long they take to the centre")
	openStackDeletes  = flag.Int("server-deletes", 15, "how many servers are deleted")
	openStackLimit    = flag.Duration("equal-within", 10*time.Minute, "how long the centre may take to have what the cloud has")
	openStackIdle     = flag.Duration("idle", 45*time.Second, "for how long requests are counted while nothing happens")
	openStackProjects = flag.Int("projects", 8, "how many projects there are")
)

// observedCloud is a cloud with an agent that collects it and a centre.
type observedCloud struct {
	t     *testing.T
	lab   *openStack
	api   *openStackAPI
	proxy *openStackProxy
	a     *aggregator
	g     *agent
}

// configure writes the agent's configuration; more are options.
func (o *observedCloud) configure(notifications bool, more string) {
	o.t.Helper()
	_, identity, _ := strings.Cut(o.lab.auth(), "://")
	host, _, _ := strings.Cut(identity, "/")
	clouds := filepath.Join(o.g.home, "clouds.yaml")
	writeFile(o.t, clouds, fmt.Sprintf(`clouds:
  lab:
    interface: admin
    auth: {auth_url: "http://%s/v3", username: %s, password: %s, project_name: %s, user_domain_name: Default, project_domain_name: Default}
`, o.proxy.ports[host], openStackUser, openStackPassword, openStackProject))
	credentials := ""
	if notifications {
		credentials = fmt.Sprintf("  credentials: {notifications_url: %q}\n", o.lab.broker())
	}
	// Nothing about the value of one canary, or its key, says that it is a secret.
	writeFile(o.t, o.g.config, fmt.Sprintf("redact: {keys: [innocent]}\ncollectors:\n- plugin: openstack\n  name: lab\n  options: "+
		"{clouds_file: %q, cloud: lab, dashboard_url: \"https://horizon.example.com/\"%s}\n%s", clouds, more, credentials))
}

// TestOpenStack holds the centre against the cloud, through what may happen to its
// services and to the way there.
func TestOpenStack(t *testing.T) {
	o := &observedCloud{t: t, lab: newOpenStack(t)}
	planted := filepath.Join(t.TempDir(), "canaries.json")
	began := time.Now()
	o.lab.seed("-servers", strconv.Itoa(*openStackServers), "-projects", strconv.Itoa(*openStackProjects), "-nics", "0.25", "-canaries",
		planted)
	o.lab.multiply(*openStackCopies)
	t.Logf("the estate was made in %v", time.Since(began).Round(time.Second))
	o.api = o.lab.api()
	o.proxy = newOpenStackProxy(t, o.api)
	o.a = newAggregator(t)
	o.g = newAgent(t, "agent", "")

	o.configure(false, "")
	// It fails in one point: the agent has not enrolled.
	out, err := o.g.command("check")
	if err == nil {
		t.Error("check finds nothing to say of an agent that has not enrolled")
	}
	t.Logf("what check says:\n%s", out)
	if !strings.Contains(out, "compute in RegionOne") || strings.Contains(out, "FAIL  lab") {
		t.Error("check does not find all well")
	}

	o.proxy.count()
	began = time.Now()
	o.g.join(o.a.joinToken())
	objects, types := o.a.holds(o.api, *openStackLimit)
	t.Logf("the first sweep: %d objects of %d types are equal, %v after the agent's start: %v", objects, len(types),
		time.Since(began).Round(time.Second), types)
	o.proxy.quiet(5*time.Minute, 8*time.Second)
	all, polls, calls := o.proxy.count()
	t.Logf("the first sweep of everything: %d requests, and %d of polls meanwhile%s", all-polls, polls, show(calls))
	began = time.Now()
	time.Sleep(*openStackIdle)
	all, _, calls = o.proxy.count()
	t.Logf("%d requests in %v in which nothing happens%s", all, time.Since(began).Round(time.Second), show(calls))

	t.Run("latency by polls", func(t *testing.T) { o.latency(t, "polled") })
	t.Run("faults", o.faults)
	o.configure(true, ", sweep_every: 30s")
	o.restart()
	o.g.says(0, time.Minute, "Reading notifications")
	t.Run("latency by notifications", func(t *testing.T) { o.latency(t, "notified") })
	t.Run("deletions", o.deletions)
	t.Run("project", o.project)
	o.equals("in the end", time.Now(), quotas...)
	t.Run("afterwards", func(t *testing.T) { o.afterwards(t, planted) })
}

func (o *observedCloud) restart() {
	o.t.Helper()
	o.g.stop()
	o.g.start()
}

// quotas are swept less often than the rest.
var quotas = []string{"compute.Quota", "storage.Quota"}

// equals waits until the centre has what the cloud has, and says so.
func (o *observedCloud) equals(what string, since time.Time, except ...string) {
	o.t.Helper()
	objects, types := o.a.holds(o.api, *openStackLimit, except...)
	o.t.Logf("%s: %d objects of %d types are equal, after %v", what, objects, len(types), time.Since(since).Round(time.Second))
}

// latency creates servers one by one and measures how long each takes until the
// API of the centre tells of its creation.
func (o *observedCloud) latency(t *testing.T, prefix string) {
	watch := o.a.watchChanges("--type", "openstack.compute.Server")
	seen := make(map[string]time.Time)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case c, ok := <-watch:
				if !ok {
					return
				}
				if c.GetOperation() == reevev1.Change_OPERATION_CREATED && strings.HasPrefix(c.GetName(), prefix) {
					seen[c.GetName()] = time.Now()
				}
				if len(seen) == *openStackCreated {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	asked := make(map[string]time.Time)
	for line := range strings.Lines(o.lab.tool("create", "-servers", strconv.Itoa(*openStackCreated), "-project", "web-shop", "-prefix",
		prefix, "-every", "1s")) {
		var s struct {
			Name    string
			AskedAt time.Time `json:"asked_at"`
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		asked[s.Name] = s.AskedAt
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
	close(stop)
	<-done
	var took []time.Duration
	for name, at := range asked {
		if s, ok := seen[name]; ok {
			took = append(took, s.Sub(at))
		}
	}
	if len(took) < *openStackCreated {
		t.Fatalf("%d of %d servers came to the centre", len(took), *openStackCreated)
	}
	slices.Sort(took)
	t.Logf("asked for until queryable, %d servers: p50 %v, p99 %v, worst %v", len(took), took[len(took)/2].Round(10*time.Millisecond),
		took[len(took)*99/100].Round(10*time.Millisecond), took[len(took)-1].Round(10*time.Millisecond))
}

// deleted counts the assets that are deleted at the centre.
func (o *observedCloud) deleted() int {
	o.t.Helper()
	n := 0
	for _, asset := range o.a.assets("--state", "deleted") {
		if strings.HasPrefix(asset.GetType(), "openstack.") {
			n++
		}
	}
	return n
}

// failing is a metric: how many scopes are.
func (o *observedCloud) failing() int {
	lines, err := get("http://" + o.g.health + "/metrics")
	if err != nil {
		o.t.Fatal(err)
	}
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, "reeve_agent_scope_failing{") && strings.HasSuffix(line, " 1") {
			n++
		}
	}
	return n
}

// faults: whatever happens, nothing is deleted, and all is well again by itself.
func (o *observedCloud) faults(t *testing.T) {
	compute := strings.TrimPrefix(o.api.catalog["compute"], "http://")
	compute, _, _ = strings.Cut(compute, "/")
	network := strings.TrimPrefix(o.api.catalog["network"], "http://")
	o.configure(false, `, sweep_every: 30s, poll_every: 2s`)
	o.restart()
	o.equals("before the faults", time.Now())
	for _, fault := range []struct {
		what string
		// begin begins it; says is what the agent logs then, or empty where it mends
		// it without a word.
		begin func()
		says  []string
		mends func()
		// silent says how long to wait where nothing is logged.
		silent time.Duration
	}{
		{"a service is stopped", func() { o.lab.kill("nova-api") }, []string{"collecting failed", "compute in RegionOne"}, func() { o.lab.up() },
			0},
		{"a policy forbids one listing", func() {
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				if service != network || !strings.HasSuffix(r.URL.Path, "/floatingips") {
					return false
				}
				answer(w, http.StatusForbidden, `{"NeutronError": {"type": "PolicyNotAuthorized", "message": "(rule:get_floatingip) is disallowed `+
					`by policy", "detail": ""}}`)
				return true
			})
		}, []string{"collecting failed", "network/floatingips", "disallowed by policy"}, func() {}, 0},
		{"services have small limits of their own", func() {
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				smallPages(r)
				return false
			})
		}, nil, func() {}, time.Minute},
		{"the token is revoked in the middle of a sweep", func() {
			done := false
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				smallPages(r)
				if !done && service == compute && r.URL.Query().Has("marker") {
					done = true
					if _, err := o.api.do(http.MethodDelete, o.api.auth+"/auth/tokens", "",
						map[string]string{"X-Subject-Token": r.Header.Get("X-Auth-Token")}); err != nil {
						t.Error(err)
					}
				}
				return false
			})
		}, nil, func() {}, 45 * time.Second},
		{"bursts of 503 and 429", func() {
			n := 0
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				n++
				switch {
				case n%5 == 1:
					w.Header().Set("Retry-After", "1")
					answer(w, http.StatusTooManyRequests, `{"overLimit": {"message": "slow down"}}`)
				case n%5 == 2:
					answer(w, http.StatusServiceUnavailable, `no healthy upstream`)
				default:
					return false
				}
				return true
			})
		}, nil, func() {}, 45 * time.Second},
		{"a listing is cut in the middle of a page", func() {
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				if service != compute || !strings.HasSuffix(r.URL.Path, "/servers/detail") || r.URL.Query().Has("changes-since") {
					return false
				}
				w.Header().Set("Content-Length", "100000")
				_, _ = io.WriteString(w, `{"servers": [{"id": "`)
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
		}, []string{"collecting failed", "compute/servers", "broke off"}, func() {}, 0},
		{"the server that is a page's marker is deleted", func() {
			o.lab.tool("create", "-servers", "3", "-project", "web-shop", "-prefix", "marker")
			eventually(t, time.Minute, "three more servers are at the centre", func() error {
				n := 0
				for _, asset := range o.a.assets("--state", "active", "--type", "openstack.compute.Server") {
					if strings.HasPrefix(asset.GetName(), "marker") {
						n++
					}
				}
				if n < 3 {
					return fmt.Errorf("%d are", n)
				}
				return nil
			})
			done := false
			o.proxy.set(func(w http.ResponseWriter, r *http.Request, service string) bool {
				if service == compute && strings.HasSuffix(r.URL.Path, "/servers/detail") && !r.URL.Query().Has("changes-since") {
					// The newest come first: a page of two has the marker among them.
					q := r.URL.Query()
					q.Set("limit", "2")
					if q.Has("marker") {
						q.Set("limit", "1000")
					}
					r.URL.RawQuery = q.Encode()
					if q.Has("marker") && !done {
						done = true
						o.lab.tool("delete", "-prefix", "marker", "-n", "3")
						eventually(t, time.Minute, "the marker is gone", func() error {
							if _, code, err := o.api.try(http.MethodGet, o.api.catalog["compute"]+"/servers/"+q.Get("marker"), "", nil); err != nil ||
								code != http.StatusNotFound {
								return fmt.Errorf("it answers %d (%v)", code, err) //nolint:errorlint // there may be none
							}
							return nil
						})
					}
				}
				return false
			})
		}, nil, func() {}, 45 * time.Second},
	} {
		before := o.deleted()
		from := o.g.position()
		began := time.Now()
		fault.begin()
		if fault.says != nil {
			o.g.says(from, 4*time.Minute, fault.says...)
		} else {
			time.Sleep(fault.silent)
		}
		falsely := o.deleted() - before
		if fault.what == "the server that is a page's marker is deleted" {
			falsely -= 3
		}
		if falsely > 0 {
			t.Errorf("%s: %d assets are deleted falsely", fault.what, falsely)
		}
		lasted := time.Since(began)
		o.proxy.set(nil)
		fault.mends()
		mended := time.Now()
		eventually(t, 6*time.Minute, "nothing fails any more", func() error {
			if n := o.failing(); n > 0 {
				return fmt.Errorf("%d scopes do", n)
			}
			return nil
		})
		well := time.Since(mended)
		t.Logf("%s: for %v, well again %v after it was mended, %d falsely deleted", fault.what, lasted.Round(time.Second),
			well.Round(time.Second), max(0, falsely))
	}
	o.proxy.set(nil)
	o.equals("after the faults", time.Now(), quotas...)
}

// smallPages has lists come in small pages, whatever was asked for.
func smallPages(r *http.Request) {
	q := r.URL.Query()
	if limit, err := strconv.Atoi(q.Get("limit")); err == nil && limit > 20 {
		q.Set("limit", "20")
		r.URL.RawQuery = q.Encode()
	}
}

func answer(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

// deletions: many servers go at once.
func (o *observedCloud) deletions(t *testing.T) {
	before, had := o.deleted(), len(o.servers(""))
	began := time.Now()
	asked := make(map[string]bool)
	for line := range strings.Lines(o.lab.tool("delete", "-prefix", "", "-n", strconv.Itoa(*openStackDeletes))) {
		var s struct{ ID string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		asked[s.ID] = true
	}
	// Nova takes a second or so for each, behind its answer. Asking it for a thousand
	// servers without a pause would keep it from doing so.
	eventually(t, 15*time.Minute, "Nova has deleted them", func() error {
		n := had - len(o.servers(""))
		if n >= *openStackDeletes {
			return nil
		}
		// Where a service was too busy the deletion ends in an error, and is asked for
		// again, as people do.
		for _, s := range o.servers("&status=ERROR") {
			if id := s["id"].(string); asked[id] {
				t.Logf("Nova could not delete %s; asking again", id)
				o.api.call(http.MethodDelete, "compute", "/servers/"+id, "", nil)
			}
		}
		time.Sleep(min(5*time.Second, time.Duration(*openStackDeletes-n)*100*time.Millisecond))
		return fmt.Errorf("%d are", n)
	})
	took := time.Since(began)
	began = time.Now()
	var gone []*reevev1.Asset
	eventually(t, 5*time.Minute, "the servers are deleted at the centre", func() error {
		gone = nil
		for _, asset := range o.a.assets("--state", "deleted", "--type", "openstack.compute.Server") {
			gone = append(gone, asset)
		}
		if n := o.deleted() - before; n < *openStackDeletes {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	t.Logf("%d servers deleted in %v; all are at the centre %v later", *openStackDeletes, took.Round(time.Second),
		time.Since(began).Round(100*time.Millisecond))
	o.equals("what went with them", began, quotas...)
	for _, asset := range gone[:min(len(gone), 10)] {
		history := o.a.changes(asset.GetUid())
		if n := len(history); n < 3 || history[0].GetOperation() != reevev1.Change_OPERATION_DELETED ||
			history[n-1].GetOperation() != reevev1.Change_OPERATION_CREATED {
			t.Errorf("the history of %s is %v", asset.GetName(), history)
		}
		full, err := o.a.asset(asset.GetUid())
		if err != nil {
			t.Fatal(err)
		}
		if at := full.GetDocument().GetFields()["OS-SRV-USG:terminated_at"].GetStringValue(); at == "" {
			t.Errorf("when %s was terminated is not known", asset.GetName())
		}
	}
}

// servers are those that the cloud has; the query may say which.
func (o *observedCloud) servers(query string) []object {
	o.t.Helper()
	all, err := o.api.list(o.api.catalog["compute"]+"/servers?all_tenants=1&limit=1000"+query, "servers", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

// project: a project goes with all that it has.
func (o *observedCloud) project(t *testing.T) {
	var found struct{ Projects []struct{ ID, Name string } }
	o.api.call(http.MethodGet, "identity", "/projects?name=data-platform", "", &found)
	if len(found.Projects) != 1 {
		t.Fatalf("there are the projects %v", found)
	}
	id := found.Projects[0].ID
	had := 0
	for _, asset := range o.a.assets("--state", "active") {
		if asset.GetProject() == id {
			had++
		}
	}
	o.lab.tool("delete-project", "data-platform")
	began := time.Now()
	o.equals("a project was deleted", began, quotas...)
	eventually(t, 6*time.Minute, "nothing of the deleted project is there", func() error {
		for _, asset := range o.a.assets("--state", "active") {
			// The lab's balancers leave their parts behind, in the API too.
			if asset.GetProject() == id && !strings.HasPrefix(asset.GetType(), "openstack.loadbalancer.") {
				return fmt.Errorf("%s %s is", asset.GetType(), asset.GetUid())
			}
		}
		return nil
	})
	asset, err := o.a.asset(id)
	if err != nil || asset.GetState() != reevev1.State_STATE_DELETED {
		t.Errorf("the project is %v, %v", asset, err)
	}
	t.Logf("%d assets of the project are deleted, %v after it was gone", had, time.Since(began).Round(time.Second))
}

// afterwards looks through what the programs have written.
func (o *observedCloud) afterwards(t *testing.T, planted string) {
	truth, err := o.api.truth()
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().UTC().Truncate(time.Second)
	from := until.Add(-24 * time.Hour)
	usage := o.usage(t, from, until)
	db := lookForPlanted(t, planted, objectsOf(t, truth), o.a, o.g, "asset", "asset_version")
	for _, p := range []*process{o.g.process, o.a.process} {
		log, err := os.ReadFile(p.logFile)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{openStackPassword, "lab-service-secret", o.proxy.token()} {
			if bytes.Contains(log, []byte(secret)) {
				t.Errorf("the log of the %s has a password or a token in it", p.name)
			}
		}
	}
	if n := count(t, db, "SELECT count() FROM dead_letter"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	o.relations(t, db)
	o.events(t, db)
	have := serverUsage(t, db, from, until)
	for project, want := range usage {
		got := have[project]
		// Nova rounds nothing; it counts from launch to termination, by the second.
		if math.Abs(got[0]-want[0]) > 0.02*want[0]+0.1 || math.Abs(got[1]-want[1]) > 0.02*want[1]+0.1 {
			t.Errorf("project %s: %.3f server-hours and %.3f vCPU-hours at the centre, %.3f and %.3f by Nova", project, got[0], got[1], want[0],
				want[1])
		} else {
			t.Logf("project %s: %.3f server-hours and %.3f vCPU-hours at the centre, %.3f and %.3f by Nova", project, got[0], got[1], want[0],
				want[1])
		}
	}
	if len(usage) < *openStackProjects {
		t.Errorf("Nova tells of the usage of %d projects of %d", len(usage), *openStackProjects)
	}
}

// usage is Nova's own account: server-hours and vCPU-hours of each project. It is
// told in pages of so many servers, so a project may be on several.
func (o *observedCloud) usage(t *testing.T, from, until time.Time) map[string][2]float64 {
	t.Helper()
	const second = "2006-01-02T15:04:05"
	pages, err := o.api.list(o.api.catalog["compute"]+"/os-simple-tenant-usage?detailed=1&start="+from.Format(second)+"&end="+until.Format(
		second),
		"tenant_usages", map[string]string{"OpenStack-API-Version": "compute 2.40"})
	if err != nil {
		t.Fatal(err)
	}
	usage := make(map[string][2]float64)
	for _, p := range pages {
		var part struct {
			Project string  `json:"tenant_id"`
			VCPUs   float64 `json:"total_vcpus_usage"`
			Hours   float64 `json:"total_hours"`
		}
		data, err := json.Marshal(p)
		if err == nil {
			err = json.Unmarshal(data, &part)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := usage[part.Project]
		usage[part.Project] = [2]float64{sum[0] + part.Hours, sum[1] + part.VCPUs}
	}
	return usage
}

// relations: all lead to assets that are or were there.
func (o *observedCloud) relations(t *testing.T, db driver.Conn) {
	rows, err := db.Query(t.Context(), `SELECT from_type, kind, to_type, count(), countIf((to_type, to_uid) NOT IN (SELECT type, uid FROM `+
		`asset)), anyIf(from_uid || ' to ' || to_uid, (to_type, to_uid) NOT IN (SELECT type, uid FROM asset))
		FROM relation FINAL WHERE dir = 'out' AND from_type LIKE 'openstack.%' AND NOT deleted
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := 0
	for rows.Next() {
		var from, kind, to, such string
		var n, lost uint64
		if err := rows.Scan(&from, &kind, &to, &n, &lost, &such); err != nil {
			t.Fatal(err)
		}
		all += int(n)
		if lost > 0 {
			t.Errorf("%d of %d relations %s %s %s lead nowhere, such as that of %s", lost, n, from, kind, to, such)
		}
		t.Logf("%6d %s %s %s", n, from, kind, to)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if all == 0 {
		t.Error("there are no relations")
	}
}

// events: what went wrong was told once, and what was done to servers.
func (o *observedCloud) events(t *testing.T, db driver.Conn) {
	rows, err := db.Query(t.Context(), `SELECT type, count(), any(message) FROM event FINAL GROUP BY type ORDER BY type`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	have := make(map[string]int)
	for rows.Next() {
		var typ, message string
		var n uint64
		if err := rows.Scan(&typ, &n, &message); err != nil {
			t.Fatal(err)
		}
		have[typ] = int(n)
		t.Logf("%6d %s: %s", n, typ, message)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"cloud.reeve.agent.source.failing", "cloud.reeve.agent.source.recovered", "cloud.reeve.agent.scope.failing",
		"cloud.reeve.agent.scope.recovered"} {
		if have[typ] == 0 {
			t.Errorf("there is no event %s", typ)
		}
	}
	if have["cloud.reeve.openstack.server.create"] < *openStackCreated || have["cloud.reeve.openstack.server.delete"] < *openStackDeletes {
		t.Errorf("%d servers were created and %d deleted by the events", have["cloud.reeve.openstack.server.create"],
			have["cloud.reeve.openstack.server.delete"])
	}
}

// serverUsage runs the statement in docs/usage.md, and returns the server-hours
// and vCPU-hours by project.
func serverUsage(t *testing.T, db driver.Conn, from, until time.Time) map[string][2]float64 {
	t.Helper()
	rows := documentedUsage(t, db, "How long servers were there", from, until)
	defer rows.Close()
	sums := make(map[string][2]float64)
	for rows.Next() {
		var project, flavor, status string
		var servers uint64
		var hours, vcpus, memory float64
		if err := rows.Scan(&project, &flavor, &status, &servers, &hours, &vcpus, &memory); err != nil {
			t.Fatal(err)
		}
		sum := sums[project]
		sums[project] = [2]float64{sum[0] + hours, sum[1] + vcpus}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return sums
}
