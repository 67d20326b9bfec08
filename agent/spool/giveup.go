package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// errNoSpace means that the disk has too little room for the agent to write.
var errNoSpace = errors.New("the disk is full")

// makeRoom gives up the oldest segments until n more bytes fit. Only the writing
// goroutine calls it.
func (l *log) makeRoom(n int64) error {
	n += int64(segmentHeaderSize) // there may be a new segment
	if n > l.o.MaxBytes {
		return fmt.Errorf("an append of %d bytes does not fit into the spool, which may have %d for %s: raise spool.max_bytes", n, l.o.MaxBytes,
			wire.ClassName(l.class))
	}
	for {
		l.mu.Lock()
		size := l.bytes()
		l.mu.Unlock()
		low, err := l.lowDisk(n)
		if err != nil {
			return err
		}
		var reason wirev1.Gap_Reason
		switch {
		case size+n > l.o.MaxBytes:
			reason = wirev1.Gap_REASON_BUDGET
		case low:
			reason = wirev1.Gap_REASON_DISK
		default:
			return nil
		}
		freed, err := l.giveUpOldest(reason)
		if err != nil {
			return err
		}
		switch {
		case freed:
		case reason == wirev1.Gap_REASON_DISK:
			return fmt.Errorf("less than %d bytes are free where the spool lies, and nothing more can be given up: %w", l.o.MinFree, errNoSpace)
		case !l.swollen:
			// Nothing but stubs is left, and those are what the promises rest on.
			l.swollen = true
			l.logger.Warn("what the spool still owes does not fit into its budget", "bytes", size, "max_bytes", l.o.MaxBytes)
			return nil
		default:
			return nil
		}
	}
}

// lowDisk reports whether the filesystem would be left with too little.
func (l *log) lowDisk(n int64) (bool, error) {
	if l.o.MinFree == 0 {
		return false, nil
	}
	free, err := freeBytes(l.dir)
	if err != nil {
		return false, fmt.Errorf("asking how much disk is free: %w", err)
	}
	return free-n < l.o.MinFree, nil
}

// CheckFree returns an error in words if less than n bytes are free on the
// filesystem of dir.
func CheckFree(dir string, n int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("asking how much disk is free: %w", err)
	}
	if free < n {
		return fmt.Errorf("%w: %d bytes are free in %s, and the agent needs %d", errNoSpace, free, dir, n)
	}
	return nil
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// giveUpOldest makes stubs of the oldest segment that is not made of stubs, and
// returns false if there is none.
func (l *log) giveUpOldest(reason wirev1.Gap_Reason) (bool, error) {
	if l.trim() {
		return true, nil
	}
	l.mu.Lock()
	i := slices.IndexFunc(l.segments, func(s segment) bool { return !s.stubs })
	active := i == len(l.segments)-1
	empty := active && l.segments[i].size <= int64(segmentHeaderSize)
	if active && !empty {
		if err := l.beginSegment(); err != nil {
			l.mu.Unlock()
			return false, fmt.Errorf("beginning a spool segment: %w", err)
		}
	}
	segments := slices.Clone(l.segments)
	l.mu.Unlock()
	if empty {
		return false, nil
	}
	if !l.giving {
		l.giving = true
		l.logger.Warn("the spool is full: the oldest of what waits is given up, except the newest state of each asset",
			"max_bytes", l.o.MaxBytes, "reason", reasonName(reason))
	}
	// Small files of stubs grow together.
	from := i
	if i > 0 && segments[i-1].size < l.o.SegmentBytes/4 {
		from--
	}
	if err := l.rewrite(from, i, reason); err != nil {
		return false, fmt.Errorf("giving up what waits in the spool: %w", err)
	}
	return true, l.condense()
}

// condense rewrites all stubs once they have become many: what they owe is in
// part superseded since, and what nobody has seen is spliced.
func (l *log) condense() error {
	stubs := func() (n int, bytes int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for n < len(l.segments) && l.segments[n].stubs {
			bytes += l.segments[n].size
			n++
		}
		return n, bytes
	}
	n, bytes := stubs()
	if bytes < max(l.o.MaxBytes/8, 2*l.condensed) {
		return nil
	}
	for i := 0; i < n; i++ {
		l.mu.Lock()
		to, sum := i, l.segments[i].size
		for to+1 < n && sum+l.segments[to+1].size <= l.o.SegmentBytes {
			to++
			sum += l.segments[to].size
		}
		l.mu.Unlock()
		if err := l.rewrite(i, to, wirev1.Gap_REASON_UNSPECIFIED); err != nil {
			return fmt.Errorf("condensing the spool: %w", err)
		}
		n -= to - i
	}
	_, l.condensed = stubs()
	return nil
}

// rewrite puts stubs in the place of what is in the segments from to to, in one
// file. The frames among them are given up for the reason.
func (l *log) rewrite(from, to int, reason wirev1.Gap_Reason) error {
	l.mu.Lock()
	old := slices.Clone(l.segments[from : to+1])
	acked, handed := l.acked, l.sent.handed
	// Readers wait meanwhile: what they would be handed is about to change.
	l.claimed = &span{old[0].first, l.segments[to+1].first - 1}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.claimed = nil
		l.notify()
		l.mu.Unlock()
	}()
	// What replaces these frames rests on last seen.
	if l.o.BeforeTrim != nil {
		if err := l.o.BeforeTrim(); err != nil {
			return err
		}
	}
	var stubs *splicer
	for mended := 0; ; mended++ {
		stubs = &splicer{log: l, acked: acked, handed: handed, reason: reason}
		damaged, err := l.splice(stubs, old)
		if err == nil {
			break
		}
		if !damage(err) || mended > len(old) {
			return fmt.Errorf("%s: %w", old[damaged].path, err)
		}
		// A segment of its own, for what is whole in it. What is mended can be read.
		if err := l.mend(from+damaged, err); err != nil {
			return err
		}
		l.mu.Lock()
		old = slices.Clone(l.segments[from : to+1])
		l.mu.Unlock()
	}
	data, err := stubs.bytes()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(old[0].path, data, 0o600); err != nil {
		return err
	}
	l.mu.Lock()
	l.generation++
	l.segments = slices.Replace(l.segments, from, to+1, segment{
		first: old[0].first, path: old[0].path, size: int64(len(data)), stubs: true, generation: l.generation,
	})
	l.mu.Unlock()
	// Should the agent die before they are gone, openLog removes them: what they
	// hold is behind the first of a file of stubs and not behind its last.
	for _, seg := range old[1:] {
		if err := os.Remove(seg.path); err != nil {
			l.logger.Warn("removing a segment that was given up", "error", err)
		}
	}
	return nil
}

// splice has a splicer take all frames of the segments, of which the last ends where
// the claim does. With an error it returns which one that is of.
func (l *log) splice(p *splicer, segments []segment) (failed int, err error) {
	for n, seg := range segments {
		_, next, err := scanFile(seg, l.class, p.add)
		if upper := l.claimed.last + 1; err == nil && n+1 == len(segments) && next != upper {
			err = fmt.Errorf("%w: it ends with record %d, but the next one begins with %d", ErrCorrupt, next-1, upper)
		}
		if err != nil {
			return n, err
		}
	}
	return 0, nil
}

// scanFile is scan for a segment that ends with a whole frame.
func scanFile(seg segment, class wirev1.Class, visit func(Frame) error) (end int64, next uint64, err error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	end, next, err = scan(f, class, seg, visit)
	if err == nil && end != seg.size {
		err = fmt.Errorf("%w: it ends in the middle of a frame", ErrCorrupt)
	}
	return end, next, err
}

// splicer makes stubs of frames, and one of several stubs where it may.
type splicer struct {
	log           *log
	acked, handed uint64
	reason        wirev1.Gap_Reason

	stubs []*stub
}

func (p *splicer) add(f Frame) error {
	s, err := p.stub(f)
	if err != nil {
		return err
	}
	if n := len(p.stubs); n == 0 || !p.maySplice(p.stubs[n-1], s) || !p.stubs[n-1].take(s) {
		p.stubs = append(p.stubs, s)
	}
	return nil
}

// maySplice reports whether the centre can have taken neither of the two, or is
// known to have taken both. Otherwise it may have taken the first alone.
func (p *splicer) maySplice(a, b *stub) bool { return a.first > p.handed || b.last <= p.acked }

func (p *splicer) stub(f Frame) (*stub, error) {
	if f.Last <= p.acked {
		return newStub(f.First, f.Last, p.reason), nil // nothing of it is lost
	}
	if f.Stub {
		s, err := decodeStub(f)
		if err == nil {
			_, err = s.settle(p.log.recall)
		}
		return s, err
	}
	records, err := f.Records()
	if err != nil {
		return nil, unreadable(f, err)
	}
	s := newStub(f.First, f.Last, p.reason)
	for _, r := range records {
		if r.GetAsset() == nil && r.GetAssetType() == nil {
			s.lose(r)
			continue
		}
		s.marks = append(s.marks, mark(r))
	}
	_, err = s.settle(p.log.recall)
	return s, err
}

func (p *splicer) bytes() ([]byte, error) {
	data := segmentHeader(segmentMagicStubs, p.log.class)
	for _, s := range p.stubs {
		f, err := s.frame(p.log.spoolID, p.log.class)
		if err != nil {
			return nil, err
		}
		raw, err := encodeFrame(f)
		if err != nil {
			return nil, err
		}
		data = append(data, raw...)
	}
	return data, nil
}

// recall returns the record of a mark in full, or nil if it is superseded.
func (l *log) recall(m *wirev1.Record) (*wirev1.Record, error) {
	if l.o.Recall == nil {
		return nil, nil
	}
	return l.o.Recall(m)
}

// revive returns what is shipped in place of a stub from record seq on, or false
// if that is nothing.
func (l *log) revive(f Frame, seq uint64) (Frame, bool, error) {
	s, err := decodeStub(f)
	if err != nil {
		return f, false, err
	}
	owed, err := s.settle(l.recall)
	if err != nil {
		return f, false, fmt.Errorf("looking up what the spool owes: %w", err)
	}
	if g := s.gap; g.GetUnknown() > 0 && seq > f.First {
		// The others of the same damage were taken before.
		g.FirstSeq, g.Unknown = seq, min(g.Unknown, f.Last-seq+1)
	}
	if s.lost() > 0 {
		owed = append(owed, &wirev1.Record{Body: &wirev1.Record_Gap{Gap: s.gap}})
	}
	if len(owed) == 0 {
		return f, false, nil
	}
	out := Frame{Class: f.Class, First: f.Last - uint64(len(owed)) + 1, Last: f.Last, records: owed}
	if out.Batch, err = wire.EncodeBatch(l.spoolID, l.class, out.First, owed); err != nil {
		return f, false, err
	}
	return out, true, nil
}

func reasonName(r wirev1.Gap_Reason) string {
	switch r {
	case wirev1.Gap_REASON_BUDGET:
		return "budget"
	case wirev1.Gap_REASON_DISK:
		return "disk"
	case wirev1.Gap_REASON_DAMAGED:
		return "damaged"
	}
	return "unknown"
}
