// Package fake is a collector for tests. What it observes lies in a directory
// that a test writes, so it survives when the agent is killed, and so does the
// test's knowledge of the truth.
//
// Each scope is a subdirectory with one or both of
//
//   - listing.json: what a sweep finds, as a [Listing]. It may say that the
//     sweep fails, or ends without a commit, after so many assets.
//   - journal.ndjson: what a watch finds, one [Entry] a line. The checkpoint is
//     the offset behind the last line that was applied.
//
// A file named gone in the directory says that the scope is known to be gone:
// it is not published any more, and a sweep of it commits nothing found.
package fake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// TypeThing is the type of every asset.
const TypeThing = "fake.test.Thing"

// poll is how often files are looked at.
const poll = 20 * time.Millisecond

// Listing is the content of listing.json.
type Listing struct {
	Assets []Asset `json:"assets"`
	// FailAfter makes the sweep fail with Error after so many assets, where
	// Error is set.
	FailAfter int    `json:"fail_after,omitempty"`
	Error     string `json:"error,omitempty"`
	// Source makes Error one of a whole source.
	Source string `json:"source,omitempty"`
	// Keep are uids that are kept as they were recorded.
	Keep []string `json:"keep,omitempty"`
	// Unread are uids of what the listing has and cannot be read; an empty one is of
	// something that nobody knows what it is.
	Unread []string `json:"unread,omitempty"`
	// Panic makes the collector panic instead, NoCommit makes the sweep return
	// as if all were well.
	Panic    bool `json:"panic,omitempty"`
	NoCommit bool `json:"no_commit,omitempty"`
	// SweepEvery is the time between sweeps as in "100ms". Empty means once.
	SweepEvery string `json:"sweep_every,omitempty"`
}

// Asset is one asset.
type Asset struct {
	UID       string            `json:"uid"`
	Name      string            `json:"name,omitempty"`
	Status    string            `json:"status,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"created_at,omitzero"`
	Document  json.RawMessage   `json:"document"`
	Relations []plugin.Relation `json:"relations,omitempty"`
}

// Entry is one line of a journal: an upsert, a delete of a uid, an event, or a
// usage.
type Entry struct {
	Upsert *Asset        `json:"upsert,omitempty"`
	Delete string        `json:"delete,omitempty"`
	Event  *plugin.Event `json:"event,omitempty"`
	Usage  *plugin.Usage `json:"usage,omitempty"`
}

// Plugin makes fake collectors.
type Plugin struct{}

// Describe implements [plugin.Plugin].
func (Plugin) Describe() plugin.Description {
	return plugin.Description{
		Name:      "fake",
		Summary:   "Observes what a test wrote into a directory.",
		Stability: plugin.Experimental,
		Types:     []plugin.Type{{Name: TypeThing, Title: "Thing", Volatile: []string{"volatile"}}},
		Options: json.RawMessage(`{"type":"object","required":["directory"],"additionalProperties":false,
			"properties":{"directory":{"type":"string","description":"Where the scopes lie."},
				"exclude":{"type":"array","items":{"type":"string"},"description":"Scopes that are not collected."}}}`),
	}
}

// New implements [plugin.Plugin].
func (Plugin) New(c plugin.Config) (plugin.Collector, error) {
	var o struct {
		Directory string   `json:"directory"`
		Exclude   []string `json:"exclude"`
	}
	if err := json.Unmarshal(c.Options, &o); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if o.Directory == "" {
		return nil, errors.New("options: directory is missing")
	}
	return &Collector{dir: o.Directory, exclude: o.Exclude}, nil
}

// Collector observes a directory.
type Collector struct {
	dir     string
	exclude []string
}

var (
	_ plugin.Watcher  = (*Collector)(nil)
	_ plugin.Selector = (*Collector)(nil)
)

// Selects implements [plugin.Selector].
func (c *Collector) Selects(scope string) bool { return !slices.Contains(c.exclude, scope) }

// Verify implements [plugin.Collector].
func (c *Collector) Verify(context.Context) ([]plugin.Check, error) {
	_, err := os.Stat(c.dir)
	return []plugin.Check{{Subject: c.dir, Err: err}}, nil
}

// Scopes implements [plugin.Collector].
func (c *Collector) Scopes(ctx context.Context, publish func([]plugin.Scope)) error {
	published := "nothing yet"
	for {
		scopes, err := c.scopes()
		if err != nil {
			return err
		}
		if now := fmt.Sprint(scopes); now != published {
			published = now
			publish(scopes)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Collector) scopes() ([]plugin.Scope, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var scopes []plugin.Scope
	for _, e := range entries {
		if !e.IsDir() || exists(c.path(e.Name(), "gone")) || !c.Selects(e.Name()) {
			continue
		}
		s := plugin.Scope{Name: e.Name(), Watch: exists(c.path(e.Name(), "journal.ndjson"))}
		if l, err := c.listing(e.Name()); err == nil && l.SweepEvery != "" {
			if s.SweepEvery, err = time.ParseDuration(l.SweepEvery); err != nil {
				return nil, err
			}
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// Sweep implements [plugin.Collector].
func (c *Collector) Sweep(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
	l, err := c.listing(scope.Name)
	var checkpoint plugin.Checkpoint
	switch {
	case exists(c.path(scope.Name, "gone")):
		l, err = Listing{}, nil
	case errors.Is(err, fs.ErrNotExist) && exists(c.path(scope.Name, "journal.ndjson")):
		// Only the journal tells: begin it at its beginning.
		checkpoint, err = "0", nil
	}
	if err != nil {
		return err
	}
	s, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	for i, a := range l.Assets {
		if l.Error != "" && i == l.FailAfter {
			break
		}
		if err := s.Upsert(ctx, a.observation()); err != nil {
			return err
		}
	}
	for _, uid := range l.Keep {
		if err := s.Keep(ctx, plugin.Key{Type: TypeThing, UID: uid}); err != nil {
			return err
		}
	}
	for _, uid := range l.Unread {
		var key plugin.Key
		if uid != "" {
			key = plugin.Key{Type: TypeThing, UID: uid}
		}
		if err := s.Unread(ctx, key, "it cannot be read"); err != nil {
			return err
		}
	}
	switch {
	case l.Panic:
		panic("told to")
	case l.Source != "":
		return &plugin.SourceError{Source: l.Source, Err: errors.New(l.Error)}
	case l.Error != "":
		return errors.New(l.Error)
	case l.NoCommit:
		return nil
	}
	return s.Commit(ctx, checkpoint)
}

// Watch implements [plugin.Watcher].
func (c *Collector) Watch(ctx context.Context, scope plugin.Scope, from plugin.Checkpoint, out plugin.Sink) error {
	offset := int64(0)
	if from != "" {
		var err error
		if offset, err = strconv.ParseInt(string(from), 10, 64); err != nil {
			return plugin.ErrCheckpointExpired
		}
	}
	f, err := os.Open(c.path(scope.Name, "journal.ndjson"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReader(f)
	var line []byte
	for {
		part, err := r.ReadBytes('\n')
		line = append(line, part...)
		if errors.Is(err, io.EOF) {
			select {
			case <-time.After(poll):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		offset += int64(len(line))
		fact, err := parse(line)
		if err != nil {
			return err
		}
		if err := out.Apply(ctx, plugin.Checkpoint(strconv.FormatInt(offset, 10)), fact); err != nil {
			return err
		}
		line = line[:0]
	}
}

func parse(line []byte) (plugin.Fact, error) {
	var e Entry
	if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
		return plugin.Fact{}, fmt.Errorf("journal: %w", err)
	}
	switch {
	case e.Upsert != nil:
		o := e.Upsert.observation()
		return plugin.Fact{Upsert: &o}, nil
	case e.Event != nil:
		return plugin.Fact{Event: e.Event}, nil
	case e.Usage != nil:
		return plugin.Fact{Usage: e.Usage}, nil
	}
	return plugin.Fact{Delete: &plugin.Key{Type: TypeThing, UID: e.Delete}}, nil
}

func (c *Collector) listing(scope string) (l Listing, err error) {
	data, err := os.ReadFile(c.path(scope, "listing.json"))
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("listing of %s: %w", scope, err)
	}
	return l, nil
}

func (c *Collector) path(scope, file string) string { return filepath.Join(c.dir, scope, file) }

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func (a Asset) observation() plugin.Observation {
	return plugin.Observation{
		Key:       plugin.Key{Type: TypeThing, UID: a.UID},
		Name:      a.Name,
		Status:    a.Status,
		Labels:    a.Labels,
		CreatedAt: a.CreatedAt,
		Document:  a.Document,
		Relations: a.Relations,
	}
}
