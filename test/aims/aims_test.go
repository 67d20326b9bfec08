package aims

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMissed(t *testing.T) {
	var said string
	logf := func(format string, args ...any) { said = fmt.Sprintf(format, args...) }
	file := filepath.Join(t.TempDir(), "missed")
	t.Setenv(List, "")
	if err := Missed(logf, "nowhere", 1, 2); err != nil || said != "missed aim: nowhere: 1, the aim is 2" {
		t.Errorf("got %q, %v", said, err)
	}
	t.Setenv(List, file)
	for _, what := range []string{"first", "second"} {
		if err := Missed(logf, what, 3*time.Second, "2 s"); err != nil {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(file)
	if want := "first: 3s, the aim is 2 s\nsecond: 3s, the aim is 2 s\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	t.Setenv(List, filepath.Join(file, "missing"))
	if err := Missed(logf, "lost", 1, 2); err == nil {
		t.Error("the list cannot be written, and nobody is told")
	}
}
