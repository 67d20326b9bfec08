package inventory

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// setWatcher follows the set of assets that pass a filter, over broken connections.
type setWatcher struct {
	*verb.Session
	request *reevev1.WatchAssetsRequest
	print   func([]*reevev1.SetChange) error
	// initial says that what is in the set is asked for where there is no token.
	initial  bool
	failures int
	// lost says that the user was last told of a broken connection, and warned that the
	// warnings of the filter were told.
	lost, warned bool
}

// watchSet follows a set until ctx ends.
func watchSet(ctx context.Context, s *verb.Session, p *output.Printer, request *reevev1.WatchAssetsRequest) error {
	w := &setWatcher{Session: s, request: request, initial: request.GetInitial(), print: setPrinter(p)}
	err := w.run(ctx)
	if ctx.Err() != nil {
		return nil // the interrupt is how a watch ends
	}
	return err
}

// setPrinter returns what prints changes of a set as they come.
func setPrinter(p *output.Printer) func([]*reevev1.SetChange) error {
	switch p.Format {
	case output.JSON, output.JSONL:
		return func(changes []*reevev1.SetChange) error {
			for _, c := range changes {
				if err := p.Line(c); err != nil {
					return err
				}
			}
			return nil
		}
	case output.Name:
		return func(changes []*reevev1.SetChange) error {
			lines := make([]string, len(changes))
			for i, c := range changes {
				lines[i] = strings.ToLower(setKind(c)) + " " + c.GetAsset().GetUid()
			}
			return p.Lines(lines)
		}
	}
	return output.NewList(p, "changes", setColumns()).Write
}

func setKind(c *reevev1.SetChange) string { return strings.TrimPrefix(c.GetKind().String(), "KIND_") }

func setColumns() []output.Column[*reevev1.SetChange] {
	return []output.Column[*reevev1.SetChange]{
		{Heading: "CHANGED", Value: func(c *reevev1.SetChange) string { return output.Timestamp(c.GetAsset().GetObserveTime()) }},
		{Heading: "SET", Value: setKind, Color: func(c *reevev1.SetChange) output.Color {
			switch c.GetKind() {
			case reevev1.SetChange_KIND_ENTERED:
				return output.Green
			case reevev1.SetChange_KIND_LEFT:
				return output.Red
			}
			return output.Yellow
		}},
		{Heading: "SITE", Value: func(c *reevev1.SetChange) string { return c.GetAsset().GetSite() }},
		{Heading: "TYPE", Value: func(c *reevev1.SetChange) string { return c.GetAsset().GetType() }},
		{Heading: "NAME", Value: func(c *reevev1.SetChange) string { return c.GetAsset().GetName() }},
		{Heading: "UID", Value: func(c *reevev1.SetChange) string { return c.GetAsset().GetUid() }},
		{Heading: "STATUS", Value: func(c *reevev1.SetChange) string { return c.GetAsset().GetStatus() }},
		{Heading: "WHY", Value: setReason},
	}
}

// setReason is why something left, or what changed.
func setReason(c *reevev1.SetChange) string {
	text := somePaths(c.GetChangedPaths())
	switch c.GetReason() {
	case reevev1.SetChange_REASON_DELETED:
		text = "deleted"
	case reevev1.SetChange_REASON_NO_MATCH:
		text = strings.TrimSuffix("no match: "+text, ": ")
	}
	if c.GetUnsure() {
		text = strings.TrimSpace(text + " (whether it was in the set before is not known)")
	}
	return text
}

// run watches until ctx ends or something is wrong that does not mend itself.
func (w *setWatcher) run(ctx context.Context) error {
	for {
		start := time.Now()
		err := w.stream(ctx)
		if time.Since(start) > settled {
			w.failures = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		how := "nothing is left out"
		switch {
		case connect.CodeOf(err) == connect.CodeOutOfRange && w.request.GetToken() != "":
			w.request.Token = ""
			how = "what changed in between is not shown"
			if w.initial {
				how = "the whole set is shown again"
			}
		case !retriable(err):
			return w.Explain(err)
		case w.request.GetToken() == "" && w.initial:
			how = "the whole set is shown again"
		case w.request.GetToken() == "":
			how = "what changed before is not shown"
		}
		pause := backoff(w.failures)
		w.failures++
		w.lost = true
		w.App.Note("%v; connecting again in %s (%s)", w.Explain(err), pause.Round(100*time.Millisecond), how)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// stream prints changes until the stream ends, which is always an error.
func (w *setWatcher) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.request.Initial = w.initial && w.request.GetToken() == ""
	stream, err := w.Inventory.WatchAssets(ctx, connect.NewRequest(w.request))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		m := stream.Msg()
		if w.lost {
			w.lost = false
			w.App.Note("connected again")
		}
		if !w.warned && m.GetCanonicalFilter() != "" {
			w.App.Warnings(w.request.GetFilter(), m.GetWarnings())
			w.warned = true
		}
		if err := w.print(m.GetChanges()); err != nil {
			return &printError{err}
		}
		if m.GetToken() != "" {
			w.request.Token = m.GetToken()
		}
		if m.GetSynced() && w.request.GetInitial() {
			w.App.Note("this is all that is in the set now; its changes follow")
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the server ended the stream: %w", io.EOF))
}
