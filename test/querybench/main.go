// Command querybench asks a large warehouse what people ask, through the query engine and
// beside it by hand-written SQL that gives the same answer, in turns, and prints how long
// each takes: at rest, while 1 % of the assets change each minute, and by several at once.
//
//	make bench-query ARGS='-sites 2000 -assets 400 -queries 200'
//
// The warehouse is made first (some four minutes for 800,000 assets) and kept in -dir, if
// that is given. The engine has its limit of 1 GiB and a process of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/reeve-cloud/reeve/aggregator/catalogue"
	"github.com/reeve-cloud/reeve/aggregator/graph"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/query/suggest"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/test/aims"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "querybench:", err)
		os.Exit(1)
	}
}

type options struct {
	sites, assets, queries int
	seed                   uint64
	dir, only              string
	churn, clients         int
}

func run() error {
	var o options
	flag.IntVar(&o.sites, "sites", 2000, "how many sites")
	flag.IntVar(&o.assets, "assets", 400, "how many assets of each")
	flag.IntVar(&o.queries, "queries", 200, "how often each question is asked")
	flag.Uint64Var(&o.seed, "seed", 1, "what the estates are made of")
	flag.StringVar(&o.dir, "dir", "", "where the warehouse is kept (default: a directory that goes at the end)")
	flag.StringVar(&o.only, "only", "", "only the questions whose name has this in it")
	flag.IntVar(&o.churn, "churn", 0, "changes a second in the second round (default: 1 % of the assets a minute; negative: no second round)")
	flag.IntVar(&o.clients, "clients", 8, "how many ask at once in the last round; 0: no such round")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "querybench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	if o.churn == 0 {
		o.churn = max(1, o.sites*o.assets/100/60)
	}
	program, err := filepath.Abs("bin/reeve-aggregator")
	if err != nil {
		return err
	}
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%w: run `make build` first", err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w, err := warehouse.Open(ctx, warehouse.Options{
		Address: "embedded:" + filepath.Join(o.dir, "warehouse"), EngineCommand: []string{program, "engine"}, Logger: logger,
	})
	if err != nil {
		return err
	}
	err = measure(ctx, o, w, logger)
	return errors.Join(err, w.Close())
}

func say(format string, args ...any) {
	fmt.Printf("%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func measure(ctx context.Context, o options, w *warehouse.Warehouse, logger *slog.Logger) error {
	if err := w.Migrate(ctx, logger); err != nil {
		return err
	}
	// What is kept is of some day: its history ends then.
	var newest time.Time
	var rows uint64
	if err := w.Conn().QueryRow(ctx, "SELECT max(received_at), count() FROM asset_version").Scan(&newest, &rows); err != nil {
		return err
	}
	world := newWorld(o.seed, o.sites, o.assets, dayOf(rows, newest))
	if rows == 0 {
		start := time.Now()
		n, err := world.load(ctx, w, say)
		if err != nil {
			return err
		}
		say("%d versions of %d assets in %d sites loaded in %v", n, o.sites*o.assets, o.sites, time.Since(start).Round(time.Second))
	} else {
		say("%d versions are there already", rows)
	}
	paths := catalogue.New(w, logger)
	if err := world.teach(paths); err != nil {
		return err
	}
	e := query.New(query.Options{Warehouse: w, Catalogue: query.Paths(paths), Logger: logger})
	b := &bench{options: o, world: world, warehouse: w, engine: e, walker: graph.New(e), completer: suggest.New(e, paths, logger)}
	questions, err := b.questions(ctx)
	if err != nil {
		return err
	}
	if err := b.round(ctx, "at rest", questions, 200*time.Millisecond); err != nil {
		return err
	}
	if o.churn > 0 {
		churning, stop := context.WithCancel(ctx)
		var group sync.WaitGroup
		var failed error
		group.Go(func() { failed = world.churn(churning, w, o.churn, 750*time.Millisecond) })
		err := b.round(ctx, fmt.Sprintf("beside %d changes a second", o.churn), questions, 300*time.Millisecond)
		stop()
		group.Wait()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	if o.clients > 0 {
		if err := b.crowd(ctx, questions); err != nil {
			return err
		}
	}
	return b.memory(rows == 0)
}

// memory says how much this process, which is what the aggregator is to the engine, has had at
// most, with the estates that the benchmark itself keeps.
func (b *bench) memory(loaded bool) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("how much memory was used is not known: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var most int
	if _, err := fmt.Sscan(rest, &most); err != nil {
		return fmt.Errorf("how much memory was used is not known: %w", err)
	}
	most >>= 10
	fmt.Printf("\nthis process, without the engine, through all of it: %d MiB resident at most\n", most)
	if loaded {
		fmt.Println("(loading was part of it)")
	} else if most > memoryAim {
		b.missed("memory of the aggregator", fmt.Sprintf("%d MiB", most), fmt.Sprintf("%d MiB", memoryAim))
	}
	return nil
}

// memoryAim is in MiB.
const memoryAim = 300

// dayOf is the day at which a warehouse's history ends.
func dayOf(rows uint64, newest time.Time) time.Time {
	if rows == 0 {
		return time.Now().UTC()
	}
	return newest.UTC()
}

// question is something that people ask: by the engine, and by hand. Both are asked for the
// same n, and both return how many rows they were answered.
type question struct {
	name string
	aim  time.Duration // instead of that of the round, if not zero
	ask  func(ctx context.Context, n int) (int, error)
	// plain may be nil.
	plain func(ctx context.Context, n int) (int, error)
}

type bench struct {
	options
	world     *world
	warehouse *warehouse.Warehouse
	engine    *query.Engine
	walker    *graph.Walker
	completer *suggest.Completer
}

// times are how long something took, in order.
type times []time.Duration

func (t times) at(share float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(len(t)-1, int(float64(len(t))*share))]
}

// round asks every question, in turns by the engine and by hand, and prints a table.
func (b *bench) round(ctx context.Context, title string, questions []question, aim time.Duration) error {
	fmt.Printf("\n%s: %d times each, in ms\n\n| question | rows | p50 | p95 | by hand p50 | p95 | ratio of p50 |\n|---|---|---|---|---|---|---|\n", title, b.queries)
	for _, q := range questions {
		if !strings.Contains(q.name, b.only) {
			continue
		}
		var asked, plain times
		rows, different := 0, 0
		for n := range b.queries {
			start := time.Now()
			got, err := q.ask(ctx, n)
			if err != nil {
				return fmt.Errorf("%s, %d: %w", q.name, n, err)
			}
			asked = append(asked, time.Since(start))
			rows = max(rows, got)
			if q.plain == nil {
				continue
			}
			start = time.Now()
			want, err := q.plain(ctx, n)
			if err != nil {
				return fmt.Errorf("%s by hand, %d: %w", q.name, n, err)
			}
			plain = append(plain, time.Since(start))
			if want != got {
				different++
			}
		}
		slices.Sort(asked)
		slices.Sort(plain)
		line := fmt.Sprintf("| %s | %d | %s | %s |", q.name, rows, ms(asked.at(0.5)), ms(asked.at(0.95)))
		if q.plain != nil {
			ratio := float64(asked.at(0.5)) / float64(plain.at(0.5))
			line += fmt.Sprintf(" %s | %s | %.2f |", ms(plain.at(0.5)), ms(plain.at(0.95)), ratio)
			if ratio > 1.3 {
				b.missed(title+": "+q.name+", beside hand-written SQL", fmt.Sprintf("%.2f times", ratio), "1.3")
			}
		} else {
			line += " | | |"
		}
		if different > 0 {
			line += fmt.Sprintf(" %d of %d answers differ", different, b.queries)
		}
		fmt.Println(line)
		if limit := cmp.Or(q.aim, aim); asked.at(0.95) > limit {
			b.missed(title+": "+q.name+", p95", asked.at(0.95).Round(time.Millisecond), limit)
		}
	}
	return nil
}

func (b *bench) missed(what string, got, aim any) {
	if err := aims.Missed(func(string, ...any) {}, what, got, aim); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

// crowd lets several ask all questions at once: none may fail.
func (b *bench) crowd(ctx context.Context, questions []question) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	var all times
	var failed []error
	for c := range b.clients {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			for n := range b.queries {
				q := questions[r.IntN(len(questions))]
				start := time.Now()
				_, err := q.ask(ctx, n)
				mu.Lock()
				all = append(all, time.Since(start))
				if err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", q.name, err))
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	slices.Sort(all)
	fmt.Printf("\n%d at once, %d questions each: p50 %s, p95 %s ms, %d errors\n", b.clients, b.queries, ms(all.at(0.5)), ms(all.at(0.95)), len(failed))
	return errors.Join(failed...)
}
