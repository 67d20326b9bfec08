package scrub

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// canaries are objects with secrets where people put them. In these, @ is a
// secret, # one in base64, and % Helm's payload with one.
var canaries = map[string][]string{
	"core/Secret": {
		`{"metadata":{"name":"n"},"data":{"password":"#","x":"#"},"stringData":{"y":"@"},"type":"Opaque"}`,
		`{"metadata":{"name":"n"},"data":{".dockerconfigjson":"#"},"type":"kubernetes.io/dockerconfigjson"}`,
		`{"metadata":{"name":"n"},"data":{".dockercfg":"#"},"type":"kubernetes.io/dockercfg"}`,
		`{"metadata":{"name":"n"},"data":{"username":"#","password":"#"},"type":"kubernetes.io/basic-auth"}`,
		`{"metadata":{"name":"n"},"data":{"ssh-privatekey":"#"},"type":"kubernetes.io/ssh-auth"}`,
		`{"metadata":{"name":"n"},"data":{"tls.crt":"#","tls.key":"#"},"type":"kubernetes.io/tls"}`,
		`{"metadata":{"name":"n"},"data":{"token":"#","ca.crt":"#","namespace":"#"},"type":"kubernetes.io/service-account-token"}`,
		`{"metadata":{"name":"n"},"data":{"token-id":"#","token-secret":"#"},"type":"bootstrap.kubernetes.io/token"}`,
		`{"metadata":{"name":"n","labels":{"owner":"helm"}},"data":{"release":"%"},"type":"helm.sh/release.v1"}`,
		`{"type":"Opaque","kind":"Secret","apiVersion":"v1","metadata":{"name":"n"},"data":["@"]}`,
		`{"metadata":{"name":"n"},"data":"@"}`,
		`{"metadata":{"name":"n"},"data":{"a":{"b":"@"},"c":["@"]}}`,
		`{"metadata":{"name":"n"},"d\u0061ta":{"a":"#"}}`,
		`{"metadata":{"name":"n","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"#\"}}"}}}`,
	},
	"core/ConfigMap": {
		`{"metadata":{"name":"n"},"data":{"app.conf":"listen 80; @","p":"@"},"binaryData":{"keystore":"#"}}`,
		`{"metadata":{"name":"n","labels":{"owner":"helm"}},"data":{"release":"%"}}`,
		`{"metadata":{"name":"n","labels":{"OWNER":"TILLER"}},"data":{"release":"#"}}`,
		`{"metadata":{"name":"n","annotations":{
			"kapp.k14s.io/original":"{\"data\":{\"p\":\"@\"}}","objectset.rio.cattle.io/applied":"#","banzaicloud.com/last-applied":"#",
			"kopf.zalando.org/last-handled-configuration":"@","k0s.k0sproject.io/last-applied-configuration":"@",
			"tool.example/state":"{\"apiVersion\":\"v1\",\"data\":{\"x\":\"@\"}}","tool.example/db-password":"@","note":"psql postgres://u:@@h/d"}}}`,
	},
	"core/Pod": {
		`{"metadata":{"name":"n"},"spec":{
			"containers":[{"env":[{"name":"PLAIN","value":"@"},{"name":"PASSWORD","value":"@"}],
				"command":["mysqladmin","ping","-p@"],"args":["--token=@","--password","@"],
				"livenessProbe":{"exec":{"command":["sh","-c","redis-cli -a @ ping"]},"httpGet":{"httpHeaders":[{"name":"Authorization","value":"@"},{"name":"X-Api-Key","value":"@"}]}},
				"readinessProbe":{"exec":{"command":["curl","-u","probe:@","http://localhost"]}},
				"startupProbe":{"httpGet":{"path":"/up?token=@"}},
				"lifecycle":{"preStop":{"exec":{"command":["sh","-c","PGPASSWORD=@ psql -c checkpoint"]}},"postStart":{"httpGet":{"httpHeaders":[{"name":"Cookie","value":"@"}]}}}}],
			"initContainers":[{"env":[{"value":"@","name":"A"}],"command":["wget","https://u:@@files.example/x"]}],
			"ephemeralContainers":[{"env":[{"name":"B","value":"@"}]}],
			"volumes":[{"csi":{"volumeAttributes":{"password":"@","clientSecret":"@"}}},{"flexVolume":{"options":{"api-token":"@"}}},
				{"iscsi":{"targetPortal":"https://u:@@iscsi"}},{"cephfs":{"secretKey":"@"}}]},
			"status":{"containerStatuses":[{"lastState":{"terminated":{"message":"cannot reach postgres://u:@@db: password=@"}}}],
				"conditions":[{"message":"token: @"}]}}`,
	},
	"batch/CronJob": {
		`{"metadata":{"name":"n"},"spec":{"jobTemplate":{"spec":{"template":{
			"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"@","x/original":"@"}},
			"spec":{"containers":[{"env":[{"name":"A","value":"@"}],"args":["sh","-c","mysqldump -u root -p@ shop"]}]}}}}}}`,
	},
	"core/PersistentVolume": {
		`{"metadata":{"name":"n"},"spec":{"csi":{"volumeAttributes":{"accountKey":"@","secret":"@"}},"mountOptions":["username=u","password=@"],
			"rbd":{"userKey":"@"},"flexVolume":{"options":{"chapPassword":"@"}}}}`,
	},
	"storage.k8s.io/StorageClass": {
		`{"metadata":{"name":"n"},"parameters":{"adminSecret":"@","restuserkey":"x","restUserKey":"@","userKey":"@"}}`,
	},
	"admissionregistration.k8s.io/ValidatingWebhookConfiguration": {
		`{"metadata":{"name":"n"},"webhooks":[{"clientConfig":{"url":"https://u:@@hook.example/x?token=@","caBundle":"#"}}]}`,
	},
	"certificates.k8s.io/CertificateSigningRequest": {
		`{"metadata":{"name":"n"},"spec":{"request":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNU#"},` +
			`"status":{"certificate":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0t#"}}`,
	},
	"core/Event": {
		`{"metadata":{"name":"n"},"message":"failed: curl -u robot:@ https://x","series":{"note":"Authorization: Bearer @"}}`,
	},
	"argoproj.io/Application": {
		`{"metadata":{"name":"n"},"spec":{"source":{"repoURL":"https://git:@@git.example/x","helm":{"parameters":[{"name":"pw1","value":"@"}],
			"values":"a: @","valuesObject":{"a":{"b":["@",{"c":"@"}]},"metadata":{"x":"@"}}},
			"plugin":{"env":[{"name":"A","value":"@"}],"parameters":[{"name":"api-token","string":"@"}]},"kustomize":{"patches":[{"patch":"kind: Secret\ndata:\n  x: @\nmore: aaaaaaaaaaaaa"}]}}},
			"status":{"history":[{"source":{"helm":{"values":"@"}}}]}}`,
	},
	"argoproj.io/Workflow": {
		`{"metadata":{"name":"n"},"spec":{"arguments":{"parameters":[{"name":"p","value":"@"}]},"templates":[{"script":{"env":[{"name":"A",` +
			`"value":"@"}],"source":"export DB_PASSWORD=@"},
			"resource":{"manifest":"apiVersion: v1\nkind: \"Secret\"\nstringData:\n  x: @\n"}}]}}`,
	},
	"helm.toolkit.fluxcd.io/HelmRelease": {
		`{"metadata":{"name":"n"},"spec":{"values":{"db":{"pw":"@","list":["@"],"pin":8675309}},` +
			`"postRenderers":[{"kustomize":{"patches":[{"patch":"{\"kind\": \"Secret\", \"data\":{\"a\":\"@\"}}"}]}}]}}`,
	},
	"kustomize.toolkit.fluxcd.io/Kustomization": {
		`{"metadata":{"name":"n"},"spec":{"postBuild":{"substitute":{"pin":"@"}}}}`,
	},
	"helm.cattle.io/HelmChart": {
		`{"metadata":{"name":"n"},"spec":{"valuesContent":"pw: @","set":{"a.b":"@"},"chartContent":"#"}}`,
	},
	"fleet.cattle.io/Bundle": {
		`{"metadata":{"name":"n"},"spec":{"resources":[{"name":"s.yaml","content":"@"}],"helm":{"values":{"x":"@"}}}}`,
	},
	"helm.crossplane.io/Release": {
		`{"metadata":{"name":"n"},"spec":{"forProvider":{"values":{"x":"@"},"set":[{"name":"x","value":"@"}]}},"status":{"values":["a: @",` +
			`"b:\\n- @"]}}`,
	},
	"kubernetes.crossplane.io/Object": {
		`{"metadata":{"name":"n"},"spec":{"forProvider":{"manifest":{"apiVersion":"v1","data":{"p":"#"},"kind":"Secret"}}},
			"status":{"atProvider":{"manifest":{"apiVersion":"v1","binaryData":{"k":"#"},"data":{"p":"@"},"kind":"ConfigMap","metadata":{"annotations":{"a/last-applied":"@"}}}}}}`,
	},
	"apiextensions.crossplane.io/Composition": {
		`{"metadata":{"name":"n"},"spec":{"resources":[{"connectionDetails":[{"name":"p","value":"@"}]}]}}`,
	},
	"work.open-cluster-management.io/ManifestWork": {
		`{"metadata":{"name":"n"},"spec":{"workload":{"manifests":[{"kind":"Secret","stringData":{"p":"@"}},{"kind":"List",` +
			`"items":[{"data":{"x":"#"},"kind":"Secret"}]}]}}}`,
	},
	"bitnami.com/SealedSecret": {
		`{"metadata":{"name":"n"},"spec":{"template":{"data":{"config":"host=@"},"metadata":{"annotations":{"x/applied":"@"}}}}}`,
	},
	"external-secrets.io/ExternalSecret": {
		`{"metadata":{"name":"n"},"spec":{"target":{"template":{"data":{"url":"x{{ .y }}@"}}}}}`,
	},
	"tekton.dev/TaskRun": {
		`{"metadata":{"name":"n"},"spec":{"params":[{"name":"a","value":"@"},{"name":"b","value":["@"]},{"name":"c","value":{"d":"@"}}],
			"taskSpec":{"steps":[{"env":[{"name":"A","value":"@"}],"script":"curl -H 'Authorization: token @' https://x"}]}}}`,
	},
	"serving.knative.dev/Service": {
		`{"metadata":{"name":"n"},"spec":{"template":{"spec":{"containers":[{"env":[{"name":"A","value":"@"}]}]}}}}`,
	},
	"kafka.strimzi.io/KafkaConnector": {
		`{"metadata":{"name":"n"},"spec":{"config":{"database.password":"@","sasl.jaas.config":"org.apache.Login required username=\"u\" ` +
			`password=\"@\";"}}}`,
	},
	"cert-manager.io/Certificate": {
		`{"metadata":{"name":"n"},"spec":{"keystores":{"jks":{"password":"@"}}}}`,
	},
	"bootstrap.cluster.x-k8s.io/KubeadmConfig": {
		`{"metadata":{"name":"n"},"spec":{"files":[{"path":"/a","content":"@"}],"users":[{"name":"u","passwd":"@"}],` +
			`"preKubeadmCommands":["echo root:x | PASSWORD=@ chpasswd"],
			"joinConfiguration":{"discovery":{"bootstrapToken":{"token":"@"}}},"ignition":{"containerLinuxConfig":{"additionalConfig":"@"}}}}`,
	},
	"kubevirt.io/VirtualMachine": {
		`{"metadata":{"name":"n"},"spec":{"template":{"spec":{"volumes":[{"cloudInitNoCloud":{"userData":"#cloud @","userDataBase64":"#",` +
			`"networkData":"@","networkDataBase64":"#"}},
			{"cloudInitConfigDrive":{"userData":"@"}}]}}}}`,
	},
	"infrastructure.cluster.x-k8s.io/AWSMachine": {
		`{"metadata":{"name":"n"},"spec":{"userData":"@","additionalUserData":"@","userdata":"@"}}`,
	},
	"machineconfiguration.openshift.io/MachineConfig": {
		`{"metadata":{"name":"n"},"spec":{"config":{"storage":{"files":[{"contents":{"source":"data:,@"}},{"contents":{"inline":"@"}}]},` +
			`"systemd":{"units":[{"name":"a","contents":"@"}]}}}}`,
	},
	"template.openshift.io/Template": {
		`{"metadata":{"name":"n"},"parameters":[{"name":"P","value":"@"}],"objects":[{"apiVersion":"v1","kind":"Secret",` +
			`"stringData":{"a":"@"}}]}`,
	},
	"example.com/Other": {
		`{"metadata":{"name":"n"},"spec":{"Env":[{"Name":"A","Value":"@"}],"ENV":{"A":"@"},"Environment":["A=@"],"env":[{"key":"A","val":"@"},` +
			`{"name":"A","Value":"@"}],
			"params":[{"Name":"p","Value":"@"},{"key":"p","val":"@"},{"name":"p","stringValue":"@"}],"Parameters":[{"ParameterKey":"p","ParameterValue":"@"}],
			"files":[{"path":"/x","data":"@"},{"name":"y","text":"@"}],"write_files":[{"path":"/x","body":"@"}],"Values":{"x":"@"},"helm_values":{"x":"@"}}}`,
		`{"metadata":{"name":"n"},"spec":{"jobTemplate":"env:\n- name: DB_PASSWORD\n  value: @\n",` +
			`"podTemplate":"{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"@\"}]}",
			"postStart":"ipmitool -U a -P @ chassis","settings":[{"key":"db.password","val":"@"}],"url":"postgres://u:x/@@db/x","script":"set -e\nexport DB_PASS=@\n",
			"hook":"https://chat.example/hooks/@"},"status":{"conditions":[{"message":"dial amqp://u:x/@@h failed"}]}}`,
		`{"metadata":{"name":"n","annotations":{"x/config":"{\"a\":\"{\\\"password\\\":\\\"@\\\"}\"}",` +
			`"vault.hashicorp.com/agent-inject-template-x":"{{ with secret }}@{{ end }}",
			"k3s.io/node-args":"[\"server\",\"--password\",\"@\"]","consul.hashicorp.com/connect-inject-template":"@",
			"nginx.ingress.kubernetes.io/configuration-snippet":"proxy_set_header Authorization \"Basic #\"; proxy_set_header X-Api-Key @;"}}}`,
		`{"metadata":{"name":"n","labels":{"db_password":"@"}},"spec":{"preKubeadmCommands":["echo DB_PASS=@ > /etc/x"],"args":["-a","@"],` +
			`"command":["redis-cli"]}}`,
	},
	"example.com/App": {
		`{"metadata":{"name":"n"},"spec":{"extraEnv":[{"name":"A","value":"@"}],"env":{"A":"@","B":{"value":"@"},"C":["@"],"D":1},` +
			`"environment":["A=@","B=x=@"],"sidecar":{"envVars":{"A":"@"}},
			"driver":{"driverEnv":{"A":"@"}},"deep":[[[{"env":[{"name":"A","value":"@"}]}]]],"big":"@` + strings.Repeat("x", maxText) + `"}}`,
	},
}

func TestNoSecretComesThrough(t *testing.T) {
	planted := 0
	for kind, objects := range canaries {
		group, name, _ := strings.Cut(kind, "/")
		if group == "core" {
			group = ""
		}
		for _, o := range objects {
			var secrets []string
			raw := regexp.MustCompile(`[@#%]`).ReplaceAllStringFunc(o, func(mark string) string {
				secret := fmt.Sprintf("c4n4ry%03dv4lue", planted)
				planted++
				encoded := base64.StdEncoding.EncodeToString([]byte(secret))
				// Without its end, which depends on what comes behind.
				secrets = append(secrets, secret, encoded[:len(encoded)-4])
				switch mark {
				case "#":
					return encoded
				case "%":
					return helmPayload(t, `{"name":"r","info":{"description":"`+secret+`","notes":"`+secret+`"},"manifest":"`+secret+`",
						"hooks":[{"manifest":"`+secret+`"}],"config":{"auth":{"password":"`+secret+`"}},"chart":{"values":{"a":"`+secret+`"}}}`, group+name == "Secret" && strings.Contains(o, "helm.sh"))
				}
				return secret
			})
			// "u:@@h" and "#cloud" are written with a mark that is none.
			raw = regexp.MustCompile(`(c4n4ry\d+v4lue)c4n4ry\d+v4lue`).ReplaceAllString(raw, "$1@")
			doc := scrubbed(t, Scrubber{}, object.Kind{Group: group, Version: "v1", Kind: name}, raw)
			clean, err := new(redact.Rules).Document(doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range secrets {
				if bytes.Contains(clean, []byte(s)) {
					t.Errorf("%s: %s came through:\n%s", kind, s, clean)
				}
			}
		}
	}
	if planted < 100 {
		t.Errorf("only %d secrets were planted", planted)
	}
}

// scrubbed returns the object in canonical form, after the scrubber.
func scrubbed(t testing.TB, s Scrubber, kind object.Kind, raw string) []byte {
	t.Helper()
	o, err := object.Read(kind, []byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	clean, err := s.Object(o)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := document.Canonical(clean)
	if err != nil {
		t.Fatalf("%s\n gave %s: %v", raw, clean, err)
	}
	return doc
}

// helmPayload encodes a release as Helm does.
func helmPayload(t testing.TB, release string, inSecret bool) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(release)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(b.Bytes())
	if inSecret {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	return text
}
