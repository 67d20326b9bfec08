package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"
	"time"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Damage is a part of a log that is not what had been written.
type Damage struct {
	Class wirev1.Class
	// First and Last bound the records among which some are lost, and Records is
	// how many.
	First, Last, Records uint64
	// Cause says what was found, and Aside where the damaged file lies now, if
	// it is kept.
	Cause error
	Aside string
}

const quarantineDir = "quarantine"

// damage reports whether an error means that bytes on disk are not what was
// written, or cannot be read any more.
func damage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// mend replaces a segment by what is whole in it, with stubs for the rest, and
// keeps the damaged file aside. Only the writing goroutine calls it, or openLog.
func (l *log) mend(i int, cause error) error {
	l.mu.Lock()
	seg, upper := l.segments[i], uint64(0)
	if i+1 < len(l.segments) {
		upper = l.segments[i+1].first
	}
	l.mu.Unlock()
	raw, err := os.ReadFile(seg.path) // of a bad disk, as much as there is
	if err != nil && !damage(err) {
		return err
	}
	whole, next := salvage(raw, l.class, seg.first, upper)
	data := segmentHeader(segmentMagicStubs, l.class)
	lost := Damage{Class: l.class, Cause: fmt.Errorf("%s: %w", seg.path, cause)}
	stubs := true
	for _, f := range whole {
		if f.Batch == nil {
			s := newStub(f.First, f.Last, wirev1.Gap_REASON_DAMAGED)
			s.gap.Unknown = f.Last - f.First + 1
			if f, err = s.frame(l.spoolID, l.class); err != nil {
				return err
			}
			if lost.Records == 0 {
				lost.First = f.First
			}
			lost.Last = f.Last
			lost.Records += s.gap.Unknown
		}
		stubs = stubs && f.Stub
		frame, err := encodeFrame(f)
		if err != nil {
			return err
		}
		data = append(data, frame...)
	}
	if lost.Aside, err = l.quarantine(seg); err != nil {
		l.logger.Warn("the damaged file is not kept", "file", seg.path, "error", err)
	}
	if err := l.damaged(lost); err != nil {
		return err
	}
	if len(whole) > 0 {
		err = atomicfile.Write(seg.path, data, 0o600)
	} else {
		err = errors.Join(os.Remove(seg.path), atomicfile.SyncDir(l.dir))
	}
	if err != nil {
		return fmt.Errorf("mending %s: %w", seg.path, err)
	}
	l.mu.Lock()
	l.generation++
	seg.size, seg.stubs, seg.generation = int64(len(data)), stubs, l.generation
	if l.segments[i] = seg; len(whole) == 0 {
		l.segments = slices.Delete(l.segments, i, i+1)
	}
	if upper == 0 {
		l.nextSeq = next
	}
	l.notify()
	l.mu.Unlock()
	return nil
}

// damaged says what is about to be mended.
func (l *log) damaged(d Damage) error {
	l.logger.Error("the spool is damaged: what is whole goes on, the rest is given up",
		"first", d.First, "last", d.Last, "records", d.Records, "error", d.Cause, "kept_in", d.Aside)
	if l.o.Damaged == nil {
		return nil
	}
	return l.o.Damaged(d)
}

// salvage finds the frames that are whole in a segment that begins with record
// first, and whose successor begins with upper, or with 0 if it is the last.
// Frames without a batch stand for what is missing between them.
func salvage(raw []byte, class wirev1.Class, first, upper uint64) (frames []Frame, next uint64) {
	r := bytes.NewReader(raw)
	next = first
	missing := func(to uint64) {
		for ; next < to; next = frames[len(frames)-1].Last + 1 {
			frames = append(frames, Frame{Class: class, First: next, Last: min(to-1, next+stubRecords-1)})
		}
	}
	for at := int64(segmentHeaderSize); at+frameHeaderSize <= int64(len(raw)); at++ {
		// Most places are dismissed by a look at the number.
		n := binary.LittleEndian.Uint64(raw[at+16:])
		if n < next || upper > 0 && n >= upper || upper == 0 && n-next > stubRecords {
			continue
		}
		f, after, err := readFrame(r, class, at, int64(len(raw)))
		if err != nil || upper > 0 && f.Last >= upper {
			continue
		}
		if _, err := f.Records(); err != nil {
			// Nobody can read it, so it is lost, as if it were not there.
			missing(f.Last + 1)
			at = after - 1
			continue
		}
		missing(f.First)
		frames, next = append(frames, f), f.Last+1
		at = after - 1
	}
	if upper > 0 {
		missing(upper)
	}
	return frames, next
}

// quarantine keeps a damaged file, and the newest of those before it, in an
// eighth of the spool's budget.
func (l *log) quarantine(seg segment) (string, error) {
	dir := filepath.Join(l.o.Dir, quarantineDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var kept []fs.FileInfo
	room := l.quarantineBytes - seg.size
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return "", err
		}
		kept, room = append(kept, info), room-info.Size()
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].ModTime().Before(kept[j].ModTime()) })
	for ; room < 0 && len(kept) > 0; kept = kept[1:] {
		if err := os.Remove(filepath.Join(dir, kept[0].Name())); err != nil {
			return "", err
		}
		room += kept[0].Size()
	}
	if room < 0 {
		return "", fmt.Errorf("it has %d bytes, and the quarantine may have %d", seg.size, l.quarantineBytes)
	}
	aside := filepath.Join(dir, fmt.Sprintf("%s-%020d-%d", wire.ClassName(l.class), seg.first, time.Now().UnixNano()))
	return aside, os.Link(seg.path, aside)
}

// request to mend a segment that a reader found damaged.
type mending struct {
	seg   segment
	cause error
	done  chan error
}

// mendFound mends a segment unless that, or something else, has been done to it
// since the reader looked.
func (l *log) mendFound(m mending) error {
	l.mu.Lock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first >= m.seg.first })
	same := i < len(l.segments) && l.segments[i].first == m.seg.first && l.segments[i].generation == m.seg.generation
	last := i == len(l.segments)-1
	l.mu.Unlock()
	if !same {
		return nil
	}
	if last {
		l.mu.Lock()
		empty := l.nextSeq == m.seg.first
		var err error
		if !empty {
			err = l.beginSegment()
		}
		l.mu.Unlock()
		if empty || err != nil {
			return err
		}
	}
	return l.mend(i, m.cause)
}

// askToMend has the writing goroutine mend a segment.
func (r *Reader) askToMend(ctx context.Context, seg segment, cause error) error {
	m := mending{seg, cause, make(chan error, 1)}
	select {
	case r.log.mendings <- m:
		return <-m.done
	case <-r.log.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// declareLost puts a stub at the end of the log for records that were applied
// and are not there any more, up to and with last.
func (l *log) declareLost(last uint64, cause error) error {
	d := Damage{Class: l.class, First: l.nextSeq, Last: last, Records: last - l.nextSeq + 1, Cause: cause}
	data := segmentHeader(segmentMagicStubs, l.class)
	for first := l.nextSeq; first <= last; first += stubRecords {
		s := newStub(first, min(last, first+stubRecords-1), wirev1.Gap_REASON_DAMAGED)
		s.gap.Unknown = s.last - s.first + 1
		f, err := s.frame(l.spoolID, l.class)
		if err != nil {
			return err
		}
		raw, err := encodeFrame(f)
		if err != nil {
			return err
		}
		data = append(data, raw...)
	}
	if err := l.damaged(d); err != nil {
		return err
	}
	path := l.segmentPath(l.nextSeq)
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return err
	}
	if end := len(l.segments) - 1; end >= 0 && l.segments[end].first == l.nextSeq {
		l.segments = l.segments[:end] // an empty one, replaced just now
	}
	l.segments = append(l.segments, segment{first: l.nextSeq, path: path, size: int64(len(data)), stubs: true})
	l.nextSeq = last + 1
	return l.beginSegment()
}
