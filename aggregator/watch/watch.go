// Package watch tells how the set of assets that pass a filter changes: which enter it,
// which change within it, which leave it and why. Whoever begins with what is in the set
// now, and applies what comes, holds at each step what a list with the same filter answers.
//
// # What is told
//
// The newest version of an asset says whether it is in the set; a deleted asset never is.
// A version that is newer than what was there is held against the filter, and so is the one
// that it takes the place of: of the two answers follows what is told. Both are read from
// the warehouse and evaluated in memory, by package filter. A version that arrives late, when
// a newer one is there, changes no list, and nothing is told of it. Of two with one stamp the
// one that arrived later holds.
//
// The version before may be gone, where rows of the history were removed by hand. Then what is told says
// that it is not known whether the asset was in the set ([Transition.Unsure]): who holds it
// knows. So no set becomes wrong by it.
//
// # Places
//
// A [Place] is a set of rows of the table asset_version: all groups that ingest was done with
// at a moment (ingest.Progress), or up to an asset within one of them. Whether a row is in it
// follows from the row alone, so a place means the same after a restart, and the way from one place to a
// later one is a question to the warehouse: which rows are in the one and not in the other. Nothing else
// is kept of any reader.
//
// Readers that are up to date go together: the [Tail] reads each step once, for all of them, and
// each evaluates its own filter. A reader that comes with an older place reads its own
// steps until it has caught up.
//
// # What cannot be watched
//
// What becomes true or false without a new version of the asset itself is refused, with what to do
// instead: relations, the state, moments told from now, and words, which look where the layout
// of a type says (terms.go). What the catalogue knows of a path decides how a few comparisons
// are understood; where that changes, a watch ends, and says so.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// Request says what is watched.
type Request struct {
	// Filter, Site, Type and Strict are as in query.Selection.
	Filter, Site, Type string
	Strict             bool
	// Initial begins with what is in the set now.
	Initial bool
	// Token goes on behind the message that it came with. Initial is no matter then.
	Token string
	// Documents wants them with what is told.
	Documents bool
}

// Kind is what happened to an asset with regard to the set.
type Kind uint8

// The kinds.
const (
	Entered Kind = iota + 1
	Changed
	Left
)

// Transition is a change of the set, or of an asset in it.
type Transition struct {
	Kind Kind
	// Unsure says that it is not known whether the asset was in the set before: the version
	// before is not kept any more. It has Changed then, or, if it was not there, entered; or
	// it has Left, if it was there.
	Unsure bool
	// Initial says that the asset was in the set at the beginning. How it came to be as it is
	// is not said then.
	Initial bool
	// Version is the one that did it: of what Left, the one that deleted it or passes the
	// filter no more. Its document is there if documents are wanted.
	Version *warehouse.Change
}

// Message is a part of what is told.
type Message struct {
	Transitions []Transition
	// Token goes on behind this message. It is empty before Synced.
	Token string
	// Synced says that all is told that was in the set at the beginning. It comes once, also
	// where nothing was asked for.
	Synced bool
	// Answered is what the first message says of the filter.
	Answered *query.Answered
}

// StaleError means that a watch cannot go on from a token, or from where it is: it must begin anew, with
// what is in the set then.
type StaleError struct{ Reason string }

// Error says why, and what to do.
func (e *StaleError) Error() string {
	return e.Reason + ": begin anew without the token, with what is there now (initial)"
}

// ErrToken means that a token is none of this watch.
var ErrToken = errors.New("the token is none of a watch with this filter, site and type: leave all as it was, or begin without it")

// ErrFellBehind means that a watch was cut off, because it took less than changed.
var ErrFellBehind = errors.New("this watch is read more slowly than changes come: go on with its last token, or narrow it down")

const (
	// stepAssets is of how many assets a step has versions at most, and stepBytes how many
	// bytes of documents, unless one asset has more.
	stepAssets = 500
	stepBytes  = 4 << 20
	// pageAssets is of how many assets a message has what is in the set at first.
	pageAssets = 500
	// behindBytes is how many bytes of steps a reader may be behind. All who are behind hold
	// the same ones.
	behindBytes = 64 << 20
	// catchingUp is how many readers read steps of their own at once.
	catchingUp = 2
	// heartbeat is how often a message comes at least.
	heartbeat = 30 * time.Second
	// Resumable is how old a token may be: retention takes no version away that is younger.
	Resumable = 24 * time.Hour
)

// Options of a Tail. All but Now are required.
type Options struct {
	Engine   *query.Engine
	Progress *ingest.Progress
	// Removed returns the name of a site that was deleted since a time, or nothing. It looks for
	// one site, unless that is empty.
	Removed func(ctx context.Context, site string, since time.Time) (name string, err error)
	Logger  *slog.Logger
	// Now is the clock by which tokens grow old; nil is time.Now.
	Now func() time.Time
}

// watcher is one reader.
type watcher struct {
	*Tail
	request Request
	scope   query.Scope
	plan    *query.Plan
	terms   *terms
	binding string
	send    func(*Message) error
	place   Place
	// synced says that messages have tokens.
	synced bool
	first  *query.Answered
	sent   time.Time
	// removals is how many sites had been deleted when the watch began.
	removals uint64
}

// Watch tells send of changes until ctx ends, send fails, or the watch cannot go on. The errors
// of a request are those of package query and [ErrToken]; others are [StaleError] and [ErrFellBehind].
// Nothing is sent before the request was found to be right.
func (t *Tail) Watch(ctx context.Context, scope query.Scope, r Request, send func(*Message) error) error {
	w := &watcher{Tail: t, request: r, scope: scope, send: send, removals: t.deleted()}
	if err := w.understand(ctx); err != nil {
		return err
	}
	now, _, err := t.o.Progress.Now(ctx)
	if err != nil {
		return err
	}
	if r.Token != "" {
		if err := w.resume(ctx, now); err != nil {
			return err
		}
	} else {
		w.place = placeOf(now)
		if r.Initial {
			if err := w.initial(ctx); err != nil {
				return err
			}
		}
	}
	w.synced = true
	if err := w.tell(&Message{Synced: true}); err != nil {
		return err
	}
	at, err := w.join(ctx)
	if err != nil {
		return err
	}
	defer t.leave(at)
	return w.follow(ctx, at)
}

// understand makes the plan of a request, and refuses what cannot be watched.
func (w *watcher) understand(ctx context.Context) (err error) {
	w.plan, err = w.o.Engine.Plan(ctx, w.scope, query.Selection{
		Filter: w.request.Filter, Site: w.request.Site, Type: w.request.Type, Strict: w.request.Strict,
	})
	if err != nil {
		return err
	}
	if w.terms, err = termsOf(w.plan, w.o.Now()); err != nil {
		return err
	}
	w.first, w.binding = &w.plan.Answered, bindingOf(w.plan)
	return nil
}

// resume takes the place of a token, if the way from there is known.
func (w *watcher) resume(ctx context.Context, now ingest.Readable) error {
	t, err := decodeToken(w.request.Token, w.binding)
	if err != nil {
		return err
	}
	age := w.o.Now().Sub(time.UnixMilli(t.Issued))
	switch {
	case t.Kinds != w.terms.kinds():
		return &StaleError{"what is known of a path of the filter has changed since, and with it what the filter means"}
	case age > Resumable:
		return &StaleError{fmt.Sprintf("the token is of %s, and older than %v", time.UnixMilli(t.Issued).UTC().Format(time.RFC3339), Resumable)}
	case t.Place.At > now.At || age < -Resumable:
		return &StaleError{"the token is of a later time than what the warehouse has; was it restored from a backup?"}
	}
	there, err := w.there(ctx, t.Place)
	if err != nil {
		return err
	}
	if !there {
		return &StaleError{"what the token goes on from is not in the warehouse any more"}
	}
	site, err := w.o.Removed(ctx, w.request.Site, time.UnixMilli(t.Issued))
	if err != nil {
		return err
	}
	if site != "" {
		return removedError(site)
	}
	w.place = t.Place
	return nil
}

func removedError(site string) error {
	return &StaleError{fmt.Sprintf("site %s was deleted, with all of its assets", site)}
}

// tell sends a message, with a token if it is to have one.
func (w *watcher) tell(m *Message) error {
	m.Answered, w.first = w.first, nil
	if w.synced {
		m.Token = token{
			Binding: w.binding, Kinds: w.terms.kinds(), Issued: w.o.Now().UnixMilli(), Place: w.place,
		}.encode()
	}
	w.sent = time.Now()
	return w.send(m)
}

// take tells what a step does to the set, and is behind it then.
func (w *watcher) take(s *step) error {
	transitions, err := w.terms.transitions(s, w.request.Documents)
	if err != nil {
		return err
	}
	w.place = s.to
	if len(transitions) == 0 {
		return nil
	}
	return w.tell(&Message{Transitions: transitions})
}

// catchUp takes steps of its own to a place.
func (w *watcher) catchUp(ctx context.Context, to Place) error {
	for !w.place.equal(to) {
		s, err := w.readAlone(ctx, to)
		if err != nil {
			return err
		}
		if err := w.take(s); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) readAlone(ctx context.Context, to Place) (*step, error) {
	select {
	case w.catching <- struct{}{}:
		defer func() { <-w.catching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return w.read(ctx, w.plan, w.place, to)
}

// join brings the watcher to where the tail is.
func (w *watcher) join(ctx context.Context) (*seat, error) {
	// Most of the way alone, for who has a seat must keep up with the others.
	var count uint64
	for {
		now, _, err := w.o.Progress.Now(ctx)
		if err != nil {
			return nil, err
		}
		to := placeOf(now)
		if count = now.Count; w.place.equal(to) {
			break
		}
		if err := w.catchUp(ctx, to); err != nil {
			return nil, err
		}
	}
	at, to, err := w.sit(ctx, w.request.Site, count, w.removals)
	if err != nil {
		return nil, err
	}
	if err := w.catchUp(ctx, to); err != nil {
		w.leave(at)
		return nil, err
	}
	return at, nil
}

// follow takes the steps of the tail.
func (w *watcher) follow(ctx context.Context, at *seat) error {
	beat := time.NewTicker(heartbeat / 2)
	defer beat.Stop()
	for {
		s, more, err := w.next(at)
		if err != nil {
			return err
		}
		if w.terms.changed() {
			return &StaleError{"what is known of a path of the filter has changed, and with it what the filter means"}
		}
		if s != nil {
			if err := w.take(s); err != nil {
				return err
			}
			continue
		}
		select {
		case <-more:
		case <-beat.C:
			if time.Since(w.sent) >= heartbeat/2 {
				if err := w.tell(&Message{}); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
