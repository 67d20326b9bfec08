package spool

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// A stub is what is left of frames that were given up. On disk it is a frame
// with a batch of its own: the marks, which are records cut down to what
// [Options.Recall] needs to find them again, and last the gap: what is lost.
//
// What is shipped in place of the frames is made of the stub each time it is
// due: the marks that are still the newest word, in full, and the gap, in which
// those that are not have been counted too. It ends with the number of the last
// record that was given up. So a centre that has taken the frames themselves, or
// an earlier batch of the stub, drops it as a repetition; whichever it takes is
// true, and nothing is missing or counted twice. That holds as long as what was
// once shipped together stays together, and nothing else joins it; see
// log.maySplice.
type stub struct {
	first, last uint64
	marks       []*wirev1.Record
	gap         *wirev1.Gap
	// bytes is the size of the marked records in full.
	bytes int
}

const (
	// One stub never has more than makes one frame.
	stubMarks   = 512
	stubEnded   = 512
	stubRecords = 1 << 30
)

func newStub(first, last uint64, reason wirev1.Gap_Reason) *stub {
	return &stub{first: first, last: last, gap: &wirev1.Gap{Reason: reason, FirstSeq: first, LastSeq: last}}
}

// frame returns the stub as it lies on disk.
func (s *stub) frame(spoolID string, class wirev1.Class) (Frame, error) {
	f := Frame{Class: class, First: s.first, Last: s.last, Stub: true}
	f.records = append(append(f.records, s.marks...), &wirev1.Record{Body: &wirev1.Record_Gap{Gap: s.gap}})
	var err error
	f.Batch, err = wire.EncodeBatch(spoolID, class, s.first, f.records)
	return f, err
}

func decodeStub(f Frame) (*stub, error) {
	records, err := f.Records()
	if err != nil {
		return nil, fmt.Errorf("%w: stub of records %d to %d: %w", ErrCorrupt, f.First, f.Last, err)
	}
	s := &stub{first: f.First, last: f.Last, marks: records[:len(records)-1], gap: records[len(records)-1].GetGap()}
	if s.gap == nil {
		return nil, fmt.Errorf("%w: stub of records %d to %d: it has no gap", ErrCorrupt, f.First, f.Last)
	}
	return s, nil
}

// mark cuts a record down to what tells it apart and what is kept nowhere else.
func mark(r *wirev1.Record) *wirev1.Record {
	if t := r.GetAssetType(); t != nil {
		return &wirev1.Record{Body: &wirev1.Record_AssetType{AssetType: &wirev1.AssetType{Name: t.GetName(), Version: t.GetVersion()}}}
	}
	a := r.GetAsset()
	return &wirev1.Record{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
		Type: a.GetType(), Uid: a.GetUid(), Scope: a.GetScope(), Version: a.GetVersion(), Operation: a.GetOperation(),
		ObservedAt: a.GetObservedAt(), Changed: a.GetChanged(), RemovedRelations: a.GetRemovedRelations(),
	}}}
}

// lose counts a record, or a mark, among what is lost.
func (s *stub) lose(r *wirev1.Record) {
	switch body := r.GetBody().(type) {
	case *wirev1.Record_Asset:
		a := body.Asset
		s.gap.Versions++
		s.span(a.GetObservedAt())
		for _, edge := range a.GetRemovedRelations() {
			s.gap.Ended = append(s.gap.Ended, &wirev1.EndedRelation{Type: a.GetType(), Uid: a.GetUid(), Version: a.GetVersion(), Relation: edge})
		}
	case *wirev1.Record_AssetType:
		s.gap.AssetTypes++
	case *wirev1.Record_Event:
		s.gap.Events++
		s.span(body.Event.GetTime())
	case *wirev1.Record_Usage:
		s.gap.Usage++
		s.span(body.Usage.GetStart())
		s.span(body.Usage.GetEnd())
	default:
		s.gap.Unknown++
	}
}

// span widens the time of what is lost.
func (s *stub) span(at int64) {
	if at == 0 {
		return
	}
	if s.gap.From == 0 || at < s.gap.From {
		s.gap.From = at
	}
	s.gap.To = max(s.gap.To, at)
}

// lost is how many records the stub has no mark of.
func (s *stub) lost() uint64 {
	g := s.gap
	return g.GetVersions() + g.GetAssetTypes() + g.GetEvents() + g.GetUsage() + g.GetUnknown()
}

// settle counts the marks that are superseded among what is lost, and returns
// the others in full.
func (s *stub) settle(recall func(*wirev1.Record) (*wirev1.Record, error)) (owed []*wirev1.Record, err error) {
	marks := s.marks
	s.marks, s.bytes = nil, 0
	for _, m := range marks {
		full, err := recall(m)
		if err != nil {
			return nil, err
		}
		if full == nil {
			s.lose(m)
			continue
		}
		s.marks = append(s.marks, m)
		s.bytes += proto.Size(full)
		owed = append(owed, full)
	}
	return owed, nil
}

// take makes one stub of s and the one behind it, and returns false if that
// would be too large.
func (s *stub) take(next *stub) bool {
	a, b := s.gap, next.gap
	if a.GetReason() != b.GetReason() ||
		len(s.marks)+len(next.marks) > stubMarks ||
		s.bytes+next.bytes > frameBytes ||
		len(a.GetEnded())+len(b.GetEnded()) > stubEnded ||
		next.last-s.first >= stubRecords {
		return false
	}
	s.last, a.LastSeq = next.last, next.last
	s.marks, s.bytes = append(s.marks, next.marks...), s.bytes+next.bytes
	a.Versions += b.GetVersions()
	a.AssetTypes += b.GetAssetTypes()
	a.Events += b.GetEvents()
	a.Usage += b.GetUsage()
	a.Unknown += b.GetUnknown()
	a.Ended = append(a.Ended, b.GetEnded()...)
	s.span(b.GetFrom())
	s.span(b.GetTo())
	return true
}
