//go:build unix

// Package dirlock keeps a directory to one process.
package dirlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrHeld means that another process holds the lock.
var ErrHeld = errors.New("already running")

// file is what is locked, in the directory.
const file = "lock"

// Lock is a lock that is held.
type Lock struct{ f *os.File }

// Take locks a directory that exists. The kernel gives the lock back when the
// process ends, however it ends. The error is ErrHeld if another process has it.
func Take(dir string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%w: another process has this directory open", ErrHeld)
		}
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), f.Close())
	}
	return &Lock{f}, nil
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.f.Close() }
