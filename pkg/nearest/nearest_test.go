package nearest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/pkg/nearest"
)

func TestWords(t *testing.T) {
	types := []string{"kubernetes.core.Pod", "kubernetes.core.Node", "kubernetes.apps.Deployment", "openstack.compute.Server"}
	for name, tt := range map[string]struct {
		wrong string
		known []string
		want  []string
	}{
		"a letter too many":          {"kubernetes.core.Podd", types, []string{"kubernetes.core.Pod", "kubernetes.core.Node"}},
		"a letter left out":          {"openstack.compute.Sever", types, []string{"openstack.compute.Server"}},
		"letters swapped":            {"stie", []string{"site", "type"}, []string{"site"}},
		"another case":               {"SITE", []string{"site", "type"}, []string{"site"}},
		"the beginning":              {"disc", []string{"active", "disconnected"}, []string{"disconnected"}},
		"the end":                    {"token", []string{"page_token", "page_size"}, []string{"page_token"}},
		"nothing near":               {"quux", []string{"site", "type"}, nil},
		"one letter is near to none": {"x", []string{"site", "type"}, nil},
		"nothing known":              {"site", nil, nil},
		"no word":                    {"", []string{"site"}, nil},
		"no more than three":         {"aaaa", []string{"aaab", "aaac", "aaad", "aaae"}, []string{"aaab", "aaac", "aaad"}},
		"each once":                  {"stie", []string{"site", "site"}, []string{"site"}},
		"too long to be mistyped":    {strings.Repeat("a", 300), []string{strings.Repeat("a", 299)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nearest.Words(tt.wrong, tt.known); !slices.Equal(got, tt.want) {
				t.Errorf("Words(%q) = %q, want %q", tt.wrong, got, tt.want)
			}
		})
	}
}

func TestHint(t *testing.T) {
	if got, want := nearest.Hint("aaaa", []string{"aaab", "aaac", "zzzz"}), "; is it aaab or aaac?"; got != want {
		t.Errorf("Hint is %q, want %q", got, want)
	}
	if got := nearest.Hint("quux", []string{"site"}); got != "" {
		t.Errorf("Hint for what is far from all is %q", got)
	}
}
