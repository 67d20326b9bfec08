package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/collect"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// life is one run of the parts of an agent that have to do with its disk.
type life struct {
	stores *Stores
	stop   func() error
}

var seed = flag.Uint64("seed", 0, "seed of the damage, to repeat it")

// world is what a fake collector observes, and the aggregator that takes it.
type world struct {
	t     *testing.T
	dir   string // the agent's
	world string

	log bytes.Buffer

	accepted map[string]uint64 // by spool and class
	newest   map[string]*wirev1.AssetVersion
	events   []*wirev1.Event
	gaps     []*wirev1.Gap
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), world: t.TempDir(), accepted: make(map[string]uint64), newest: make(map[string]*wirev1.AssetVersion)}
}

func (w *world) list(assets ...fake.Asset) {
	w.t.Helper()
	data, err := json.Marshal(fake.Listing{SweepEvery: "50ms", Assets: assets})
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.world, "s", "listing.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file+".new", data, 0o600),
		os.Rename(file+".new", file)); err != nil {
		w.t.Fatal(err)
	}
}

// start begins a life. Where it ends by itself, so that it may be started anew,
// as a supervisor would, stop returns why.
func (w *world) start() (*life, error) {
	w.log.Reset()
	logger := slog.New(slog.NewTextHandler(&w.log, nil))
	stores, err := Open(Options{Dir: w.dir, MaxBytes: testBudget, Logger: logger})
	if err != nil {
		return nil, err
	}
	stamp, err := stores.Seen.Clock()
	if err != nil {
		return nil, errors.Join(err, stores.Close())
	}
	options, err := json.Marshal(map[string]string{"directory": w.world})
	if err != nil {
		w.t.Fatal(err)
	}
	collector, err := fake.Plugin{}.New(plugin.Config{Name: "f", Options: options, Logger: logger})
	if err != nil {
		w.t.Fatal(err)
	}
	recorder := &collect.Recorder{Seen: stores.Seen, Spool: stores.Spool, Clock: hlc.New(stamp), Logger: logger}
	runner := &collect.Runner{
		Recorder: recorder, RetryAfter: 20 * time.Millisecond,
		Sources: []collect.Source{{Name: "f", Description: fake.Plugin{}.Describe(), Collector: collector}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var ended error
	wg.Go(func() { runner.Run(ctx) })
	wg.Go(func() {
		if err := stores.MakeGood(ctx, recorder); !errors.Is(err, context.Canceled) {
			ended = err
			cancel()
		}
	})
	wg.Go(func() { w.take(ctx, stores.Spool) })
	return &life{stores: stores, stop: sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		return errors.Join(ended, stores.Close())
	})}, nil
}

// take is the aggregator: it takes what is shipped, one class after the other.
func (w *world) take(ctx context.Context, s *spool.Spool) {
	for ctx.Err() == nil {
		for _, class := range spool.Classes {
			key := fmt.Sprint(s.ID(), class)
			r := s.Reader(class, w.accepted[key]+1)
			for w.accepted[key]+1 < s.Next(class) {
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				f, err := r.Next(short)
				cancel()
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
						w.t.Logf("reading the spool: %v", err)
					}
					break
				}
				w.accept(key, f)
			}
			r.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) accept(key string, f spool.Frame) {
	b, err := wire.DecodeBatch(f.Batch)
	if err != nil {
		w.t.Error(err)
		return
	}
	records, err := wire.DecodeRecords(b)
	if err != nil {
		w.t.Error(err)
		return
	}
	if wire.LastSeq(b) <= w.accepted[key] {
		return
	}
	if b.GetFirstSeq() <= w.accepted[key] {
		w.t.Errorf("records %d to %d, but those up to %d were taken", b.GetFirstSeq(), wire.LastSeq(b), w.accepted[key])
	}
	mu.Lock()
	defer mu.Unlock()
	for _, r := range records {
		if a := r.GetAsset(); a != nil && w.newest[a.GetUid()].GetVersion() < a.GetVersion() {
			w.newest[a.GetUid()] = a
		}
		if e := r.GetEvent(); e != nil {
			w.events = append(w.events, e)
		}
		if g := r.GetGap(); g != nil {
			w.gaps = append(w.gaps, g)
		}
	}
	w.accepted[key] = wire.LastSeq(b)
}

// mu guards what accept takes.
var mu sync.Mutex

// has reports whether the aggregator knows the documents.
func (w *world) has(documents map[string]string) bool {
	mu.Lock()
	defer mu.Unlock()
	for uid, document := range documents {
		a := w.newest[uid]
		if document == "" && a.GetOperation() != wirev1.Operation_OPERATION_DELETED || document != "" &&
			(a.GetOperation() == wirev1.Operation_OPERATION_DELETED || string(a.GetDocument()) != document) {
			return false
		}
	}
	return true
}

// TestMain runs a life of an agent in a process of its own, where that was asked
// for: the last-seen store may end its process over damage.
func TestMain(m *testing.M) {
	dir := os.Getenv("REEVE_TEST_OPEN")
	if dir == "" {
		os.Exit(m.Run())
	}
	if files := os.Getenv("REEVE_TEST_FILES"); files != "" {
		n, err := strconv.ParseUint(files, 10, 64)
		if err == nil {
			err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
		}
		if err != nil {
			panic(err)
		}
	}
	stores, err := Open(Options{Dir: dir, MaxBytes: testBudget, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = stores.Seen.Assets(func(*wirev1.AssetVersion) error { return nil })
		select {
		case damaged := <-stores.Seen.Damaged():
			err = errors.Join(damaged, os.WriteFile(filepath.Join(dir, seenDamaged), nil, 0o600))
		default:
		}
		err = errors.Join(err, stores.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const testBudget = 16 << 20

// supervise starts the agent until it does not end by itself.
func (w *world) supervise() {
	w.t.Helper()
	for range crashTries + 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "REEVE_TEST_OPEN="+w.dir)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		w.t.Logf("the agent ended: %v: %.500s", err, out)
	}
	w.t.Fatal("the agent ends again and again")
}

// TestDamage spoils bytes at random in each of the agent's files, with the agent
// down. It must start again, and the newest state of everything must arrive.
func TestDamage(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	w := newWorld(t)
	thing := func(uid string, n int) (fake.Asset, string) {
		text := fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat(fmt.Sprint(n%7), n%5000))
		return fake.Asset{UID: uid, Document: json.RawMessage(text)}, text
	}
	n := 0
	change := func() map[string]string {
		want := make(map[string]string)
		var assets []fake.Asset
		for i := range 30 {
			n++
			a, document := thing(fmt.Sprint("u", i), n*97)
			assets, want[a.UID] = append(assets, a), document
		}
		w.list(assets...)
		return want
	}
	live := func(want map[string]string) {
		t.Helper()
		for restarts := 0; ; restarts++ {
			if restarts == 6 {
				t.Fatal("it does not come to rest")
			}
			w.supervise()
			l, err := w.start()
			if err != nil {
				t.Logf("start: %v", err)
				continue
			}
			for end := time.Now().Add(8 * time.Second); !w.has(want) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			}
			if err := l.stop(); err != nil {
				t.Logf("stop: %v", err)
				continue
			}
			if w.has(want) {
				return
			}
			for uid, document := range want {
				if a := w.newest[uid]; string(a.GetDocument()) != document {
					t.Logf("%s: %v %.60s, want %.60s", uid, a.GetOperation(), a.GetDocument(), document)
				}
			}
			t.Fatalf("after %d restarts the aggregator does not know everything; it has taken %v of %+v\n%s", restarts, w.accepted,
				l.stores.Spool.Stat(), w.log.String())
		}
	}
	live(change())
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for range rounds {
		// Something waits when the damage happens.
		want := change()
		l, err := w.start()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		if err := l.stop(); err != nil {
			t.Logf("stop: %v", err)
		}
		var files []string
		for _, dir := range []string{"spool", "spool/assets", "spool/events", "last-seen"} {
			entries, err := os.ReadDir(filepath.Join(w.dir, dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err == nil && !e.IsDir() && info.Size() > 0 {
					files = append(files, filepath.Join(w.dir, dir, e.Name()))
				}
			}
		}
		file := files[random.IntN(len(files))]
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + random.IntN(3) {
			data[random.IntN(min(len(data), 1<<16))] ^= byte(1 + random.IntN(255))
		}
		if random.IntN(5) == 0 {
			data = data[:random.IntN(len(data))]
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Logf("damaged %s", file)
		live(want)
	}
	told := 0
	for _, e := range w.events {
		if e.GetType() == "cloud.reeve.agent.spool.damaged" {
			told++
		}
	}
	t.Logf("%d events of damage, %d gaps", told, len(w.gaps))
	if told == 0 {
		t.Error("the centre was told of no damage")
	}
}
