package warehouse_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
)

// The statements of docs/usage.md are run as they stand there.

// documented returns the statement below a heading of docs/usage.md.
func documented(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/usage.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, statement, fenced := strings.Cut(section, "```sql\n")
	statement, _, closed := strings.Cut(statement, "```")
	if !found || !fenced || !closed {
		t.Fatalf("docs/usage.md has no statement below %q", heading)
	}
	return statement
}

// asReader is a connection of a reader that sees everything.
func asReader(t *testing.T, w *warehouse.Warehouse) driver.Conn {
	t.Helper()
	return reader(t, w, warehouse.ReaderScope{Name: "all", Everything: true}).Conn()
}

func between(from, until string) []any {
	return []any{clickhouse.Named("site", "west"), clickhouse.Named("from", from), clickhouse.Named("until", until)}
}

func TestDocumentedUsage(t *testing.T) {
	w := warehousetest.New(t)
	of := func(uid string, version uint64, start time.Time, seconds int) warehouse.Usage {
		u := used("cluster/Pod/"+uid, version, float64(2*seconds))
		u.AssetType, u.Start, u.End = "kubernetes.core.Pod", start, start.Add(time.Duration(seconds)*time.Second)
		return u
	}
	ten := time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)
	other := of("a/x", 1, ten, 60)
	other.Site = "east"
	node := of("n", 1, ten, 60)
	node.AssetType = "kubernetes.core.Node"
	g := group()
	g.Usage = []warehouse.Usage{
		of("a/x", 1, ten, 600), of("a/x", 2, ten, 3600), of("a/x", 3, ten.Add(time.Hour), 60), of("a/y", 1, ten.Add(5*time.Minute), 300),
		of("b/z", 1, ten, 30), of("b/z", 1, ten.Add(-time.Second), 1), other, node,
	}
	if err := w.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	statement := documented(t, "What was used")
	rows, err := asReader(t, w).Query(t.Context(), statement, between("2026-03-04 10:00:00.000", "2026-03-04 12:00:00.000")...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var namespace, meter, unit string
		var hour time.Time
		var quantity, seconds float64
		if err := rows.Scan(&namespace, &hour, &meter, &unit, &quantity, &seconds); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(namespace, " ", hour.Hour(), " ", meter, " ", unit, " ", quantity, " ", seconds))
	}
	want := []string{"a 10 cpu.used core.second 7800 3900", "a 11 cpu.used core.second 120 60", "b 10 cpu.used core.second 60 30"}
	if err := rows.Err(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestDocumentedRequests(t *testing.T) {
	w := warehousetest.New(t)
	// A version is "when operation node phase start cores"; a dash is nothing.
	seq := 0
	pod := func(name string, texts ...string) (list []warehouse.AssetVersion) {
		for _, text := range texts {
			var when, operation, node, phase, start string
			var cores float64
			if _, err := fmt.Sscan(text, &when, &operation, &node, &phase, &start, &cores); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			document := map[string]any{"spec": map[string]any{}, "status": map[string]any{"phase": phase},
				"derived": map[string]any{"requests": map[string]any{"cpu": cores, "memory": 1024 * cores}}}
			if node != "-" {
				document["spec"] = map[string]any{"nodeName": node}
			}
			if start != "-" {
				document["status"] = map[string]any{"phase": phase, "startTime": "2026-03-04T" + start + "Z"}
			}
			raw, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			op := map[string]warehouse.Operation{"created": warehouse.Created, "updated": warehouse.Updated, "deleted": warehouse.Deleted}[operation]
			seq++
			v := version(seq, "cluster/Pod/a/"+name, op, string(raw))
			v.Type, v.Name, v.Project = "kubernetes.core.Pod", name, "a"
			if v.ObservedAt, err = time.Parse(time.DateTime, "2026-03-04 "+when); err != nil {
				t.Fatal(err)
			}
			list = append(list, v)
		}
		return list
	}
	for _, test := range []struct {
		name     string
		versions []string
		// want is core-seconds by hour, from ten to twelve.
		want map[int]float64
	}{
		{"from-before", []string{"10:20:00 created n Running 09:30:00 0.5", "11:15:00 deleted n Running 09:30:00 0.5"},
			map[int]float64{10: 1800, 11: 450}},
		{"job", []string{
			"10:00:00 created - Pending - 2", "10:00:06 updated n Pending - 2", "10:00:08 updated n Running 10:00:06 2",
			"10:10:06 updated n Succeeded 10:00:06 2", "10:30:00 deleted n Succeeded 10:00:06 2",
		}, map[int]float64{10: 1200}},
		{"resized", []string{"10:00:00 created n Running 10:00:00 1", "10:30:00 updated n Running 10:00:00 2"},
			map[int]float64{10: 5400, 11: 7200}},
		{"unseen-start", []string{"10:00:00 created - Pending - 1", "11:30:00 updated n Running 11:00:00 1"}, map[int]float64{11: 3600}},
		{"replaced-unseen", []string{
			"09:00:00 created n Running 09:00:00 1", "11:00:00 deleted n Running 09:00:00 1", "11:00:00 created n Running 10:15:00 3",
		}, map[int]float64{10: 900 + 3*2700, 11: 3 * 3600}},
		{"never-placed", []string{"10:00:00 created - Pending - 1"}, nil},
		{"over-before", []string{"09:00:00 created n Running 08:00:00 1", "09:59:59 deleted n Running 08:00:00 1"}, nil},
		{"on-the-hour", []string{"10:00:00 created n Running 10:00:00 1", "11:00:00 deleted n Running 10:00:00 1"}, map[int]float64{10: 3600}},
	} {
		t.Run(test.name, func(t *testing.T) {
			here, elsewhere := group(pod(test.name, test.versions...)...), group(pod(test.name, test.versions...)...)
			for i := range elsewhere.Versions {
				elsewhere.Versions[i].Site = "east"
			}
			for _, g := range []*warehouse.Group{here, elsewhere} {
				if err := w.Write(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			statement := documented(t, "What was requested")
			rows, err := asReader(t, w).Query(t.Context(), statement, between("2026-03-04 10:00:00.000", "2026-03-04 12:00:00.000")...)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			got := make(map[int]float64)
			for rows.Next() {
				var namespace, name string
				var hour time.Time
				var cores, bytes float64
				if err := rows.Scan(&namespace, &name, &hour, &cores, &bytes); err != nil {
					t.Fatal(err)
				}
				if name == test.name {
					got[hour.Hour()] = cores
					if namespace != "a" || bytes != 1024*cores {
						t.Errorf("%s/%s has %v byte-seconds of %v core-seconds", namespace, name, bytes, cores)
					}
				}
			}
			if err := rows.Err(); err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// A version is told of in a line: "when operation field=value ...".
func told(t *testing.T, seq int, typ, uid, line string, build func(values map[string]string) map[string]any) warehouse.AssetVersion {
	t.Helper()
	words := strings.Fields(line)
	op := map[string]warehouse.Operation{"created": warehouse.Created, "updated": warehouse.Updated, "deleted": warehouse.Deleted}[words[1]]
	values := make(map[string]string)
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		values[key] = value
	}
	raw, err := json.Marshal(build(values))
	if err != nil {
		t.Fatal(err)
	}
	v := version(seq, uid, op, string(raw))
	v.Type, v.Name, v.Project, v.Status, v.CreatedAt = typ, uid, "p", values["status"], time.Time{}
	if v.ObservedAt, err = time.Parse(time.DateTime, "2026-03-04 "+words[0]); err != nil {
		t.Fatal(err)
	}
	if at := values["made"]; at != "" {
		if v.CreatedAt, err = time.Parse(time.DateTime, "2026-03-04 "+at); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// writeTwice writes versions, and the same of another site, which are not counted.
func writeTwice(t *testing.T, w *warehouse.Warehouse, versions []warehouse.AssetVersion) {
	t.Helper()
	if err := w.Write(t.Context(), group(versions...)); err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(versions)
	for i := range other {
		other[i].Site = "east"
	}
	if err := w.Write(t.Context(), group(other...)); err != nil {
		t.Fatal(err)
	}
}

func TestDocumentedServerHours(t *testing.T) {
	number := func(text string) float64 { n, _ := strconv.ParseFloat(text, 64); return n }
	server := func(values map[string]string) map[string]any {
		doc := map[string]any{"derived": map[string]any{"flavor": values["flavor"], "vcpus": number(values["vcpus"]),
			"memory": number(values["gib"]) * (1 << 30)}}
		for field, key := range map[string]string{"launched": "OS-SRV-USG:launched_at", "terminated": "OS-SRV-USG:terminated_at"} {
			if at := values[field]; at != "" {
				doc[key] = "2026-03-04T" + at + ".000000"
			}
		}
		if at := values["updated"]; at != "" {
			doc["updated"] = "2026-03-04T" + at + "Z"
		}
		return doc
	}
	const small, large = " flavor=small vcpus=1 gib=2", " flavor=large vcpus=4 gib=8"
	for _, test := range []struct {
		name     string
		versions []string
		// want is "flavor status: server-hours vCPU-hours GiB-hours", from ten to twelve.
		want []string
	}{
		{"from-before", []string{"10:30:00 created status=ACTIVE launched=09:00:00 updated=09:00:00" + small,
			"11:15:09 deleted status=DELETED launched=09:00:00 terminated=11:15:00 updated=11:15:00" + small},
			[]string{"small ACTIVE: 1.25 1.25 2.5"}},
		{"building", []string{"10:00:00 created status=BUILD updated=10:00:00" + small,
			"10:15:30 updated status=ACTIVE launched=10:15:00 updated=10:15:00" + small,
			"11:15:01 deleted status=DELETED launched=10:15:00 terminated=11:15:00" + small},
			[]string{"small ACTIVE: 1 1 2"}},
		{"stopped-and-resized", []string{
			"10:00:05 created status=ACTIVE launched=10:00:00 updated=10:00:00" + small,
			"10:30:20 updated status=SHUTOFF launched=10:00:00 updated=10:30:00" + small,
			"11:00:20 updated status=ACTIVE launched=11:00:00 updated=11:00:00" + large,
			"11:30:20 deleted status=DELETED launched=11:00:00 terminated=11:30:00" + large,
		}, []string{"large ACTIVE: 0.5 2 4", "small ACTIVE: 0.5 0.5 1", "small SHUTOFF: 0.5 0.5 1"}},
		{"deleted-without-a-word", []string{"10:00:00 created status=ACTIVE launched=10:00:00 updated=10:00:00" + small,
			"10:30:00 deleted status=ACTIVE launched=10:00:00 updated=10:00:00" + small},
			[]string{"small ACTIVE: 0.5 0.5 1"}},
		{"still-there", []string{"11:00:03 created status=ACTIVE launched=11:00:00 updated=11:00:00" + small}, []string{"small ACTIVE: 1 1 2"}},
		{"never-launched", []string{"10:00:00 created status=ERROR updated=10:00:00" + small}, nil},
		{"over-before", []string{"09:00:00 created status=ACTIVE launched=08:00:00 updated=08:00:00" + small,
			"10:00:30 deleted status=DELETED launched=08:00:00 terminated=09:59:00" + small}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := warehousetest.New(t)
			var versions []warehouse.AssetVersion
			for i, line := range test.versions {
				versions = append(versions, told(t, i, "openstack.compute.Server", test.name, line, server))
			}
			writeTwice(t, w, versions)
			rows, err := asReader(t, w).Query(t.Context(), documented(t, "How long servers were there"),
				between("2026-03-04 10:00:00.000", "2026-03-04 12:00:00.000")...)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var got []string
			for rows.Next() {
				var project, flavor, status string
				var servers uint64
				var hours, vcpus, gib float64
				if err := rows.Scan(&project, &flavor, &status, &servers, &hours, &vcpus, &gib); err != nil {
					t.Fatal(err)
				}
				if project != "p" || servers != 1 {
					t.Errorf("%d servers of project %s", servers, project)
				}
				got = append(got, fmt.Sprint(flavor, " ", status, ": ", hours, " ", vcpus, " ", gib))
			}
			if err := rows.Err(); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestDocumentedPieceHours(t *testing.T) {
	w := warehousetest.New(t)
	sized := func(values map[string]string) map[string]any {
		doc := map[string]any{"volume_type": values["kind"], "visibility": values["kind"]}
		if n, err := strconv.ParseFloat(values["size"], 64); err == nil {
			doc["size"] = n
		}
		return doc
	}
	var versions []warehouse.AssetVersion
	for i, v := range [][3]string{
		// Extended once, and deleted.
		{"openstack.storage.Volume", "a", "10:00:30 created made=10:00:00 kind=fast size=10"},
		{"openstack.storage.Volume", "a", "11:00:00 updated made=10:00:00 kind=fast size=20"},
		{"openstack.storage.Volume", "a", "11:30:00 deleted made=10:00:00 kind=fast size=20"},
		// Made before, still there.
		{"openstack.storage.Volume", "b", "10:20:00 created made=09:00:00 kind=slow size=5"},
		{"openstack.storage.Snapshot", "c", "11:00:10 created made=11:00:00 size=8"},
		{"openstack.image.Image", "d", "11:00:00 created made=11:00:00 kind=public size=2147483648"},
		// Has no time of its own: it counts from when it was seen.
		{"openstack.network.FloatingIP", "e", "11:30:00 created"},
		{"openstack.loadbalancer.LoadBalancer", "f", "10:00:00 created made=10:00:00"},
		{"openstack.loadbalancer.LoadBalancer", "f", "10:15:00 deleted made=10:00:00"},
		{"openstack.network.Port", "g", "10:00:00 created made=10:00:00"},
	} {
		versions = append(versions, told(t, i, v[0], v[1], v[2], sized))
	}
	writeTwice(t, w, versions)
	rows, err := asReader(t, w).Query(t.Context(), documented(t, "How long volumes, snapshots, images, addresses and balancers were there"),
		between("2026-03-04 10:00:00.000", "2026-03-04 12:00:00.000")...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var typ, project, variety string
		var pieces uint64
		var hours, gib float64
		if err := rows.Scan(&typ, &project, &variety, &pieces, &hours, &gib); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(strings.TrimPrefix(typ, "openstack."), " ", variety, ": ", pieces, " ", hours, " ", gib))
	}
	want := []string{
		"image.Image public: 1 1 2", "loadbalancer.LoadBalancer : 1 0.25 0", "network.FloatingIP : 1 0.5 0",
		"storage.Snapshot : 1 1 8", "storage.Volume fast: 1 1.5 20", "storage.Volume slow: 1 2 10",
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
