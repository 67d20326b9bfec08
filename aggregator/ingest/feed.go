package ingest

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

const (
	// feedPage is how many versions subscribers get at a time.
	feedPage = 500
	// feedBytes is how many bytes of what was published a subscriber may be behind.
	// All who are behind hold the same ones.
	feedBytes = 64 << 20
	// versionBytes is about what a version takes without its texts.
	versionBytes = 512
)

// ErrFellBehind means that a subscriber was cut off, because it took less than was
// published.
var ErrFellBehind = errors.New("it reads more slowly than changes come")

// Feed tells subscribers of what was committed.
type Feed struct {
	mu          sync.Mutex
	subscribers map[*Subscription]struct{}
	cut         prometheus.Counter
}

// NewFeed returns a feed without subscribers. The registerer may be nil.
func NewFeed(r prometheus.Registerer) *Feed {
	f := &Feed{
		subscribers: make(map[*Subscription]struct{}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reeve_ingest_feed_cut_total", Help: "Watches of changes that were ended because they were read too slowly."}),
	}
	if r != nil {
		r.MustRegister(f.cut, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "reeve_ingest_feed_subscribers", Help: "Watches of changes that stand."}, func() float64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			return float64(len(f.subscribers))
		}))
	}
	return f
}

// page is a part of a group, as subscribers get it.
type page struct {
	group *warehouse.Group
	bytes int
}

// Subscription is one subscriber's view of the feed.
type Subscription struct {
	feed *Feed
	// more is poked when there is something to take, or the subscriber was cut off.
	more chan struct{}
	// pages wait to be taken. The feed's mu is held for what follows.
	pages  []page
	bytes  int
	behind bool
}

// Publish hands what changed to all subscribers. One that is too far behind is cut
// off instead: it never holds up the others.
func (f *Feed) Publish(g *warehouse.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subscribers) == 0 {
		return
	}
	pages := slim(g)
	for s := range f.subscribers {
		for _, p := range pages {
			if len(s.pages) > 0 && s.bytes+p.bytes > feedBytes {
				s.behind, s.pages, s.bytes = true, nil, 0
				delete(f.subscribers, s)
				f.cut.Inc()
				break
			}
			s.pages = append(s.pages, p)
			s.bytes += p.bytes
		}
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

// slim leaves out of a group all that is not told of: documents, labels, and what is no
// version.
func slim(g *warehouse.Group) (pages []page) {
	for first := 0; first < len(g.Versions); first += feedPage {
		part := g.Versions[first:min(first+feedPage, len(g.Versions))]
		p := page{group: &warehouse.Group{ID: g.ID, ReceivedAt: g.ReceivedAt, Versions: make([]warehouse.AssetVersion, len(part))}}
		for i := range part {
			v := part[i]
			v.Document, v.Fields, v.Labels = nil, nil, nil
			p.group.Versions[i] = v
			p.bytes += versionBytes + len(v.UID) + len(v.Name) + len(v.Status) + len(v.Region) + len(v.Project)
			for _, path := range v.Changed {
				p.bytes += 16 + len(path)
			}
		}
		pages = append(pages, p)
	}
	return pages
}

// Subscribe returns what is published from now on. Close must follow.
func (f *Feed) Subscribe() *Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &Subscription{feed: f, more: make(chan struct{}, 1)}
	f.subscribers[s] = struct{}{}
	return s
}

// Next waits for versions, and returns some of a group, without their documents and
// labels. Several subscribers have the same ones. The error is ErrFellBehind, or ctx's.
func (s *Subscription) Next(ctx context.Context) (*warehouse.Group, error) {
	for {
		s.feed.mu.Lock()
		if s.behind {
			s.feed.mu.Unlock()
			return nil, ErrFellBehind
		}
		if len(s.pages) > 0 {
			p := s.pages[0]
			s.pages[0] = page{}
			s.pages = s.pages[1:]
			s.bytes -= p.bytes
			s.feed.mu.Unlock()
			return p.group, nil
		}
		s.feed.mu.Unlock()
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subscribers, s)
	s.pages, s.bytes = nil, 0
}
