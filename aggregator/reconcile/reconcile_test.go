package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/reconcile"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/warehouse/warehousetest"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

const (
	spoolID     = "00112233445566778899aabbccddeeff"
	typ         = "fake.test.Thing"
	thingsScope = "fake/s"
	start       = uint64(1_700_000_000_000) << 16
)

// centre is the part of an aggregator that takes and compares, over real stores.
type centre struct {
	t      *testing.T
	store  *warehouse.Warehouse
	ingest *ingest.Ingest
	scopes *scope.Scopes
	r      *reconcile.Reconciler
	seq    map[string]uint64
}

func newCentre(t *testing.T) *centre {
	c := &centre{t: t, store: warehousetest.New(t), seq: make(map[string]uint64)}
	reg, err := registry.Open(registry.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	if c.ingest, err = ingest.New(ingest.Options{Warehouse: c.store, Watermarks: reg, Dir: t.TempDir(), Logger: logger}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.ingest.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.scopes, err = scope.Open(t.Context(), reg, c.store, hlc.New(0), logger); err != nil {
		t.Fatal(err)
	}
	c.r = reconcile.New(c.store, c.scopes, c.ingest, logger, nil)
	return c
}

// thing is a version of an asset: its name, its content, and when it was.
type thing struct {
	uid, content string
	at           uint64
	deleted      bool
}

func (th thing) hash() []byte { return fmt.Appendf(nil, "%-16s", th.content) }

// ship has an agent deliver versions.
func (c *centre) ship(agent, scope string, things ...thing) {
	c.t.Helper()
	var records []*wirev1.Record
	for _, th := range things {
		a := &wirev1.AssetVersion{
			Type: typ, Uid: th.uid, Version: start + th.at, Operation: wirev1.Operation_OPERATION_UPDATED, Scope: scope, Name: "the " + th.uid,
			Document: fmt.Appendf(nil, `{"content":%q}`, th.content), Hash: th.hash(),
			Relations: []*wirev1.Relation{{Kind: "part_of", Type: typ, Uid: "root"}},
		}
		if th.deleted {
			a.Operation = wirev1.Operation_OPERATION_DELETED
		}
		records = append(records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: a}})
	}
	in, err := c.ingest.Open(c.t.Context(), identity.Agent{Site: "west", ID: agent}, spoolID)
	if err != nil {
		c.t.Fatal(err)
	}
	defer in.Close()
	batch, err := wire.EncodeBatch(spoolID, wirev1.Class_CLASS_ASSETS, in.Next(wirev1.Class_CLASS_ASSETS), records)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := in.Submit(c.t.Context(), wirev1.Class_CLASS_ASSETS, batch); err != nil {
		c.t.Fatal(err)
	}
	last := in.Next(wirev1.Class_CLASS_ASSETS) - 1
	c.wait(func() bool {
		for _, w := range in.Durable() {
			if w.GetClass() == wirev1.Class_CLASS_ASSETS && w.GetSeq() >= last {
				return true
			}
		}
		return false
	})
}

func (c *centre) wait(until func() bool) {
	c.t.Helper()
	for range 2000 {
		if until() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("waited in vain")
}

// state is what the warehouse has of a site: "uid=content", or "uid!".
func (c *centre) state() string {
	c.t.Helper()
	assets, err := c.store.Assets(c.t.Context(), warehouse.AssetQuery{Limit: 1000, WithDocument: true})
	if err != nil {
		c.t.Fatal(err)
	}
	var texts []string
	for _, a := range assets {
		text := a.UID + "!"
		if a.State != warehouse.Gone {
			text = a.UID + "=" + strings.TrimSuffix(strings.TrimPrefix(string(a.Document), `{"content":"`), `"}`)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

// conversation is an agent's side of a session.
type conversation struct {
	t       *testing.T
	s       *reconcile.Session
	answers chan *wirev1.Control
}

func (c *centre) converse(agent string) *conversation {
	conv := &conversation{t: c.t, answers: make(chan *wirev1.Control, 10)}
	conv.s = c.r.Session(identity.Agent{Site: "west", ID: agent}, func(m *wirev1.Control) error {
		conv.answers <- m
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = conv.s.Run(ctx) }) // ends with ctx, and says so
	c.t.Cleanup(func() { cancel(); done.Wait() })
	return conv
}

// claim has an agent hold scopes, and no others.
func (c *centre) claim(agent string, scopes ...string) {
	c.t.Helper()
	answers := make(chan *wirev1.Control, 1)
	s := c.scopes.Session(identity.Agent{Site: "west", ID: agent}, func(m *wirev1.Control) error {
		answers <- m
		return nil
	})
	ctx, cancel := context.WithCancel(c.t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = s.Run(ctx) }) // ends with ctx, and says so
	defer done.Wait()
	defer cancel()
	m := &wirev1.Scopes{}
	for _, name := range scopes {
		m.Scopes = append(m.Scopes, &wirev1.ScopeClaim{Scope: name, Complete: true})
	}
	if err := s.Take(&wirev1.Control{Message: &wirev1.Control_Scopes{Scopes: m}}); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-answers:
	case <-time.After(20 * time.Second):
		c.t.Fatal("no answer")
	}
}

func (c *conversation) ask(m *wirev1.Control) *wirev1.Control {
	c.t.Helper()
	if err := c.s.Take(m); err != nil {
		c.t.Fatal(err)
	}
	select {
	case answer := <-c.answers:
		return answer
	case <-time.After(20 * time.Second):
		c.t.Fatal("no answer")
		return nil
	}
}

// digest asks what differs from things, which an agent has in one scope.
func (c *conversation) digest(asOf uint64, things ...thing) (differing []string) {
	c.t.Helper()
	var d wire.Digest
	for _, th := range things {
		d.Add(th.uid, th.hash())
	}
	m := &wirev1.Digest{AsOf: start + asOf, Complete: []string{thingsScope},
		Scopes: []*wirev1.ScopeDigest{{Scope: thingsScope, Type: typ, Assets: d.Assets, Sum: d.Sum}}}
	if len(things) == 0 {
		m.Scopes = nil
	}
	for _, s := range c.ask(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: m}}).GetDiffering().GetScopes() {
		differing = append(differing, s.GetScope()+" "+s.GetType())
	}
	return differing
}

// list lists things, and returns what is missing of them and what is there beyond.
func (c *conversation) list(asOf uint64, after, until string, things ...thing) (missing []string, unlisted []*wirev1.Unlisted) {
	c.t.Helper()
	l := &wirev1.Listing{AsOf: start + asOf, Scope: thingsScope, Type: typ, After: after, Until: until}
	for _, th := range things {
		l.Assets = append(l.Assets, &wirev1.Listed{Uid: th.uid, Hash: th.hash()})
	}
	answer := c.ask(&wirev1.Control{Message: &wirev1.Control_Listing{Listing: l}}).GetResend()
	return answer.GetUids(), answer.GetUnlisted()
}

// remove says that the agent does not have assets any more.
func (c *conversation) remove(asOf uint64, assets []*wirev1.Unlisted) {
	c.t.Helper()
	if err := c.s.Take(&wirev1.Control{Message: &wirev1.Control_Removed{Removed: &wirev1.Removed{
		AsOf: start + asOf, Scope: thingsScope, Type: typ, Assets: assets}}}); err != nil {
		c.t.Fatal(err)
	}
}

func TestReconcile(t *testing.T) {
	a, b, d := thing{"a", "1", 1, false}, thing{"b", "1", 2, false}, thing{"d", "1", 3, false}
	for _, test := range []struct {
		name string
		// held is what was delivered and is still there, known what the agent knows.
		held, known []thing
		differs     bool
		after       string
		until       string
		missing     string
		state       string
	}{
		{"the same", []thing{a, b}, []thing{a, b}, false, "", "", "[]", "a=1 b=1"},
		{"emptied", nil, []thing{a, b}, true, "", "", "[a b]", ""},
		{"one is missing", []thing{a, d}, []thing{a, b, d}, true, "", "", "[b]", "a=1 d=1"},
		{"one is older", []thing{a, b}, []thing{a, {"b", "2", 5, false}}, true, "", "", "[b]", "a=1 b=1"},
		{"a deletion is lost", []thing{a, b, d}, []thing{a}, true, "", "", "[]", "a=1 b! d!"},
		{"all are deleted", []thing{a, b}, nil, true, "", "", "[]", "a! b!"},
		{"a creation behind a deletion is lost", []thing{a, {"a", "1", 2, true}}, []thing{{"a", "1", 3, false}}, true, "", "", "[a]", "a!"},
		{"newer than the listing", []thing{a, {"c", "1", 200, false}}, []thing{a}, true, "", "", "[]", "a=1 c=1"},
		{"changed since the listing", []thing{a, {"b", "3", 200, false}}, []thing{a, b}, true, "", "", "[]", "a=1 b=3"},
		{"beyond the range", []thing{a, b, d}, []thing{b}, true, "a", "c", "[]", "a=1 b=1 d=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCentre(t)
			if len(test.held) > 0 {
				c.ship("one", thingsScope, test.held...)
			}
			c.claim("one", thingsScope)
			conv := c.converse("one")
			if differing := conv.digest(100, test.known...); slices.Contains(differing, thingsScope+" "+typ) != test.differs || len(differing) > 1 {
				t.Errorf("it differs in %q", differing)
			}
			missing, unlisted := conv.list(100, test.after, test.until, test.known...)
			conv.remove(101, unlisted)
			if got := fmt.Sprint(missing); got != test.missing {
				t.Errorf("missing are %s, want %s", got, test.missing)
			}
			c.wait(func() bool { return strings.Count(c.state(), "!") >= strings.Count(test.state, "!") })
			if got := c.state(); got != test.state {
				t.Errorf("the warehouse has %q, want %q", got, test.state)
			}
			// What is missing is sent again, and then all is the same.
			var again []thing
			for _, th := range test.known {
				if slices.Contains(missing, th.uid) {
					again = append(again, th)
				}
			}
			if len(again) > 0 {
				c.ship("one", thingsScope, again...)
				if differing := conv.digest(100, test.known...); differing != nil {
					t.Errorf("afterwards it differs in %q", differing)
				}
			}
		})
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	c := newCentre(t)
	c.ship("one", thingsScope, thing{"a", "1", 1, false})
	c.ship("one", "fake/other", thing{"b", "1", 2, false})
	c.ship("two", thingsScope, thing{"c", "1", 3, false})
	// Nobody ever claimed the scope: each agent has what it told of.
	conv := c.converse("one")
	conv.digest(99)
	missing, unlisted := conv.list(100, "", "")
	if missing != nil || len(unlisted) != 1 {
		t.Errorf("missing are %q, and unlisted %v", missing, unlisted)
	}
	// Whatever an agent says, it can remove only what it has told of.
	conv.remove(101, append(unlisted, &wirev1.Unlisted{Uid: "b", Version: start + 2}, &wirev1.Unlisted{Uid: "c", Version: start + 3}))
	c.wait(func() bool { return strings.Contains(c.state(), "!") })
	if got := c.state(); got != "a! b=1 c=1" {
		t.Errorf("the warehouse has %q", got)
	}
	assets, err := c.store.Assets(t.Context(), warehouse.AssetQuery{UID: "a", Limit: 1, WithDocument: true})
	if err != nil || assets[0].Name != "the a" || string(assets[0].Document) != `{"content":"1"}` || assets[0].Version != start+2 ||
		!assets[0].ObservedAt.Equal(hlc.Stamp(start+101).Time()) {
		t.Errorf("the deleted asset is %+v, %v", assets, err)
	}
	c.wait(func() bool { // they are inserted behind the asset
		relations, err := c.store.Relations(t.Context(), warehouse.AssetKey{Site: "west", Type: typ, UID: "a"}, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(relations) == 0
	})
	// Another agent has the same asset now, as it is.
	if missing, unlisted := c.converse("two").list(100, "", "", thing{"c", "1", 3, false}); missing != nil || unlisted != nil {
		t.Errorf("missing are %q, and unlisted %v", missing, unlisted)
	}
	// A second round of deletions goes on behind the first.
	c.ship("one", thingsScope, thing{"e", "1", 150, false})
	_, unlisted = conv.list(200, "", "")
	conv.remove(201, unlisted)
	c.wait(func() bool { return strings.Contains(c.state(), "e!") })
	// What has come back since is left alone.
	c.ship("one", thingsScope, thing{"f", "1", 210, false})
	_, unlisted = conv.list(220, "", "")
	c.ship("one", thingsScope, thing{"f", "2", 215, false})
	conv.remove(221, unlisted)
	conv.list(230, "", "")
	if got := c.state(); got != "a! b=1 c=1 e! f=2" {
		t.Errorf("the warehouse has %q", got)
	}
}

// TestIgnorance: that an agent does not know something means nothing, unless it holds the
// scope and knows all of it.
func TestIgnorance(t *testing.T) {
	for _, test := range []struct {
		name   string
		holder string
		// complete says that the agent has completed a listing of the scope.
		complete bool
		unlisted int
		differs  bool
	}{
		{"it knows all", "one", true, 2, true},
		{"it has forgotten", "one", false, 0, false},
		{"another agent holds the scope", "two", true, 0, false},
		{"nobody holds it", "none", true, 0, false},
		{"nobody ever did", "", true, 2, true},
		{"nobody ever did, and it has forgotten", "", false, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCentre(t)
			c.ship("one", thingsScope, thing{"a", "1", 1, false}, thing{"b", "1", 2, false})
			switch test.holder {
			case "none":
				c.claim("one", thingsScope)
				c.claim("one")
			case "":
			default:
				c.claim(test.holder, thingsScope)
			}
			conv := c.converse("one")
			d := &wirev1.Digest{AsOf: start + 100}
			if test.complete {
				d.Complete = []string{thingsScope}
			}
			answer := conv.ask(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: d}}).GetDiffering()
			if (len(answer.GetScopes()) > 0) != test.differs {
				t.Errorf("it differs in %v", answer.GetScopes())
			}
			_, unlisted := conv.list(100, "", "")
			if len(unlisted) != test.unlisted {
				t.Errorf("it is asked of %v", unlisted)
			}
			conv.remove(101, []*wirev1.Unlisted{{Uid: "a", Version: start + 1}, {Uid: "b", Version: start + 2}})
			conv.list(102, "", "") // behind it
			if test.unlisted > 0 {
				c.wait(func() bool { return c.state() == "a! b!" })
			} else if got := c.state(); got != "a=1 b=1" {
				t.Errorf("the warehouse has %q", got)
			}
		})
	}
}

// TestNewerHere: what the warehouse has by a later stamp and is not true is named with its
// version, so that the agent can go beyond it.
func TestNewerHere(t *testing.T) {
	c := newCentre(t)
	c.ship("two", thingsScope, thing{"a", "late word", 50, false})
	c.claim("one", thingsScope)
	conv := c.converse("one")
	answer := conv.ask(&wirev1.Control{Message: &wirev1.Control_Listing{Listing: &wirev1.Listing{
		AsOf: start + 100, Scope: thingsScope, Type: typ, Assets: []*wirev1.Listed{{Uid: "a", Hash: thing{content: "1"}.hash()},
			{Uid: "b", Hash: make([]byte, 16)}}}}}).GetResend()
	if !slices.Equal(answer.GetUids(), []string{"a", "b"}) || !slices.Equal(answer.GetHeld(), []uint64{start + 50, 0}) {
		t.Errorf("the answer is %v", answer)
	}
}

// TestTypes: an agent is asked for the types that the warehouse does not have, or
// has as older versions.
func TestTypes(t *testing.T) {
	c := newCentre(t)
	group := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().Truncate(time.Millisecond)}
	for _, held := range []struct {
		site, name string
		version    uint64
	}{{"west", "same", 5}, {"west", "older", 4}, {"west", "newer", 6}, {"west", "twice", 1}, {"west", "twice", 5}, {"east", "missing", 5}} {
		group.Types = append(group.Types, warehouse.AssetType{
			Origin: warehouse.Origin{Site: held.site, AgentID: "another", SpoolID: spoolID}, Name: held.name, Title: held.name,
			Version: held.version})
	}
	if err := c.store.Write(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	d := &wirev1.Digest{AsOf: start}
	for _, name := range []string{"same", "older", "missing", "newer", "twice"} {
		d.Types = append(d.Types, &wirev1.TypeVersion{Name: name, Version: 5})
	}
	conv := c.converse("one")
	answer := conv.ask(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: d}}).GetDiffering()
	if got := answer.GetTypes(); !slices.Equal(got, []string{"older", "missing"}) || len(answer.GetScopes()) != 0 {
		t.Errorf("the answer is %v", answer)
	}
	many := &wirev1.Digest{More: true, Types: make([]*wirev1.TypeVersion, 3000)}
	if err := conv.s.Take(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: many}}); err != nil {
		t.Fatal(err)
	}
	if err := conv.s.Take(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: many}}); !errors.Is(err, reconcile.ErrProtocol) {
		t.Errorf("6,000 types: %v", err)
	}
}

func TestDigestInParts(t *testing.T) {
	c := newCentre(t)
	c.ship("one", thingsScope, thing{"a", "1", 1, false})
	conv := c.converse("one")
	var d wire.Digest
	d.Add("a", thing{content: "1"}.hash())
	if err := conv.s.Take(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: &wirev1.Digest{
		AsOf: start + 9, More: true, Scopes: []*wirev1.ScopeDigest{{Scope: "fake/none", Type: typ, Assets: 1, Sum: 7}}}}}); err != nil {
		t.Fatal(err)
	}
	answer := conv.ask(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: &wirev1.Digest{
		AsOf: start + 9, Scopes: []*wirev1.ScopeDigest{{Scope: thingsScope, Type: typ, Assets: d.Assets, Sum: d.Sum}}}}}).GetDiffering()
	if len(answer.GetScopes()) != 1 || answer.GetScopes()[0].GetScope() != "fake/none" || answer.GetAsOf() != start+9 {
		t.Errorf("the answer is %v", answer)
	}
}

// TestManyAssets compares more assets of a type than are looked at at a time.
func TestManyAssets(t *testing.T) {
	c := newCentre(t)
	const many = 12_000
	var held, known []thing
	for i := range many {
		th := thing{fmt.Sprintf("%06d", i), "1", 1, false}
		held = append(held, th)
		if i%1000 != 7 {
			known = append(known, th)
		}
		if i%1000 == 499 {
			known = append(known, thing{th.uid + "x", "1", 1, false})
		}
	}
	c.ship("one", thingsScope, held...)
	one := c.converse("one")
	one.digest(100, known...)
	missing, unlisted := one.list(100, "", "", known...)
	if len(missing) != many/1000 || missing[11] != "011499x" || len(unlisted) != many/1000 || unlisted[11].GetUid() != "011007" {
		t.Fatalf("missing %v, unlisted %v", missing, unlisted)
	}
	// A listing of a range in the middle, and one that is beyond all.
	missing, unlisted = one.list(100, "005000", "006999", known[5010:5020]...)
	if len(missing) != 0 || len(unlisted) == 0 || unlisted[0].GetUid() != "005001" {
		t.Errorf("in the middle: missing %v, %d unlisted", missing, len(unlisted))
	}
	if missing, unlisted = one.list(100, "9", ""); len(missing)+len(unlisted) != 0 {
		t.Errorf("beyond: %v, %v", missing, unlisted)
	}
	// What fits into no answer is found the next time.
	if _, unlisted = one.list(100, "", ""); len(unlisted) < 1000 || len(unlisted) > 2000 {
		t.Errorf("of an empty listing %d are told", len(unlisted))
	}
}

func TestRulesOfTheConversation(t *testing.T) {
	c := newCentre(t)
	listing := func(after, until string, uids ...string) *wirev1.Control {
		l := &wirev1.Listing{Scope: thingsScope, Type: typ, After: after, Until: until}
		for _, uid := range uids {
			l.Assets = append(l.Assets, &wirev1.Listed{Uid: uid})
		}
		return &wirev1.Control{Message: &wirev1.Control_Listing{Listing: l}}
	}
	for name, m := range map[string]*wirev1.Control{
		"not in order":     listing("", "", "b", "a"),
		"twice":            listing("", "", "a", "a"),
		"without a uid":    listing("", "", ""),
		"before the range": listing("b", "", "a"),
		"behind the range": listing("", "b", "c"),
		"too many scopes":  {Message: &wirev1.Control_Digest{Digest: &wirev1.Digest{More: true, Scopes: make([]*wirev1.ScopeDigest, 20_001)}}},
	} {
		s := c.r.Session(identity.Agent{Site: "west", ID: "one"}, nil)
		if err := s.Take(m); !errors.Is(err, reconcile.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Few scopes with long names, part after part.
	long := c.r.Session(identity.Agent{Site: "west", ID: "one"}, nil)
	var err error
	for parts := 0; err == nil && parts < 1000; parts++ {
		err = long.Take(&wirev1.Control{Message: &wirev1.Control_Digest{Digest: &wirev1.Digest{More: true,
			Scopes: []*wirev1.ScopeDigest{{Scope: strings.Repeat("x", 60_000)}}}}})
	}
	if !errors.Is(err, reconcile.ErrProtocol) {
		t.Errorf("60 MB of names: %v", err)
	}
	s := c.r.Session(identity.Agent{Site: "west", ID: "one"}, nil)
	if err := s.Take(listing("", "", "a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(listing("", "", "a")); !errors.Is(err, reconcile.ErrProtocol) {
		t.Errorf("a second question before the answer to the first: %v", err)
	}
}
