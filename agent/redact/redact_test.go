package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/document"
)

const canary = "c4n4ry-v4lue"

func TestSecretsAreMasked(t *testing.T) {
	for _, doc := range []string{
		`{"password":"c4n4ry-v4lue"}`,
		`{"dbPassword":"c4n4ry-v4lue"}`,
		`{"DB_PASSWORD":"c4n4ry-v4lue"}`,
		`{"DBPASSWORD":"c4n4ry-v4lue"}`,
		`{"api-key":"c4n4ry-v4lue"}`,
		`{"X-Auth-Token":"c4n4ry-v4lue"}`,
		`{"privateKey":"c4n4ry-v4lue"}`,
		`{"secret":{"value":"c4n4ry-v4lue"}}`,
		`{"secrets":["c4n4ry-v4lue"]}`,
		`{"credentials":[{"user":"u","x":{"y":["c4n4ry-v4lue"]}}]}`,
		`{"env":[{"name":"DB_PASSWORD","value":"c4n4ry-v4lue"}]}`,
		`{"user_data":"c4n4ry-v4lue"}`,
		`{"environment":["PATH=/bin","DB_PASSWORD=c4n4ry-v4lue with spaces & marks;"]}`,
		`{"environment":["A=b","TOKEN=a=c4n4ry-v4lue"]}`,
		`{"exec":"/usr/bin/app --password c4n4ry-v4lue --port 80"}`,
		`{"exec":"/usr/bin/app --db-password=c4n4ry-v4lue -x"}`,
		`{"exec":"PGPASSWORD=\"c4n4ry-v4lue\" psql"}`,
		`{"alias":"uplink, token: c4n4ry-v4lue"}`,
		`{"options":["rw","password=c4n4ry-v4lue"]}`,
		`{"url":"postgres://app:c4n4ry-v4lue@db/x"}`,
		`{"note":"Authorization: Bearer c4n4ry-v4lue"}`,
		`{"pem":"-----BEGIN RSA PRIVATE KEY-----\nc4n4ry-v4lue\n-----END RSA PRIVATE KEY-----"}`,
		`{"pem":"-----BEGIN PRIVATE KEY-----\nc4n4ry-v4lue cut off"}`,
		`{"json":"{\"password\": \"c4n4ry-v4lue\"}"}`,
		`{"name":{"password":"c4n4ry-v4lue"}}`,
		`{"secret_id":"c4n4ry-v4lue","exec":"VAULT_SECRET_ID=c4n4ry-v4lue run"}`,
		`{"userKey":"c4n4ry-v4lue","client-key-data":"x"}`,
		`{"secret":{"secretName":"tls","inline":"c4n4ry-v4lue"}}`,
		`{"env":[{"name":"API_TOKENS","values":["c4n4ry-v4lue"]}]}`,
		`{"args":["--db-password","c4n4ry-v4lue","--port","80"]}`,
		`{"command":["/usr/bin/mysqladmin","ping","-uroot","-pc4n4ry-v4lue"]}`,
		`{"command":["curl","-fsS","-u","probe:c4n4ry-v4lue","http://localhost"]}`,
		`{"command":["curl","--user=probe:c4n4ry-v4lue","http://localhost"]}`,
		`{"command":["redis-cli","-a","c4n4ry-v4lue","ping"]}`,
		`{"exec":"mysqldump -h db -u root -pc4n4ry-v4lue shop | gzip"}`,
		`{"exec":"set -e; curl -sSu 'probe:c4n4ry-v4lue' http://localhost"}`,
		`{"exec":"sshpass -p c4n4ry-v4lue ssh host"}`,
		`{"exec":"redis-cli -h cache -a c4n4ry-v4lue ping"}`,
		`{"exec":"docker login -u robot -p c4n4ry-v4lue registry.example"}`,
		`{"exec":"openssl enc -d -pass pass:c4n4ry-v4lue"}`,
		`{"exec":"AWS_SECRET_ACCESS_KEY=c4n4ry-v4lue aws s3 ls"}`,
		`{"url":"amqp://app:p@c4n4ry-v4lue@mq/"}`,
		`{"mount":"//app:c4n4ry-v4lue@files/share"}`,
		`{"restuserkey":"c4n4ry-v4lue","ci.example.com/deploy-key":"c4n4ry-v4lue"}`,
		`{"hook":"https://hooks.example.com/services/T000/c4n4ryv4lue0123456789abcdef"}`,
		`{"dsn":"app:c4n4ry-v4lue@tcp(db:3306)/shop"}`,
		`{"url":"https://hooks.slack.com/services/T000/B000/c4n4ry-v4lue"}`,
		`{"url":"https://store.example/x?se=2030&sig=c4n4ry-v4lue"}`,
		`{"connection":"Endpoint=https://x/;AccountKey=c4n4ry-v4lue;EndpointSuffix=y"}`,
		`{"header":"Authorization: ApiKey c4n4ry-v4lue"}`,
		`{"header":"Cookie: session=c4n4ry-v4lue; theme=dark"}`,
		`{"yaml":"db:\n  user: app\n  password: two words, c4n4ry-v4lue\n  port: 1"}`,
		`{"yaml":"tls:\n  private_key: |\n    line\n\n    c4n4ry-v4lue\n  port: 1"}`,
		`{"docker":"{\"auths\":{\"r\":{\"auth\":\"YzRuNHJ5LXY0bHVlOmM0bjRyeS12NGx1ZQ==\"}}}","x":"password=c4n4ry-v4lue"}`,
	} {
		got := redact(t, doc)
		if bytes.Contains(got, []byte(canary)) || bytes.Contains(got, []byte("c4n4ryv4lue")) || !bytes.Contains(got, []byte(Mask)) {
			t.Errorf("%s\n gave %s", doc, got)
		}
	}
}

func TestTheRestStays(t *testing.T) {
	for _, doc := range []string{
		`{"name":"web","image":"registry/app:1.2","tokenExpirationSeconds":3600,"automountServiceAccountToken":true}`,
		`{"secretName":"tls","secretKeyRef":{"key":"pw","name":"db-secret"},"imagePullSecrets":[{"name":"regcred"}]}`,
		`{"keyboard":"us","monkey":"x","url":"https://example.org/a:b","path":"/etc/passwd","compass":"north"}`,
		`{"environment":["PATH=/bin:/usr/bin","LANG=C.UTF-8"],"exec":"/usr/sbin/sshd -D","passwordPolicy":"strict"}`,
		`{"password":"","secret":null,"empty":{}}`,
		`{"relations":"keys to the city","authority":"a"}`,
		`{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db"}}}`,
		`{"volumes":[{"name":"c","secret":{"defaultMode":420,"items":[{"key":"k","path":"p"}],"secretName":"tls"}}]}`,
		`{"serviceAccountToken":{"audience":"vault","expirationSeconds":3600,"path":"token"}}`,
		`{"csi.storage.k8s.io/provisioner-secret-name":"ceph","adminSecretNamespace":"rook","secretProviderClass":"v","secretRef":{"name":"s"}}`,
		`{"nodeStageSecretRef":{"name":"n","namespace":"ns"},"tokenRequests":[{"audience":"a","expirationSeconds":60}]}`,
		`{"data":{"password":{"bytes":12},"tls.key":{"bytes":1704}}}`,
		`{"args":["--tls-private-key-file=/pki/k.pem","--service-account-private-key-file","/pki/sa","--token-ttl=24h","-p","8080:80"]}`,
		`{"command":["mysqld","--port=3306"],"run":["curl","-fsS","http://localhost/healthz"],"x":["mysql","-h","db","-P","3306"]}`,
		`{"exec":"curl -fsSL https://get.example/x?version=1 | sh; mysql -h db -u root shop"}`,
		`{"message":"MountVolume.SetUp failed for volume \"tls\" : secret \"web-tls\" not found"}`,
		`{"image":"registry.example:5000/mysql:8@sha256:0d17b565","probe":"http://host:8080/a?mail=x@y","auth":"basic","cookieName":"c"}`,
		`{"providerID":"openstack:///0a1b2c3d-0000-4000-8000-0123456789ab",` +
			`"repo":"https://git.example/a-team/a-rather-long-name-of-a-repository"}`,
		`{"topologyKey":"zone","publicKey":"x","parameters":{"restauthenabled":"false"}}`,
		`{"yaml":"secretName: tls\ntokenTTL: 3 h\nport: 80","auth":{"mode":"oidc"}}`,
	} {
		want, err := document.Canonical([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if got := redact(t, doc); !bytes.Equal(got, want) {
			t.Errorf("%s\n gave %s", want, got)
		}
	}
}

func canonical(t testing.TB, doc string) string {
	t.Helper()
	c, err := document.Canonical([]byte(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return string(c)
}

func redact(t testing.TB, doc string) []byte {
	t.Helper()
	c, err := document.Canonical([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	got, err := builtin.Document(c)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	if again, err := document.Canonical(got); err != nil || !bytes.Equal(again, got) {
		t.Fatalf("%s: not canonical: %s", doc, got)
	}
	return got
}

func TestKnownForms(t *testing.T) {
	for _, s := range []string{
		"AKIAIOSFODNN7EXAMPLE", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "glpat-abcdefghijklmnopqrst",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
		"hvs." + strings.Repeat("a", 24), "dckr_pat_" + strings.Repeat("a", 24), "hf_" + strings.Repeat("a", 32),
		"npm_" + strings.Repeat("a", 36), "AIza" + strings.Repeat("a", 35), "GOCSPX-" + strings.Repeat("a", 24),
		"SG." + strings.Repeat("a", 20) + "." + strings.Repeat("b", 20), "sk-ant-" + strings.Repeat("a", 24),
		"sk_live_" + strings.Repeat("a", 24), "rk_test_" + strings.Repeat("a", 24), "xapp-" + strings.Repeat("1", 12),
		"glrt-" + strings.Repeat("a", 20), "glsa_" + strings.Repeat("a", 20), "dop_v1_" + strings.Repeat("a", 64),
		"xoxb-" + strings.Repeat("1", 12), "github_pat_" + strings.Repeat("a", 24), "AGE-SECRET-KEY-1" + strings.Repeat("Q", 40),
	} {
		if got := builtin.Text("see " + s + " here"); got != "see "+Mask+" here" {
			t.Errorf("%s gave %q", s, got)
		}
	}
}

// TestInBase64 has what is found by what its bytes must look like in base64, at
// each of the three ways in which they can fall.
func TestInBase64(t *testing.T) {
	for _, s := range []string{
		"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
		"-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n",
		"-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
		`{"auths":{"registry":{"auth":"dXNlcjpwYXNz"}}}`,
		"{\n\t\"auths\": {\n  }\n}",
		"{\n  \"auths\": {\n  }\n}",
		"{\n    \"auths\": {\n  }\n}",
	} {
		encoded := base64.StdEncoding.EncodeToString([]byte(s))
		if got := builtin.Text("x: " + encoded); got != "x: "+Mask {
			t.Errorf("%s gave %s", encoded, got)
		}
	}
	// A certificate is no secret.
	public := base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nabc\n"))
	if got := builtin.Text(public); got != public {
		t.Errorf("%s gave %s", public, got)
	}
	if got := redact(t, `{"auth":"dXNlcjpwYXNz"}`); string(got) != `{"auth":"`+Mask+`"}` {
		t.Errorf("user:password under auth gave %s", got)
	}
}

// TestYAML shows that a block ends where its indentation does.
func TestYAML(t *testing.T) {
	const in = "a:\n- token: |\n    one\n\n    two\n  port: 1\nsecret: >-\n  x\nb: 2\n"
	const want = "a:\n- token: [redacted]\n  port: 1\nsecret: [redacted]\nb: 2\n"
	if got := builtin.Text(in); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOwnRules(t *testing.T) {
	r, err := New([]string{"*_adr", "connection-string", "Kod?", "암호"}, []string{"ACME-[0-9]{12}", `(?i)badge "\d+"`})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"DB_ADR":"x","adr":"y"}`:                          `{"DB_ADR":"[redacted]","adr":"y"}`,
		`{"Connection-String":["x",1]}`:                     `{"Connection-String":["[redacted]","[redacted]"]}`,
		`{"kods":1,"kod":2,"skods":3}`:                      `{"kod":2,"kods":"[redacted]","skods":3}`,
		`{"암호":"x"}`:                                        `{"암호":"[redacted]"}`,
		`{"env":[{"name":"SHOP_ADR","value":"x"}]}`:         `{"env":[{"name":"SHOP_ADR","value":"[redacted]"}]}`,
		`{"args":["--shop_adr","x","--y"]}`:                 `{"args":["--shop_adr","[redacted]","--y"]}`,
		`{"a":"run --shop_adr=x -v","b":"run --kod2 x -v"}`: `{"a":"run --shop_adr=[redacted] -v","b":"run --kod2 [redacted] -v"}`,
		`{"a":"set 암호=x now","b":"my_adr_2=x"}`:             `{"a":"set 암호=[redacted] now","b":"my_adr_2=x"}`,
		`{"a":"card ACME-123456789012, badge \"7\""}`:       `{"a":"card [redacted], [redacted]"}`,
		`{"a":"ACME-1","password":"p"}`:                     `{"a":"ACME-1","password":"[redacted]"}`,
	} {
		c, err := document.Canonical([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Document(c); err != nil || string(got) != want {
			t.Errorf("%s gave %s, %v; want %s", in, got, err, want)
		}
	}
	if got := r.Labels(map[string]string{"db_adr": "x", "n": "ACME-123456789012"}); got["db_adr"] != Mask || got["n"] != Mask {
		t.Errorf("labels: %v", got)
	}
	if (&Rules{}).judge("kod2").Secret || !r.judge("kod2").Secret {
		t.Error("rules are not kept apart")
	}
	var none *Rules
	if none.Text("password=x") != "password="+Mask {
		t.Error("nil does not have the built-in rules")
	}
}

func TestBadRulesAreNamed(t *testing.T) {
	_, err := New([]string{"ok", "**", " "}, []string{"[", "a*", "ok"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, place := range []string{"keys[1]", "keys[2]", "patterns[0]", "patterns[1]"} {
		if !strings.Contains(err.Error(), "redact."+place) {
			t.Errorf("%s is not named in: %v", place, err)
		}
	}
	if strings.Contains(err.Error(), "keys[0]") || strings.Contains(err.Error(), "patterns[2]") {
		t.Errorf("a good one is named in: %v", err)
	}
}

func TestLabels(t *testing.T) {
	in := map[string]string{"tier": "front", "admin_pass": canary, "note": "password=" + canary,
		"hunter2Zq9": "password", "x3x4x5x6x": "token"}
	got := builtin.Labels(in)
	if got[Mask] != "password" || got[Mask+" 2"] != "token" {
		t.Errorf("%v", got)
	}
	if got["tier"] != "front" || strings.Contains(got["admin_pass"]+got["note"], canary) {
		t.Errorf("%v", got)
	}
	if in["admin_pass"] != canary {
		t.Error("the argument was changed")
	}
}

// FuzzDocument shows that what comes out is in canonical form, that it comes out
// of itself, and that no value under the name of a secret does.
func FuzzDocument(f *testing.F) {
	for _, file := range []string{"testdata/secrets.txt", "testdata/harmless.txt"} {
		cases, _ := corpus(f, file)
		for _, c := range cases {
			f.Add([]byte(c[0]))
			if quoted, err := json.Marshal(c[0]); err == nil {
				f.Add([]byte(`{"a":` + string(quoted) + `}`))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := document.Canonical(data)
		if err != nil {
			return
		}
		got, err := builtin.Document(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := document.Canonical(got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%s gave %s, which is not canonical: %v", c, got, err)
		}
		if again, err := builtin.Document(got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%s gave %s, and that %s, %v", c, got, again, err)
		}
		planted := append(bytes.Clone(c[:len(c)-1]), `,"zz":{"password":"`+canary+`"}}`...)
		if len(c) == 2 {
			planted = []byte(`{"zz":{"password":"` + canary + `"}}`)
		}
		if planted, err = document.Canonical(planted); err != nil {
			return
		}
		if got, err := builtin.Document(planted); err != nil || bytes.Contains(got, []byte(canary)) && !bytes.Contains(c, []byte(canary)) {
			t.Fatalf("%s gave %s, %v", planted, got, err)
		}
	})
}

// FuzzText shows that nothing that a text holds hides the operator's patterns, that
// JSON stays JSON, and that what came out comes out of itself.
func FuzzText(f *testing.F) {
	f.Add("a: |\n password: x\ncurl -u a:b http://c:d@e --token x")
	for _, file := range []string{"testdata/secrets.txt", "testdata/harmless.txt"} {
		cases, _ := corpus(f, file)
		for _, c := range cases {
			f.Add(c[0])
		}
	}
	r, err := New([]string{"*_adr"}, []string{"ACME-[0-9]+"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := r.Text(s)
		if strings.Contains(got, "ACME-1") {
			t.Fatalf("a pattern was left in %q", got)
		}
		if again := r.Text(got); again != got {
			t.Fatalf("%q gave %q, and that %q", s, got, again)
		}
		if json.Valid([]byte(s)) && utf8.ValidString(s) && !json.Valid([]byte(builtin.Text(s))) {
			t.Fatalf("%q gave %q", s, builtin.Text(s))
		}
	})
}

// BenchmarkDocuments has elements and objects as services and clusters answer
// them, and says what one document costs.
func BenchmarkDocuments(b *testing.B) {
	for _, file := range []string{
		"openstack/kinds/testdata/network.json", "openstack/kinds/testdata/compute.json", "openstack/kinds/testdata/storage.json",
		"openstack/kinds/testdata/identity.json", "kubernetes/kinds/testdata/pod.json", "kubernetes/kinds/testdata/node.json",
		"kubernetes/kinds/testdata/deployment.json",
	} {
		docs := answers(b, filepath.Join("../../plugins", file))
		b.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if _, err := builtin.Document(docs[n%len(docs)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// answers returns the documents in recorded answers: the elements of each list, or
// the one object.
func answers(t testing.TB, file string) (docs [][]byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	add := func(raw json.RawMessage) {
		doc, err := document.Canonical(raw)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, doc)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	if members["kind"] != nil {
		add(data)
		return docs
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var list []json.RawMessage
		if json.Unmarshal(members[name], &list) != nil {
			continue
		}
		for _, raw := range list {
			if raw[0] == '{' {
				add(raw)
			}
		}
	}
	if len(docs) == 0 {
		t.Fatalf("%s has no documents", file)
	}
	return docs
}

// longUnits are texts that, repeated, are looked through again and again from each place.
var longUnits = []string{
	`/`, `//a:b/`, `://a/`, `u:p@`, `@`, `"password="`, `password='`, `password=\"`, `token:`, `token: the `, `token `, `--token `, `-p `,
	`mysql `, `mysql -p`,
	"password:\n ", "secret:\n  - a\n", "token: |\n ", "- name: TOKEN\n", `{"name":"TOKEN"}`, `[`, `{"a":[`, `["x",[`, `"`, `\`, `\"`, `'`,
	`<key>`, `<a `,
	`password=[`, `password={`, `api key `, `api key: `, `export A=`, `echo x | `, `a=b&`, `?token=`, `%3Dtoken%3D`, `$(`, `password=$(`,
	`vault operator `,
	`machine a login `, `https://x/hooks/`, `["-e","TOKEN",`, `authorization: `, `username a b `, `"a" "b"` + "\n", `eyJ`,
	`-----BEGIN PRIVATE KEY-----`,
	`https://u:p@h,`, `password,`, `('password', `,
	"password = <<A\n", "password: !a ", "&lt;password&gt;x", `\u0022password\u0022:\u0022`, "chpasswd:\n list:\n", "chpasswd <<A\na:b\n", "assword send ",
	"(echo x; ", "on >a ", "$6$a", "password('", "Private-Lines: 1\n", "variable \"token\" {", "<password><value>", "auth=('a',", "connect('a','",
	"header token ", "password is ", "cGFzc3dvcmQ6IG1vb25saWdodCBzdW5zaGluZQ== ", "AQ==", `{"kty":`, `[{"kty":1,"d":"`, "d-i passwd password ", "com2sec a ",
	"MIIaaaIBAAK", "it's password: 'x\n",
}

// BenchmarkLongTexts has texts that are made to be looked through again and
// again from each place. What a byte costs must not grow with the text.
func BenchmarkLongTexts(b *testing.B) {
	for _, unit := range longUnits {
		for _, size := range []int{1 << 14, 1 << 18} {
			text := strings.Repeat(unit, size/len(unit))
			b.Run(fmt.Sprintf("%q/%dKiB", unit, size>>10), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					builtin.Text(text)
				}
			})
		}
	}
}
