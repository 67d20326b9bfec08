package kinds

import "testing"

func TestNetwork(t *testing.T) {
	service := func(spec, status string) string {
		return `{"apiVersion":"v1","kind":"Service","spec":{` + spec + `},"status":{"loadBalancer":{` + status + `}}}`
	}
	const pods = `"targetRef":{"kind":"Pod","namespace":"ns","name":`
	for _, want := range []reading{
		{
			name: "ClusterIP",
			document: service(`"type":"ClusterIP","externalIPs":["192.0.2.1"],"ports":[{"port":80,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]`,
				``),
			facts: `{"externalAddresses":["192.0.2.1"],"ports":"80/TCP,53/UDP"}`, edges: []string{},
		},
		{name: "headless", document: service(`"type":"ClusterIP","clusterIP":"None"`, ``), facts: `{}`},
		{name: "NodePort", document: service(`"type":"NodePort","ports":[{"port":80,"nodePort":30080,"protocol":"TCP"}]`, ``),
			facts: `{"ports":"80:30080/TCP"}`},
		{name: "LoadBalancer pending", document: service(`"type":"LoadBalancer"`, ``), status: "Pending", facts: `{}`},
		{
			name: "LoadBalancer", facts: `{"externalAddresses":["192.0.2.8","lb.example.com","192.0.2.1"]}`,
			document: service(`"type":"LoadBalancer","externalIPs":["192.0.2.1"]`, `"ingress":[{"hostname":"lb.example.com"},{"ip":"192.0.2.8"}]`),
		},
		{name: "ExternalName", document: service(`"type":"ExternalName","externalName":"db.example.com"`, ``),
			facts: `{"externalAddresses":["db.example.com"]}`},

		{
			name: "EndpointSlice",
			document: `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"x",` +
				`"labels":{"kubernetes.io/service-name":"web"}},
				"endpoints":[{"conditions":{"ready":true},` + pods + `"b"}},{"conditions":{"ready":false},` + pods + `"a"}},{` + pods + `"c"}},
				{"conditions":{},"targetRef":{"kind":"Node","name":"n"}},{"addresses":["192.0.2.1"]}]}`,
			facts: `{"readyEndpoints":4,"endpoints":5}`,
			edges: []string{"part_of core.Service ns/web", "routes_to core.Pod ns/a", "routes_to core.Pod ns/b", "routes_to core.Pod ns/c"},
		},
		{name: "EndpointSlice of no Service", document: `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","endpoints":null}`,
			edges: []string{}},
		{
			name: "Endpoints",
			document: `{"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{` + pods + `"a"}},{` + pods + `"b"}}],
				"notReadyAddresses":[{"targetRef":{"kind":"Pod","name":"c"}}]},{"addresses":[{` + pods + `"a"}}]}]}`,
			facts: `{"readyEndpoints":3,"endpoints":4}`,
			edges: []string{"part_of core.Service ns/x", "routes_to core.Pod ns/a", "routes_to core.Pod ns/b", "routes_to core.Pod ns/c"},
		},

		{
			name: "Ingress",
			document: `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"ingressClassName":"nginx",
				"defaultBackend":{"resource":{"apiGroup":"k8s.example.com","kind":"Bucket","name":"static"}},
				"tls":[{"hosts":["a.example.com"],"secretName":"tls"},{}],"rules":[
				{"host":"a.example.com","http":{"paths":[{"path":"/","backend":{"service":{"name":"web","port":{"number":80}}}},
					{"path":"/api","backend":{"service":{"name":"api"}}}]}},
				{"host":"b.example.com","http":{"paths":[{"backend":{"service":{"name":"web"}}}]}},{"host":"a.example.com"},{}]},
				"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`,
			facts: `{"hosts":["a.example.com","b.example.com"],"addresses":["192.0.2.1"]}`,
			edges: []string{
				"routes_to core.Service ns/api", "routes_to core.Service ns/web", "routes_to k8s.example.com.Bucket ns/static",
				"uses core.Secret ns/tls", "uses networking.k8s.io.IngressClass nginx",
			},
		},
		{
			name:     "Ingress with a default alone",
			document: `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"defaultBackend":{"service":{"name":"web"}}}}`,
			facts:    `{}`, edges: []string{"routes_to core.Service ns/web"},
		},

		{
			name: "Gateway", status: "Programmed",
			document: `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"Gateway","spec":{"gatewayClassName":"cilium","listeners":[
				{"hostname":"*.example.com","tls":{"certificateRefs":[{"name":"wild"},{"group":"","kind":"Secret","namespace":"certs","name":"other"}]}},{}]},
				"status":{"addresses":[{"type":"IPAddress","value":"192.0.2.1"}],
				"conditions":[{"type":"Accepted","status":"True"},{"type":"Programmed","status":"True"}]}}`,
			facts: `{"hosts":["*.example.com"],"addresses":["192.0.2.1"]}`,
			edges: []string{"uses core.Secret certs/other", "uses core.Secret ns/wild", "uses gateway.networking.k8s.io.GatewayClass cilium"},
		},
		{
			name: "HTTPRoute", status: "Accepted",
			document: `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","spec":{"hostnames":["a.example.com"],
				"parentRefs":[{"name":"gw"},{"namespace":"infra","name":"gw","sectionName":"https"},{"group":"","kind":"Service","name":"mesh"}],
				"rules":[{"backendRefs":[{"name":"web","port":80},{"namespace":"other","name":"web","port":80}]},
					{"backendRefs":[{"group":"multicluster.x-k8s.io","kind":"ServiceImport","name":"far"}]},{}]},
				"status":{"parents":[{"conditions":[{"type":"Accepted","status":"True"}]},{"conditions":[{"type":"Accepted","status":"True"}]}]}}`,
			facts: `{"hosts":["a.example.com"]}`,
			edges: []string{
				"attached_to core.Service ns/mesh", "attached_to gateway.networking.k8s.io.Gateway infra/gw",
				"attached_to gateway.networking.k8s.io.Gateway ns/gw",
				"routes_to core.Service ns/web", "routes_to core.Service other/web", "routes_to multicluster.x-k8s.io.ServiceImport ns/far",
			},
		},
		{
			name: "HTTPRoute that one refuses", status: "NotAccepted",
			document: `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","status":{"parents":[
				{"conditions":[{"type":"Accepted","status":"True"}]},{"conditions":[{"type":"Accepted","status":"False"}]},
				{"conditions":[{"type":"Accepted","status":"True"}]}]}}`,
		},
	} {
		want.check(t)
	}
	for _, kind := range []string{"GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"} {
		reading{
			name: kind,
			document: `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"` + kind +
				`","spec":{"parentRefs":[{"name":"gw"}],"rules":[{"backendRefs":[{"name":"web"}]}]}}`,
			edges: []string{"attached_to gateway.networking.k8s.io.Gateway ns/gw", "routes_to core.Service ns/web"},
		}.check(t)
	}
}
