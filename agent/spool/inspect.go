package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Inspect reads the spool in dir without opening it, so also while an agent
// uses it, and calls visit for each frame in order. It returns what is there.
// Damage is an error that names the file and the place; a half-written last
// frame is none.
func Inspect(dir string, visit func(Frame) error) (id string, stats []Stat, err error) {
	data, err := os.ReadFile(filepath.Join(dir, idFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("there is no spool in %s", dir)
	}
	if err != nil {
		return "", nil, err
	}
	if id, err = parseID(data); err != nil {
		return "", nil, fmt.Errorf("%s: %w", filepath.Join(dir, idFile), err)
	}
	for _, class := range Classes {
		s, err := inspectLog(filepath.Join(dir, wire.ClassName(class)), class, visit)
		if err != nil {
			return id, stats, err
		}
		stats = append(stats, s)
	}
	return id, stats, nil
}

func inspectLog(dir string, class wirev1.Class, visit func(Frame) error) (Stat, error) {
	stat := Stat{Class: class, First: 1, Next: 1}
	segments, err := listSegments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stat, err
	}
	stat.Segments = len(segments)
	for i, seg := range segments {
		if i == 0 {
			stat.First, stat.Next = seg.first, seg.first
		}
		stat.Bytes += seg.size
		if seg.first != stat.Next {
			return stat, fmt.Errorf("%w: %s begins with record %d, but the one before ends with %d", ErrCorrupt, seg.path, seg.first, stat.Next-1)
		}
		next, err := inspectSegment(seg, class, visit)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			continue // trimmed meanwhile
		}
		if err != nil {
			if info, gone := os.Stat(seg.path); gone != nil || info.Size() < seg.size {
				return stat, fmt.Errorf("%s: the agent has just rewritten it: try again", seg.path)
			}
			return stat, fmt.Errorf("%s: %w", seg.path, err)
		}
		stat.Next = next
	}
	acked, err := readAcked(filepath.Join(dir, ackedFile))
	if err != nil {
		return stat, err
	}
	stat.Waiting = stat.Next - max(stat.First, min(acked+1, stat.Next))
	return stat, nil
}

func inspectSegment(seg segment, class wirev1.Class, visit func(Frame) error) (next uint64, err error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, next, err = scan(f, class, seg, visit)
	return next, err
}
