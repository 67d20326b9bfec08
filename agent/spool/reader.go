package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
)

// Reader reads a log's frames in order. It is used by one goroutine at a time.
type Reader struct {
	log *log
	seq uint64

	file  *os.File
	first uint64 // of the open segment
	at    int64
}

// Next returns the next frame, and waits for it if it has not been appended
// yet. Where segments have been acknowledged and unlinked since, it goes on
// behind them.
func (r *Reader) Next(ctx context.Context) (Frame, error) {
	for {
		seg, err := r.wait(ctx)
		if err != nil {
			return Frame{}, err
		}
		if err := r.open(seg); errors.Is(err, fs.ErrNotExist) {
			continue // acknowledged and unlinked since wait looked
		} else if err != nil {
			return Frame{}, err
		}
		f, next, err := readFrame(r.file, r.log.class, r.at, seg.size)
		if err != nil {
			if err == io.EOF || err == errTorn {
				err = fmt.Errorf("%w: record %d is missing", ErrCorrupt, r.seq)
			}
			return Frame{}, fmt.Errorf("reading %s: %w", seg.path, err)
		}
		r.at = next
		if f.Last < r.seq {
			continue
		}
		r.seq = f.Last + 1
		return f, nil
	}
}

// wait returns the segment in which the next record is, once it is there.
func (r *Reader) wait(ctx context.Context) (segment, error) {
	for {
		l := r.log
		l.mu.Lock()
		ready, changed := r.seq < l.nextSeq, l.changed
		behind := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > r.seq })
		seg := l.segments[max(behind-1, 0)]
		l.mu.Unlock()
		if ready {
			r.seq = max(r.seq, seg.first)
			return seg, nil
		}
		select {
		case <-changed:
		case <-l.closing:
			return segment{}, ErrClosed
		case <-ctx.Done():
			return segment{}, ctx.Err()
		}
	}
}

func (r *Reader) open(seg segment) error {
	if r.file != nil && r.first == seg.first {
		return nil
	}
	if err := r.Close(); err != nil {
		return err
	}
	f, err := os.Open(seg.path)
	if err != nil {
		return fmt.Errorf("opening a spool segment: %w", err)
	}
	if err := checkHeader(f, r.log.class); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", seg.path, err)
	}
	r.file, r.first, r.at = f, seg.first, int64(segmentHeaderSize)
	return nil
}

// Close frees the reader's file.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
