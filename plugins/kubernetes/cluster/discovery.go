package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// Catalog is what a server serves.
type Catalog struct {
	// Kinds can be listed, each in the version that the server prefers, in
	// order.
	Kinds []Served
	// Unknown are groups that the server did not tell about: an aggregated
	// server behind it does not answer. What they serve may exist all the same.
	Unknown []string
}

// Served is a kind with what can be done.
type Served struct {
	object.Kind
	// Watch says that it can be watched, not only listed.
	Watch bool
}

// aggregated asks for all groups in one answer (Kubernetes 1.27 and newer), and
// for the list of groups where the server cannot do that.
const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

// Both shapes of an answer to /api and /apis, told apart by Kind.
type discoveryAnswer struct {
	Kind string `json:"kind"`
	// APIGroupDiscoveryList
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Versions []groupVersion `json:"versions"`
	} `json:"items"`
	// APIGroupList
	Groups []struct {
		Name             string             `json:"name"`
		PreferredVersion discoveryVersion   `json:"preferredVersion"`
		Versions         []discoveryVersion `json:"versions"`
	} `json:"groups"`
	// APIVersions, of the core group
	Versions []string `json:"versions"`
}

type groupVersion struct {
	Version   string `json:"version"`
	Freshness string `json:"freshness"`
	Resources []struct {
		Resource     string `json:"resource"`
		ResponseKind struct {
			Kind string `json:"kind"`
		} `json:"responseKind"`
		Scope string   `json:"scope"`
		Verbs []string `json:"verbs"`
	} `json:"resources"`
}

type discoveryVersion struct {
	Version string `json:"version"`
}

// Discover asks the server what it serves.
func (c *Cluster) Discover(ctx context.Context) (Catalog, error) {
	b := catalogBuilder{seen: make(map[string]bool)}
	for _, root := range []string{"/api", "/apis"} {
		var answer discoveryAnswer
		if err := c.get(ctx, root, aggregated, &answer); err != nil {
			return Catalog{}, fmt.Errorf("asking the API server what it serves: %w", err)
		}
		var err error
		switch answer.Kind {
		case "APIGroupDiscoveryList":
			b.aggregated(answer)
		case "APIVersions":
			err = c.askVersions(ctx, &b, "", "/api/", answer.Versions)
		case "APIGroupList":
			err = c.askGroups(ctx, &b, answer)
		default:
			err = fmt.Errorf("asking the API server what it serves: the answer is a %.40q", answer.Kind)
		}
		if err != nil {
			return Catalog{}, err
		}
	}
	slices.SortFunc(b.Kinds, func(x, y Served) int { return strings.Compare(x.String(), y.String()) })
	return b.Catalog, nil
}

// catalogBuilder takes each kind of a group in the first version that has it.
type catalogBuilder struct {
	Catalog
	seen map[string]bool
}

func (b *catalogBuilder) add(k object.Kind, verbs []string) {
	if k.Kind == "" || strings.Contains(k.Resource, "/") || !slices.Contains(verbs, "list") || b.seen[k.String()] {
		return
	}
	b.seen[k.String()] = true
	b.Kinds = append(b.Kinds, Served{Kind: k, Watch: slices.Contains(verbs, "watch")})
}

func (b *catalogBuilder) unknown(group string) {
	if !slices.Contains(b.Unknown, group) {
		b.Unknown = append(b.Unknown, group)
	}
}

func (b *catalogBuilder) aggregated(answer discoveryAnswer) {
	for _, g := range answer.Items {
		for _, v := range g.Versions {
			if v.Freshness == "Stale" {
				b.unknown(g.Metadata.Name)
			}
			for _, r := range v.Resources {
				b.add(object.Kind{
					Group: g.Metadata.Name, Version: v.Version, Kind: r.ResponseKind.Kind, Resource: r.Resource,
					Namespaced: r.Scope == "Namespaced",
				}, r.Verbs)
			}
		}
	}
}

const (
	// groupTimeout is how long one version of a group may take to say what it serves.
	groupTimeout = 5 * time.Second
	// groupsAtOnce is how many are asked at once.
	groupsAtOnce = 16
)

// askGroups asks groups one by one what they serve: beside each other, so that one
// that does not answer holds up no other.
func (c *Cluster) askGroups(ctx context.Context, b *catalogBuilder, answer discoveryAnswer) error {
	parts := make([]catalogBuilder, len(answer.Groups))
	var group errgroup.Group
	group.SetLimit(groupsAtOnce)
	for i, g := range answer.Groups {
		versions := []string{g.PreferredVersion.Version}
		for _, v := range g.Versions {
			if !slices.Contains(versions, v.Version) {
				versions = append(versions, v.Version)
			}
		}
		parts[i].seen = make(map[string]bool)
		group.Go(func() error { return c.askVersions(ctx, &parts[i], g.Name, "/apis/"+g.Name+"/", versions) })
	}
	err := group.Wait()
	for _, part := range parts {
		b.Kinds = append(b.Kinds, part.Kinds...)
		b.Unknown = append(b.Unknown, part.Unknown...)
	}
	return err
}

// askVersions asks for a group's versions one by one. One that does not answer
// makes the group unknown, not the catalog.
func (c *Cluster) askVersions(ctx context.Context, b *catalogBuilder, group, path string, versions []string) error {
	for _, version := range versions {
		var list struct {
			Resources []struct {
				Name       string   `json:"name"`
				Kind       string   `json:"kind"`
				Namespaced bool     `json:"namespaced"`
				Verbs      []string `json:"verbs"`
			} `json:"resources"`
		}
		limited, cancel := context.WithTimeout(ctx, groupTimeout)
		err := c.get(limited, path+version, "", &list)
		cancel()
		if err != nil {
			if ctx.Err() != nil || group == "" {
				return fmt.Errorf("asking the API server what %s%s serves: %w", path, version, err)
			}
			b.unknown(group)
			continue
		}
		for _, r := range list.Resources {
			b.add(object.Kind{Group: group, Version: version, Kind: r.Kind, Resource: r.Name, Namespaced: r.Namespaced}, r.Verbs)
		}
	}
	return nil
}

// Gone reports whether a kind is certainly not served any more, after a catalog
// without it: the server is ready, nothing about the group is unknown, and no
// definition of the kind exists. Anything else is an error.
func (c *Cluster) Gone(ctx context.Context, group, resource string) error {
	if err := c.Ready(ctx); err != nil {
		return err
	}
	catalog, err := c.Discover(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(catalog.Unknown, group) {
		return fmt.Errorf("the API server cannot tell at the moment what the group %s serves", group)
	}
	kind := object.Kind{Group: group, Resource: resource}
	if slices.ContainsFunc(catalog.Kinds, func(k Served) bool { return k.String() == kind.String() }) {
		return fmt.Errorf("%s is served again", kind)
	}
	if !strings.Contains(group, ".") {
		return nil // custom resources have a domain for a group
	}
	var definition struct{}
	err = c.get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+resource+"."+group, "", &definition)
	switch {
	case NotFound(err):
		return nil
	case err == nil:
		return fmt.Errorf("%s is not served, but its definition exists", kind)
	}
	return fmt.Errorf("finding out whether %s is gone: %w", kind, err)
}
