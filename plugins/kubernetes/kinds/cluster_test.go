package kinds

import "testing"

func TestAccess(t *testing.T) {
	for _, want := range []reading{
		{
			name: "RoleBinding",
			document: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","roleRef":{"apiGroup":"rbac.authorization.k8s.io",` +
				`"kind":"Role","name":"edit"},
				"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"ada"},{"kind":"Group","name":"ops"},
				{"kind":"ServiceAccount","name":"own"},{"kind":"ServiceAccount","namespace":"ci","name":"runner"}]}`,
			edges: []string{
				"granted_to core.ServiceAccount ci/runner", "granted_to core.ServiceAccount ns/own",
				"granted_to rbac.authorization.k8s.io.Group ops", "granted_to rbac.authorization.k8s.io.User ada",
				"grants rbac.authorization.k8s.io.Role ns/edit",
			},
		},
		{
			name: "RoleBinding of a ClusterRole", edges: []string{"grants rbac.authorization.k8s.io.ClusterRole view"},
			document: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","roleRef":{"kind":"ClusterRole","name":"view"}}`,
		},
		{
			name: "ClusterRoleBinding",
			document: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","roleRef":{"kind":"ClusterRole","name":"admin"},
				"subjects":[{"kind":"Group","name":"system:masters"}]}`,
			edges: []string{"granted_to rbac.authorization.k8s.io.Group system:masters", "grants rbac.authorization.k8s.io.ClusterRole admin"},
		},
		{
			name:     "ServiceAccount",
			document: `{"apiVersion":"v1","kind":"ServiceAccount","secrets":[{"name":"token"}],"imagePullSecrets":[{"name":"pull"}]}`,
			edges:    []string{"uses core.Secret ns/pull", "uses core.Secret ns/token"},
		},
	} {
		want.check(t)
	}
}

func TestAutoscaling(t *testing.T) {
	const hpa = `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"maxReplicas":9,
		"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}},"status":{"desiredReplicas":4,"conditions":[`
	for _, want := range []reading{
		{
			name: "HPA", status: "Active",
			document: `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"minReplicas":2,"maxReplicas":9,
				"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}},"status":{"currentReplicas":3,"desiredReplicas":4,
				"conditions":[{"type":"AbleToScale","status":"True"},{"type":"ScalingActive","status":"True"},{"type":"ScalingLimited","status":"False"}]}}`,
			facts: `{"min":2,"max":9,"current":3,"desired":4}`, edges: []string{"scales apps.Deployment ns/web"},
		},
		{
			name:     "HPA without metrics",
			document: hpa + `{"type":"AbleToScale","status":"True"},{"type":"ScalingActive","status":"False","reason":"FailedGetResourceMetric"}]}}`,
			status:   "FailedGetResourceMetric",
		},
		{
			name:     "HPA without a target",
			document: hpa + `{"type":"AbleToScale","status":"False","reason":"FailedGetScale"}]}}`, status: "FailedGetScale",
		},
		{name: "new HPA", document: hpa + `]}}`, facts: `{"max":9,"current":0,"desired":4}`},
		{
			name: "VPA", edges: []string{"scales apps.StatefulSet ns/db"}, facts: `{}`,
			document: `{"apiVersion":"autoscaling.k8s.io/v1","kind":"VerticalPodAutoscaler","spec":{"targetRef":{"apiVersion":"apps/v1",` +
				`"kind":"StatefulSet","name":"db"}},
				"status":{"conditions":[{"type":"RecommendationProvided","status":"True"}]}}`,
		},
		{
			name: "KEDA", status: "Ready", facts: `{"min":0,"max":5}`, edges: []string{"scales apps.Deployment ns/worker"},
			document: `{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","spec":{"scaleTargetRef":{"name":"worker"},"minReplicaCount":0,` +
				`"maxReplicaCount":5},
				"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"Active","status":"False"}]}}`,
		},
		{
			name: "KEDA with a kind", edges: []string{"scales argoproj.io.Rollout ns/r"},
			document: `{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","spec":{"scaleTargetRef":{"apiVersion":"argoproj.io/v1alpha1",` +
				`"kind":"Rollout","name":"r"}}}`,
		},
	} {
		want.check(t)
	}
}

func TestCluster(t *testing.T) {
	hooks := func(kind string) reading {
		return reading{
			name: kind,
			document: `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"` + kind + `","webhooks":[
				{"clientConfig":{"service":{"namespace":"policy","name":"hook","path":"/"}}},{"clientConfig":{"url":"https://hook.example.com"}}]}`,
			edges: []string{"uses core.Service policy/hook"},
		}
	}
	request := func(status string) string {
		return `{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","status":{` + status + `}}`
	}
	claim := func(status string) string {
		return `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","status":{` + status + `}}`
	}
	for _, want := range []reading{
		hooks("MutatingWebhookConfiguration"), hooks("ValidatingWebhookConfiguration"),
		{
			name: "CustomResourceDefinition", status: "Established", edges: []string{"uses core.Service cm/convert"},
			document: `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"conversion":{"strategy":"Webhook",
				"webhook":{"clientConfig":{"service":{"namespace":"cm","name":"convert"}}}}},
				"status":{"conditions":[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}]}}`,
		},
		{
			name: "APIService", status: "NotAvailable", edges: []string{"backed_by core.Service kube-system/metrics-server"},
			document: `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","spec":{"service":{"namespace":"kube-system",` +
				`"name":"metrics-server","port":443}},
				"status":{"conditions":[{"type":"Available","status":"False","reason":"MissingEndpoints"}]}}`,
		},
		{
			name: "APIService of the server itself", status: "Available", edges: []string{},
			document: `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","spec":{"service":null},` +
				`"status":{"conditions":[{"type":"Available","status":"True"}]}}`,
		},

		{name: "request", document: request(``), status: "Pending"},
		{name: "request granted", document: request(`"conditions":[{"type":"Approved","status":"True"}],"certificate":"LS0t"`),
			status: "Approved,Issued"},
		{name: "request denied", document: request(`"conditions":[{"type":"Approved"},{"type":"Denied"}]`), status: "Denied"},
		{name: "request failed", document: request(`"conditions":[{"type":"Approved"},{"type":"Failed"}]`), status: "Approved,Failed"},

		{name: "claim", document: claim(``), status: "pending"},
		{name: "claim allocated", document: claim(`"allocation":{}`), status: "allocated"},
		{name: "claim reserved", document: claim(`"allocation":{},"reservedFor":[{"name":"p"}]`), status: "allocated,reserved"},

		{name: "Secret", document: `{"apiVersion":"v1","kind":"Secret","data":{"a":"MQ==","b":"Mg=="},"type":"Opaque"}`, facts: `{"keys":2}`},
		{name: "Secret of nothing", document: `{"apiVersion":"v1","kind":"Secret","data":null}`, facts: `{"keys":0}`},
		{
			name: "ResourceQuota", facts: `{"usedRatio":{"pods":0.3333,"requests.cpu":0.5,"requests.memory":0}}`,
			document: `{"apiVersion":"v1","kind":"ResourceQuota","status":{"hard":{"requests.memory":"1Gi","pods":"3","requests.cpu":"500m",` +
				`"count/secrets":"0"},
				"used":{"pods":"1","requests.cpu":"250m","requests.memory":"0","count/secrets":"0"}}}`,
		},
	} {
		want.check(t)
	}
}

func TestCustom(t *testing.T) {
	custom := func(status string) string {
		return `{"apiVersion":"example.com/v1","kind":"Widget","status":` + status + `}`
	}
	condition := func(typ, status string) string { return `{"type":"` + typ + `","status":"` + status + `"}` }
	for _, want := range []reading{
		{name: "none", document: `{"apiVersion":"example.com/v1","kind":"Widget"}`, facts: `{}`, edges: []string{}},
		{name: "Namespace", document: `{"apiVersion":"v1","kind":"Namespace","status":{"phase":"Active"}}`, status: "Active"},
		{name: "phase", document: custom(`{"phase":"Provisioned","conditions":[` + condition("Ready", "False") + `]}`), status: "Provisioned"},
		{name: "state", document: custom(`{"state":"running"}`), status: "running"},
		{name: "KubeVirt", document: custom(`{"printableStatus":"Stopped"}`), status: "Stopped"},
		{name: "ready", document: custom(`{"conditions":[` + condition("Synced", "True") + "," + condition("Ready", "True") + `]}`),
			status: "Ready"},
		{name: "not healthy", document: custom(`{"conditions":[` + condition("Synced", "True") + "," + condition("Healthy", "False") + `]}`),
			status: "NotHealthy"},
		{name: "not known", document: custom(`{"conditions":[` + condition("Available", "Unknown") + `]}`), status: "Unknown"},
		{name: "other conditions", document: custom(`{"conditions":[` + condition("Paused", "True") + `]}`)},
		{name: "a text", document: custom(`"fine"`)},
		{name: "a phase that is none", document: custom(`{"phase":{"name":"x"},"state":3,"conditions":[` + condition("Ready", "True") + `]}`),
			status: "Ready"},
		{name: "conditions by name", document: custom(`{"conditions":{"ready":true}}`)},
		{name: "a message", document: custom(`{"state":"waiting for the controller of the other cluster to accept what was asked of it"}`)},
	} {
		want.check(t)
	}
}
