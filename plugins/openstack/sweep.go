package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// overlap is how far behind the clock of a service the next changes are asked
// for: a row is stamped before it can be read, and clocks of several hosts differ.
const overlap = 30 * time.Second

// longestAway is for how long the agent may have been away, and still asks how
// servers ended meanwhile.
const longestAway = 7 * 24 * time.Hour

// maxEnded is how many ended assets a mark has, which may have 64 KiB.
const maxEnded = 1000

// ignore takes an element and does nothing.
func ignore(jsontext.Value) error { return nil }

// mark is a checkpoint: how far a listing was followed.
type mark struct {
	// Since is from when on changes are asked for, by the clock of the service, and
	// Taken when that was written down, by the agent's: only one of them says how old it is.
	Since time.Time `json:"since"`
	Taken time.Time `json:"taken"`
	// Ended are the uids of what was told of as deleted since, and is told of
	// once more by the next poll.
	Ended []string `json:"ended,omitempty"`
	// Fingerprint is that of the options that documents were made with.
	Fingerprint string `json:"fingerprint"`
}

func (c *collector) checkpoint(at time.Time, ended []string) plugin.Checkpoint {
	text, err := json.Marshal(mark{
		Since: at.UTC().Add(-overlap), Taken: time.Now().UTC(), Fingerprint: c.fingerprint,
		Ended: ended[max(0, len(ended)-maxEnded):],
	})
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return plugin.Checkpoint(text)
}

// Sweep implements [plugin.Collector].
func (c *collector) Sweep(ctx context.Context, scope plugin.Scope, out plugin.Sink) error {
	if scope.Name == scopeNotifications {
		return nothing(ctx, out, "begun")
	}
	k, err := c.connect(ctx)
	if err != nil {
		return c.notConnected(err)
	}
	l, ok := c.listing(scope.Name)
	if !ok {
		return c.sweepGone(ctx, scope.Name, out)
	}
	if err := c.told.of(l).recall(ctx, l, kinds.Context{Cloud: k.ID, Region: l.region}, out); err != nil {
		return err
	}
	f := c.follow(k, l, out)
	return l.sourceOf(f.sweep(ctx))
}

func (c *collector) notConnected(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &plugin.SourceError{Source: credentialSource, Err: err}
}

// sweep lists a listing as a whole.
func (f *follower) sweep(ctx context.Context) error {
	before, err := f.k.Identified()
	if err != nil {
		return err
	}
	r, err := f.c.reader(ctx, f.k, f.l)
	if err != nil {
		return err
	}
	sweep, err := f.out.Begin(ctx)
	if err != nil {
		return err
	}
	listed := make(map[plugin.Key]bool)
	done, err := r.list(ctx, sweep, f.out, func(raw jsontext.Value) error {
		reading, observation, err := r.observe(raw)
		switch {
		case err != nil:
			// Its key is not known, so what is missing is not known either.
			return err
		case reading.Deleted:
			return nil
		}
		if f.states != nil {
			listed[reading.Key] = true
		}
		if reading.Partial {
			return sweep.Keep(ctx, reading.Key)
		}
		f.states.look(reading)
		for _, e := range f.states.news(reading) {
			if err := f.out.Apply(ctx, "", plugin.Fact{Event: &e}); err != nil {
				return err
			}
		}
		return sweep.Upsert(ctx, observation)
	})
	if err != nil {
		return err
	}
	if missing := f.states.missing(listed); len(missing) > 0 && f.l.kind.Changes.Deletions() {
		if err := f.ends(ctx, r, missing, done.At); err != nil {
			return err
		}
	}
	// A credential that was given less to see while the list was read may have
	// been shown less.
	after, err := f.k.Identified()
	if err != nil {
		return err
	}
	if !before.Equal(after) {
		f.c.changed()
		return fmt.Errorf("the roles were %v in %s and are %v in %s: %w", before.Roles, before.Scope(), after.Roles, after.Scope(), cloud.ErrChanged)
	}
	f.states.keep(listed)
	if err := sweep.Commit(ctx, f.c.checkpoint(done.At, f.states.endedLately(time.Duration(f.c.opts.PollEvery)))); err != nil {
		return err
	}
	f.states.complete(done.At)
	return nil
}

// ends records how assets ended that a listing has no more, where the service
// still tells: the list that they are missing from does not say when that was.
func (f *follower) ends(ctx context.Context, r *elementReader, missing map[plugin.Key]bool, at time.Time) error {
	since := f.states.incompleteSince().Add(-overlap)
	if before := at.Add(-longestAway); since.Before(before) {
		since = before
	}
	for _, query := range f.l.kind.Changes.Queries(since) {
		// Who may not ask for what is deleted alone is told of all that has changed.
		query.Set("deleted", "true")
		if _, err := r.service.List(ctx, r.request(query), func(raw jsontext.Value) error {
			reading, observation, err := r.observe(raw)
			if err != nil || !reading.Deleted || !missing[reading.Key] {
				return err
			}
			return f.record(ctx, r, reading, &observation, since)
		}); err != nil {
			return err
		}
	}
	return nil
}

// sweepGone ends a scope that is not listed any more. Only what the options leave
// out is certainly not there.
func (c *collector) sweepGone(ctx context.Context, scope string, out plugin.Sink) error {
	name, _, _ := strings.Cut(scope, "@")
	parts := strings.Split(name, "/")
	kind := kinds.Find(strings.Join(parts[max(0, len(parts)-2):], "/"))
	region := strings.Join(parts[:max(0, len(parts)-2)], "/")
	known := kind != nil
	if known && c.opts.selects(kind) && (region == "" || len(c.opts.Regions) == 0 || slices.Contains(c.opts.Regions, region)) {
		return fmt.Errorf("%s is not listed any more: the catalog does not have it, or the credential (its roles, its project) does not show it; "+
			"what is known of it stays. To have it recorded as deleted, name it in exclude", scope)
	}
	return nothing(ctx, out, "")
}

// nothing commits a sweep that found nothing.
func nothing(ctx context.Context, out plugin.Sink, checkpoint plugin.Checkpoint) error {
	sweep, err := out.Begin(ctx)
	if err != nil {
		return err
	}
	return sweep.Commit(ctx, checkpoint)
}

// elementReader reads the elements of one listing.
type elementReader struct {
	c       *collector
	k       *cloud.Cloud
	l       *listing
	service *cloud.Service
	in      kinds.Context
	// failed is why something could not be looked up in another list.
	failed error
}

// reader prepares to read elements of a listing: it finds the service, and lists
// what is looked up in other lists.
func (c *collector) reader(ctx context.Context, k *cloud.Cloud, l *listing) (*elementReader, error) {
	s, err := k.Service(ctx, l.kind.API, l.region)
	if err != nil {
		return nil, err
	}
	r := &elementReader{c: c, k: k, l: l, service: s, in: kinds.Context{
		Cloud: k.ID, Region: l.region, Dashboard: c.opts.DashboardURL, Project: l.project,
	}}
	r.in.Joins, err = r.joins(ctx)
	return r, err
}

// request is the listing's, with a query beside its own.
func (r *elementReader) request(query url.Values) cloud.List {
	k := r.l.kind
	q := url.Values{}
	for _, text := range []string{k.Query, r.all(k.All)} {
		more, _ := url.ParseQuery(text) // they are constants, and tested
		maps.Copy(q, more)
	}
	maps.Copy(q, query)
	list := cloud.List{
		Request:  cloud.Request{Path: k.Path, Query: q, Microversion: cloud.ParseMicroversion(k.Microversion)},
		Envelope: k.Envelope, Paging: k.Paging, Limit: k.Limit, Key: k.MarkerKey,
		Ended: k.Changes.Deletions() && query != nil,
	}
	if r.l.project == "" {
		list.Headers = k.AllHeaders
	} else if k.String() == "identity/projects" {
		// Who may not list projects may list those of his own.
		list.Path = "auth/projects"
	}
	return list
}

// all returns a query that asks for all projects, where they are seen.
func (r *elementReader) all(query string) string {
	if r.l.project == "" {
		return query
	}
	return ""
}

// observe makes an observation of an element.
func (r *elementReader) observe(raw jsontext.Value) (kinds.Reading, plugin.Observation, error) {
	reading, err := r.l.kind.Read(raw, r.in)
	if err == nil {
		err = r.failed
	}
	if err != nil {
		return reading, plugin.Observation{}, err
	}
	o := plugin.Observation{
		Key: reading.Key, Name: reading.Name, Region: r.l.region, Project: reading.Project, Status: reading.Status,
		Labels: reading.Labels, CreatedAt: reading.Created, UpdatedAt: reading.Updated, Relations: reading.Relations,
	}
	if reading.Partial {
		return reading, o, nil
	}
	document, err := r.l.kind.Document(raw, reading.Derived)
	if err != nil {
		return reading, o, err
	}
	o.Document = json.RawMessage(document)
	return reading, o, nil
}

// try reads the first element of a listing.
func (c *collector) try(ctx context.Context, k *cloud.Cloud, l *listing) error {
	s, err := k.Service(ctx, l.kind.API, l.region)
	if err != nil {
		return err
	}
	r := &elementReader{c: c, k: k, l: l, service: s}
	list := r.request(nil)
	if strings.Contains(list.Path, "%s") {
		// It is a list for each of something else: what that is like shows there.
		return nil
	}
	list.Paging = cloud.First
	if list.Limit > 0 {
		list.Limit = 1
	}
	_, err = s.List(ctx, list, ignore)
	return err
}
