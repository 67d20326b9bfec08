package kinds

import (
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// TestPodStatus has what kubectl 1.36 prints of the same pods.
func TestPodStatus(t *testing.T) {
	const (
		initialized = `{"type":"Initialized","status":"True"}`
		ready       = `{"type":"Ready","status":"True"}`
		running     = `"ready":true,"state":{"running":{}}`
		notReady    = `"ready":false,"state":{"running":{}}`
		completed   = `"state":{"terminated":{"exitCode":0,"reason":"Completed"}}`
		failed      = `"state":{"terminated":{"exitCode":1,"reason":"Error"}}`
		creating    = `"state":{"waiting":{"reason":"ContainerCreating"}}`
		waits       = `"state":{"waiting":{"reason":"PodInitializing"}}`
	)
	// pod has containers a and b, and the init containers i (a sidecar) and j.
	pod := func(phase, conditions, init, containers string) string {
		return `{"apiVersion":"v1","kind":"Pod","spec":{
			"initContainers":[{"name":"i","restartPolicy":"Always"},{"name":"j"}],"containers":[{"name":"a"},{"name":"b"}]},
			"status":{` + phase + `,"conditions":[` + conditions + `],"initContainerStatuses":[` + init + `],"containerStatuses":[` + containers + `]}}`
	}
	i := func(state string) string { return `{"name":"i","restartCount":1,` + state + `}` }
	j := func(state string) string { return `{"name":"j","restartCount":10,` + state + `}` }
	a := func(state string) string { return `{"name":"a","restartCount":100,` + state + `}` }
	b := func(state string) string { return `{"name":"b","restartCount":1000,` + state + `}` }
	started := i(`"started":true,` + running)
	done := started + "," + j(completed)
	for _, test := range []struct {
		name, document, status, ready string
		restarts                      int
	}{
		{"nothing known", pod(`"phase":"Pending"`, ``, ``, ``), "Pending", "0/3", 0},
		{"gated", pod(`"phase":"Pending"`, `{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}`, ``, ``), "SchedulingGated",
			"0/3", 0},
		{"starting", pod(`"phase":"Pending"`, ``, i(waits)+","+j(waits), a(waits)+","+b(waits)), "Init:0/2", "0/3", 1},
		{"sidecar runs", pod(`"phase":"Pending"`, ``, started+","+j(notReady), a(waits)+","+b(waits)), "Init:1/2", "1/3", 11},
		{"sidecar not ready", pod(`"phase":"Pending"`, ``, i(`"started":true,`+notReady)+","+j(notReady), ``), "Init:1/2", "0/3", 11},
		{"init fails", pod(`"phase":"Pending"`, ``, started+","+j(failed), a(waits)), "Init:Error", "1/3", 11},
		{"init exits", pod(`"phase":"Pending"`, ``, started+","+j(`"state":{"terminated":{"exitCode":3}}`), ``), "Init:ExitCode:3", "1/3", 11},
		{"init killed", pod(`"phase":"Pending"`, ``, started+","+j(`"state":{"terminated":{"exitCode":137,"signal":9}}`), ``), "Init:Signal:9",
			"1/3", 11},
		{
			"init crashes", pod(`"phase":"Pending"`, ``, started+","+j(`"state":{"waiting":{"reason":"CrashLoopBackOff"}}`), ``),
			"Init:CrashLoopBackOff", "1/3", 11,
		},
		{"initialized", pod(`"phase":"Pending"`, initialized, done, a(creating)+","+b(creating)), "ContainerCreating", "1/3", 1101},
		{"running", pod(`"phase":"Running"`, initialized+","+ready, done, a(running)+","+b(running)), "Running", "3/3", 1101},
		{"not ready", pod(`"phase":"Running"`, initialized, done, a(notReady)+","+b(running)), "Running", "2/3", 1101},
		{"first word", pod(`"phase":"Running"`, initialized, done, a(failed)+","+b(creating)), "Error", "1/3", 1101},
		{
			"crashing", pod(`"phase":"Running"`, initialized, done, a(running)+","+b(`"state":{"waiting":{"reason":"CrashLoopBackOff"}}`)),
			"CrashLoopBackOff", "2/3", 1101,
		},
		{"one is done", pod(`"phase":"Running"`, initialized+","+ready, done, a(completed)+","+b(running)), "Running", "2/3", 1101},
		{"one is done, not ready", pod(`"phase":"Running"`, initialized, done, a(completed)+","+b(running)), "NotReady", "2/3", 1101},
		{"one failed", pod(`"phase":"Failed"`, initialized, done, a(completed)+","+b(failed)), "Error", "1/3", 1101},
		{"all done", pod(`"phase":"Succeeded"`, initialized, j(completed), a(completed)+","+b(completed)), "Completed", "0/3", 1100},
		{"killed", pod(`"phase":"Failed"`, initialized, done, b(`"state":{"terminated":{"exitCode":137,"signal":9}}`)), "Signal:9", "1/3", 1001},
		{"exited", pod(`"phase":"Failed"`, initialized, done, b(`"state":{"terminated":{"exitCode":2}}`)), "ExitCode:2", "1/3", 1001},
		{"evicted", pod(`"phase":"Failed","reason":"Evicted"`, ``, ``, ``), "Evicted", "0/3", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := read(t, test.document)
			got := facts(t, slices.DeleteFunc(r.Derived, func(f document.Member) bool {
				return !slices.Contains([]string{"readyContainers", "containers", "restarts"}, f.Name)
			}))
			number, total, _ := strings.Cut(test.ready, "/")
			want := facts(t, document.Object{{Name: "readyContainers", Value: int(number[0] - '0')},
				{Name: "containers", Value: int(total[0] - '0')}, {Name: "restarts", Value: test.restarts}})
			if r.Status != test.status || got != want {
				t.Errorf("%q, %s, want %q, %s", r.Status, got, test.status, want)
			}
		})
	}
	deleted := `"metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},"status":`
	for _, want := range []reading{
		{name: "deleted", document: `{"apiVersion":"v1","kind":"Pod",` + deleted + `{"phase":"Running"}}`, status: "Terminating"},
		{name: "deleted, and done", document: `{"apiVersion":"v1","kind":"Pod",` + deleted + `{"phase":"Succeeded"}}`, status: "Succeeded"},
		{name: "node lost", document: `{"apiVersion":"v1","kind":"Pod",` + deleted + `{"phase":"Running","reason":"NodeLost"}}`,
			status: "Unknown"},
	} {
		want.check(t)
	}
}

// TestPodTotals has the cases of the scheduler's rule. Totals of random pods
// were held against k8s.io/component-helpers/resource once.
func TestPodTotals(t *testing.T) {
	takes := func(cpu, memory string) string {
		return `"resources":{"requests":{"cpu":"` + cpu + `","memory":"` + memory + `"},"limits":{"cpu":"` + cpu + `"}}`
	}
	for _, test := range []struct {
		name, spec, status, requests, limits string
		held                                 Requests
	}{
		{name: "nothing asked", spec: `"containers":[{"name":"a"}]`},
		{
			name: "a sum", spec: `"containers":[{` + takes("100m", "1Gi") + `},{` + takes("200m", "1.5Gi") + `}]`,
			requests: `{"cpu":0.3,"memory":2684354560}`, limits: `{"cpu":0.3}`, held: Requests{CPU: 300, Memory: 2684354560},
		},
		{
			name:     "an init container that takes more of one resource",
			spec:     `"initContainers":[{` + takes("2", "1Mi") + `},{` + takes("1", "1Mi") + `}],"containers":[{` + takes("1", "1Gi") + `}]`,
			requests: `{"cpu":2,"memory":1073741824}`, limits: `{"cpu":2}`, held: Requests{CPU: 2000, Memory: 1 << 30},
		},
		{
			name: "a sidecar counts with the containers, and with the init containers behind it",
			spec: `"initContainers":[{` + takes("3", "0") + `},{"restartPolicy":"Always",` + takes("1", "1Gi") + `},{` + takes("5", "0") +
				`}],"containers":[{` + takes("2", "1Gi") + `}]`,
			requests: `{"cpu":6,"memory":2147483648}`, limits: `{"cpu":6}`, held: Requests{CPU: 6000, Memory: 2 << 30},
		},
		{
			name: "overhead is on top, of limits only where there is one",
			spec: `"overhead":{"cpu":"250m","memory":"120Mi"},"initContainers":[{` + takes("2", "0") + `}],"containers":[{` + takes("1", "1Gi") +
				`}]`,

			requests: `{"cpu":2.25,"memory":1199570944}`, limits: `{"cpu":2.25}`, held: Requests{CPU: 2250, Memory: 1199570944},
		},
		{
			name: "the pod's own amounts go first, those of extended resources do not exist",
			spec: `"resources":{"requests":{"cpu":"3","example.com/gpu":"9"},"limits":{"memory":"2Gi"}},"overhead":{"cpu":"1"},
				"containers":[{"resources":{"requests":{"cpu":"1","example.com/gpu":"1"}}}]`,
			requests: `{"cpu":4,"example.com/gpu":1}`, limits: `{"memory":2147483648}`, held: Requests{CPU: 4000},
		},
		{
			name: "while a container is resized, the most", spec: `"nodeName":"n","containers":[{"name":"a",` + takes("1", "1Gi") + `}]`,
			status: `"containerStatuses":[{"name":"a","allocatedResources":{"cpu":"2","memory":"1Gi"},
				"resources":{"requests":{"cpu":"1500m","memory":"2Gi"},"limits":{"cpu":"1500m"}}}]`,
			requests: `{"cpu":2,"memory":2147483648}`, limits: `{"cpu":1.5}`, held: Requests{"n", 2000, 2 << 30, true},
		},
		{
			name: "a size that cannot be had does not count", spec: `"containers":[{"name":"a",` + takes("64", "1Gi") + `}]`,
			status: `"conditions":[{"type":"PodResizePending","status":"True","reason":"Infeasible"}],
				"containerStatuses":[{"name":"a","allocatedResources":{"cpu":"1","memory":"1Gi"},
				"resources":{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"1"}}}]`,
			requests: `{"cpu":1,"memory":1073741824}`, limits: `{"cpu":1}`, held: Requests{CPU: 1000, Memory: 1 << 30},
		},
		{
			name: "init containers are not resized", spec: `"initContainers":[{"name":"i",` + takes("1", "1Gi") + `}],"containers":[{"name":"a"}]`,
			status: `"initContainerStatuses":[{"name":"i","allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"2"}}}]`,

			requests: `{"cpu":1,"memory":1073741824}`, limits: `{"cpu":1}`, held: Requests{CPU: 1000, Memory: 1 << 30},
		},
		{
			name: "a pod that is resized as a whole",
			spec: `"resources":{"requests":{"cpu":"1"},"limits":{"cpu":"1"}},"containers":[{"name":"a",` +
				`"resources":{"requests":{"memory":"1Gi"}}}]`,
			status:   `"allocatedResources":{"cpu":"2","memory":"8Gi"},"resources":{"requests":{"cpu":"3"},"limits":{"cpu":"4"}}`,
			requests: `{"cpu":3,"memory":1073741824}`, limits: `{"cpu":4}`, held: Requests{CPU: 3000, Memory: 1 << 30},
		},
		{name: "done", spec: `"nodeName":"n"`, status: `"phase":"Succeeded"`, held: Requests{Node: "n"}},
		{name: "failed", spec: `"nodeName":"n"`, status: `"phase":"Failed"`, held: Requests{Node: "n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := read(t, `{"apiVersion":"v1","kind":"Pod","spec":{`+test.spec+`},"status":{`+test.status+`}}`)
			for name, want := range map[string]string{"requests": test.requests, "limits": test.limits} {
				got := ""
				for _, f := range r.Derived {
					if f.Name == name {
						got = facts(t, document.Object{f})
						got = strings.TrimSuffix(strings.TrimPrefix(got, `{"`+name+`":`), "}")
					}
				}
				if got != want {
					t.Errorf("%s %s, want %s", name, got, want)
				}
			}
			if *r.Requests != test.held {
				t.Errorf("holds %+v, want %+v", *r.Requests, test.held)
			}
		})
	}
}

func TestPodUses(t *testing.T) {
	const spec = `{"nodeName":"n","serviceAccountName":"sa","priorityClassName":"pc","runtimeClassName":"kata",
		"imagePullSecrets":[{"name":"pull"},{}],
		"initContainers":[{"name":"i","image":"busybox","envFrom":[{"configMapRef":{"name":"init"}}]}],
		"ephemeralContainers":[{"name":"e","image":"debug:1"}],
		"containers":[{"name":"a","image":"nginx","envFrom":[{"secretRef":{"name":"from"}}],"env":[
			{"name":"A","value":"a"},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
			{"name":"C","valueFrom":{"configMapKeyRef":{"name":"key","key":"k"}}},{"name":"D","valueFrom":{"secretKeyRef":{"name":"key","key":"k"}}}]},
			{"name":"b","image":"docker.io/library/nginx:latest","envFrom":[{"secretRef":{"name":"from"}}]}],
		"volumes":[{"name":"v1","configMap":{"name":"vol"}},{"name":"v2","secret":{"secretName":"vol"}},{"name":"v3","emptyDir":{}},
			{"name":"v4","persistentVolumeClaim":{"claimName":"data"}},{"name":"v5","ephemeral":{"volumeClaimTemplate":{"spec":{}}}},
			{"name":"v6","csi":{"driver":"d","nodePublishSecretRef":{"name":"publish"}}},
			{"name":"v7","projected":{"sources":[{"configMap":{"name":"part"}},{"secret":{"name":"part"}},{"serviceAccountToken":{}}]}}]}`
	uses := func(claims ...string) []string {
		edges := []string{
			"uses container.image.Image docker.io/library/busybox:latest",
			"uses container.image.Image docker.io/library/debug:1",
			"uses container.image.Image docker.io/library/nginx:latest",
			"uses core.ConfigMap ns/init",
			"uses core.ConfigMap ns/key",
			"uses core.ConfigMap ns/part",
			"uses core.ConfigMap ns/vol",
		}
		edges = append(edges, claims...)
		return append(
			edges,
			"uses core.Secret ns/from",
			"uses core.Secret ns/key",
			"uses core.Secret ns/part",
			"uses core.Secret ns/publish",
			"uses core.Secret ns/pull",
			"uses core.Secret ns/vol",
			"uses core.ServiceAccount ns/sa",
			"uses node.k8s.io.RuntimeClass kata",
			"uses scheduling.k8s.io.PriorityClass pc",
		)
	}
	const data = "uses core.PersistentVolumeClaim ns/data"
	reading{
		name: "Pod", document: `{"apiVersion":"v1","kind":"Pod","spec":` + spec + `}`,
		edges: append([]string{"runs_on core.Node n"}, uses(data, "uses core.PersistentVolumeClaim ns/x-v5")...),
	}.check(t)
	for kind, path := range map[string]string{
		"v1 PodTemplate": `"template":{"spec":%}`, "v1 ReplicationController": `"spec":{"template":{"spec":%}}`,
		"apps/v1 Deployment": `"spec":{"template":{"spec":%}}`, "apps/v1 StatefulSet": `"spec":{"template":{"spec":%}}`,
		"apps/v1 DaemonSet": `"spec":{"template":{"spec":%}}`, "apps/v1 ReplicaSet": `"spec":{"template":{"spec":%}}`,
		"batch/v1 Job": `"spec":{"template":{"spec":%}}`, "batch/v1 CronJob": `"spec":{"jobTemplate":{"spec":{"template":{"spec":%}}}}`,
	} {
		version, kind, _ := strings.Cut(kind, " ")
		r := read(t, `{"apiVersion":"`+version+`","kind":"`+kind+`",`+strings.ReplaceAll(path, "%", spec)+`}`)
		if got, want := edges(r.Relations), uses(data); !slices.Equal(got, want) {
			t.Errorf("%s: relations\n%s\nwant\n%s", kind, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestController(t *testing.T) {
	for _, test := range []struct{ labels, owners, want string }{
		{``, ``, ``},
		{``, `{"kind":"Node","name":"n"}`, ``},
		{``, `{"kind":"Job","name":"j","controller":true}`, `{"controller":{"kind":"Job","name":"j"}}`},
		{`"pod-template-hash":"5d8"`, `{"kind":"ReplicaSet","name":"web-5d8","controller":true}`,
			`{"controller":{"kind":"Deployment","name":"web"}}`},
		{`"pod-template-hash":"5d8"`, `{"kind":"ReplicaSet","name":"web","controller":true}`,
			`{"controller":{"kind":"ReplicaSet","name":"web"}}`},
		{``, `{"kind":"ReplicaSet","name":"web-","controller":true}`, `{"controller":{"kind":"ReplicaSet","name":"web-"}}`},
	} {
		r := read(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","labels":{`+test.labels+`},"ownerReferences":[`+test.owners+`]}}`)
		got := ""
		for _, f := range r.Derived {
			if f.Name == "controller" {
				got = facts(t, document.Object{f})
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.owners, got, test.want)
		}
	}
}

// incident is what is expected of an incident.
type incident struct {
	typ, time string
	severity  plugin.Severity
	data      string
}

// incidents compares incidents, and returns their IDs.
func incidents(t *testing.T, r Reading, want ...incident) []string {
	t.Helper()
	var ids []string
	if len(r.Incidents) != len(want) {
		t.Fatalf("%d incidents, want %d: %+v", len(r.Incidents), len(want), r.Incidents)
	}
	for i, e := range r.Incidents {
		w := want[i]
		if e.Type != "cloud.reeve.kubernetes."+w.typ || !e.Time.Equal(at(w.time)) || e.Severity != w.severity || string(e.Data) != w.data {
			t.Errorf("%s at %s, %s, %s\nwant %+v", e.Type, e.Time, e.Severity, e.Data, w)
		}
		if !strings.HasSuffix(e.Subject.UID, "/x") || e.Message == "" || len(e.ID) != 32 || slices.Contains(ids, e.ID) {
			t.Errorf("subject %v, message %q, id %q", e.Subject, e.Message, e.ID)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func TestPodIncidents(t *testing.T) {
	pod := func(status string) Reading {
		return read(t, `{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":"n","containers":[{"name":"a","image":"app:1"}]},"status":{
			"startTime":"2026-03-01T00:00:10Z","conditions":[{"type":"Initialized","status":"True","lastTransitionTime":"2026-03-01T00:00:20Z"}],`+status+`}}`)
	}
	container := func(restarts, state, last string) string {
		return `"containerStatuses":[{"name":"a","restartCount":` + restarts + `,"state":` + state + `,"lastState":` + last + `}]`
	}
	ended := func(reason, at string) string {
		return `{"terminated":{"exitCode":137,"reason":"` + reason + `","finishedAt":"` + at + `"}}`
	}
	waiting := func(reason string) string {
		return `{"waiting":{"reason":"` + reason + `","message":"m"}}`
	}

	t.Run("fine", func(t *testing.T) {
		incidents(t, pod(container("1", `{"running":{}}`, ended("Error", "2026-03-01T01:00:00Z"))))
		incidents(t, pod(container("0", waiting("ContainerCreating"), `{}`)))
	})

	t.Run("out of memory", func(t *testing.T) {
		killed := ended("OOMKilled", "2026-03-01T01:00:00Z")
		want := incident{"pod.oom_killed", "2026-03-01T01:00:00Z", plugin.Error, `{"container":"a","exitCode":137,"restartCount":4}`}
		// The same kill, as the node goes on.
		ids := incidents(t, pod(container("4", killed, `{}`)), want)
		for _, later := range []string{
			container("5", `{"running":{}}`, killed), container("5", ended("Error", "2026-03-01T01:02:00Z"), killed),
			`"initContainerStatuses":[{"name":"a","restartCount":4,"state":` + killed + `}]`,
		} {
			if again := incidents(t, pod(later), want); again[0] != ids[0] {
				t.Errorf("%s: another id", later)
			}
		}
		second := want
		second.time, second.data = "2026-03-01T02:00:00Z", `{"container":"a","exitCode":137,"restartCount":5}`
		both := incidents(t, pod(container("5", ended("OOMKilled", second.time), killed)), second, want)
		if both[1] != ids[0] {
			t.Error("the first kill has another id behind a second one")
		}
	})

	t.Run("crash loop", func(t *testing.T) {
		loop := func(restarts, at string) string {
			r := pod(container(restarts, waiting("CrashLoopBackOff"), ended("Error", at)))
			return incidents(t, r, incident{
				"pod.crash_loop", at, plugin.Error, `{"container":"a","restartCount":` + restarts + `,"reason":"Error","exitCode":137}`,
			})[0]
		}
		first := loop("3", "2026-03-01T01:00:00Z")
		if first != loop("4", "2026-03-01T01:05:00Z") || first != loop("200", "2026-03-01T23:59:00Z") {
			t.Error("a loop that goes on has new ids")
		}
		if first == loop("5", "2026-03-03T01:00:00Z") {
			t.Error("a loop days later has the same id")
		}
		incidents(t, pod(container("1", waiting("CrashLoopBackOff"), `{}`)), incident{
			"pod.crash_loop", "2026-03-01T00:00:20Z", plugin.Error, `{"container":"a","restartCount":1,"exitCode":0}`,
		})
	})

	t.Run("image pull", func(t *testing.T) {
		pull := func(reason, last, at string) string {
			return incidents(t, pod(container("0", waiting(reason), last)), incident{
				"pod.image_pull", at, plugin.Error, `{"container":"a","image":"app:1","reason":"` + reason + `","message":"m"}`,
			})[0]
		}
		first := pull("ErrImagePull", `{}`, "2026-03-01T00:00:20Z")
		if first != pull("ImagePullBackOff", `{}`, "2026-03-01T00:00:20Z") {
			t.Error("the next try has another id")
		}
		if first == pull("ErrImagePull", ended("Error", "2026-03-01T01:00:00Z"), "2026-03-01T01:00:00Z") {
			t.Error("a container that is started again has the same id")
		}
	})

	t.Run("evicted", func(t *testing.T) {
		const data = `{"node":"n","message":"low on memory"}`
		const status = `{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":"n"},"status":{"phase":"Failed","reason":"Evicted","message":"low ` +
			`on memory"`
		incidents(t, read(t, status+`,"startTime":"2026-03-01T00:00:10Z","conditions":[
			{"type":"DisruptionTarget","status":"True","lastTransitionTime":"2026-03-02T00:00:00Z"}]}}`),
			incident{"pod.evicted", "2026-03-02T00:00:00Z", plugin.Error, data})
		incidents(t, read(t, status+`,"startTime":"2026-03-01T00:00:10Z"}}`),
			incident{"pod.evicted", "2026-03-01T00:00:10Z", plugin.Error, data})
		incidents(t, read(t, status+`}}`), incident{"pod.evicted", "2026-03-01T00:00:00Z", plugin.Error, data})
	})
}
