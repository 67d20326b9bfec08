package kinds

import (
	"strings"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// typeImage is the asset type of a container image. Its uid is the normalised
// reference, so that "nginx" is the same everywhere.
const typeImage = "container.image.Image"

func imageKey(reference string) plugin.Key {
	return plugin.Key{Type: typeImage, UID: normalImage(reference)}
}

// normalImage writes an image reference in full, as a container runtime reads
// it: docker.io/library/nginx:latest for nginx. Of a reference with a tag and a
// digest the digest is kept, as it decides. One that is nothing but a digest is
// an image without a name, and kept.
func normalImage(reference string) string {
	if strings.HasPrefix(reference, "sha256:") {
		return reference
	}
	name, digest, digested := strings.Cut(reference, "@")
	domain, path, ok := strings.Cut(name, "/")
	// The part before the first slash is a registry if it looks like a host.
	if !ok || domain != "localhost" && !strings.ContainsAny(domain, ".:") && strings.ToLower(domain) == domain {
		domain, path = "docker.io", name
	}
	if domain == "index.docker.io" {
		domain = "docker.io"
	}
	if domain == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	repository, tag, tagged := strings.Cut(path, ":")
	switch {
	case digested:
		return domain + "/" + repository + "@" + digest
	case !tagged:
		tag = "latest"
	}
	return domain + "/" + repository + ":" + tag
}

// imageDigest returns the digest in the imageID of a container's status, which
// runtimes write as docker-pullable://nginx@sha256:..., as
// docker.io/library/nginx@sha256:..., or as sha256:... alone.
func imageDigest(imageID string) string {
	if _, digest, ok := strings.Cut(imageID, "@"); ok {
		return digest
	}
	if _, id, ok := strings.Cut(imageID, "://"); ok {
		return id
	}
	return imageID
}
