package warehouse_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/document"
)

// podDocument is about as large and as varied as a pod's.
func podDocument(r *rand.Rand, i, change int) string {
	return fmt.Sprintf(`{"metadata":{"name":"web-%d-%x","namespace":"team-%d","uid":"%s","resourceVersion":"%d","labels":{"app":"web-%d",`+
		`"tier":"front","pod-template-hash":"%x"},`+
		`"ownerReferences":[{"kind":"ReplicaSet","name":"web-%d","uid":"%s"}]},"spec":{"nodeName":"node-%d","serviceAccountName":"default",`+
		`"containers":[`+
		`{"name":"main","image":"registry.example.org/team/web:%d.%d","resources":{"requests":{"cpu":"250m","memory":"512Mi"},`+
		`"limits":{"memory":"1Gi"}},"ports":[{"containerPort":8080,"protocol":"TCP"}],`+
		`"env":["A","B","C"],"volumeMounts":[{"name":"data","mountPath":"/var/lib/data"},{"name":"tmp","mountPath":"/tmp"}]},`+
		`{"name":"sidecar","image":"registry.example.org/mesh/proxy:2.1","resources":{"requests":{"cpu":"50m","memory":"64Mi"}}}],`+
		`"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-web-%d"}},{"name":"tmp","emptyDir":{}}],`+
		`"restartPolicy":"Always","dnsPolicy":"ClusterFirst","priority":0,`+
		`"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},`+
		`"status":{"phase":"Running","podIP":"10.%d.%d.%d","hostIP":"192.168.1.%d","startTime":"2026-11-%02dT10:%02d:00Z",`+
		`"qosClass":"Burstable",`+
		`"conditions":[{"type":"Ready","status":"True"},{"type":"PodScheduled","status":"True"},{"type":"Initialized","status":"True"}],`+
		`"containerStatuses":[{"name":"main","ready":true,"restartCount":%d,"containerID":"containerd://%s%s"}]}}`,
		i, r.Uint32(), i%40, uuid.New(), r.Uint32(), i/3, r.Uint32(), i/3, uuid.New(), i%100, i%7, change, i, r.IntN(256), r.IntN(256),
		r.IntN(256), r.IntN(100), 1+r.IntN(28), r.IntN(60), change,
		uuid.New(), uuid.New())
}

// BenchmarkBytes says what rows cost on disk, parts merged: docs/sizing.md has it.
//
//	go test -run - -bench Bytes -benchtime 1x ./aggregator/warehouse
func BenchmarkBytes(b *testing.B) {
	const assets, changes, batch = 20_000, 10, 2_000
	for b.Loop() {
		w := warehousetest.New(b)
		r := rand.New(rand.NewPCG(1, 2))
		now := time.Now().Truncate(time.Millisecond)
		raw := 0
		origin := warehouse.Origin{Site: "west", AgentID: uuid.NewString(), SpoolID: fmt.Sprintf("%032x", 7)}
		for change := range changes {
			for start := 0; start < assets; start += batch {
				g := &warehouse.Group{ID: uuid.New(), ReceivedAt: now.Add(time.Duration(change) * time.Hour)}
				for i := start; i < start+batch; i++ {
					if change > 0 && i%changes != change {
						continue // a tenth changes each time
					}
					doc := podDocument(r, i, change)
					fields, err := document.Fields([]byte(doc))
					if err != nil {
						b.Fatal(err)
					}
					raw += len(doc)
					origin.Seq++
					v := warehouse.AssetVersion{
						Origin: origin, Type: "kubernetes.core.Pod", UID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i),
						Version:   uint64(g.ReceivedAt.UnixMilli())<<16 + uint64(i),
						Operation: warehouse.Updated, Scope: "cluster/core/pods", Name: fmt.Sprint("web-", i), Project: fmt.Sprint("team-", i%40),
						Status: "Running",
						Labels: map[string]string{"app": fmt.Sprint("web-", i/3), "tier": "front"}, Document: []byte(doc), Fields: fields,
						Changed: []string{"status.containerStatuses[].restartCount", "metadata.resourceVersion"}, CreatedAt: now, UpdatedAt: now,
						ObservedAt: g.ReceivedAt,
					}
					for j := range v.Hash {
						v.Hash[j] = byte(r.Uint32())
					}
					for n, kind := range []string{"kubernetes.core.Node", "kubernetes.apps.ReplicaSet", "kubernetes.core.PersistentVolumeClaim"} {
						v.Edges = append(v.Edges, warehouse.Relation{Site: v.Site, FromType: v.Type, FromUID: v.UID, Kind: "uses", ToType: kind,
							ToUID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, kind, i/[3]int{100, 3, 1}[n])).String(), Version: v.Version})
					}
					g.Relations = append(g.Relations, v.Edges...)
					g.Versions = append(g.Versions, v)
					g.Events = append(g.Events, warehouse.Event{
						Origin: origin, ID: uuid.NewString(), Type: "cloud.reeve.kubernetes.event", Source: "/sites/west/cluster/events", AssetType: v.Type,
						AssetUID: v.UID, Time: g.ReceivedAt.Add(time.Duration(i) * time.Millisecond),
						Severity: "warning", Message: fmt.Sprintf("Back-off restarting failed container main in pod web-%d", i),
						Data: fmt.Appendf(nil, `{"count":%d,"reason":"BackOff"}`, r.IntN(100)),
					})
					for _, meter := range []string{"cpu.used", "memory.used"} {
						g.Usage = append(g.Usage, warehouse.Usage{
							Origin: origin, AssetType: v.Type, AssetUID: v.UID, Scope: v.Scope, Meter: meter, Unit: "core.second", Start: g.ReceivedAt,
							End:      g.ReceivedAt.Add(time.Hour),
							Quantity: r.Float64() * 1000, Version: v.Version,
						})
					}
				}
				if err := w.Write(b.Context(), g); err != nil {
					b.Fatal(err)
				}
			}
		}
		for _, table := range []string{"asset", "asset_version", "relation", "event", "usage"} {
			if err := w.Conn().Exec(b.Context(), "OPTIMIZE TABLE "+table+" FINAL"); err != nil {
				b.Fatal(err)
			}
			var rows, bytes uint64
			if err := w.Conn().QueryRow(b.Context(),
				"SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = '"+table+"'").Scan(
				&rows, &bytes); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bytes)/float64(rows), table+"-B")
		}
		b.ReportMetric(float64(raw)/float64(origin.Seq), "document-B")
		b.ReportMetric(0, "ns/op")
	}
}
