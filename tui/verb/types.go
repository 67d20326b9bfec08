package verb

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/client"
)

// TypePages returns the pages of the list of types.
func (s *Session) TypePages(site string) client.PageFunc[*reevev1.AssetType] {
	return func(ctx context.Context, size int32, token string) ([]*reevev1.AssetType, string, error) {
		answer, err := s.Inventory.ListAssetTypes(ctx,
			connect.NewRequest(&reevev1.ListAssetTypesRequest{PageSize: size, PageToken: token, Site: site}))
		if err != nil {
			return nil, "", err
		}
		return answer.Msg.GetAssetTypes(), answer.Msg.GetNextPageToken(), nil
	}
}

// AssetType returns the type that a user means by a name, which may be the whole
// of it, its last part, or the plural of that, in any case.
func (s *Session) AssetType(ctx context.Context, site, name string) (*reevev1.AssetType, error) {
	var types []*reevev1.AssetType
	err := client.Pages(ctx, 0, MaxPage, s.TypePages(site), func(page []*reevev1.AssetType) error {
		types = append(types, page...)
		return nil
	})
	// A server of the version before knows no types.
	if err != nil && connect.CodeOf(err) != connect.CodeUnimplemented {
		return nil, s.Explain(err)
	}
	found := matchTypes(types, name)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		names := make([]string, len(found))
		for i, t := range found {
			names[i] = t.GetName()
		}
		return nil, Usagef("--type %q could be %s: give more of the name", name, strings.Join(names, " or "))
	case err != nil:
		return &reevev1.AssetType{Name: name}, nil
	}
	if err := s.CheckSite(ctx, site); err != nil {
		return nil, err
	}
	known := make([]string, len(types))
	for i, t := range types {
		known[i] = t.GetName()
	}
	near := Tails(name, known)
	hint := nearest.Hint(name, near)
	if hint == "" {
		for i := range near {
			near[i] = plural(strings.ToLower(near[i]))
		}
		hint = nearest.Hint(name, near)
	}
	return nil, Usagef("--type %q: there is no such type%s; reeve get types lists those that there are", name, hint)
}

// Tails returns as many of the last parts of the names as a word has, and the
// names themselves, so that Podd is near to Pod.
func Tails(word string, names []string) []string {
	parts := strings.Count(word, ".") + 1
	var ends []string
	for _, name := range names {
		all := strings.Split(name, ".")
		ends = append(ends, strings.Join(all[max(len(all)-parts, 0):], "."))
	}
	return append(ends, names...)
}

// matchTypes returns the types that a name could stand for. What fits better
// hides what fits less: the name as it is written, then in any case, then as the
// end of a name, then as the plural of one.
func matchTypes(types []*reevev1.AssetType, name string) []*reevev1.AssetType {
	if name == "" {
		return nil
	}
	lower := strings.ToLower(name)
	fits := []func(string) bool{
		func(t string) bool { return t == name },
		func(t string) bool { return strings.EqualFold(t, name) },
		func(t string) bool { return strings.HasSuffix(strings.ToLower(t), "."+lower) },
		func(t string) bool { return strings.HasSuffix("."+plural(strings.ToLower(t)), "."+lower) },
	}
	for _, fit := range fits {
		var found []*reevev1.AssetType
		for _, t := range types {
			if fit(t.GetName()) {
				found = append(found, t)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// plural returns the plural of a kind as Kubernetes makes it: networkpolicies,
// ingresses, pods.
func plural(kind string) string {
	switch {
	case strings.HasSuffix(kind, "endpoints"):
		return kind
	case strings.HasSuffix(kind, "s"), strings.HasSuffix(kind, "x"), strings.HasSuffix(kind, "ch"), strings.HasSuffix(kind, "sh"):
		return kind + "es"
	case strings.HasSuffix(kind, "y") && !strings.HasSuffix(kind, "ay"):
		return strings.TrimSuffix(kind, "y") + "ies"
	}
	return kind + "s"
}
