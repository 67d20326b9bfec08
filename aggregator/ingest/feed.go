package ingest

import (
	"sync"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
)

// Feed tells subscribers of what was committed.
type Feed struct {
	mu          sync.Mutex
	subscribers map[*Subscription]struct{}
}

// feedBuffer is how many groups a subscriber may be behind.
const feedBuffer = 64

// Subscription is one subscriber's view of the feed.
type Subscription struct {
	feed   *Feed
	groups chan *warehouse.Group
}

// Publish hands a group to all subscribers. One that is too far behind is cut
// off instead: it never holds up the others.
func (f *Feed) Publish(g *warehouse.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subscribers {
		select {
		case s.groups <- g:
		default:
			delete(f.subscribers, s)
			close(s.groups)
		}
	}
}

// Subscribe returns what is published from now on. Close must follow.
func (f *Feed) Subscribe() *Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &Subscription{feed: f, groups: make(chan *warehouse.Group, feedBuffer)}
	if f.subscribers == nil {
		f.subscribers = make(map[*Subscription]struct{})
	}
	f.subscribers[s] = struct{}{}
	return s
}

// Groups delivers the groups. It is closed when the subscriber fell behind.
func (s *Subscription) Groups() <-chan *warehouse.Group { return s.groups }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if _, ok := s.feed.subscribers[s]; ok {
		delete(s.feed.subscribers, s)
		close(s.groups)
	}
}
