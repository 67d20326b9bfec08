package registry

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// crashDir in the environment makes the test binary the process that is killed.
const crashDir = "REEVE_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled says each number once it is saved.
func writeUntilKilled(dir string) error {
	r, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for n := r.Watermark(spool, wirev1.Class_CLASS_ASSETS) + 1; ; n++ {
		if err := r.SetWatermarks(ctx, map[SpoolClass]uint64{{spool, wirev1.Class_CLASS_ASSETS}: n}); err != nil {
			return err
		}
		if _, err := r.store.Apply(ctx, admin, Op{Action: "x", Key: "n", Value: fmt.Append(nil, n), Revision: AnyRevision}); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

func TestNothingSavedIsLostWhenKilled(t *testing.T) {
	dir := t.TempDir()
	var saved uint64
	for range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for end := time.Now().Add(100 * time.Millisecond); lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &saved); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			if time.Now().After(end) {
				break
			}
		}
		_ = cmd.Process.Kill()
		for lines.Scan() { // what it said before it died
			_, _ = fmt.Sscan(lines.Text(), &saved)
		}
		_ = cmd.Wait()

		r, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Watermark(spool, wirev1.Class_CLASS_ASSETS); got < saved {
			t.Errorf("watermark %d, %d was saved", got, saved)
		}
		kv, err := r.store.Get(t.Context(), "n")
		var n uint64
		_, _ = fmt.Sscan(string(kv.Value), &n)
		if err != nil || n < saved || kv.ModRevision != r.store.Revision() {
			t.Errorf("object: %s at revision %d of %d, %v; %d was saved", kv.Value, kv.ModRevision, r.store.Revision(), err, saved)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if saved == 0 {
		t.Error("nothing was saved at all")
	}
}
