// Package spool is the agent's durable queue: what was observed and has not
// been acknowledged yet.
//
// A spool has one log per class. A log is a row of segment files to which
// frames are appended; a frame is one batch, numbered and compressed when it is
// written, shipped as those same bytes however often it takes, and gone when
// its segment, acknowledged to the last record, is unlinked. An append returns
// when its frame is synced to disk. Appends that arrive while the disk is busy
// share the next frame and the next sync.
//
// The logs are also the redo log of what the agent knows (package collect):
// each frame is handed to [Options.Apply] in order after it is synced and
// before its appends return, and Open hands over again what had not been
// applied when the agent stopped. A segment is kept until both have happened.
// Checkpoints of collectors lie in the frame of the facts they came with, in a
// part that is not shipped, so that facts and checkpoint stand or fall together.
//
// A spool has a budget, and an append never waits for the aggregator: where there
// is no more room, the oldest segment is rewritten as stubs. A stub has marks of
// the records that were the newest word on their asset, which last seen still
// knows in full ([Options.Recall]), and counts the others. When it is its turn,
// what is shipped is those records as they were, and a gap with the counts. So
// the newest state of every asset survives any outage, and what does not is
// counted exactly. The classes have fixed parts of the budget: events cannot push
// out assets.
//
// A segment that is damaged is mended in the same way: what is whole in it stays,
// and the rest becomes a stub that counts records of which nothing is known.
//
// docs/spool.md has the format of the files.
package spool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/dirlock"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// Classes are the classes that a spool has logs for, in the order of their
// importance when little gets through.
var Classes = []wirev1.Class{wirev1.Class_CLASS_ASSETS, wirev1.Class_CLASS_EVENTS}

// ErrClosed is returned by operations on a closed spool.
var ErrClosed = errors.New("spool is closed")

// ErrCorrupt means that bytes on disk are not what was written.
var ErrCorrupt = errors.New("spool is corrupt")

// Checkpoint is how far a collector has followed a scope.
type Checkpoint struct {
	Scope string `json:"scope"`
	Value string `json:"value"`
}

// Frame is one synced batch.
type Frame struct {
	Class wirev1.Class
	// First and Last are the numbers of its first and last record.
	First, Last uint64
	// Batch is the encoded wire batch.
	Batch []byte
	// Checkpoints take effect with the records.
	Checkpoints []Checkpoint
	// Stub says that the records were given up. On disk, Records are then marks
	// of what is owed and a gap.
	Stub bool

	// records are those of Batch, where they are at hand already.
	records []*wirev1.Record
}

// check returns an error if no aggregator takes the frame's batch.
func (f Frame) check() error {
	b, err := wire.DecodeBatch(f.Batch)
	if err == nil {
		_, err = wire.CheckRecords(b, nil)
	}
	if err != nil {
		return unreadable(f, err)
	}
	return nil
}

// unreadable is the damage that a frame is whose batch nobody can read, though its
// checksum is right: a version that knew no bounds has written it.
func unreadable(f Frame, err error) error {
	return fmt.Errorf("%w: records %d to %d: %w", ErrCorrupt, f.First, f.Last, err)
}

// Records returns the frame's records.
func (f Frame) Records() ([]*wirev1.Record, error) {
	if f.records != nil {
		return f.records, nil
	}
	b, err := wire.DecodeBatch(f.Batch)
	if err != nil {
		return nil, err
	}
	return wire.DecodeRecords(b)
}

// Options configure a spool.
type Options struct {
	// Dir is made if it does not exist.
	Dir string
	// MaxBytes is how much the spool may have on disk before the oldest of what
	// waits is given up. Zero means 1 GiB.
	MaxBytes int64
	// MinFree is how much must stay free on the filesystem. Where less is, things
	// are given up too, and appends fail when there is nothing more to give up.
	MinFree int64
	// SegmentBytes is the size at which a new segment is begun. Zero means 8 MiB,
	// or an eighth of what the log may have if that is less.
	SegmentBytes int64
	// Apply is called with each frame in order, first at Open with those from
	// the first that Applied does not name on. It may be nil. After an error of it
	// the same frame is handed over again before anything else is appended.
	Apply func(Frame) error
	// Applied returns the number of the last record that Apply has already
	// seen, in a spool with the id. It may be nil.
	Applied func(spoolID string, class wirev1.Class) (uint64, error)
	// BeforeTrim is called before segments are unlinked, to sync what Apply
	// wrote. It may be nil.
	BeforeTrim func() error
	// Recall returns the record in full that has the key and version of the given
	// one, an asset or an asset type, or nil if a newer one was applied since. Nil
	// means that nothing can be recalled.
	Recall func(mark *wirev1.Record) (*wirev1.Record, error)
	// Damaged is told of damage, at Open and later, before it is mended: it must
	// take note for good that the assets in what is lost are to be sent again. It
	// may be nil.
	Damaged func(Damage) error
	// Logger may be nil.
	Logger *slog.Logger
}

// Spool is an open spool. Only one process may have it open.
type Spool struct {
	id   string
	lock *dirlock.Lock
	logs map[wirev1.Class]*log
}

const (
	idFile     = "spool"
	lockFile   = "lock"
	idPrefix   = "reeve-spool 1 "
	defaultMax = 1 << 30
	maxSegment = 8 << 20
)

// Each class may have so many eighths of the budget. One is for damaged files.
var eighths = map[wirev1.Class]int64{wirev1.Class_CLASS_ASSETS: 5, wirev1.Class_CLASS_EVENTS: 2}

// Open opens or makes the spool in o.Dir. A half-written frame at the end of a
// log, left by a crash, is cut off: its append never returned.
func Open(o Options) (*Spool, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	lock, err := dirlock.Take(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	s := &Spool{lock: lock, logs: make(map[wirev1.Class]*log)}
	if s.id, err = loadID(o.Dir, o.Logger); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, class := range Classes {
		part := o
		part.MaxBytes = o.MaxBytes / 8 * eighths[class]
		if o.SegmentBytes == 0 {
			part.SegmentBytes = min(maxSegment, part.MaxBytes/8)
		}
		l, err := openLog(s.id, class, part, o.MaxBytes/8)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the spool's log of %s: %w", wire.ClassName(class), err), s.Close())
		}
		s.logs[class] = l
	}
	return s, nil
}

// ID is the spool's identity: 32 hexadecimal digits, made with its directory.
func (s *Spool) ID() string { return s.id }

// Append numbers the records, writes them with the checkpoints, and returns when
// that is on disk and applied. Records that make more than one frame (1 MiB, or
// 4,096 of them) are written in several, with the checkpoints in the last. Where
// there is no room the oldest of what waits is given up. On an error the last of
// the frames was not appended, unless Apply failed: the checkpoints have not taken
// effect. The error is [wire.ErrTooLarge] if no batch can have one of the records.
func (s *Spool) Append(ctx context.Context, class wirev1.Class, records []*wirev1.Record, checkpoints ...Checkpoint) error {
	return s.logs[class].append(ctx, records, checkpoints)
}

// Ack takes note that every record up to and with seq is durable at the
// aggregator, and frees the space.
func (s *Spool) Ack(class wirev1.Class, seq uint64) error {
	return s.logs[class].ack(seq)
}

// Acked is the last record of a class that is known to be durable at the
// aggregator, as far as was said since the spool was opened.
func (s *Spool) Acked(class wirev1.Class) uint64 {
	l := s.logs[class]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// Err returns why nothing can be appended, or nil.
func (s *Spool) Err() error {
	for _, class := range Classes {
		l := s.logs[class]
		l.mu.Lock()
		failed, refused := l.failed, l.refused
		l.mu.Unlock()
		if failed != nil {
			return failed
		}
		if refused != nil {
			return refused
		}
	}
	return nil
}

// Next is the number that the next record of a class gets.
func (s *Spool) Next(class wirev1.Class) uint64 { return s.logs[class].next() }

// Reader returns a reader of the frames that hold the records from seq on.
func (s *Spool) Reader(class wirev1.Class, seq uint64) *Reader {
	return &Reader{log: s.logs[class], seq: seq}
}

// Stat describes one log.
type Stat struct {
	Class wirev1.Class
	// First and Next bound the records that are on disk.
	First, Next uint64
	// Waiting is how many of them are not acknowledged, as far as is known.
	Waiting uint64
	// GivenUp is how many records, at the beginning, are stubs by now.
	GivenUp  uint64
	Segments int
	// Bytes is the size of the segments.
	Bytes int64
}

// Stat describes the logs in the order of Classes.
func (s *Spool) Stat() []Stat {
	var stats []Stat
	for _, class := range Classes {
		stats = append(stats, s.logs[class].stat())
	}
	return stats
}

// Close waits for appends under way and closes the files.
func (s *Spool) Close() error {
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, s.lock.Release())...)
}

// loadID reads the spool's id. Where the file does not agree with what is in the
// segments, it is the one that is damaged: frames have checksums, and the
// aggregator would refuse their batches under another id.
func loadID(dir string, logger *slog.Logger) (string, error) {
	file := filepath.Join(dir, idFile)
	written, err := idInSegments(dir)
	if err != nil {
		return "", fmt.Errorf("looking for the spool's id: %w", err)
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && written == "" {
		return makeID(file)
	}
	if err != nil && !damage(err) {
		return "", fmt.Errorf("reading the spool's id: %w", err)
	}
	id, err := parseID(data)
	if err != nil && !damage(err) {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if written != "" && (err != nil || id != written) {
		logger.Error("the file with the spool's id is damaged; the id is taken from its segments", "file", file, "id", written)
		return written, writeID(file, written)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return id, nil
}

// idInSegments returns the id that is in the first frame that can be read, or "".
func idInSegments(dir string) (string, error) {
	for _, class := range Classes {
		segments, err := listSegments(filepath.Join(dir, wire.ClassName(class)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, seg := range segments {
			var id string
			stop := errors.New("found")
			if _, _, err := scanFile(seg, class, func(f Frame) error {
				b, err := wire.DecodeBatch(f.Batch)
				if err != nil {
					return nil // it is mended later
				}
				id = b.GetSpoolId()
				return stop
			}); err != nil && !errors.Is(err, stop) && !damage(err) {
				return "", err
			}
			if id != "" {
				return id, nil
			}
		}
	}
	return "", nil
}

func parseID(data []byte) (string, error) {
	if version := idVersion.FindSubmatch(data); version != nil && string(version[1]) != "1" {
		return "", fmt.Errorf("it has the format %s, of a newer version of the agent: use that one", version[1])
	}
	id, ok := strings.CutPrefix(strings.TrimSpace(string(data)), idPrefix)
	if !ok || wire.CheckSpoolID(id) != nil {
		return "", fmt.Errorf("%w: it does not hold %q and an id", ErrCorrupt, idPrefix)
	}
	return id, nil
}

// idVersion finds the format of a spool, also of one that is still to come.
var idVersion = regexp.MustCompile(`^reeve-spool ([1-9]\d?) [0-9a-f]{32}`)

func makeID(file string) (string, error) {
	var raw [16]byte
	rand.Read(raw[:])
	id := hex.EncodeToString(raw[:])
	return id, writeID(file, id)
}

func writeID(file, id string) error {
	if err := atomicfile.Write(file, []byte(idPrefix+id+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the spool's id: %w", err)
	}
	return nil
}
