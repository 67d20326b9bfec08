//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

const metricsAPI = "/apis/metrics.k8s.io/v1beta1"

// TestKubernetesUsage has the API server serve metrics, as custom resources since
// the lab has no kubelets to ask, and holds what the centre says was used against
// them, and what was requested against what the API server says of its pods.
func TestKubernetesUsage(t *testing.T) {
	o := observe(t)
	writeFile(t, o.g.config, fmt.Sprintf("collectors:\n- plugin: kubernetes\n  name: lab\n  options: {kubeconfig: %q, namespaces: "+
		"{exclude: [left-out]}}\n", o.kubeconfig))
	o.join()
	scopeFails := `reeve_agent_scope_failing{collector="lab",scope="usage"}`
	if _, err := o.g.metric(scopeFails); err == nil {
		t.Error("there is a scope of usage where nothing measures")
	}

	const pods, crds = "/api/v1/namespaces/default/pods", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	for _, name := range []string{"used", "ended"} {
		o.api.create(pods, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"containers":[
			{"name":"a","image":"registry.example.com/a:1","resources":{"requests":{"cpu":"200m","memory":"64Mi"}}},
			{"name":"b","image":"registry.example.com/b:1","resources":{"requests":{"cpu":"50m"}}}]}}`, name))
	}
	started := make(map[string]time.Time)
	for _, name := range []string{"used", "ended"} {
		eventually(t, time.Minute, "the pod "+name+" runs", func() error {
			var pod struct {
				Status struct {
					Phase     string
					StartTime time.Time
				}
			}
			o.api.read(pods+"/"+name, &pod)
			if started[name] = pod.Status.StartTime; pod.Status.Phase != "Running" {
				return errors.New(pod.Status.Phase)
			}
			return nil
		})
	}

	o.api.create("/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"left-out"}}`)
	for _, kind := range []struct{ plural, kind, scope string }{{"pods", "PodMetrics", "Namespaced"}, {"nodes", "NodeMetrics", "Cluster"}} {
		o.api.create(crds, fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
			"metadata":{"name":"%s.metrics.k8s.io","annotations":{"api-approved.kubernetes.io":"unapproved, test only"}},
			"spec":{"group":"metrics.k8s.io","scope":%q,"names":{"plural":%q,"kind":%q},"versions":[{"name":"v1beta1","served":true,"storage":true,
			"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`, kind.plural, kind.scope, kind.plural, kind.kind))
	}
	stamp := func() string { return time.Now().UTC().Format(time.RFC3339) }
	podMetrics := func(namespace string) string { return metricsAPI + "/namespaces/" + namespace + "/pods" }
	eventually(t, 30*time.Second, "metrics are served", func() error {
		_, err := o.api.do("GET", metricsAPI+"/pods", "", "")
		return err
	})
	for _, namespace := range []string{"default", "left-out"} {
		o.api.create(podMetrics(namespace),
			fmt.Sprintf(`{"apiVersion":"metrics.k8s.io/v1beta1","kind":"PodMetrics","metadata":{"name":"used"},"timestamp":%q,"window":"15s",
			"containers":[{"name":"a","usage":{"cpu":"400m","memory":"30Mi"}},{"name":"b","usage":{"cpu":"100000000n","memory":"2Mi"}}]}`, stamp()))
	}
	o.api.create(metricsAPI+"/nodes", fmt.Sprintf(`{"apiVersion":"metrics.k8s.io/v1beta1","kind":"NodeMetrics",`+
		`"metadata":{"name":"measured"},"timestamp":%q,"window":"15s","usage":{"cpu":"3","memory":"8Gi"}}`, stamp()))
	began := time.Now()

	// They are measured anew until their usage is at the centre.
	eventually(t, 3*time.Minute, "usage is at the centre", func() error {
		for _, path := range []string{podMetrics("default") + "/used", podMetrics("left-out") + "/used", metricsAPI + "/nodes/measured"} {
			o.api.patch(path, fmt.Sprintf(`{"timestamp":%q}`, stamp()))
		}
		n, err := metric(o.a.health, `reeve_ingest_records_total{kind="usage"}`)
		if err == nil && n < 4 {
			err = fmt.Errorf("%v records are", n)
		}
		return err
	})
	t.Logf("usage was at the centre %v after the first metrics", time.Since(began).Round(time.Second))

	// One of the pods goes.
	o.api.delete(pods + "/ended?gracePeriodSeconds=0")
	ended := time.Now()
	eventually(t, 30*time.Second, "the pod that was deleted is so at the centre", func() error {
		asset, err := o.a.asset(o.uid("Pod", "default", "ended"))
		if err == nil && asset.GetState() != reevev1.State_STATE_DELETED {
			err = fmt.Errorf("its state is %v", asset.GetState())
		}
		return err
	})
	until := time.Now()

	// What measured is removed.
	from := o.g.position()
	for _, name := range []string{"pods", "nodes"} {
		o.api.delete(crds + "/" + name + ".metrics.k8s.io")
	}
	o.g.says(from, time.Minute, "scope is gone", "scope=usage")
	if failing, err := o.g.metric(scopeFails); err == nil && failing != 0 {
		t.Error("that metrics were removed is told as a failure")
	}
	for uid, asset := range o.a.assets() {
		if strings.Contains(asset.GetType(), "metrics.k8s.io") {
			t.Errorf("metrics are the asset %s", uid)
		}
	}
	o.g.stop()
	o.a.stop()
	db := openWarehouse(o.a)

	for _, want := range []struct {
		kind, uid, meter, unit string
		rate                   float64
	}{
		{"Pod", o.uid("Pod", "default", "used"), "cpu.used", "core.second", 0.5},
		{"Pod", o.uid("Pod", "default", "used"), "memory.used", "byte.second", 32 << 20},
		{"Node", o.cluster + "/Node/measured", "cpu.used", "core.second", 3},
		{"Node", o.cluster + "/Node/measured", "memory.used", "byte.second", 8 << 30},
	} {
		var quantity, seconds float64
		var first, last time.Time
		if err := db.QueryRow(t.Context(), `SELECT sum(quantity), sum(dateDiff('millisecond', start, end)) / 1000, min(start), max(end) FROM `+
			`usage FINAL
			WHERE asset_type = $1 AND asset_uid = $2 AND meter = $3 AND unit = $4`, "kubernetes.core."+want.kind, want.uid, want.meter, want.unit).
			Scan(&quantity, &seconds, &first, &last); err != nil {
			t.Fatal(err)
		}
		if seconds < 1 || first.Before(began.Add(-2*time.Second)) || last.After(until.Add(time.Second)) ||
			math.Abs(quantity-want.rate*seconds) > 1e-6*quantity {
			t.Errorf("%s of %s: %v in %v s from %v to %v, want %v for each second", want.meter, want.uid, quantity, seconds, first, last, want.rate)
		}
	}
	if n := count(t, db, "SELECT count() FROM usage WHERE asset_uid LIKE '%/left-out/%'"); n != 0 {
		t.Errorf("%d rows are of a namespace that is excluded", n)
	}
	if n := count(t, db, "SELECT count() FROM dead_letter"); n != 0 {
		t.Errorf("%d dead letters", n)
	}

	requested := requests(t, db, began.Add(-time.Hour), until)
	for name, end := range map[string]time.Time{"used": until, "ended": ended} {
		seconds := end.Sub(started[name]).Seconds()
		got := requested["default/"+name]
		// Start times are in whole seconds; a deletion is seen a moment later.
		if math.Abs(got[0]-0.25*seconds) > 0.25*2 || math.Abs(got[1]-64*(1<<20)*seconds) > 64*(1<<20)*2 {
			t.Errorf("%s requested %v core-seconds and byte-seconds, want 0.25 and 64 Mi for each of %v s", name, got, seconds)
		}
		t.Logf("%s: %.2f core-seconds at the centre, %.2f by the API server", name, got[0], 0.25*seconds)
	}
	if len(requested) < *kubernetesPods/2 {
		t.Errorf("only %d pods requested anything", len(requested))
	}
}

// requests runs the statement in docs/usage.md, and returns core-seconds and
// byte-seconds by pod.
func requests(t *testing.T, db driver.Conn, from, until time.Time) map[string][2]float64 {
	t.Helper()
	rows := documentedUsage(t, db, "What was requested", from, until)
	defer rows.Close()
	sums := make(map[string][2]float64)
	for rows.Next() {
		var namespace, pod string
		var hour time.Time
		var cores, bytes float64
		if err := rows.Scan(&namespace, &pod, &hour, &cores, &bytes); err != nil {
			t.Fatal(err)
		}
		sum := sums[namespace+"/"+pod]
		sums[namespace+"/"+pod] = [2]float64{sum[0] + cores, sum[1] + bytes}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return sums
}

// documentedUsage runs the first statement below a heading of docs/usage.md.
func documentedUsage(t *testing.T, db driver.Conn, heading string, from, until time.Time) driver.Rows {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(programs.root, "docs", "usage.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## "+heading)
	_, statement, fenced := strings.Cut(section, "```sql\n")
	statement, _, closed := strings.Cut(statement, "```")
	if !found || !fenced || !closed {
		t.Fatalf("docs/usage.md has no statement below %q", heading)
	}
	var site string
	if err := db.QueryRow(t.Context(), "SELECT any(site) FROM asset").Scan(&site); err != nil {
		t.Fatal(err)
	}
	moment := func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000") }
	// The views are those of the reader that sees everything.
	statement = strings.NewReplacer("FROM versions", "FROM reeve_reader_all.versions", "FROM usage", "FROM reeve_reader_all.usage").Replace(statement)
	rows, err := db.Query(t.Context(), statement, clickhouse.Named("site", site), clickhouse.Named("from", moment(from)),
		clickhouse.Named("until", moment(until)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
