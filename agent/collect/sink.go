package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/agent/collect/untaken"
	"github.com/reeve-cloud/reeve/agent/lastseen"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

const (
	// A sweep hands over what it has gathered in portions of about this size.
	flushObservations = 256
	flushBytes        = 1 << 20

	maxCheckpoint = 64 << 10
	// maxVersion is the size of the largest version, with labels and relations.
	maxVersion = 6 << 20

	// usageReach is how far from now a usage may begin, so that the centre takes it
	// also when it has lain in the spool for long.
	usageReach = wire.UsageReach - 60*24*time.Hour
)

// sink takes what is observed in one scope.
type sink struct {
	*Recorder
	id       scopeID
	volatile func(assetType string) document.Paths
	logger   *slog.Logger
	// holding is the scope's, or nil where the agent has no holdings.
	holding *holding
	// progressed, if set, is called when the scope was followed further.
	progressed func(context.Context)
	// raw has the uids that were replaced, by what stands for them.
	raw sync.Map

	mu    sync.Mutex
	sweep *sweep
	// untaken counts what could not be taken, and told is what was told of that.
	untaken untaken.Counter
	told    untaken.Tally
}

var _ plugin.Sink = (*sink)(nil)

// Begin implements [plugin.Sink].
func (s *sink) Begin(context.Context) (plugin.Sweep, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep != nil {
		return nil, errors.New("a sweep of this scope is open already")
	}
	s.sweep = &sweep{sink: s, seed: maphash.MakeSeed(), listed: make(map[uint64]struct{})}
	return s.sweep, nil
}

// abandon forgets a sweep that was not committed.
func (s *sink) abandon() (wasOpen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasOpen = s.sweep != nil
	s.sweep = nil
	return wasOpen
}

// Apply implements [plugin.Sink].
func (s *sink) Apply(ctx context.Context, checkpoint plugin.Checkpoint, facts ...plugin.Fact) error {
	err := s.apply(ctx, checkpoint, s.replaceUIDs(facts))
	if err == nil && checkpoint != "" && s.progressed != nil {
		s.progressed(ctx)
	}
	return err
}

func (s *sink) apply(ctx context.Context, checkpoint plugin.Checkpoint, facts []plugin.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep != nil {
		// What the listing said before must not come behind what is said now.
		if err := s.sweep.flush(ctx, ""); err != nil {
			return err
		}
		for _, f := range facts {
			switch {
			case f.Upsert != nil:
				s.sweep.list(f.Upsert.Key)
			case f.Delete != nil:
				delete(s.sweep.listed, s.sweep.hash(*f.Delete))
			}
		}
	}
	return s.record(ctx, facts, checkpoint)
}

// Recall implements [plugin.Sink].
func (s *sink) Recall(ctx context.Context, visit func(plugin.Observation) error) error {
	return s.Seen.ScopeAssets(s.id.String(), func(a *wirev1.AssetVersion) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(plugin.Observation{
			Key:  plugin.Key{Type: a.GetType(), UID: s.rawUID(a.GetUid())},
			Name: a.GetName(), Region: a.GetRegion(), Project: a.GetProject(), Status: a.GetStatus(), Labels: a.GetLabels(),
			CreatedAt: fromMillis(a.GetCreatedAt()), UpdatedAt: fromMillis(a.GetUpdatedAt()),
			Document: a.GetDocument(),
		})
	})
}

// sweep is one listing under way. Only hashes of the listed keys are kept: two
// keys with the same 64 bits would at worst leave one deletion to the next
// sweep, which has another seed.
type sweep struct {
	sink    *sink
	seed    maphash.Seed
	listed  map[uint64]struct{}
	pending []plugin.Fact
	bytes   int
	// unread is how many elements nobody knows what they are, and why of one of them.
	unread int
	why    string
}

func (w *sweep) list(k plugin.Key) { w.listed[w.hash(k)] = struct{}{} }

func (w *sweep) hash(k plugin.Key) uint64 { return maphash.Comparable(w.seed, k) }

// Upsert implements [plugin.Sweep].
func (w *sweep) Upsert(ctx context.Context, observations ...plugin.Observation) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if err := w.open(); err != nil {
		return err
	}
	for _, o := range observations {
		o = w.sink.withUIDs(o)
		w.list(o.Key)
		w.pending = append(w.pending, plugin.Fact{Upsert: &o})
		w.bytes += len(o.Document)
		if len(w.pending) >= flushObservations || w.bytes >= flushBytes {
			if err := w.flush(ctx, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keep implements [plugin.Sweep].
func (w *sweep) Keep(_ context.Context, keys ...plugin.Key) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if err := w.open(); err != nil {
		return err
	}
	for _, k := range keys {
		w.list(w.sink.key(k))
	}
	return nil
}

// Unread implements [plugin.Sweep].
func (w *sweep) Unread(_ context.Context, key plugin.Key, why string) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if err := w.open(); err != nil {
		return err
	}
	if key == (plugin.Key{}) {
		w.unread, w.why = w.unread+1, w.sink.text(why)
		return nil
	}
	w.list(key)
	w.sink.unread(plugin.Unread{Key: key, Why: why})
	return nil
}

func (w *sweep) open() error {
	if w.sink.sweep != w {
		return errors.New("the sweep is not open any more")
	}
	return nil
}

func (w *sweep) flush(ctx context.Context, checkpoint plugin.Checkpoint) error {
	facts := w.pending
	w.pending, w.bytes = nil, 0
	return w.sink.record(ctx, facts, checkpoint)
}

// Commit implements [plugin.Sweep].
func (w *sweep) Commit(ctx context.Context, checkpoint plugin.Checkpoint) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if err := w.open(); err != nil {
		return err
	}
	if err := w.flush(ctx, ""); err != nil {
		return err
	}
	var missing []plugin.Key
	known := 0
	if err := w.sink.Seen.Keys(w.sink.id.String(), func(k plugin.Key) error {
		if _, ok := w.listed[w.hash(k)]; ok {
			known++
		} else if w.unread == 0 {
			missing = append(missing, k)
		}
		return nil
	}); err != nil {
		return err
	}
	for part := range slices.Chunk(missing, flushObservations) {
		for _, k := range part {
			w.sink.raw.Delete(k.UID)
			w.pending = append(w.pending, plugin.Fact{Delete: &k})
		}
		if err := w.flush(ctx, ""); err != nil {
			return err
		}
	}
	w.sink.untaken.Listed(func(k plugin.Key) bool { _, ok := w.listed[w.hash(k)]; return ok }, w.unread, w.why)
	// The checkpoint counts only when all of the sweep is on disk.
	if err := w.flush(ctx, checkpoint); err != nil {
		return err
	}
	if err := w.sink.completed(len(w.listed) - known + w.unread); err != nil {
		return err
	}
	w.sink.sweep = nil
	w.sink.Metrics.swept(w.sink.id)
	return nil
}

// record compares facts with what was last seen and appends what is new. The
// caller holds s.mu, so no two facts of one scope are compared at once.
func (s *sink) record(ctx context.Context, facts []plugin.Fact, checkpoint plugin.Checkpoint) error {
	if len(checkpoint) > maxCheckpoint {
		return fmt.Errorf("checkpoint of %d bytes: at most %d are allowed", len(checkpoint), maxCheckpoint)
	}
	assets, events, err := s.compare(facts)
	if err != nil {
		return err
	}
	if e := s.tellUntaken(); e != nil {
		events = append(events, e)
	}
	// Events first: should the agent die now, the collector says them again
	// from its old checkpoint, and their ids are the same. So are the subject,
	// meter and start of a usage.
	if len(events) > 0 {
		if err := s.Spool.Append(ctx, wirev1.Class_CLASS_EVENTS, events); err != nil {
			return err
		}
	}
	switch {
	case len(assets) > 0 && checkpoint != "":
		return s.Spool.Append(ctx, wirev1.Class_CLASS_ASSETS, assets, spool.Checkpoint{Scope: s.id.String(), Value: string(checkpoint)})
	case len(assets) > 0:
		return s.Spool.Append(ctx, wirev1.Class_CLASS_ASSETS, assets)
	case checkpoint != "":
		return s.Seen.SetCheckpoint(s.id.String(), checkpoint)
	}
	return nil
}

// compare makes records of facts. Events, and usage with them, are apart, so that
// they do not hold up assets.
func (s *sink) compare(facts []plugin.Fact) (assets, events []*wirev1.Record, err error) {
	err = s.Seen.Read(func(r lastseen.Reader) error {
		c := comparison{reader: r, scope: s.id.String(), recent: make(map[plugin.Key]*lastseen.Seen)}
		for _, f := range facts {
			switch {
			case f.Event != nil:
				if e := s.event(f.Event); e != nil {
					events = append(events, e)
				}
			case f.Unread != nil:
				s.unread(*f.Unread)
			case f.Usage != nil:
				if u := s.usage(f.Usage); u != nil {
					events = append(events, u)
				}
			case f.Upsert != nil:
				versions, err := s.upsert(c, f.Upsert)
				if err != nil {
					return err
				}
				for _, a := range versions {
					assets = append(assets, wire.AssetRecord(a))
				}
			case f.Delete != nil:
				a, err := s.delete(c, *f.Delete)
				if err != nil {
					return err
				}
				if a != nil {
					assets = append(assets, wire.AssetRecord(a))
				}
			}
		}
		return nil
	})
	return assets, events, err
}

// comparison is what facts are compared with.
type comparison struct {
	reader lastseen.Reader
	scope  string
	recent map[plugin.Key]*lastseen.Seen // what other facts of the same call have changed
}

// last returns what was last seen of an asset, or nil.
func (c comparison) last(k plugin.Key) (*lastseen.Seen, error) {
	if last, ok := c.recent[k]; ok {
		return last, nil
	}
	return c.reader.Asset(c.scope, k)
}

// upsert returns the versions that an observation makes. It makes none where
// nothing changed, or the observation is not fit to be recorded, and two where
// another asset has taken the place of the one before.
func (s *sink) upsert(c comparison, o *plugin.Observation) (versions []*wirev1.AssetVersion, err error) {
	a, hash, err := s.prepare(o)
	if err != nil {
		// One asset that cannot be taken must not hold up the others. It counts
		// as listed, so nothing is deleted for it.
		s.Metrics.observed(s.id.collector, "refused")
		s.refuse(o.Key, err.Error())
		return nil, nil
	}
	s.untaken.Taken(o.Key)
	last, err := c.last(o.Key)
	if err != nil {
		return nil, err
	}
	if last != nil && last.Hash == hash {
		s.Metrics.observed(s.id.collector, "unchanged")
		return nil, nil
	}
	var before *wirev1.AssetVersion
	if last != nil {
		if before, err = last.Version(); err != nil {
			return nil, s.Seen.Check(err)
		}
	}
	if made := before.GetCreatedAt(); made != 0 && a.GetCreatedAt() != 0 && made != a.GetCreatedAt() {
		old, err := s.delete(c, o.Key)
		if err != nil {
			return nil, err
		}
		versions, before = append(versions, old), nil
	}
	if before != nil {
		a.RemovedRelations = gone(before.GetRelations(), a.GetRelations())
		if proto.Size(a) > maxVersion {
			// The edges that end and those that begin are too many for one version, and
			// for a batch: the asset ends with the former and begins with the latter.
			old, err := s.delete(c, o.Key)
			if err != nil {
				return nil, err
			}
			versions, before, a.RemovedRelations = append(versions, old), nil, nil
		}
	}
	outcome := "created"
	a.Operation = wirev1.Operation_OPERATION_CREATED
	if before != nil {
		outcome = "updated"
		a.Operation = wirev1.Operation_OPERATION_UPDATED
		if a.Changed, err = s.changed(before, a); err != nil {
			return nil, err
		}
	}
	a.Version, a.Epoch = uint64(s.Clock.Next()), s.holding.epoch()
	c.recent[o.Key] = lastseen.Of(a)
	s.Metrics.observed(s.id.collector, outcome)
	return append(versions, a), nil
}

// delete returns the version that ends an asset, or nil if it is not known.
func (s *sink) delete(c comparison, k plugin.Key) (*wirev1.AssetVersion, error) {
	s.untaken.Taken(k)
	last, err := c.last(k)
	if err != nil || last == nil {
		return nil, err
	}
	before, err := last.Version()
	if err != nil {
		return nil, s.Seen.Check(err)
	}
	a := proto.CloneOf(before)
	a.Operation = wirev1.Operation_OPERATION_DELETED
	a.ObservedAt = time.Now().UnixMilli()
	a.Changed = nil
	a.RemovedRelations, a.Relations = a.GetRelations(), nil
	a.Version, a.Epoch = uint64(s.Clock.Next()), s.holding.epoch()
	c.recent[k] = nil
	s.Metrics.observed(s.id.collector, "deleted")
	return a, nil
}

// prepare redacts and checks an observation, and hashes what is stable in it.
func (s *sink) prepare(o *plugin.Observation) (*wirev1.AssetVersion, document.Hash, error) {
	fail := func(err error) (*wirev1.AssetVersion, document.Hash, error) { return nil, document.Hash{}, err }
	if err := checkKey(o.Key); err != nil {
		return fail(err)
	}
	doc, err := document.Canonical(o.Document)
	if err != nil {
		return fail(err)
	}
	if doc, err = s.Redact.Document(doc); err != nil {
		return fail(err)
	}
	if err := document.CheckPaths(doc); err != nil {
		return fail(err)
	}
	a := &wirev1.AssetVersion{
		Type:       o.Type,
		Uid:        o.UID,
		Scope:      s.id.String(),
		Name:       s.text(o.Name),
		Region:     s.text(o.Region),
		Project:    s.text(o.Project),
		Status:     s.text(o.Status),
		Labels:     s.labels(o.Labels),
		CreatedAt:  wire.Millis(o.CreatedAt),
		UpdatedAt:  wire.Millis(o.UpdatedAt),
		ObservedAt: time.Now().UnixMilli(),
		Document:   doc,
	}
	for _, r := range o.Relations {
		if err := checkKey(r.To); err != nil {
			return fail(fmt.Errorf("relation %s: %w", r.Kind, err))
		}
		a.Relations = append(a.Relations, &wirev1.Relation{Kind: s.text(r.Kind), Type: r.To.Type, Uid: r.To.UID})
	}
	slices.SortFunc(a.Relations, wire.CompareRelations)
	a.Relations = slices.CompactFunc(a.Relations, func(x, y *wirev1.Relation) bool { return wire.CompareRelations(x, y) == 0 })

	rest := []string{a.Name, a.Region, a.Project, a.Status, fmt.Sprint(a.CreatedAt)}
	for _, k := range slices.Sorted(maps.Keys(a.Labels)) {
		rest = append(rest, "label", k, a.Labels[k])
	}
	for _, r := range a.Relations {
		rest = append(rest, "relation", r.GetKind(), r.GetType(), r.GetUid())
	}
	hash, err := document.StableHash(doc, s.volatile(o.Type), rest...)
	if err != nil {
		return fail(err)
	}
	a.Hash = hash[:]
	// Both are set anew where it is found to differ.
	a.Operation, a.Version = wirev1.Operation_OPERATION_CREATED, 1
	if err := wire.CheckAsset(a); err != nil {
		return fail(err)
	}
	if size := proto.Size(a); size > maxVersion {
		return fail(fmt.Errorf("it has %d bytes with its labels and relations; at most %d are allowed", size, maxVersion))
	}
	return a, hash, nil
}

// changed returns the paths of the document that differ. Where only something
// beside the document differs, it names that, behind an @.
func (s *sink) changed(before, after *wirev1.AssetVersion) ([]string, error) {
	paths, err := document.Changed(before.GetDocument(), after.GetDocument(), s.volatile(after.GetType()))
	if err != nil || len(paths) > 0 {
		return paths, err
	}
	for name, differs := range map[string]bool{
		"@name":    before.GetName() != after.GetName(),
		"@region":  before.GetRegion() != after.GetRegion(),
		"@project": before.GetProject() != after.GetProject(),
		"@status":  before.GetStatus() != after.GetStatus(),
		"@labels":  !maps.Equal(before.GetLabels(), after.GetLabels()),
		"@created": before.GetCreatedAt() != after.GetCreatedAt(),
		"@relations": !slices.EqualFunc(before.GetRelations(), after.GetRelations(),
			func(x, y *wirev1.Relation) bool { return wire.CompareRelations(x, y) == 0 }),
	} {
		if differs {
			paths = append(paths, name)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// Resend appends all types and what was last seen of every asset again, as the
// versions that they are, and the deletions that the centre may not have: for
// when the spool that held them, or something in it, was lost. Collectors may
// run meanwhile.
func (r *Recorder) Resend(ctx context.Context) (assets int, err error) {
	sendings := r.Seen.Sendings()
	if err := r.resendTypes(ctx); err != nil {
		return 0, err
	}
	again := resending{ctx: ctx, to: r.Spool}
	err = r.Seen.Assets(func(a *wirev1.AssetVersion) error { return again.add(r.vouched(a)) })
	if err == nil {
		err = r.Seen.Deletions(func(_ []byte, _ uint64, a *wirev1.AssetVersion) error { return again.add(a) })
	}
	if err == nil {
		err = again.flush()
	}
	if err == nil {
		err = r.Seen.Resent(sendings)
	}
	return again.sent, err
}

// resending appends versions again, in parts that make one frame each.
type resending struct {
	ctx  context.Context
	to   Spool
	part []*wirev1.Record
	// size is that of the part's documents.
	size int
	// sent is how many have been appended.
	sent int
}

func (s *resending) add(a *wirev1.AssetVersion) error {
	s.part, s.size = append(s.part, wire.AssetRecord(a)), s.size+len(a.GetDocument())
	if len(s.part) < flushObservations && s.size < flushBytes {
		return nil
	}
	return s.flush()
}

// flush appends what there is of the last part.
func (s *resending) flush() error {
	if len(s.part) == 0 {
		return nil
	}
	part := s.part
	s.part, s.size = nil, 0
	if err := s.to.Append(s.ctx, wirev1.Class_CLASS_ASSETS, part); err != nil {
		return err
	}
	s.sent += len(part)
	return nil
}

// Tell records an event of the agent itself.
func (r *Recorder) Tell(ctx context.Context, eventType string, severity plugin.Severity, message string) error {
	now := time.Now()
	sum := sha256.Sum256([]byte(fmt.Sprint(eventType, message, now.UnixNano())))
	return r.Spool.Append(ctx, wirev1.Class_CLASS_EVENTS, []*wirev1.Record{{Body: &wirev1.Record_Event{Event: &wirev1.Event{
		Id: hex.EncodeToString(sum[:16]), Type: eventType, Scope: "agent/spool", Time: now.UnixMilli(), Severity: string(severity),
		Message: r.text(message),
	}}}})
}

// event returns the record of an event, or nil if it is not fit to be recorded.
func (s *sink) event(e *plugin.Event) *wirev1.Record {
	w := &wirev1.Event{
		Id:        s.uid(strings.ToValidUTF8(e.ID, "\ufffd")),
		Type:      s.text(e.Type),
		Scope:     s.id.String(),
		AssetType: s.text(e.Subject.Type),
		AssetUid:  strings.ToValidUTF8(e.Subject.UID, "\ufffd"),
		Time:      wire.Millis(e.Time),
		Severity:  s.text(string(e.Severity)),
		Message:   s.text(e.Message),
	}
	if err := wire.CheckEvent(w); err != nil {
		s.Metrics.observed(s.id.collector, "refused")
		s.logger.Warn("refusing an event", "event_type", e.Type, "error", err)
		return nil
	}
	if len(e.Data) > 0 {
		doc, err := document.Canonical(e.Data)
		if err == nil {
			doc, err = s.Redact.Document(doc)
		}
		if err != nil {
			s.logger.Warn("leaving out the data of an event", "event_type", e.Type, "error", err)
		} else {
			w.Data = doc
		}
	}
	return &wirev1.Record{Body: &wirev1.Record_Event{Event: w}}
}

// usage returns the record of a usage, or nil if it is not fit to be recorded.
func (s *sink) usage(u *plugin.Usage) *wirev1.Record {
	w := &wirev1.Usage{
		AssetType: u.Subject.Type,
		AssetUid:  u.Subject.UID,
		Scope:     s.id.String(),
		Meter:     s.text(u.Meter),
		Unit:      s.text(u.Unit),
		Start:     wire.Millis(u.Start),
		End:       wire.Millis(u.End),
		Quantity:  u.Quantity,
		Version:   uint64(s.Clock.Next()),
	}
	if err := errors.Join(checkKey(u.Subject), wire.CheckUsage(w, time.Now(), usageReach)); err != nil {
		s.Metrics.observed(s.id.collector, "refused")
		s.logger.Warn("refusing a usage", "type", u.Subject.Type, "uid", s.text(u.Subject.UID), "meter", w.Meter, "error", s.text(err.Error()))
		return nil
	}
	return &wirev1.Record{Body: &wirev1.Record_Usage{Usage: w}}
}

// text makes a text of a collector fit to be recorded: valid UTF-8 without
// secrets.
func (r *Recorder) text(s string) string {
	return r.Redact.Text(strings.ToValidUTF8(s, "\ufffd"))
}

func (r *Recorder) labels(raw map[string]string) map[string]string {
	valid := make(map[string]string, len(raw))
	for k, v := range raw {
		valid[strings.ToValidUTF8(k, "\ufffd")] = strings.ToValidUTF8(v, "\ufffd")
	}
	return r.Redact.Labels(valid)
}

func checkKey(k plugin.Key) error {
	if err := checkName("type", k.Type); err != nil {
		return err
	}
	return checkName("uid", k.UID)
}

// checkName checks a text that things are told apart by. Of what was no UTF-8 nobody
// knows what it was.
func checkName(what, s string) error {
	if strings.ContainsRune(s, '\ufffd') {
		return fmt.Errorf("%s %.80q: is not UTF-8", what, s)
	}
	return wire.CheckName(what, s)
}

// gone returns the relations in before that are not in after. Both are sorted.
func gone(before, after []*wirev1.Relation) []*wirev1.Relation {
	var list []*wirev1.Relation
	for _, r := range before {
		if _, found := slices.BinarySearchFunc(after, r, wire.CompareRelations); !found {
			list = append(list, r)
		}
	}
	return list
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
