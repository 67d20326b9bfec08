package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// How long to wait before connecting again: twice as long each time.
const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
	// A stream that held this long begins anew with the shortest wait.
	settled = 10 * time.Second
)

type watchOptions struct {
	verb.OutputOptions
	site, typ, filter string
	full              bool
}

// WatchCommand returns the verb watch.
func WatchCommand(a *verb.App) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show changes as they happen",
		Long: `Show changes of assets as they happen, one line each, until interrupted. When the
connection breaks it is made again; what changed in between is not shown.

With --filter it shows what enters the set of assets that pass the filter, what
changes in it and what leaves it and why. Then nothing is left out and nothing comes
twice when the connection breaks. reeve get assets --watch begins with what is in
the set now.`,
		Example: `  reeve watch --site seoul-1 --type pods
  reeve watch -l 'type:pod status=Pending'
  reeve watch -l 'type:node' --full -o jsonl`,
		Args: verb.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return watch(cmd.Context(), a, o) },
	}
	o.AddTo(cmd, output.Table, output.JSON, output.JSONL, output.Name)
	o.AddNoHeaders(cmd)
	cmd.Flags().StringVarP(&o.filter, "filter", "l", "", "how the set of assets that pass this changes (docs/filter.md)")
	cmd.Flags().BoolVar(&o.full, "full", false, "with the documents, with --filter (json and jsonl)")
	cmd.Flags().StringVar(&o.site, "site", "", "only this site")
	cmd.Flags().StringVar(&o.typ, "type", "", "only this type, by a name that get assets takes as well")
	a.Complete(cmd, "site", a.CompleteSites)
	a.Complete(cmd, "type", a.CompleteTypes)
	return cmd
}

func watch(ctx context.Context, a *verb.App, o watchOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	view, err := o.setView()
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	// A watch over words that are wrong would be silent for ever.
	if err := s.CheckSite(ctx, o.site); err != nil {
		return err
	}
	if o.typ != "" {
		t, err := s.AssetType(ctx, "", o.typ)
		if err != nil {
			return err
		}
		o.typ = t.GetName()
	}
	if o.filter != "" {
		return watchSet(ctx, s, p, &reevev1.WatchAssetsRequest{Filter: o.filter, Site: o.site, Type: o.typ, View: view})
	}
	w := &watcher{
		Session: s,
		request: &reevev1.WatchChangesRequest{Site: o.site, Type: o.typ},
		print:   changePrinter(p),
	}
	err = w.run(ctx)
	if ctx.Err() != nil {
		// The interrupt is how a watch ends.
		return nil
	}
	return err
}

// setView is the view of a set that is watched.
func (o *watchOptions) setView() (reevev1.AssetView, error) {
	switch {
	case !o.full && o.filter == "" && o.Format == string(output.Name):
		return 0, verb.Usagef("-o name: goes with --filter")
	case !o.full:
		return reevev1.AssetView_ASSET_VIEW_BASIC, nil
	case o.filter == "" || o.Format != string(output.JSON) && o.Format != string(output.JSONL):
		return 0, verb.Usagef("--full: goes with --filter, and with -o json or -o jsonl")
	}
	return reevev1.AssetView_ASSET_VIEW_FULL, nil
}

// changePrinter returns what prints changes as they come.
func changePrinter(p *output.Printer) func([]*reevev1.Change) error {
	if p.Format == output.Table {
		return output.NewList(p, "changes", watchColumns()).Write
	}
	return func(changes []*reevev1.Change) error {
		for _, c := range changes {
			if err := p.Line(c); err != nil {
				return err
			}
		}
		return nil
	}
}

func watchColumns() []output.Column[*reevev1.Change] {
	return []output.Column[*reevev1.Change]{
		{Heading: "CHANGED", Value: func(c *reevev1.Change) string { return output.Timestamp(c.GetObserveTime()) }},
		{
			Heading: "OPERATION",
			Value:   func(c *reevev1.Change) string { return operationName(c.GetOperation()) },
			Color:   func(c *reevev1.Change) output.Color { return operationColor(c.GetOperation()) },
		},
		{Heading: "SITE", Value: (*reevev1.Change).GetSite},
		{Heading: "TYPE", Value: (*reevev1.Change).GetType},
		{Heading: "NAME", Value: (*reevev1.Change).GetName},
		{Heading: "UID", Value: (*reevev1.Change).GetUid},
		{Heading: "STATUS", Value: (*reevev1.Change).GetStatus},
		{Heading: "PATHS", Value: func(c *reevev1.Change) string { return somePaths(c.GetChangedPaths()) }},
	}
}

// watcher keeps a stream of changes open.
type watcher struct {
	*verb.Session
	request *reevev1.WatchChangesRequest
	print   func([]*reevev1.Change) error
	// failures counts the streams in a row that did not hold, and lost says that
	// the user was last told of a broken connection.
	failures int
	lost     bool
}

// run watches until ctx ends or something is wrong that does not mend itself.
func (w *watcher) run(ctx context.Context) error {
	// A watch that could never work says so at once.
	if _, err := w.GetStatus(ctx); err != nil {
		return err
	}
	for {
		start := time.Now()
		err := w.stream(ctx)
		if time.Since(start) > settled {
			w.failures = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !retriable(err) {
			return w.Explain(err)
		}
		pause := backoff(w.failures)
		w.failures++
		w.lost = true
		w.App.Note("%v; connecting again in %s (changes in between are not shown)", w.Explain(err), pause.Round(100*time.Millisecond))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// stream prints changes until the stream ends, which is always an error.
func (w *watcher) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.Inventory.WatchChanges(ctx, connect.NewRequest(w.request))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if w.lost {
			w.lost = false
			w.App.Note("connected again")
		}
		if err := w.print(stream.Msg().GetChanges()); err != nil {
			return &printError{err}
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the server ended the stream: %w", io.EOF))
}

// printError is an error of the output, in which no reconnecting helps.
type printError struct{ error }

func (e *printError) Unwrap() error { return e.error }

// retriable reports whether a stream that ended so may work later.
func retriable(err error) bool {
	if _, ok := errors.AsType[*printError](err); ok {
		return false
	}
	if verb.IsVerification(err) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeInvalidArgument,
		connect.CodeNotFound, connect.CodeFailedPrecondition, connect.CodeUnimplemented, connect.CodeOutOfRange:
		return false
	default:
		return true
	}
}

// backoff returns how long to wait after a number of failures. Chance keeps many
// clients from coming back together.
func backoff(failures int) time.Duration {
	d := min(minBackoff<<min(failures, 10), maxBackoff)
	return d/2 + rand.N(d/2)
}
