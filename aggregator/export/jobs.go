package export

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// MaxJobs is how many exports run at once.
	MaxJobs = 2
	// minFree is how much an export leaves of the disk: what else is on it stops working
	// long before it is full.
	minFree = 1 << 30
)

// ErrBusy means that as many exports run as may.
var ErrBusy = fmt.Errorf("%d exports run already: try again when one of them has ended", MaxJobs)

// Jobs are the exports that run. Their temporary files lie below one directory.
type Jobs struct {
	dir   string
	free  func() (uint64, error)
	turns chan struct{}
}

// NewJobs makes the directory for temporary files, without what a crash has left there.
// Free returns how many bytes are left on its disk.
func NewJobs(dir string, free func() (uint64, error)) (*Jobs, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("removing what exports have left: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory for exports: %w", err)
	}
	return &Jobs{dir: dir, free: free, turns: make(chan struct{}, MaxJobs)}, nil
}

// Job is one export that runs.
type Job struct {
	jobs *Jobs
	// Dir is for its temporary files.
	Dir string
}

// Begin gives an export its place. End must follow. The error is ErrBusy, among others.
func (j *Jobs) Begin() (*Job, error) {
	select {
	case j.turns <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	dir, err := os.MkdirTemp(j.dir, "job-")
	if err != nil {
		<-j.turns
		return nil, fmt.Errorf("making a directory for an export: %w", err)
	}
	job := &Job{jobs: j, Dir: dir}
	if err := job.CheckRoom(); err != nil {
		return nil, errors.Join(err, job.End())
	}
	return job, nil
}

// ErrNoRoom means that the disk for temporary files is nearly full.
var ErrNoRoom = errors.New("the aggregator's disk has too little room for an export")

// CheckRoom returns ErrNoRoom if the export must not go on.
func (j *Job) CheckRoom() error {
	free, err := j.jobs.free()
	if err != nil {
		return fmt.Errorf("asking how full the disk of %s is: %w", filepath.Dir(j.Dir), err)
	}
	if free < minFree {
		return fmt.Errorf("%w: %d MiB are left, %d MiB must be", ErrNoRoom, free>>20, minFree>>20)
	}
	return nil
}

// End removes what the export had on the disk, and lets another one begin.
func (j *Job) End() error {
	defer func() { <-j.jobs.turns }()
	if err := os.RemoveAll(j.Dir); err != nil {
		return fmt.Errorf("removing the temporary files of an export: %w", err)
	}
	return nil
}
