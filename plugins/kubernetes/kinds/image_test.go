package kinds

import "testing"

func TestNormalImage(t *testing.T) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for reference, want := range map[string]string{
		"nginx":                           "docker.io/library/nginx:latest",
		"nginx:1.29":                      "docker.io/library/nginx:1.29",
		"library/nginx":                   "docker.io/library/nginx:latest",
		"docker.io/nginx":                 "docker.io/library/nginx:latest",
		"index.docker.io/nginx:1":         "docker.io/library/nginx:1",
		"grafana/grafana:12.0.0":          "docker.io/grafana/grafana:12.0.0",
		"docker.io/grafana/grafana":       "docker.io/grafana/grafana:latest",
		"quay.io/cilium/cilium:v1.18.0":   "quay.io/cilium/cilium:v1.18.0",
		"registry.k8s.io/pause:3.10":      "registry.k8s.io/pause:3.10",
		"registry.k8s.io/pause":           "registry.k8s.io/pause:latest",
		"localhost/app":                   "localhost/app:latest",
		"localhost:5000/app":              "localhost:5000/app:latest",
		"registry:5000/team/app:v2":       "registry:5000/team/app:v2",
		"[2001:db8::1]:5000/app:v2":       "[2001:db8::1]:5000/app:v2",
		"Registry/app":                    "Registry/app:latest",
		"nginx@" + digest:                 "docker.io/library/nginx@" + digest,
		"nginx:1.29@" + digest:            "docker.io/library/nginx@" + digest,
		"quay.io/a/b@" + digest:           "quay.io/a/b@" + digest,
		"registry:5000/app:v2@" + digest:  "registry:5000/app@" + digest,
		digest:                            digest,
		"deep.example.com/a/b/c/d:latest": "deep.example.com/a/b/c/d:latest",
	} {
		if got := normalImage(reference); got != want {
			t.Errorf("%s = %s, want %s", reference, got, want)
		}
	}
}

func TestImageDigest(t *testing.T) {
	for id, want := range map[string]string{
		"docker-pullable://nginx@sha256:aa":       "sha256:aa",
		"docker.io/library/nginx@sha256:aa":       "sha256:aa",
		"docker://sha256:aa":                      "sha256:aa",
		"sha256:aa":                               "sha256:aa",
		"registry.example.com:5000/app@sha256:aa": "sha256:aa",
		"": "",
	} {
		if got := imageDigest(id); got != want {
			t.Errorf("%s = %s, want %s", id, got, want)
		}
	}
}
