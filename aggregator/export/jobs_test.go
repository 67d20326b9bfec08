package export

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestJobs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "export")
	left := filepath.Join(dir, "job-1", "excelize-1")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("of a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	free := uint64(minFree)
	jobs, err := NewJobs(dir, func() (uint64, error) { return free, nil })
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("a crash has left %v: %v", entries, err)
	}
	var running []*Job
	for range MaxJobs {
		job, err := jobs.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(job.Dir, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		running = append(running, job)
	}
	if _, err := jobs.Begin(); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	free--
	if err := running[0].CheckRoom(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("on a full disk: %v", err)
	}
	for _, job := range running {
		if err := job.End(); err != nil {
			t.Error(err)
		}
	}
	if _, err := jobs.Begin(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("begun on a full disk: %v", err)
	}
	free++
	for range MaxJobs + 1 { // what was refused has given its place back
		job, err := jobs.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := job.End(); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("exports have left %v: %v", entries, err)
	}
}
