package redact

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUID shows that what stands for a uid is the same each time, that what is
// replaced is not replaced again, and that all else stays.
func TestUID(t *testing.T) {
	r, err := New(nil, []string{"ACME-[0-9]+"})
	if err != nil {
		t.Fatal(err)
	}
	r.SetKey(Key{1})
	seen := make(map[string]string)
	for _, file := range []string{"testdata/secrets.txt", "testdata/harmless.txt"} {
		cases, _ := corpus(t, file)
		for _, c := range append(cases, [2]string{"ACME-17"}) {
			uid := r.UID(c[0])
			if harmless := r.Text(c[0]) == c[0]; harmless != (uid == c[0]) {
				t.Errorf("%q is replaced by %q", c[0], uid)
			}
			if strings.Contains(uid, "Zq") || r.UID(uid) != uid || r.UID(c[0]) != uid || r.Text(uid) != uid {
				t.Errorf("%q is replaced by %q", c[0], uid)
			}
			if other, taken := seen[uid]; taken && other != c[0] {
				t.Errorf("%q and %q are both %q", c[0], other, uid)
			}
			seen[uid] = c[0]
		}
	}
	// Without a key of its own it is one of this process, and not none.
	var none *Rules
	if a, b := none.UID("password=Zq"), r.UID("password=Zq"); a == b || a != none.UID("password=Zq") {
		t.Errorf("%s and %s", a, b)
	}
}

func TestOpenKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "uid-key")
	k, err := OpenKey(file)
	if err != nil || k == (Key{}) {
		t.Fatal(k, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if again, err := OpenKey(file); err != nil || again != k {
		t.Fatalf("%x and %x, %v", k, again, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, whole[:20], append(bytes.TrimSpace(whole), "ab"...), bytes.Repeat([]byte("z"), 64)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKey(file)
		if err == nil || len(data) > 0 && strings.Contains(err.Error(), string(data)) {
			t.Errorf("%q: %v", data, err)
		}
		if left, err := os.ReadFile(file); err != nil || !bytes.Equal(left, data) {
			t.Errorf("%q was replaced by %q, %v", data, left, err)
		}
	}
	if _, err := OpenKey(filepath.Join(file, "below")); err == nil {
		t.Error("a key below a file")
	}
}
