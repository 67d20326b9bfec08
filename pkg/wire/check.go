package wire

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/layout"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// What a record must be is said here, once: agents do not record what breaks these
// rules, and the centre does not take it.

const (
	// MaxName is the size in bytes of the longest text that things are told apart
	// by: types, uids, scopes, kinds, meters.
	MaxName = 1 << 10
	// UsageReach is how far from its reception a usage may begin, either way. The
	// table has a partition for each month, and an insert that touches more than
	// 100 of them is refused as a whole.
	UsageReach = 4 * 365 * 24 * time.Hour

	hashSize = 16
)

// LatestTime is the last time that the warehouse can keep.
var LatestTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Millis is a time as records have it: Unix milliseconds, and zero where it is
// unknown. What the warehouse cannot keep, before 1970 or after 2200, counts as
// unknown.
func Millis(t time.Time) int64 {
	if t.IsZero() || t.Before(time.UnixMilli(0)) || t.After(LatestTime) {
		return 0
	}
	return t.UnixMilli()
}

// Time is the time that a record has, zero where it is unknown or out of range.
func Time(ms int64) time.Time {
	if ms <= 0 || ms > LatestTime.UnixMilli() {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// CheckName returns an error unless s is fit to tell things apart, and to be shown
// everywhere. What says of what the name is.
func CheckName(what, s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("%s: must have 1 to %d bytes, it has %d", what, MaxName, len(s))
	}
	return checkText(what, s)
}

// checkOptional is CheckName for what may be empty.
func checkOptional(what, s string) error {
	if s == "" {
		return nil
	}
	return CheckName(what, s)
}

func checkText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: is not UTF-8", what)
	}
	for _, c := range s {
		if c < ' ' || c == '\x7f' {
			return fmt.Errorf("%s: has control characters", what)
		}
	}
	return nil
}

func checkMoment(what string, ms int64) error {
	if ms < 0 || ms > LatestTime.UnixMilli() {
		return fmt.Errorf("%s: %d ms is out of range", what, ms)
	}
	return nil
}

func checkVersion(version uint64) error {
	if version == 0 || hlc.Stamp(version).Time().After(LatestTime) {
		return fmt.Errorf("version: %d is out of range", version)
	}
	return nil
}

// CheckRelation returns an error unless the edge can be kept.
func CheckRelation(r *wirev1.Relation) error {
	return errors.Join(
		CheckName("relation kind", r.GetKind()),
		CheckName("relation type", r.GetType()),
		CheckName("relation uid", r.GetUid()),
	)
}

// CheckType returns an error unless an asset type can be kept.
func CheckType(t *wirev1.AssetType) error {
	if err := errors.Join(
		CheckName("name", t.GetName()),
		checkOptional("title", t.GetTitle()),
		checkVersion(t.GetVersion()),
	); err != nil {
		return err
	}
	if len(t.GetLayout()) > 0 {
		if _, err := layout.Parse(t.GetLayout()); err != nil {
			return fmt.Errorf("type %s: %w", t.GetName(), err)
		}
	}
	return nil
}

// CheckAsset returns an error unless a version of an asset can be kept. It does not
// look into the document; document.Fields does. Times of its creation and last
// update that are out of range are no error, they count as unknown ([Time]).
func CheckAsset(a *wirev1.AssetVersion) error {
	if err := errors.Join(
		CheckName("type", a.GetType()),
		CheckName("uid", a.GetUid()),
		CheckName("scope", a.GetScope()),
		checkVersion(a.GetVersion()),
		checkMoment("observed_at", a.GetObservedAt()),
	); err != nil {
		return err
	}
	if len(a.GetHash()) != hashSize {
		return fmt.Errorf("hash: must have %d bytes, it has %d", hashSize, len(a.GetHash()))
	}
	switch a.GetOperation() {
	case wirev1.Operation_OPERATION_CREATED, wirev1.Operation_OPERATION_UPDATED, wirev1.Operation_OPERATION_DELETED:
	default:
		return fmt.Errorf("operation: %d is unknown", a.GetOperation())
	}
	for _, list := range [][]*wirev1.Relation{a.GetRelations(), a.GetRemovedRelations()} {
		for _, r := range list {
			if err := CheckRelation(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckEvent returns an error unless an event can be kept. It does not look into the
// data.
func CheckEvent(e *wirev1.Event) error {
	return errors.Join(
		CheckName("event id", e.GetId()),
		CheckName("event type", e.GetType()),
		CheckName("scope", e.GetScope()),
		checkOptional("asset type", e.GetAssetType()),
		checkOptional("asset uid", e.GetAssetUid()),
		checkMoment("time", e.GetTime()),
	)
}

// CheckUsage returns an error unless a usage that starts at most reach from now can
// be kept. The centre takes UsageReach, from when it was received.
func CheckUsage(u *wirev1.Usage, now time.Time, reach time.Duration) error {
	if err := errors.Join(
		CheckName("asset type", u.GetAssetType()),
		CheckName("asset uid", u.GetAssetUid()),
		CheckName("scope", u.GetScope()),
		CheckName("meter", u.GetMeter()),
		CheckName("unit", u.GetUnit()),
		checkVersion(u.GetVersion()),
		checkMoment("start", u.GetStart()),
		checkMoment("end", u.GetEnd()),
	); err != nil {
		return err
	}
	if u.GetStart() >= u.GetEnd() {
		return fmt.Errorf("period: it starts at %d ms and ends at %d ms", u.GetStart(), u.GetEnd())
	}
	start := time.UnixMilli(u.GetStart()).UTC()
	if start.Sub(now).Abs() > reach {
		return fmt.Errorf("start: %s is years away from when it came; is the clock right?", start.Format(time.RFC3339))
	}
	if q := u.GetQuantity(); math.IsNaN(q) || math.IsInf(q, 0) || q < 0 {
		return fmt.Errorf("quantity: %v is not a finite number of 0 or more", q)
	}
	return nil
}

// CheckGap returns an error unless a gap that lies in the place of record seq can be
// kept.
func CheckGap(p *wirev1.Gap, seq uint64) error {
	if p.GetFirstSeq() == 0 || p.GetFirstSeq() > p.GetLastSeq() || p.GetLastSeq() != seq {
		return fmt.Errorf("gap: it is of the records %d to %d, and lies in the place of record %d", p.GetFirstSeq(), p.GetLastSeq(), seq)
	}
	room := p.GetLastSeq() - p.GetFirstSeq() + 1
	for _, n := range []uint64{p.GetVersions(), p.GetAssetTypes(), p.GetEvents(), p.GetUsage(), p.GetUnknown()} {
		if n > room {
			return fmt.Errorf("gap: more is missing than the %d records that it is of", p.GetLastSeq()-p.GetFirstSeq()+1)
		}
		room -= n
	}
	if err := errors.Join(checkMoment("from", p.GetFrom()), checkMoment("to", p.GetTo())); err != nil {
		return err
	}
	for _, e := range p.GetEnded() {
		if err := errors.Join(
			CheckName("type", e.GetType()),
			CheckName("uid", e.GetUid()),
			checkVersion(e.GetVersion()),
			CheckRelation(e.GetRelation()),
		); err != nil {
			return fmt.Errorf("gap: %w", err)
		}
	}
	return nil
}
