package forms

import (
	"math/bits"
	"testing"
)

// TestHints holds the quick look against the patterns that it stands before.
func TestHints(t *testing.T) {
	h := NewHints()
	h.Add(1, "Pass", "//", "x")
	for text, want := range map[string]bool{
		"": false, "p": false, "x": true, "yX": true, "xy": true, "yxy": true, "comPASSion": true, "pas": false, "a/b": false, "a//": true,
		"a//b": true, "/": false,
	} {
		if got := h.In([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestPlain shows that what is passed over quickly has none of the hints, but for
// those of forms that are longer or have other characters in them.
func TestPlain(t *testing.T) {
	for _, group := range Anything.groups {
		for _, h := range group {
			if len(h.text) >= MinPlain && IsPlain(h.text) && h.about < aboutForms {
				t.Errorf("%q is in texts that are passed over", h.text)
			}
		}
	}
	for _, text := range []string{"5f6b0b62-7e70-4b0b-8c1a-0d6b7a2f9b11", "2026-11-30T22:10:00.000Z", "10.0.0.1:6443", "fe80::1",
		"0a:58:0a:01:02:03"} {
		if !IsPlain(text) {
			t.Errorf("%q is looked through", text)
		}
	}
	for n := range All {
		if AboutForm(n) < aboutForms || bits.OnesCount64(uint64(AboutForm(n))) != 1 {
			t.Errorf("form %d has the bits %b", n, AboutForm(n))
		}
	}
}
