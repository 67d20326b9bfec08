package filter

import "testing"

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ text, canonical string }{
		{"", ""},
		{"type:pod status:(Pending OR Failed) -site:lab", `type:"pod" AND status:("Pending" OR "Failed") AND NOT site:"lab"`},
		{"a b OR c", `"a" AND ("b" OR "c")`},
		{"labels:app", "labels.app:*"},
		{"status.conditions[type=Ready].status=False", `status.conditions[type=Ready].status="False"`},
		{"unrelated(attached_to)", "unrelated(attached_to)"},
		{`regex(name, "^a\d+")`, `name~"^a\d+"`},
	} {
		f, err := Parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := f.Canonical(); got != tt.canonical {
			t.Errorf("%s: got %s, want %s", tt.text, got, tt.canonical)
		}
		again, err := Parse(tt.canonical)
		if err != nil || again.Canonical() != tt.canonical {
			t.Errorf("%s: the canonical form %s is no fixed point: %v", tt.text, tt.canonical, err)
		}
	}
}
