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
	"strings"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
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

	// records are those of Batch, where they are at hand already.
	records []*wirev1.Record
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
	// MaxBytes is how much a log may hold before appends to it wait for
	// acknowledgements. Zero means 1 GiB.
	MaxBytes int64
	// SegmentBytes is the size at which a new segment is begun. Zero means 8 MiB.
	SegmentBytes int64
	// Apply is called with each frame in order, first at Open with those from
	// AppliedFrom on. It may be nil. An error of it fails the appends of the
	// frame and all later ones: the agent must be restarted.
	Apply func(Frame) error
	// Applied returns the number of the last record that Apply has already
	// seen, in a spool with the id. It may be nil.
	Applied func(spoolID string, class wirev1.Class) (uint64, error)
	// BeforeTrim is called before segments are unlinked, to sync what Apply
	// wrote. It may be nil.
	BeforeTrim func() error
	// Logger may be nil.
	Logger *slog.Logger
}

// Spool is an open spool. Only one process may have it open.
type Spool struct {
	id   string
	lock *os.File
	logs map[wirev1.Class]*log
}

const (
	idFile     = "spool"
	lockFile   = "lock"
	idPrefix   = "reeve-spool 1 "
	defaultMax = 1 << 30
	defaultSeg = 8 << 20
)

// Open opens or makes the spool in o.Dir. A half-written frame at the end of a
// log, left by a crash, is cut off: its append never returned.
func Open(o Options) (*Spool, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMax
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSeg
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{lock: lock, logs: make(map[wirev1.Class]*log)}
	if s.id, err = loadID(o.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, class := range Classes {
		l, err := openLog(s.id, class, o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the spool's log of %s: %w", wire.ClassName(class), err), s.Close())
		}
		s.logs[class] = l
	}
	return s, nil
}

// ID is the spool's identity: 32 hexadecimal digits, made with its directory.
func (s *Spool) ID() string { return s.id }

// Append numbers the records, writes them with the checkpoints in one frame,
// and returns when the frame is on disk and applied. It waits while the log is
// full. On an error nothing was appended, unless the spool is out of order.
func (s *Spool) Append(ctx context.Context, class wirev1.Class, records []*wirev1.Record, checkpoints ...Checkpoint) error {
	return s.logs[class].append(ctx, records, checkpoints)
}

// Ack takes note that every record up to and with seq is durable at the
// aggregator, and frees the space.
func (s *Spool) Ack(class wirev1.Class, seq uint64) error {
	return s.logs[class].ack(seq)
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
	Waiting  uint64
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
	return errors.Join(append(errs, s.lock.Close())...)
}

func loadID(dir string) (string, error) {
	file := filepath.Join(dir, idFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeID(file)
	}
	if err != nil {
		return "", fmt.Errorf("reading the spool's id: %w", err)
	}
	id, err := parseID(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return id, nil
}

func parseID(data []byte) (string, error) {
	id, ok := strings.CutPrefix(strings.TrimSpace(string(data)), idPrefix)
	if !ok || wire.CheckSpoolID(id) != nil {
		return "", fmt.Errorf("%w: it does not hold %q and an id; if a newer version wrote it, use that one", ErrCorrupt, idPrefix)
	}
	return id, nil
}

func makeID(file string) (string, error) {
	var raw [16]byte
	rand.Read(raw[:])
	id := hex.EncodeToString(raw[:])
	err := atomicfile.Write(file, []byte(idPrefix+id+"\n"), 0o600)
	if err != nil {
		return "", fmt.Errorf("making the spool's id: %w", err)
	}
	return id, nil
}
