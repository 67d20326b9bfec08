package kinds

import (
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

func TestWorkloads(t *testing.T) {
	workload := func(kind, spec, status string) string {
		return `{"apiVersion":"apps/v1","kind":"` + kind + `","metadata":{"name":"x","generation":2},"spec":{` + spec + `},
			"status":{"observedGeneration":2,` + status + `}}`
	}
	const (
		complete = `{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}`
		rolling  = `{"type":"Progressing","status":"True","reason":"ReplicaSetUpdated"}`
		deadline = `{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}`
		up       = `{"type":"Available","status":"True"}`
		down     = `{"type":"Available","status":"False"}`
		refused  = `{"type":"ReplicaFailure","status":"True","reason":"FailedCreate"}`
	)
	deployment := func(counts, conditions string) string {
		return workload("Deployment", `"replicas":3`, counts+`,"conditions":[`+conditions+`]`)
	}
	const all = `"replicas":3,"updatedReplicas":3,"readyReplicas":3,"availableReplicas":3`
	const two = `"replicas":3,"updatedReplicas":3,"readyReplicas":2,"availableReplicas":2`
	for _, want := range []reading{
		{
			name: "Deployment", document: deployment(all, complete+","+up), status: "Available",
			facts: `{"replicas":{"desired":3,"ready":3,"available":3,"updated":3}}`,
		},
		{
			name: "Deployment lacks one", document: deployment(two, complete+","+up), status: "Available",
			facts: `{"replicas":{"desired":3,"ready":2,"available":2,"updated":3}}`,
		},
		{name: "Deployment starts", document: deployment(`"replicas":3,"updatedReplicas":3`, rolling+","+down), status: "Progressing"},
		{name: "Deployment broke", document: deployment(`"replicas":3,"updatedReplicas":3`, complete+","+down), status: "Unavailable"},
		{name: "Deployment updates", document: deployment(`"replicas":4,"updatedReplicas":1,"availableReplicas":3`, rolling+","+up),
			status: "Progressing"},
		{name: "Deployment removes old ones", document: deployment(`"replicas":4,"updatedReplicas":3,"availableReplicas":4`, rolling+","+up),
			status: "Progressing"},
		{name: "Deployment gave up", document: deployment(all, deadline+","+up), status: "Failed"},
		{name: "Deployment may not", document: deployment(`"replicas":0`, rolling+","+refused), status: "Failed"},
		{
			name: "Deployment not yet seen", status: "Progressing",
			document: `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x","generation":2},"spec":{"replicas":3},
				"status":{"observedGeneration":1,` + all + `,"conditions":[` + complete + `,` + up + `]}}`,
		},

		{
			name: "StatefulSet", document: workload("StatefulSet", `"replicas":3`, all), status: "Available",
			facts: `{"replicas":{"desired":3,"ready":3,"available":3,"updated":3}}`,
		},
		{name: "StatefulSet lacks one", document: workload("StatefulSet", `"replicas":3`, two), status: "Degraded"},
		{name: "StatefulSet lacks all", document: workload("StatefulSet", `"replicas":1`, `"replicas":1,"updatedReplicas":1`),
			status: "Unavailable"},
		{name: "StatefulSet of none", document: workload("StatefulSet", `"replicas":0`, `"replicas":0`), status: "Available"},
		{name: "StatefulSet updates", document: workload("StatefulSet", `"replicas":3`, `"updatedReplicas":1,"availableReplicas":3`),
			status: "Progressing"},
		{
			name: "StatefulSet with a partition", status: "Available",
			document: workload("StatefulSet", `"replicas":3,"updateStrategy":{"rollingUpdate":{"partition":2}}`,
				`"updatedReplicas":1,"availableReplicas":3`),
		},
		{
			name: "StatefulSet updated by hand", status: "Available",
			document: workload("StatefulSet", `"replicas":3,"updateStrategy":{"type":"OnDelete"}`, `"availableReplicas":3`),
		},

		{
			name: "DaemonSet", status: "Available", facts: `{"replicas":{"desired":3,"ready":3,"available":3,"updated":3}}`,
			document: workload("DaemonSet", ``, `"desiredNumberScheduled":3,"numberReady":3,"numberAvailable":3,"updatedNumberScheduled":3`),
		},
		{
			name: "DaemonSet updates", status: "Progressing",
			document: workload("DaemonSet", ``, `"desiredNumberScheduled":3,"numberReady":3,"numberAvailable":3,"updatedNumberScheduled":1`),
		},
		{
			name: "DaemonSet lacks one", status: "Degraded",
			document: workload("DaemonSet", `"updateStrategy":{"type":"OnDelete"}`,
				`"desiredNumberScheduled":3,"numberReady":2,"numberAvailable":2`),
		},

		{
			name: "ReplicaSet", document: workload("ReplicaSet", `"replicas":3`, `"replicas":3,"readyReplicas":3,"availableReplicas":3`),
			status: "Available", facts: `{"replicas":{"desired":3,"ready":3,"available":3,"updated":3}}`,
		},
		{name: "ReplicaSet of none", document: workload("ReplicaSet", `"replicas":0`, `"replicas":0`), status: "Available"},
		{name: "ReplicaSet shrinks", document: workload("ReplicaSet", `"replicas":0`, `"replicas":2,"availableReplicas":2`),
			status: "Progressing"},
		{name: "ReplicaSet may not", document: workload("ReplicaSet", `"replicas":3`, `"replicas":0,"conditions":[`+refused+`]`),
			status: "Failed"},
		{
			name:   "ReplicationController",
			status: "Degraded", facts: `{"replicas":{"desired":2,"ready":1,"available":1,"updated":2}}`,
			document: `{"apiVersion":"v1","kind":"ReplicationController","spec":{"replicas":2},"status":{"replicas":2,"readyReplicas":1,` +
				`"availableReplicas":1}}`,
		},
		{
			name: "PodTemplate",
			document: `{"apiVersion":"v1","kind":"PodTemplate","template":{"spec":{"containers":[
				{"image":"a","resources":{"requests":{"cpu":"1"}}},{"image":"b","resources":{"requests":{"cpu":"1"},"limits":{"memory":"1Mi"}}},{"image":"a:latest"}]}}}`,
			facts: `{"requests":{"cpu":2},"limits":{"memory":1048576},"images":[{"name":"docker.io/library/a:latest"},` +
				`{"name":"docker.io/library/b:latest"}]}`,
		},

		{
			name: "CronJob", status: "Scheduled",
			document: `{"apiVersion":"batch/v1","kind":"CronJob","spec":{"suspend":false},
				"status":{"active":[{"name":"x-1"},{"name":"x-2"}],"lastScheduleTime":"2026-03-01T02:00:00Z"}}`,
			facts: `{"suspended":false,"active":2,"lastSchedule":"2026-03-01T02:00:00Z"}`,
		},
		{
			name: "CronJob suspended", document: `{"apiVersion":"batch/v1","kind":"CronJob","spec":{"suspend":true}}`,
			status: "Suspended", facts: `{"suspended":true,"active":0}`,
		},
	} {
		want.check(t)
	}
}

func TestJob(t *testing.T) {
	job := func(status string) string {
		return `{"apiVersion":"batch/v1","kind":"Job","spec":{"completions":3},"status":{"startTime":"2026-03-01T00:00:00Z",` + status + `}}`
	}
	const failed = `"failed":2,"succeeded":1,"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded",
		"message":"Job has reached the specified backoff limit","lastTransitionTime":"2026-03-01T00:02:00Z"}]`
	for _, want := range []reading{
		{
			name: "runs", document: job(`"active":2,"succeeded":1`), status: "Running",
			facts: `{"completions":3,"active":2,"succeeded":1,"failed":0}`,
		},
		{
			name: "complete", status: "Complete", facts: `{"completions":3,"active":0,"succeeded":3,"failed":0,"durationSeconds":90}`,
			document: job(`"succeeded":3,"completionTime":"2026-03-01T00:01:30Z","conditions":[{"type":"Complete","status":"True"}]`),
		},
		{
			name: "failed", document: job(failed), status: "Failed",
			facts: `{"completions":3,"active":0,"succeeded":1,"failed":2,"durationSeconds":120}`,
		},
		{name: "suspended", document: job(`"conditions":[{"type":"Suspended","status":"True"}]`), status: "Suspended"},
		{name: "resumed", document: job(`"conditions":[{"type":"Suspended","status":"False"}]`), status: "Running"},
		{name: "about to fail", document: job(`"conditions":[{"type":"FailureTarget","status":"True"}]`), status: "FailureTarget"},
		{name: "about to succeed", document: job(`"conditions":[{"type":"SuccessCriteriaMet","status":"True"}]`), status: "SuccessCriteriaMet"},
		{
			name: "deleted when complete", status: "Complete",
			document: `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},
				"status":{"conditions":[{"type":"Complete","status":"True"}]}}`,
		},
		{
			name: "deleted", status: "Terminating",
			document: `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"x","deletionTimestamp":"2026-03-01T00:00:00Z"},` +
				`"status":{"active":1}}`,
		},
	} {
		want.check(t)
	}
	incidents(t, read(t, job(`"active":2`)))
	incidents(t, read(t, job(failed)), incident{
		"job.failed", "2026-03-01T00:02:00Z", plugin.Error,
		`{"reason":"BackoffLimitExceeded","message":"Job has reached the specified backoff limit","failed":2}`,
	})
}
