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
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
)

// eventPrefix is how the types of all events begin.
const eventPrefix = "cloud.reeve.openstack."

// told is what was last known of assets whose changes are told of as events:
// the states of servers, and whether services, agents and hypervisors are up.
type told struct {
	mu     sync.Mutex
	scopes map[string]*states
}

func newTold() *told { return &told{scopes: make(map[string]*states)} }

// of returns the states of a listing's assets, or nil where none are kept.
func (t *told) of(l *listing) *states {
	if !healthKinds[l.kind.String()] && l.kind.String() != kindServers {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.scopes[l.scope()]
	if s == nil {
		s = &states{all: make(map[plugin.Key]state), asked: make(map[string]time.Time), ended: make(map[string]time.Time)}
		t.scopes[l.scope()] = s
	}
	return s
}

const kindServers = "compute/servers"

// healthKinds are kinds that are up or down.
var healthKinds = map[string]bool{"compute/services": true, "compute/hypervisors": true, "network/agents": true, "storage/services": true}

// states are the states of the assets of one listing. A nil one keeps nothing.
type states struct {
	mu  sync.Mutex
	all map[plugin.Key]state
	// recalled says that those from before the agent's start are there.
	recalled bool
	// first says that the cloud is looked at for the first time: what was done to its
	// servers before is no news.
	first bool
	// asked are the servers whose actions were asked for, or need not be, with when
	// they had been updated.
	asked map[string]time.Time
	// ended are the assets that were told of as deleted lately, with when that was.
	ended map[string]time.Time
	// completeAt is up to when all changes are known, by the clock of the service.
	completeAt time.Time
}

// state is the little that is kept of an asset.
type state struct{ status, power, health string }

func stateOf(r kinds.Reading) state {
	s := state{health: strings.Clone(r.Health)}
	if r.Server != nil {
		s.status, s.power = strings.Clone(r.Server.Status), strings.Clone(r.Server.Power)
	}
	return s
}

// recall learns, once, in what states assets were when the agent last ran.
func (s *states) recall(ctx context.Context, l *listing, in kinds.Context, out plugin.Sink) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recalled {
		return nil
	}
	err := out.Recall(ctx, func(o plugin.Observation) error {
		reading, err := l.kind.Read(jsontext.Value(o.Document), in)
		if err == nil { // one of another format of documents is news again
			s.all[o.Key] = stateOf(reading)
		}
		return nil
	})
	s.recalled = err == nil
	s.first = s.recalled && len(s.all) == 0
	return err
}

// look takes note of what the first look shows.
func (s *states) look(r kinds.Reading) {
	if s == nil || r.Server == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first {
		s.asked[r.UID] = r.Updated
	}
}

// looked ends the first look, and learns from a mark what has ended before it.
func (s *states) looked(m mark) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = false
	for _, uid := range m.Ended {
		if _, ok := s.ended[uid]; !ok {
			s.ended[uid] = m.Taken
		}
	}
}

// complete says that all changes up to a moment are known.
func (s *states) complete(at time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.completeAt = at
	maps.DeleteFunc(s.asked, func(_ string, updated time.Time) bool { return updated.Before(at.Add(-overlap - oldest)) })
}

// incompleteSince is from when on changes may not be known, or zero.
func (s *states) incompleteSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.completeAt
}

// askedAbout reports whether the actions of a server were asked for.
func (s *states) askedAbout(r kinds.Reading) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[r.UID].Equal(r.Updated)
}

func (s *states) askedFor(r kinds.Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[strings.Clone(r.UID)] = r.Updated
}

// hasEnded reports whether an asset was told of as deleted lately.
func (s *states) hasEnded(uid string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ended[uid]
	return ok
}

func (s *states) hasNowEnded(uid string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[strings.Clone(uid)] = time.Now()
}

// endedLately returns what has ended and may be told of by the next poll, which
// comes after a while.
func (s *states) endedLately(poll time.Duration) []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.ended, func(_ string, told time.Time) bool { return time.Since(told) > 2*overlap+poll })
	return slices.Sorted(maps.Keys(s.ended))
}

// forget drops what was kept of an asset, and reports whether there was any.
func (s *states) forget(key plugin.Key) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.all[key]
	delete(s.all, key)
	return known
}

// keep forgets what was kept of assets that were not listed.
func (s *states) keep(listed *seen) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.all, func(key plugin.Key, _ state) bool { return !listed.has(key) })
}

// news returns the events that a reading tells of, compared with the one before.
// A first reading tells of none.
func (s *states) news(r kinds.Reading) (events []plugin.Event) {
	if s == nil || r.Deleted {
		return nil
	}
	now := stateOf(r)
	s.mu.Lock()
	before, known := s.all[r.Key]
	s.all[r.Key] = now
	s.mu.Unlock()
	if !known || before == now {
		return nil
	}
	at := r.Updated
	if at.IsZero() {
		at = time.Now()
	}
	tell := func(typ string, severity plugin.Severity, message string, data any) {
		text, err := json.Marshal(data)
		if err != nil {
			panic(err) // there is nothing in it that JSON cannot say
		}
		events = append(events, plugin.Event{
			ID: kinds.EventID(r.UID, typ, at.UTC().Format(time.RFC3339)), Type: eventPrefix + typ, Subject: r.Key,
			Time: at, Severity: severity, Message: message, Data: text,
		})
	}
	change := func(from, to string) any {
		return struct {
			From string `json:"from"`
			To   string `json:"to"`
		}{from, to}
	}
	if before.health != now.health && now.health != "" {
		what := strings.ToLower(r.Type[strings.LastIndexByte(r.Type, '.')+1:])
		severity := plugin.Info
		if now.health != "up" {
			severity = plugin.Error
		}
		tell(what+"."+now.health, severity, fmt.Sprintf("%s is %s", r.Name, now.health), change(before.health, now.health))
	}
	if server := r.Server; server != nil {
		if before.status != server.Status && server.Status == "ERROR" {
			message := fmt.Sprintf("Server %s is in ERROR", r.Name)
			if server.Fault != "" {
				message += ": " + server.Fault
			}
			tell("server.error", plugin.Error, message, change(before.status, server.Status))
		}
		if before.power != server.Power && before.power != "" && server.Power != "" {
			tell("server.power", plugin.Info, fmt.Sprintf("Server %s is %s", r.Name, server.Power), change(before.power, server.Power))
		}
	}
	return events
}

// actionsOf returns events of what was done to a server since a moment. The same
// action has the same id, whenever it is asked for; how it ended is another event.
func actionsOf(ctx context.Context, r *elementReader, server kinds.Reading, since time.Time) (facts []plugin.Fact, err error) {
	type action struct {
		Action  string `json:"action"`
		Request string `json:"request_id"`
		User    string `json:"user_id"`
		Project string `json:"project_id"`
		Start   string `json:"start_time"`
		Message string `json:"message"`
	}
	_, err = r.service.List(ctx, cloud.List{
		Request: cloud.Request{
			Path:  "servers/" + url.PathEscape(server.UID) + "/os-instance-actions",
			Query: url.Values{"changes-since": {since.UTC().Format("2006-01-02T15:04:05Z")}},
			// 2.58 has the filter, and 2.21 those of servers that are deleted.
			Microversion: cloud.ParseMicroversion("2.58"),
		},
		Envelope: "instanceActions", Limit: 1000,
	}, func(raw jsontext.Value) error {
		var a action
		if err := kinds.Decode(raw, &a); err != nil {
			return err
		}
		at, ok := kinds.ParseTime(a.Start)
		if a.Action == "" || !ok {
			return nil
		}
		data, err := json.Marshal(struct {
			Action  string `json:"action"`
			Request string `json:"request_id,omitempty"`
			User    string `json:"user_id,omitempty"`
			Project string `json:"project_id,omitempty"`
			Error   string `json:"error,omitempty"`
		}{a.Action, a.Request, a.User, a.Project, a.Message})
		if err != nil {
			return err
		}
		e := plugin.Event{
			ID:   kinds.EventID(server.UID, a.Request, a.Action),
			Type: eventPrefix + "server." + strings.ReplaceAll(a.Action, "-", "_"), Subject: server.Key,
			Time: at, Severity: plugin.Info, Message: fmt.Sprintf("Server %s: %s", server.Name, a.Action), Data: data,
		}
		facts = append(facts, plugin.Fact{Event: &e})
		if a.Message != "" {
			failed := e
			failed.ID += "-failed"
			failed.Type += ".failed"
			failed.Severity, failed.Message = plugin.Error, fmt.Sprintf("Server %s: %s failed: %s", server.Name, a.Action, a.Message)
			facts = append(facts, plugin.Fact{Event: &failed})
		}
		return nil
	})
	if errors.Is(err, cloud.ErrNotFound) || errors.Is(err, cloud.ErrForbidden) || ofOne(err) {
		return nil, nil // it is gone for good, or what was done is not shown, or cannot be
	}
	return facts, err
}
