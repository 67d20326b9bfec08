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

	// The open segment.
	file       *os.File
	first      uint64
	generation int
	// at is where the frame is that read returns, or returned last, and behind
	// where the one after that begins.
	at, behind int64
}

// Next returns the next frame, and waits for it if it has not been appended
// yet. Where segments have been acknowledged and unlinked since, it goes on
// behind them; where frames have been given up, it returns what is shipped in
// their place.
func (r *Reader) Next(ctx context.Context) (Frame, error) {
	for mended := 0; ; {
		f, seg, err := r.read(ctx)
		if err == nil && f.Last <= r.log.found {
			err = f.check()
		}
		if damage(err) && mended < 3 {
			mended++
			if err := r.askToMend(ctx, seg, err); err != nil {
				return Frame{}, fmt.Errorf("mending the spool: %w", err)
			}
			continue
		}
		if err != nil {
			return Frame{}, err
		}
		if same, err := r.log.handOut(seg, f); err != nil {
			return Frame{}, err
		} else if !same {
			continue
		}
		last, ok := f.Last, true
		r.at = r.behind
		if f.Stub {
			if f, ok, err = r.log.revive(f, r.seq); err != nil {
				return Frame{}, err
			}
		}
		r.seq = last + 1
		if ok {
			return f, nil
		}
	}
}

// read returns the frame that holds the next record, as it lies on disk, and its
// segment.
func (r *Reader) read(ctx context.Context) (Frame, segment, error) {
	for {
		seg, err := r.wait(ctx)
		if err != nil {
			return Frame{}, seg, err
		}
		if err := r.open(seg); err != nil {
			if errors.Is(err, fs.ErrNotExist) && !r.log.has(seg) {
				continue // acknowledged and unlinked since wait looked
			}
			return Frame{}, seg, fmt.Errorf("reading the spool: %w", err)
		}
		f, next, err := readFrame(r.file, r.log.class, r.at, seg.size)
		if err == nil && f.First > r.seq {
			err = fmt.Errorf("%w: record %d is missing", ErrCorrupt, r.seq)
		}
		if err != nil {
			if err == io.EOF || errors.Is(err, errTorn) { //nolint:errorlint // a wrapped one is no clean end
				err = fmt.Errorf("%w: record %d is missing", ErrCorrupt, r.seq)
			}
			return Frame{}, seg, fmt.Errorf("reading %s: %w", seg.path, err)
		}
		if f.Last >= r.seq {
			r.behind = next
			return f, seg, nil
		}
		r.at = next
	}
}

// wait returns the segment in which the next record is, once it is there.
func (r *Reader) wait(ctx context.Context) (segment, error) {
	for {
		l := r.log
		l.mu.Lock()
		ready, changed := r.seq < l.nextSeq && !l.isClaimed(r.seq), l.changed
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

// isClaimed reports whether a record is being rewritten. l.mu is held.
func (l *log) isClaimed(seq uint64) bool {
	return l.claimed != nil && seq >= l.claimed.first && seq <= l.claimed.last
}

// has reports whether a segment is there as it was.
func (l *log) has(seg segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasLocked(seg)
}

func (l *log) hasLocked(seg segment) bool {
	for _, s := range l.segments {
		if s.first == seg.first {
			return s.generation == seg.generation
		}
	}
	return false
}

// handOut takes note that a frame is about to be shipped, and returns false if it
// has been rewritten, or is just being, since it was read.
func (l *log) handOut(seg segment, f Frame) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClaimed(f.First) || !l.hasLocked(seg) {
		return false, nil
	}
	return true, l.sent.reach(f.Last)
}

func (r *Reader) open(seg segment) error {
	if r.file != nil && r.first == seg.first && r.generation == seg.generation {
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
		return errors.Join(fmt.Errorf("%s: %w", seg.path, err), f.Close())
	}
	r.file, r.first, r.generation, r.at = f, seg.first, seg.generation, int64(segmentHeaderSize)
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
