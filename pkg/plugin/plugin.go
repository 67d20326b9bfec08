// Package plugin is the contract between an agent and what observes its site.
//
// A [Plugin] describes itself and makes collectors. A [Collector] is one
// configured observer: of this machine, of one Kubernetes cluster, of one
// OpenStack cloud. It divides what it observes into scopes, and for each
// [Scope] it can
//
//   - sweep: list everything once. Begin, upsert each asset, commit. What an
//     earlier sweep held and this one does not is deleted, at commit and only
//     inside the scope. A sweep that is not committed deletes nothing.
//   - watch: follow the changes, for as long as it can, from the checkpoint
//     that the last commit or the last applied fact left behind.
//
// A collector knows nothing of spools, networks or other agents. It does not
// compare with what it said before (an unchanged observation is dropped behind
// the contract), it does not retry a failed scope (it returns the error and is
// called again, later and later), and it does not redact (though it should
// never ask for a secret that it can do without).
//
// The contract passes only plain data through its calls, so that a collector
// can also live in a process of its own.
package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"
)

// ErrCheckpointExpired is returned by [Watcher.Watch] when the source no longer
// knows the checkpoint (Kubernetes: 410 Gone). The scope is then swept, and
// watched again from the checkpoint of that sweep.
var ErrCheckpointExpired = errors.New("checkpoint expired at the source")

// SourceError is the error of a scope where all of its source cannot be had: a
// service that is down, credentials that are refused. What is said of a source is
// said once, and not by each of its scopes; and when one of them succeeds, the
// others are tried at once.
type SourceError struct {
	// Source is the same text for all scopes that share the source: "compute in
	// RegionOne".
	Source string
	Err    error
}

// Error implements [error].
func (e *SourceError) Error() string { return e.Source + ": " + e.Err.Error() }

// Unwrap returns why the source cannot be had.
func (e *SourceError) Unwrap() error { return e.Err }

// Plugin is what a package of plugins/ exports.
type Plugin interface {
	// Describe says what the plugin is. It is called often and does no I/O.
	Describe() Description
	// New checks a configuration and makes a collector of it. It does no I/O,
	// so a configuration can be checked where the source is out of reach.
	New(Config) (Collector, error)
}

// Description is what a plugin says of itself.
type Description struct {
	// Name is the plugin's name in configuration files: "host".
	Name string
	// Summary is one sentence for people.
	Summary string
	// Stability says what users may rely on.
	Stability Stability
	// Types are the asset types known in advance. Types that are only found at
	// run time come with the scope that holds them.
	Types []Type
	// Options and Credentials are JSON Schemas (draft 2020-12) of
	// [Config.Options] and [Config.Credentials]. Nil means that there are none.
	Options     json.RawMessage
	Credentials json.RawMessage
}

// Stability is a promise about a plugin's behaviour and asset types.
type Stability string

// The stabilities: an experimental plugin may change or vanish, a beta one
// changes only with a note in the changelog, a stable one stays compatible.
const (
	Experimental Stability = "experimental"
	Beta         Stability = "beta"
	Stable       Stability = "stable"
)

// Type describes one type of asset.
type Type struct {
	// Name is provider.group.Kind, such as "host.network.Interface".
	Name string
	// Title is the name for people, in the singular: "Network interface".
	Title string
	// Volatile are the document paths whose value changes without the asset
	// changing (counters, free space, heartbeat times). They are kept in the
	// document, but a change of theirs alone makes no new version. A path is
	// keys joined by dots, passes through arrays, covers all that lies below
	// it, and may have * for one whole key: "usage.free", "status.*.time".
	Volatile []string
	// Layout says how consoles show the type, as JSON. It may be nil.
	Layout json.RawMessage
}

// Config is one configured use of a plugin.
type Config struct {
	// Name tells several uses of one plugin apart: "cloud-west". It is part of
	// every scope's identity, so it must stay the same.
	Name string
	// Options and Credentials are JSON objects that match the plugin's schemas.
	// They may be nil. Credentials never leave the agent.
	Options     json.RawMessage
	Credentials json.RawMessage
	// Logger is never nil.
	Logger *slog.Logger
}

// Collector observes one environment. Its methods may be called concurrently,
// but never two at once for the same scope.
type Collector interface {
	// Verify makes a real call with the credentials to each service that the
	// collector needs, and says how each went. The error is for what stands in
	// the way of checking at all.
	Verify(ctx context.Context) ([]Check, error)

	// Scopes publishes the complete list of scopes whenever it changes, first
	// as soon as it is known. A collector whose scopes never change publishes
	// once and returns nil; any other returns when ctx ends.
	//
	// A scope that leaves the list is not deleted by that. If it left assets
	// behind it is swept once more: the collector commits an empty sweep if the
	// scope is certainly gone, and returns an error if it cannot know.
	Scopes(ctx context.Context, publish func([]Scope)) error

	// Sweep lists a scope once into out: Begin, Upsert ..., Commit. An error,
	// or a return without Commit, abandons the sweep. Few sweeps of a collector run
	// at once; one that hands over nothing for a moment holds up no other, and one
	// that does so for a quarter of an hour is ended.
	Sweep(ctx context.Context, scope Scope, out Sink) error
}

// Watcher is a [Collector] that can follow changes.
type Watcher interface {
	Collector

	// Watch follows a scope that has Watch set, until ctx ends or the source
	// fails. It starts from the checkpoint. If that is empty, nothing is known
	// of what happened since the last sweep: a source that has no marks to
	// resume from begins with a sweep through out. It may sweep at any later
	// time too.
	Watch(ctx context.Context, scope Scope, from Checkpoint, out Sink) error
}

// Selector is a [Collector] whose configuration can leave scopes out.
type Selector interface {
	Collector

	// Selects reports whether the configuration has a scope collected, if the source
	// has it. It does no I/O. Assets of a scope that was collected before and is not
	// selected any more are deleted by that: up to a tenth of what the agent knows at
	// once, and beyond it when a person has said so.
	Selects(scope string) bool
}

// Scope is what one listing covers completely: a cluster's Deployments, the
// volumes of a region, a machine's network. Deletes are decided inside it.
type Scope struct {
	// Name is unique in the collector and stable over restarts. A site has one scope of
	// a collector and a name, and one agent holds it.
	Name string
	// Local is the machine that the scope is local to, where each machine has one of
	// its own: what stays the same over restarts and differs between machines. It is
	// part of the scope's identity, and empty for all others.
	Local string
	// Types found at run time that the scope holds, beyond [Description.Types].
	Types []Type
	// SweepEvery is the time between two sweeps. Zero means never again after a
	// first one: the scope's watch keeps it exact. A watch is stopped for a
	// sweep, and begun again behind it.
	SweepEvery time.Duration
	// Watch says that the collector can watch this scope.
	Watch bool
}

// Checkpoint is a collector's mark of how far it has followed a scope, such as
// a resourceVersion. It is opaque to everyone else, at most 64 KiB long, and
// stored in the same step as the facts that it came with.
type Checkpoint string

// Check is the outcome of verifying one service.
type Check struct {
	// Subject is what was tried: "netlink", "nova (RegionOne)".
	Subject string
	// Err is why it does not work, or nil.
	Err error
	// Detail is what a person would like to know: a version, a count.
	Detail string
}

// Sink takes what a collector observes in one scope. Its methods return when
// the facts are durable at the agent, and block while the agent cannot take
// more. An error is the agent's (its disk, or ctx): give up and return it.
type Sink interface {
	// Begin starts a sweep of the scope. One sweep may be open at a time.
	Begin(ctx context.Context) (Sweep, error)

	// Apply records facts in their order, and then the checkpoint. An empty
	// checkpoint leaves the last one.
	//
	// Facts whose documents have up to 1 MiB together, and no more than 4,096 of
	// them, take effect in one step with the checkpoint, or not at all. More are
	// taken too, but in several steps with the checkpoint in the last: where Apply
	// fails, or the agent dies, a first part of them may have taken effect. A fact
	// that is recorded again as it is changes nothing, so a collector that goes on
	// from the old checkpoint repeats what it must. A single observation may have
	// 6 MiB with its labels and relations, and a document 4 MiB; what is larger is
	// passed over.
	Apply(ctx context.Context, checkpoint Checkpoint, facts ...Fact) error

	// Recall calls visit with every asset of the scope as it was last recorded,
	// redacted and without its relations. A collector that goes on from a
	// checkpoint learns there what it would otherwise list anew.
	Recall(ctx context.Context, visit func(Observation) error) error
}

// Sweep is one listing under way.
type Sweep interface {
	// Upsert records what was listed. It may return before the observations
	// are durable; Commit does not.
	Upsert(ctx context.Context, observations ...Observation) error
	// Keep declares that assets still are what was recorded of them, where the
	// source says so in less than a document: their generation is the same, or the
	// part of it that knows more is away. Of an asset that was never recorded it
	// says nothing.
	Keep(ctx context.Context, keys ...Key) error
	// Unread declares that the listing has an element that cannot be read, and why, in
	// words: it is told, and counted. What was recorded of the asset stays. The key is
	// zero where it is not known which asset it is: then what is missing from the listing
	// may be it, and Commit deletes nothing.
	Unread(ctx context.Context, key Key, why string) error
	// Commit declares the listing complete: assets of the scope that were
	// neither upserted, applied nor kept since Begin are deleted.
	Commit(ctx context.Context, checkpoint Checkpoint) error
}

// Fact is exactly one of an observation, a deletion, an event, a usage, and a change
// that cannot be read.
type Fact struct {
	Upsert *Observation
	Delete *Key
	Event  *Event
	Usage  *Usage
	Unread *Unread
}

// Unread is something of an asset that cannot be read: it is told, and counted until
// the asset can be taken or a listing says better. What was recorded of it stays.
type Unread struct {
	// Key is zero where it is not known which asset it is.
	Key Key
	// Why is for people.
	Why string
}

// Key names an asset: a type and an identifier that is unique in the site.
type Key struct {
	Type string
	UID  string
}

// Observation is what a collector says of one asset at one moment.
type Observation struct {
	Key
	// Name is what people call the asset.
	Name string
	// Region and Project are where the asset lives in its provider's terms: a
	// region or cluster, and a project or namespace. They may be empty.
	Region  string
	Project string
	// Status is the asset's own state in its provider's words: "ACTIVE", "up".
	Status string
	// Labels are the asset's labels, tags or metadata pairs.
	Labels map[string]string
	// CreatedAt and UpdatedAt are the source's times, or zero. An asset with
	// another CreatedAt than before is another asset of the same key: the one
	// before is recorded as deleted.
	CreatedAt time.Time
	UpdatedAt time.Time
	// Document is everything that the source says of the asset: a JSON object.
	Document json.RawMessage
	// Relations are all edges that lead from this asset to others.
	Relations []Relation
}

// Relation is an edge from an observed asset to another one, which need not
// have been observed yet. Kinds are verbs read from the asset to the target:
// runs_on, attached_to, member_of, owned_by, backed_by, part_of, connected_to.
type Relation struct {
	Kind string
	To   Key
}

// Event is one happening, in the terms of CloudEvents 1.0.
type Event struct {
	// ID is made from the source's own data, so that the same happening
	// reported twice has the same ID.
	ID string
	// Type is a reverse-DNS name such as "cloud.reeve.host.interface.down".
	Type string
	// Subject is the asset that it is about. It may be empty.
	Subject Key
	// Time is when it happened, by the source's clock.
	Time time.Time
	// Severity is one of info, warning and error.
	Severity Severity
	// Message is one line for people.
	Message string
	// Data is a JSON object, or nil.
	Data json.RawMessage
}

// Usage is what an asset used of something in a period. A later one of the same
// subject, meter and start takes the place of the earlier: a period that was not
// over is told of again, with all that it has by then. Periods with other starts
// add up, so those of one subject and meter must not overlap.
type Usage struct {
	// Subject is the asset. It need not have been observed yet.
	Subject Key
	// Meter is what was used: "cpu.used", "memory.used".
	Meter string
	// Unit is in what it is counted: "core.second", "byte.second".
	Unit string
	// Start and End are the period that was measured, by the source's clock.
	Start, End time.Time
	// Quantity is how much was used, in all of the period.
	Quantity float64
}

// Severity is how much an event matters to an operator.
type Severity string

// The severities.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)
