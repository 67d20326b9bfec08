package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/watch"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/hlc"
)

// What changes without the asset is refused by name, at its place, with what to write.
func TestRefused(t *testing.T) {
	e := newEstate(t)
	for text, want := range map[string]string{
		"web":                       `at byte 0: a word alone`,
		"type:pod (a OR uid=b)":     `at byte 10: a word alone`,
		"name:x related(runs_on)":   `at byte 7: relations change with other assets`,
		"unrelated(runs_on, web)":   `at byte 0: relations change with other assets`,
		"-state=DELETED":            `at byte 1: the state changes`,
		"updated>-7d":               `at byte 0: a moment that is told from now`,
		"-(spec.when<now OR uid=a)": `at byte 2: a moment that is told from now`,
		"created=now":               `at byte 0: a moment that is told from now`,
		"spec.when>now-7d":          `write spec.when>20`,
		"spec.wrod=x":               `no asset has spec.wrod`,
		"a AND b OR c":              `brackets`,
	} {
		err := e.tail.Watch(t.Context(), query.All(), watch.Request{Filter: text, Strict: true}, func(*watch.Message) error {
			t.Errorf("%s: something is told", text)
			return errors.New("enough")
		})
		if _, ok := errors.AsType[filter.Errors](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	// These look like them and are none.
	for _, text := range []string{"spec.phase=now", "name:now", "observed>2026-03-01", "spec.n>-7", "labels.state=DELETED", "doc.state=x", `spec.n>"-5m"`} {
		done := errors.New("it is taken")
		if err := e.tail.Watch(t.Context(), query.All(), watch.Request{Filter: text}, func(*watch.Message) error { return done }); !errors.Is(err, done) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func stamp(n int) uint64 {
	return uint64(hlc.FromTime(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)))
}

func (e *estate) version(uid string, n int, operation warehouse.Operation, value any) warehouse.AssetVersion {
	return row(&thing{site: "west", kind: "fake.a.Server", uid: uid}, stamp(n), operation, "x", map[string]any{"spec": map[string]any{"n": value}}, nil)
}

// stale waits for the end of a watch that cannot go on.
func (r *reader) stale(reason string) {
	r.Helper()
	select {
	case err := <-r.ended:
		if _, ok := errors.AsType[*watch.StaleError](err); !ok || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "begin anew") {
			r.Fatalf("it ended with %v, want %s", err, reason)
		}
	case <-time.After(time.Minute):
		r.Fatalf("it goes on though %s", reason)
	}
}

// Where nothing is known of the way on from a token, that is said, and why.
func TestStale(t *testing.T) {
	e := newEstate(t)
	e.write(e.version("a", 1, warehouse.Created, 5))
	r := e.reader(`spec.n>"5"`)
	r.connect()
	r.agrees("at the beginning")
	e.kinds.set("spec.n", filter.Span)
	e.write(e.version("a", 2, warehouse.Updated, 6))
	r.stale("what is known of a path")
	r.connect()
	r.stale("what is known of a path")
	e.kinds.set("spec.n", filter.Numeric)
	r.connect()
	r.agrees("when it is as it was")

	e.tail.Removed("east")
	r.stale("site east was deleted")
	narrow := e.reader("")
	narrow.request.Site = "west"
	narrow.connect()
	e.tail.Removed("east")
	e.write(e.version("a", 3, warehouse.Updated, 7))
	narrow.agrees("a site that is no matter was deleted")
	_ = narrow.disconnect()

	set := func(removed string, ahead time.Duration) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.removed, e.ahead = removed, ahead
	}
	set("east", 0)
	r.connect()
	r.stale("site east was deleted")
	set("", watch.Resumable+time.Minute)
	r.connect()
	r.stale("older than 24h")
	set("", 0)
	r.connect()
	r.agrees("when nothing was deleted")
	if err := r.disconnect(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	other := newEstate(t) // as one that was restored
	other.write(other.version("a", 1, warehouse.Created, 5))
	r.estate = other
	r.connect()
	r.stale("not in the warehouse any more")
	r.token = ""
	r.connect()
	r.agrees("anew")
	_ = r.disconnect()
}

// A version whose forerunner was taken out of the history is told of as such, and the set stays
// right.
func TestForerunnerIsGone(t *testing.T) {
	e := newEstate(t)
	old := e.begin(e.version("a", 1, warehouse.Created, 5), e.version("b", 1, warehouse.Created, 1))
	old.ReceivedAt = time.Now().AddDate(0, -3, 0).UTC().Truncate(time.Millisecond)
	e.finish(old)
	r := e.reader("spec.n>4")
	r.connect()
	r.agrees("at the beginning")
	if err := e.warehouse.Conn().Exec(t.Context(), "ALTER TABLE asset_version DELETE WHERE true SETTINGS mutations_sync = 1"); err != nil {
		t.Fatal(err)
	}
	unsure := func(uid string, n, value int) {
		t.Helper()
		e.write(e.version(uid, n, warehouse.Updated, value))
		want := r.listed(r.request.Filter)
		deadline := time.Now().Add(time.Minute)
		for {
			r.mu.Lock()
			count, set := len(r.wrong), fmt.Sprint(r.set)
			r.mu.Unlock()
			if count > 0 && set == fmt.Sprint(want) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: held is %s, listed %v", uid, set, want)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if len(r.wrong) != 1 || !strings.HasSuffix(r.wrong[0], "unsure") {
			t.Fatalf("%s: %v", uid, r.wrong)
		}
		r.mu.Lock()
		r.wrong = nil
		r.mu.Unlock()
	}
	unsure("a", 2, 3) // it left
	unsure("b", 2, 6) // it entered
	e.write(e.version("a", 3, warehouse.Updated, 9))
	r.agrees("when the forerunner is there again")
	_ = r.disconnect()
}

// A reader that takes one message at a time, and comes back with its token, is told everything once: also
// within a group of more than a step, and of documents that are more than a step.
func TestEachStepOnce(t *testing.T) {
	e := newEstate(t)
	e.write(e.version("first", 1, warehouse.Created, 1))
	r := e.reader("spec.n:*")
	r.connect()
	r.agrees("at the beginning")
	_ = r.disconnect()

	const many = 1300
	var list, again []warehouse.AssetVersion
	for i := range many {
		list = append(list, e.version(fmt.Sprint("u", i), 1, warehouse.Created, i))
		again = append(again, e.version(fmt.Sprint("u", i), 3, warehouse.Updated, i))
	}
	late := e.begin(e.version("late", 1, warehouse.Created, 1), e.version("u5", 2, warehouse.Updated, 1))
	e.write(list...)
	e.write(again...)
	var large []warehouse.AssetVersion
	for i := range 6 {
		large = append(large, e.version(fmt.Sprint("large", i), 1, warehouse.Created, strings.Repeat("x", 1500<<10)))
	}
	e.write(large...)
	done, messages := errors.New("one message"), 0
	take := func() {
		request := r.request
		request.Token = r.token
		err := e.tail.Watch(t.Context(), query.All(), request, func(m *watch.Message) error {
			if err := r.take(t.Context(), m); err != nil || len(m.Transitions) == 0 {
				return err
			}
			messages++
			return done
		})
		if !errors.Is(err, done) {
			t.Fatal(err)
		}
	}
	for len(r.set) < 1+many+len(large) || r.count < 1+2*many+len(large) {
		take()
		if messages == 3 {
			e.finish(late) // older than what was told already
		}
	}
	for len(r.set) < 2+many+len(large) {
		take()
	}
	if messages < 5 {
		t.Errorf("all came in %d messages", messages)
	}
	r.connect()
	r.agrees("at the end")
	_ = r.disconnect()
	if r.count != 2+2*many+len(large) && r.count != 3+2*many+len(large) { // u5's second version came late, or not
		t.Errorf("told of %d changes", r.count)
	}
	anew := e.reader("spec.n:*")
	anew.connect()
	anew.agrees("who begins now")
	_ = anew.disconnect()
}

// Between what is in the set at first and what follows there is no gap, and nothing is told twice, while
// versions come in all the time.
func TestBeginWhileItChanges(t *testing.T) {
	e := newEstate(t)
	const many = 1200 // more than a page
	var list []warehouse.AssetVersion
	for i := range many {
		list = append(list, e.version(fmt.Sprintf("u%04d", i), 1, warehouse.Created, i%8))
	}
	e.write(list...)
	stop, written := make(chan struct{}), make(chan int)
	go func() {
		for n := 2; ; n++ {
			var some []warehouse.AssetVersion
			for i := range 20 {
				operation := []warehouse.Operation{warehouse.Updated, warehouse.Updated, warehouse.Deleted, warehouse.Created}[(n+i)%4]
				some = append(some, e.version(fmt.Sprintf("u%04d", (n*67+i*61)%many), n, operation, (n+i)%8))
			}
			g := e.begin(some...)
			if err := e.warehouse.Write(context.Background(), g); err != nil {
				t.Error(err)
			}
			e.progress.Done(g.ReceivedAt.UnixMilli(), true)
			select {
			case <-stop:
				written <- n
				return
			default:
			}
		}
	}()
	var readers []*reader
	for _, text := range []string{"", "spec.n>3", "spec.n<=3", "-spec.n=1 uid>u0300"} {
		r := e.reader(text)
		r.connect()
		for synced := false; !synced; {
			time.Sleep(time.Millisecond)
			r.mu.Lock()
			synced = r.synced
			r.mu.Unlock()
		}
		readers = append(readers, r)
	}
	close(stop)
	if n := <-written; n < 3 {
		t.Errorf("only %d groups came meanwhile", n)
	}
	for _, r := range readers {
		r.agrees("at the end")
		if err := r.disconnect(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
