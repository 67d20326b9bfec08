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
	err = f.sweep(ctx)
	if errors.Is(err, cloud.ErrForbidden) && l.view.all() {
		if v, ok := narrow(l.kind, l.who); ok && !v.all() {
			c.refuse(l)
		}
	}
	c.disconnect(k, err)
	return l.sourceOf(err)
}

func (c *collector) notConnected(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &plugin.SourceError{Source: credentialSource, Err: err}
}

// sweep lists a listing as a whole.
func (f *follower) sweep(ctx context.Context) error {
	if err := f.same(); err != nil {
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
	s := newSeen(f.c.seed)
	r.kept = s.add
	if err := f.read(ctx, r, sweep, s); err != nil {
		return err
	}
	// A credential that was given less to see while the list was read may have
	// been shown less.
	if err := f.same(); err != nil {
		return err
	}
	kept, err := f.settle(ctx, r, sweep, s)
	if err != nil {
		return err
	}
	for range s.unread {
		if err := sweep.Unread(ctx, plugin.Key{}, s.why); err != nil {
			return err
		}
	}
	if err := f.same(); err != nil {
		return err
	}
	f.states.keep(s)
	if err := sweep.Commit(ctx, f.c.checkpoint(s.at, f.states.endedLately(time.Duration(f.c.opts.PollEvery)))); err != nil {
		return err
	}
	f.states.complete(s.at)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	delete(f.c.sums, f.l.scope())
	if !kept {
		f.c.sums[f.l.scope()] = s.sum
	}
	return nil
}

// same returns an error where the credential sees something else than when it was
// found out what there is to list.
func (f *follower) same() error {
	now, err := f.k.Identified()
	if err != nil {
		return err
	}
	if was := f.l.who; !was.Equal(now) {
		f.c.changed()
		return fmt.Errorf("the roles were %v in %s and are %v in %s: %w", was.Roles, was.Scope(), now.Roles, now.Scope(), cloud.ErrChanged)
	}
	return nil
}

// read reads the list to its end.
func (f *follower) read(ctx context.Context, r *elementReader, sweep plugin.Sweep, s *seen) error {
	s.twins, s.unread, s.odd = nil, 0, 0
	done, err := r.list(ctx, sweep, f.out, func(raw jsontext.Value) error { return f.take(ctx, r, sweep, s, raw) })
	if err != nil {
		return err
	}
	if s.at.IsZero() {
		s.at = done.At
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.twins), func(a, b plugin.Key) int { return strings.Compare(a.UID, b.UID) }) {
		if err := f.takeTwins(ctx, r, sweep, s.twins[key]); err != nil {
			return err
		}
	}
	if odd := s.unread + s.odd; odd > 0 {
		f.tell(ctx, "odd", plugin.Warning, fmt.Sprintf("%d elements in the list of %s cannot be read; the others are: %s", odd, f.l.scope(),
			s.why))
	} else {
		f.c.heal(f.l, "odd")
	}
	return nil
}

// take takes one element of the list. One that cannot be read costs nothing but
// itself.
func (f *follower) take(ctx context.Context, r *elementReader, sweep plugin.Sweep, s *seen, raw jsontext.Value) error {
	reading, observation, err := r.observe(raw)
	switch {
	case r.failed != nil:
		return r.failed
	case err != nil && reading.UID == "":
		// What is missing may be this one.
		s.unread, s.why = s.unread+1, err.Error()
		return nil
	case err != nil:
		s.odd, s.why = s.odd+1, err.Error()
		s.add(reading.Key)
		return sweep.Unread(ctx, reading.Key, err.Error())
	case reading.Deleted:
		return nil
	}
	s.add(reading.Key)
	s.others = s.others || reading.Project != f.l.who.ProjectID
	switch {
	case reading.Partial:
		return sweep.Keep(ctx, reading.Key)
	case f.l.kind.Twins:
		if s.twins == nil {
			s.twins = make(map[plugin.Key][]twin)
		}
		s.twins[reading.Key] = append(s.twins[reading.Key], twin{reading, slices.Clone(raw)})
		return nil
	}
	return f.upsert(ctx, sweep, reading, observation)
}

// twin is one of the elements of one key.
type twin struct {
	reading kinds.Reading
	raw     jsontext.Value
}

func (f *follower) takeTwins(ctx context.Context, r *elementReader, sweep plugin.Sweep, twins []twin) error {
	readings := make([]kinds.Reading, 0, len(twins))
	for _, t := range twins {
		readings = append(readings, t.reading)
	}
	one, leads := kinds.Twins(readings)
	observation, err := r.observation(one, twins[leads].raw)
	if err != nil {
		return err
	}
	return f.upsert(ctx, sweep, one, observation)
}

func (f *follower) upsert(ctx context.Context, sweep plugin.Sweep, reading kinds.Reading, o plugin.Observation) error {
	f.states.look(reading)
	for _, e := range f.states.news(reading) {
		if err := f.out.Apply(ctx, "", plugin.Fact{Event: &e}); err != nil {
			return err
		}
	}
	return sweep.Upsert(ctx, o)
}

// ends records how assets ended that a listing has no more, where the service
// still tells: the list that they are missing from does not say when that was.
func (f *follower) ends(ctx context.Context, r *elementReader, missing map[plugin.Key]string, at time.Time) error {
	since := f.states.incompleteSince().Add(-overlap)
	if before := at.Add(-longestAway); since.Before(before) {
		since = before
	}
	for _, query := range f.l.kind.Changes.Queries(since) {
		// Who may not ask for what is deleted alone is told of all that has changed.
		query.Set("deleted", "true")
		if _, err := r.service.List(ctx, r.request(query), func(raw jsontext.Value) error {
			reading, observation, err := r.observe(raw)
			if r.failed != nil {
				return r.failed
			}
			if _, wanted := missing[reading.Key]; err != nil || !reading.Deleted || !wanted {
				return nil // what cannot be read tells nothing, and is missing all the same
			}
			delete(missing, reading.Key)
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
	if c.Selects(scope) {
		return fmt.Errorf("%s is not listed any more: the catalog does not have it, or the credential (its roles, its project) does not "+
			"show it; what is known of it stays. To have it recorded as deleted, name it in exclude", scope)
	}
	return nothing(ctx, out, "")
}

// Selects implements [plugin.Selector].
func (c *collector) Selects(scope string) bool {
	name, _, _ := strings.Cut(scope, "@")
	parts := strings.Split(name, "/")
	kind := kinds.Find(strings.Join(parts[max(0, len(parts)-2):], "/"))
	region := strings.Join(parts[:max(0, len(parts)-2)], "/")
	return kind != nil && c.opts.selects(kind) && (region == "" || len(c.opts.Regions) == 0 || slices.Contains(c.opts.Regions, region))
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
	// faults is how many servers were asked for theirs.
	faults int
	// doubt is why what is missing from the list may still be there, or empty.
	doubt string
	// answered says that the service was seen to answer otherwise, and inRow is how
	// many of many have failed in a row.
	answered bool
	inRow    int
	// kept takes note of what is there, though the list does not have it.
	kept func(plugin.Key)
}

// reader prepares to read elements of a listing: it finds the service, and lists
// what is looked up in other lists.
func (c *collector) reader(ctx context.Context, k *cloud.Cloud, l *listing) (*elementReader, error) {
	s, err := k.Service(ctx, l.kind.API, l.region)
	if err != nil {
		return nil, err
	}
	r := &elementReader{c: c, k: k, l: l, service: s, in: kinds.Context{
		Cloud: k.ID, Region: l.region, Dashboard: c.opts.DashboardURL, Project: l.view.project,
	}}
	if l.view.user != "" || l.view.public {
		r.in.Project = l.who.ProjectID
	}
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
	switch {
	case r.l.view.all():
		list.Headers = k.AllHeaders
	case r.l.view.domain != "" && k.String() == "identity/domains":
		list.Path = "auth/domains"
	case r.l.view.domain != "" && k.DomainQuery:
		list.Query.Set("domain_id", r.l.view.domain)
	case r.l.view.user != "" && k.String() == "identity/projects":
		// Who may not list projects may list those of his own.
		list.Path = "auth/projects"
	}
	return list
}

// all returns a query that asks for all projects, where they are seen.
func (r *elementReader) all(query string) string {
	if r.l.view.all() {
		return query
	}
	return ""
}

// doubts takes note of why what is missing from the list may still be there.
func (r *elementReader) doubts(why string) { r.doubt = why }

// observe makes an observation of an element.
func (r *elementReader) observe(raw jsontext.Value) (kinds.Reading, plugin.Observation, error) {
	reading, err := r.l.kind.Read(raw, r.in)
	if err == nil {
		err = r.failed
	}
	if err != nil {
		return reading, plugin.Observation{}, err
	}
	o, err := r.observation(reading, raw)
	return reading, o, err
}

// observation makes one of a reading of an element.
func (r *elementReader) observation(reading kinds.Reading, raw jsontext.Value) (plugin.Observation, error) {
	o := plugin.Observation{
		Key: reading.Key, Name: reading.Name, Region: r.l.region, Project: reading.Project, Status: reading.Status,
		Labels: reading.Labels, CreatedAt: reading.Created, UpdatedAt: reading.Updated, Relations: reading.Relations,
	}
	if reading.Partial {
		return o, nil
	}
	document, err := r.l.kind.Document(raw, reading.Derived)
	if err != nil {
		return o, err
	}
	o.Document = json.RawMessage(document)
	return o, nil
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
