package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// A frame is closed when it has this many bytes of records before
	// compression, or this many records.
	frameBytes   = 1 << 20
	frameRecords = 4096

	segmentSuffix = ".seg"
	// An acknowledged segment that is still being written to is replaced when
	// it has reached this size, so that an idle spool is small.
	idleSegment = 256 << 10
)

// segment is one file. Its name is the number of its first record.
type segment struct {
	first uint64
	path  string
	// size is how much of the file is written and synced.
	size int64
	// stubs says that it has nothing but stubs. Such a segment is never written
	// to again.
	stubs bool
	// generation changes whenever the file is replaced.
	generation int
}

// span is a row of records.
type span struct{ first, last uint64 }

// request is one append.
type request struct {
	records     []*wirev1.Record
	checkpoints []Checkpoint
	bytes       int
	done        chan error
}

// log is the queue of one class. All writing is done by one goroutine.
type log struct {
	spoolID string
	class   wirev1.Class
	dir     string
	// o is with this log's part of the budget.
	o               Options
	quarantineBytes int64
	logger          *slog.Logger

	requests chan *request
	mendings chan mending
	// trimming is poked when acknowledgements may have freed something.
	trimming chan struct{}
	closing  chan struct{}
	closed   chan struct{}

	// Used by the writing goroutine only: the file of the last segment; a frame
	// that is on disk and was not applied; what the stubs had when they were
	// condensed last; whether it has been said that things are given up, and that
	// there is no room for what is owed.
	file            *os.File
	unapplied       *written
	condensed       int64
	giving, swollen bool
	// mark has what was acknowledged when it was written last.
	mark *ackedMark

	// found is the last record that was there when the log was opened: frames up to it
	// may be of another version, or of a disk that has spoilt them since.
	found uint64

	mu       sync.Mutex
	segments []segment // oldest first, never empty
	nextSeq  uint64
	acked    uint64
	sent     *sentMark
	failed   error
	// refused is why the last append failed, if it did.
	refused error
	// claimed are the records that are being rewritten: no reader hands them out.
	claimed    *span
	generation int
	// changed is closed and replaced whenever any of the above changes.
	changed chan struct{}
}

func openLog(spoolID string, class wirev1.Class, o Options, quarantineBytes int64) (*log, error) {
	l := &log{
		spoolID: spoolID, class: class, o: o, quarantineBytes: quarantineBytes,
		dir:      filepath.Join(o.Dir, wire.ClassName(class)),
		logger:   o.Logger.With("class", wire.ClassName(class)),
		requests: make(chan *request),
		mendings: make(chan mending),
		trimming: make(chan struct{}, 1),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		changed:  make(chan struct{}),
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	go l.write()
	return l, nil
}

func (l *log) load() (err error) {
	if err := l.loadSegments(); err != nil {
		return err
	}
	if l.sent, err = openSent(filepath.Join(l.dir, sentFile), l.nextSeq-1); err != nil {
		return err
	}
	if err := l.redo(); err != nil {
		return err
	}
	acked, err := readAcked(filepath.Join(l.dir, ackedFile))
	if err != nil {
		return err
	}
	l.acked = min(acked, l.nextSeq-1)
	if l.mark, err = openAcked(filepath.Join(l.dir, ackedFile)); err != nil {
		return err
	}
	l.found = l.nextSeq - 1
	return nil
}

func (l *log) closeFiles() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	if l.sent != nil {
		errs = append(errs, l.sent.file.Close())
	}
	if l.mark != nil {
		errs = append(errs, l.mark.file.Close())
	}
	return errors.Join(errs...)
}

// loadSegments finds the segments and the end of the last one.
func (l *log) loadSegments() (err error) {
	if l.segments, err = listSegments(l.dir); err != nil {
		return err
	}
	l.nextSeq = 1
	for i := 0; i < len(l.segments); i++ {
		if err := l.loadSegment(i); err != nil {
			return err
		}
	}
	if l.file == nil {
		return l.beginSegment()
	}
	return nil
}

// loadSegment looks into a segment as far as is needed to go on: those with stubs
// and the last are read through, which neither takes long.
func (l *log) loadSegment(i int) error {
	seg := &l.segments[i]
	magic, err := readMagic(*seg)
	if err != nil {
		return err
	}
	last := i == len(l.segments)-1
	if magic == segmentMagic && last {
		return l.openLast()
	}
	if magic == segmentMagic {
		return nil
	}
	seg.stubs = true
	_, next, err := scanFile(*seg, l.class, func(f Frame) error {
		seg.stubs = seg.stubs && f.Stub
		return nil
	})
	if err == nil && next == seg.first {
		err = fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	if damage(err) {
		return l.mend(i, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", seg.path, err)
	}
	l.nextSeq = next
	// What went into this file and is still there: the agent died meanwhile.
	for i+1 < len(l.segments) && l.segments[i+1].first < next {
		if err := os.Remove(l.segments[i+1].path); err != nil {
			return fmt.Errorf("removing a segment that was given up: %w", err)
		}
		l.segments = slices.Delete(l.segments, i+1, i+2)
	}
	return nil
}

func readMagic(seg segment) (string, error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, len(segmentMagic))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) && !damage(err) {
		return "", err
	}
	if string(head) == segmentMagicStubs {
		return segmentMagicStubs, nil
	}
	return segmentMagic, nil
}

// listSegments returns the segments in a log's directory, oldest first.
func listSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by number
	if err != nil {
		return nil, err
	}
	var segments []segment
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		first, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || first == 0 || len(digits) != 20 {
			return nil, fmt.Errorf("%s is not a segment of the spool: what is it? Move it away", path)
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment{first: first, path: path, size: info.Size()})
	}
	return segments, nil
}

// openLast finds where the last segment ends, and cuts off what a crash left
// behind there.
func (l *log) openLast() error {
	last := &l.segments[len(l.segments)-1]
	f, err := os.OpenFile(last.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l.file = f
	end, next, err := scan(f, l.class, *last, nil)
	if damage(err) {
		l.file = nil
		return errors.Join(f.Close(), l.mend(len(l.segments)-1, err))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", last.path, err)
	}
	if end < last.size {
		l.logger.Warn("cutting off a half-written frame that a crash left behind", "file", last.path, "bytes", last.size-end)
		if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
			return err
		}
	}
	if end == 0 { // the crash hit before the header was written
		if _, err := f.WriteAt(segmentHeader(segmentMagic, l.class), 0); err != nil {
			return err
		}
		end = int64(segmentHeaderSize)
	}
	last.size, l.nextSeq = end, next
	return nil
}

// scan reads a segment through, and returns where its last whole frame ends and
// the number of the record that would come next. visit may be nil.
func scan(r io.ReaderAt, class wirev1.Class, seg segment, visit func(Frame) error) (end int64, next uint64, err error) {
	if seg.size < int64(segmentHeaderSize) {
		return 0, seg.first, nil
	}
	if err := checkHeader(r, class); err != nil {
		return 0, 0, err
	}
	end, next = int64(segmentHeaderSize), seg.first
	for {
		f, after, err := readFrame(r, class, end, seg.size)
		if err == io.EOF || errors.Is(err, errTorn) { //nolint:errorlint // a wrapped one is no clean end
			return end, next, nil
		}
		if err != nil {
			return 0, 0, err
		}
		if f.First != next {
			return 0, 0, fmt.Errorf("%w: record %d follows record %d", ErrCorrupt, f.First, next-1)
		}
		if visit != nil {
			if err := visit(f); err != nil {
				return 0, 0, err
			}
		}
		end, next = after, f.Last+1
	}
}

func checkHeader(r io.ReaderAt, class wirev1.Class) error {
	head := make([]byte, segmentHeaderSize)
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if base := len(segmentMagic) - 1; string(head[:base]) == segmentMagic[:base] && head[base] > '2' && head[base] <= '9' {
		return fmt.Errorf("it has the format %c, of a newer version of the agent: use that one", head[base])
	}
	if !bytes.Equal(head, segmentHeader(segmentMagic, class)) && !bytes.Equal(head, segmentHeader(segmentMagicStubs, class)) {
		return fmt.Errorf("%w: not a segment of %s in a format that this version knows", ErrCorrupt, wire.ClassName(class))
	}
	return nil
}

// redo hands the frames to Apply that it has not seen.
func (l *log) redo() error {
	if l.o.Apply == nil || l.o.Applied == nil {
		return nil
	}
	applied, err := l.o.Applied(l.spoolID, l.class)
	if err != nil {
		return err
	}
	if applied >= l.nextSeq {
		return l.declareLost(applied, fmt.Errorf("%w: it ends with record %d, but record %d has been applied: the end is lost, or this is an "+
			"old copy", ErrCorrupt, l.nextSeq-1, applied))
	}
	r := &Reader{log: l, seq: applied + 1}
	defer r.Close()
	for mended := 0; r.seq < l.nextSeq; {
		f, seg, err := r.read(context.Background())
		if damage(err) && mended <= len(l.segments) {
			mended++
			if err := l.mendFound(mending{seg: seg, cause: err}); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if f.Stub {
			r.seq = f.Last + 1
			continue // what it stands for was applied before, or is lost
		}
		if f.records, err = f.Records(); err != nil && mended <= len(l.segments) {
			mended++
			if err := l.mendFound(mending{seg: seg, cause: unreadable(f, err)}); err != nil {
				return err
			}
			continue
		}
		r.seq = f.Last + 1
		if err := l.o.Apply(f); err != nil {
			return fmt.Errorf("applying records %d to %d again: %w", f.First, f.Last, err)
		}
	}
	return nil
}

// beginSegment starts a new last segment at nextSeq.
func (l *log) beginSegment() error {
	path := l.segmentPath(l.nextSeq)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(segmentHeader(segmentMagic, l.class))
	if err := errors.Join(err, f.Sync(), atomicfile.SyncDir(l.dir)); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			l.logger.Warn("closing a finished segment", "error", err)
		}
	}
	l.file = f
	l.generation++
	l.segments = append(l.segments, segment{first: l.nextSeq, path: path, size: int64(segmentHeaderSize), generation: l.generation})
	return nil
}

func (l *log) segmentPath(first uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// notify wakes everyone who waits for a change. l.mu is held.
func (l *log) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *log) next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nextSeq
}

func (l *log) stat() Stat {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stat{Class: l.class, First: l.segments[0].first, Next: l.nextSeq, Segments: len(l.segments), Bytes: l.bytes()}
	from := max(s.First, l.acked+1)
	s.Waiting = l.nextSeq - from
	if i := slices.IndexFunc(l.segments, func(seg segment) bool { return !seg.stubs }); l.segments[i].first > from {
		s.GivenUp = l.segments[i].first - from
	}
	return s
}

// bytes is the size of the log. l.mu is held.
func (l *log) bytes() int64 {
	var n int64
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

func (l *log) append(ctx context.Context, records []*wirev1.Record, checkpoints []Checkpoint) error {
	if len(records) == 0 {
		return errors.New("spool: an append needs records")
	}
	r := &request{records: records, checkpoints: checkpoints, done: make(chan error, 1)}
	for _, record := range records {
		r.bytes += proto.Size(record)
	}
	for _, c := range checkpoints {
		r.bytes += len(c.Scope) + len(c.Value)
	}
	select {
	case l.requests <- r:
	case <-l.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	// From here on the records are being written. To go away now would leave
	// the caller in doubt about whether they were.
	return <-r.done
}

// write is the goroutine that appends and trims.
func (l *log) write() {
	defer close(l.closed)
	var held *request
	for {
		first := held
		held = nil
		if first == nil {
			select {
			case first = <-l.requests:
			case <-l.trimming:
				l.note()
				l.trim()
				continue
			case m := <-l.mendings:
				m.done <- l.mendFound(m)
				continue
			case <-l.closing:
				return
			}
		}
		var group []*request
		group, held = l.gather(first)
		l.writeGroup(group)
	}
}

// gather collects the requests that wait already and fit into one frame. One
// that does not fit is handed back.
func (l *log) gather(first *request) (group []*request, held *request) {
	group = []*request{first}
	size, count := first.bytes, len(first.records)
	for size < frameBytes && count < frameRecords {
		select {
		case r := <-l.requests:
			if size+r.bytes > frameBytes || count+len(r.records) > frameRecords {
				return group, r
			}
			group = append(group, r)
			size, count = size+r.bytes, count+len(r.records)
		default:
			return group, nil
		}
	}
	return group, nil
}

// written is a frame that is on disk, with the size that its segment then has.
type written struct {
	frame Frame
	size  int64
}

// writeGroup writes requests that share a frame. Where that cannot be, each gets
// frames, and an error, of its own.
func (l *log) writeGroup(group []*request) {
	shared := new(request)
	for _, r := range group {
		shared.records = append(shared.records, r.records...)
		shared.checkpoints = append(shared.checkpoints, r.checkpoints...)
	}
	if len(group) > 1 {
		err := l.writeFrame(shared.records, shared.checkpoints)
		if !errors.Is(err, wire.ErrTooLarge) {
			for _, r := range group {
				r.done <- err
			}
			return
		}
	}
	for _, r := range group {
		r.done <- l.writeRequest(r)
	}
}

// writeRequest writes the records of a request, in as many frames as they need. The
// checkpoints are in the last: they take effect when all records have.
func (l *log) writeRequest(r *request) error {
	for rest := r.records; len(rest) > 0; {
		n := fitting(rest)
		for {
			var checkpoints []Checkpoint
			if n == len(rest) {
				checkpoints = r.checkpoints
			}
			err := l.writeFrame(rest[:n], checkpoints)
			if err == nil {
				break
			}
			if n == 1 || !errors.Is(err, wire.ErrTooLarge) {
				return err
			}
			n /= 2
		}
		rest = rest[n:]
	}
	return nil
}

// fitting is how many of the records make the next frame: at least one.
func fitting(records []*wirev1.Record) int {
	size := 0
	for n, r := range records {
		if size += proto.Size(r); n > 0 && (size > frameBytes || n == frameRecords) {
			return n
		}
	}
	return len(records)
}

// writeFrame writes one frame. The error is [wire.ErrTooLarge] where no batch can have
// the records: then nothing was written.
func (l *log) writeFrame(records []*wirev1.Record, checkpoints []Checkpoint) (err error) {
	if err := l.recover(); err != nil {
		return err
	}
	f := Frame{Class: l.class, First: l.nextSeq, Last: l.nextSeq + uint64(len(records)) - 1, Checkpoints: checkpoints, records: records}
	if f.Batch, err = wire.EncodeBatch(l.spoolID, l.class, f.First, f.records); err != nil {
		return err
	}
	data, err := encodeFrame(f)
	if err != nil {
		return err
	}
	for {
		if err := l.makeRoom(int64(len(data))); err != nil {
			return l.refuse(err)
		}
		size, err := l.writeData(data)
		if err == nil {
			return l.apply(&written{f, size})
		}
		if !noSpace(err) || l.failure() != nil {
			return l.refuse(err)
		}
		// More than the file system said was needed, or than the quota has.
		if freed, give := l.giveUpOldest(wirev1.Gap_REASON_DISK); !freed || give != nil {
			return l.refuse(errors.Join(err, give))
		}
	}
}

// writeData puts a frame at the end of the log, and returns the size that the
// last segment then has.
func (l *log) writeData(data []byte) (size int64, err error) {
	l.mu.Lock()
	last := l.segments[len(l.segments)-1]
	if last.size >= l.o.SegmentBytes {
		err = l.beginSegment()
		last = l.segments[len(l.segments)-1]
	}
	l.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("beginning a spool segment: %w", err)
	}
	if _, err := l.file.WriteAt(data, last.size); err != nil {
		err = fmt.Errorf("writing to the spool: %w", err)
		if cut := l.file.Truncate(last.size); cut != nil {
			return 0, l.fail(errors.Join(err, cut))
		}
		return 0, err
	}
	if err := l.file.Sync(); err != nil {
		// After a failed sync nobody knows what is on disk behind last.size.
		return 0, l.fail(fmt.Errorf("syncing the spool: %w", err))
	}
	return last.size + int64(len(data)), nil
}

// apply hands on a frame that is on disk, and lets readers have it.
func (l *log) apply(w *written) error {
	l.unapplied = w
	if l.o.Apply != nil {
		if err := l.o.Apply(w.frame); err != nil {
			return l.fail(fmt.Errorf("applying records %d to %d: %w", w.frame.First, w.frame.Last, err))
		}
	}
	l.unapplied = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments[len(l.segments)-1].size = w.size
	l.nextSeq = w.frame.Last + 1
	l.failed = nil
	l.notify()
	return nil
}

// fail makes the log refuse appends until recover has brought it into order.
func (l *log) fail(err error) error {
	l.logger.Error("the spool is out of order; it tries to mend that with each append", "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	l.notify()
	return err
}

// refuse takes note that an append failed. Nothing is out of order for that.
func (l *log) refuse(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = err
	return err
}

func (l *log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// recover does what is left to do of an append that failed half-way. Its frame
// is cut off, or, where that is on disk for certain and may be applied in part,
// applied.
func (l *log) recover() error {
	l.mu.Lock()
	failed, last := l.failed, l.segments[len(l.segments)-1]
	l.refused = nil
	l.mu.Unlock()
	if failed == nil {
		return nil
	}
	if l.unapplied != nil {
		if err := l.apply(l.unapplied); err != nil {
			return err
		}
	} else if err := errors.Join(l.file.Truncate(last.size), l.file.Sync()); err != nil {
		return fmt.Errorf("the spool is out of order: %w", err)
	}
	l.mu.Lock()
	l.failed = nil
	l.mu.Unlock()
	l.logger.Info("the spool is in order again")
	return nil
}

func (l *log) ack(seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= l.nextSeq {
		return fmt.Errorf("spool: acknowledgement of record %d, but the last one of %s is %d", seq, wire.ClassName(l.class), l.nextSeq-1)
	}
	if seq <= l.acked {
		return nil
	}
	l.acked = seq
	select {
	case l.trimming <- struct{}{}:
	default:
	}
	return nil
}

// note writes down what is acknowledged.
func (l *log) note() {
	l.mu.Lock()
	acked := l.acked
	l.mu.Unlock()
	if acked == 0 {
		return
	}
	if err := l.mark.write(acked); err != nil {
		l.logger.Warn("the spool will look as if more waited in it than does", "error", err)
	}
}

// trim unlinks the segments that are acknowledged to their last record, and
// returns false if there were none.
func (l *log) trim() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.segments[len(l.segments)-1]; l.failed == nil && l.acked == l.nextSeq-1 && last.size >= idleSegment {
		if err := l.beginSegment(); err != nil {
			l.logger.Warn("beginning a spool segment", "error", err)
		}
	}
	n := 0
	for n+1 < len(l.segments) && l.segments[n+1].first <= l.acked+1 {
		n++
	}
	if l.giving && l.acked == l.nextSeq-1 {
		l.giving, l.swollen = false, false
		l.logger.Info("all that waited in the spool is acknowledged")
	}
	if n == 0 {
		return false
	}
	if l.o.BeforeTrim != nil {
		if err := l.o.BeforeTrim(); err != nil {
			l.logger.Error("keeping acknowledged segments: what they hold cannot be stored elsewhere", "error", err)
			return false
		}
	}
	for _, s := range l.segments[:n] {
		if err := os.Remove(s.path); err != nil {
			l.logger.Warn("removing an acknowledged segment", "error", err)
		}
	}
	l.segments = slices.Clone(l.segments[n:])
	l.notify()
	return true
}

func (l *log) close() error {
	select {
	case <-l.closing:
		return nil
	default:
		close(l.closing)
	}
	<-l.closed
	l.note()
	return l.closeFiles()
}
