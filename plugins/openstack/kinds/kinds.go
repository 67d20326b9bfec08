// Package kinds knows what OpenStack's APIs list, and what the elements of the
// lists mean: their keys, states, relations and derived facts.
//
// A [Kind] is one listing of one API. What it takes to read an element is in that
// element, with two exceptions that are looked up in a light list of their own
// ([Joins]): servers name their security groups by name, and routers do not say
// what they are connected to. Nothing in a reading changes by itself, so an object
// that was not written reads the same.
//
// # Keys
//
// What has an id that is unique everywhere has it as its uid: servers, volumes,
// ports, projects. The rest is CLOUD/REGION/KIND/NAME (CLOUD/KIND/NAME where it
// belongs to no region), with the id of the identity service for the cloud: flavors,
// hypervisors, availability zones, volume types, pools and services are referred to by
// name in all that uses them, so a relation needs no look-up, and holds whichever of
// the two comes first.
package kinds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// The verbs of relations in use, read from the asset to the target.
const (
	runsOn      = "runs_on"
	uses        = "uses"
	backedBy    = "backed_by"
	partOf      = "part_of"
	memberOf    = "member_of"
	attachedTo  = "attached_to"
	connectedTo = "connected_to"
	routesTo    = "routes_to"
	includes    = "includes"
	snapshotOf  = "snapshot_of"
	copyOf      = "copy_of"
	allows      = "allows"
	grants      = "grants"
	grantedTo   = "granted_to"
	grantedOn   = "granted_on"
	sharedWith  = "shared_with"
	ownedBy     = "owned_by"
	describes   = "describes"
)

// Kind is one listing of one API.
type Kind struct {
	API cloud.API
	// Name is the kind's own in its API, in the plural: "servers".
	Name string
	// Type is the asset type, Title its name for people in the singular.
	Type, Title string

	// Path, Envelope, Paging, Limit and MarkerKey are how it is listed.
	Path, Envelope string
	Paging         cloud.Paging
	Limit          int
	MarkerKey      string
	// Query is always added, All where all projects are seen.
	Query, All string
	// AllHeaders are added where all projects are seen.
	AllHeaders map[string]string
	// Microversion is the lowest that has all that is read: "2.73".
	Microversion string
	// Admin says that only who sees the whole cloud has this listing, or has
	// anything in it.
	Admin bool
	// Mine says that the listing has what the credential's own project has,
	// whoever asks, OfUser that who does not see all sees what is the user's.
	Mine, OfUser bool
	// ByRole says that all are in it for the role admin alone, also where others may
	// list all of other kinds. ByProjects says that it is made of lists for each
	// project or user, so that who does not see all of those does not see all.
	ByRole, ByProjects bool
	// ByDomain says that a credential of a domain sees what is the domain's, and
	// DomainQuery that it may ask for that.
	ByDomain, DomainQuery bool
	// Public says that everybody sees what is public.
	Public bool
	// Copied says that operators may make an element with the same id in several
	// regions. Hidden is a query for those that the list leaves out.
	Copied bool
	Hidden string

	// Changes is how changes since a moment are asked for.
	Changes Changes
	// ItemPath and ItemEnvelope are how one element is read: "servers/%s". Where
	// they are empty, one element cannot be read alone.
	ItemPath, ItemEnvelope string
	// Twins says that a listing may have several elements of one key: a service that
	// was registered twice, a hypervisor of two services. They are one asset.
	Twins bool
	// Every is how often it is swept, in multiples of the usual time.
	Every int
	// Volatile are the document's paths that tick.
	Volatile []string
	// Panel is the path of the element's page in Horizon for the
	// administrator, MyPanel for a project, with %s for its id. Empty means
	// none. Ids of the identity service are not in them: they look like secrets to
	// the redaction that follows.
	Panel, MyPanel string

	// read takes what is known from the element at hand.
	read func(*reader) error
	// drop are members that are left out at any depth, beside the usual ones.
	drop []string
}

// Changes is how a listing can be asked for what has changed since a moment.
type Changes int

// The ways.
const (
	// NoChanges listings cannot be asked.
	NoChanges Changes = iota
	// ChangesSince is Nova's changes-since: it has what was deleted, too.
	ChangesSince
	// ChangedSince is Neutron's changed_since.
	ChangedSince
	// UpdatedAt filters by updated_at, and by created_at for what was never
	// updated (Cinder, Glance).
	UpdatedAt
)

// Queries returns the queries that list what has changed since a moment. Where
// there are several, an element may be in each of their lists.
func (c Changes) Queries(since time.Time) []url.Values {
	since = since.UTC()
	switch c {
	case ChangesSince:
		return []url.Values{{"changes-since": {since.Format("2006-01-02T15:04:05Z")}}}
	case ChangedSince:
		return []url.Values{{"changed_since": {since.Format("2006-01-02T15:04:05Z")}}}
	case UpdatedAt:
		at := "gte:" + since.Format("2006-01-02T15:04:05")
		return []url.Values{{"updated_at": {at}}, {"created_at": {at}}}
	}
	return nil
}

// Deletions reports whether what was deleted is among the changes.
func (c Changes) Deletions() bool { return c == ChangesSince }

// String returns the kind's name in scopes: "compute/servers".
func (k *Kind) String() string { return k.API.Name + "/" + k.Name }

// All are all kinds, in the order of their APIs.
func All() []*Kind {
	return slices.Concat(
		identityKinds, computeKinds, placementKinds, networkKinds, storageKinds, imageKinds, loadBalancerKinds, otherKinds,
	)
}

// Find returns the kind of a name as in "compute/servers", or nil.
func Find(name string) *Kind {
	for _, k := range All() {
		if k.String() == name {
			return k
		}
	}
	return nil
}

// Context is where an element was listed.
type Context struct {
	// Cloud is the cloud's id, Region the region's name or empty.
	Cloud, Region string
	// Joins are looked up while reading.
	Joins Joins
	// Dashboard is the address of Horizon, or empty.
	Dashboard string
	// Project is the credential's, or empty where it sees all of the cloud.
	Project string
}

// Joins are facts about an element that only another list has.
type Joins struct {
	// SecurityGroups finds the ids of a project's security groups of a name.
	SecurityGroups func(project, name string) []string
	// Interfaces finds what a router is connected to.
	Interfaces func(router string) []Interface
	// Owners finds what has a port with an address in a subnet.
	Owners func(subnet, address string) []plugin.Key
	// Members finds the users in a group. It returns nil where it cannot be told who
	// they are: the group then stays as it was.
	Members func(group string) []string
	// Flavor finds a flavor by its id.
	Flavor func(id string) (Flavor, bool)
	// Fault finds why a server is in ERROR.
	Fault func(id string) string
}

// Flavor is what servers are like. RAM is in mebibytes, Disk and Ephemeral are in
// gibibytes.
type Flavor struct {
	Name                 string
	VCPUs                int
	RAM, Disk, Ephemeral int64
}

// Interface is one of a router's: the port, and where it leads.
type Interface struct {
	Port, Network string
	Subnets       []string
	Addresses     []string
}

// Key returns the key of an asset whose name is unique in the region only.
func (c Context) Key(typ, kind, name string) plugin.Key {
	return plugin.Key{Type: typ, UID: c.Cloud + "/" + c.Region + "/" + kind + "/" + inKey(name)}
}

// GlobalKey is Key for what belongs to no region.
func (c Context) GlobalKey(typ, kind, name string) plugin.Key {
	return plugin.Key{Type: typ, UID: c.Cloud + "/" + kind + "/" + inKey(name)}
}

// longestName is how long a name in a key may be: agents take keys of a kibibyte.
const longestName = 768

// inKey returns a name as it stands in a key. One that is too long, or has
// characters that no key may have, is escaped, and told from others by its hash.
func inKey(name string) string {
	if plain(name) && len(name) <= longestName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	escaped := url.QueryEscape(name)
	return escaped[:min(len(escaped), longestName-20)] + "~" + hex.EncodeToString(sum[:8])
}

// plain reports whether a text has nothing in it that a key may not have.
func plain(s string) bool {
	return len(s) <= 1<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\x7f' || r == utf8.RuneError })
}

// Reading is what an element means.
type Reading struct {
	plugin.Key
	// ID is the element's own in its API.
	ID      string
	Name    string
	Project string
	// Status is the element's state in its API's words.
	Status string
	Labels map[string]string
	// Created and Updated are zero where the API does not tell.
	Created, Updated time.Time
	// Derived are facts that are computed: amounts are in bytes and pieces.
	Derived document.Object
	// Relations lead from the element to what it refers to, each once.
	Relations []plugin.Relation
	// Deleted says that the element is told of as deleted, Partial that the API
	// knows no more than that it exists.
	Deleted, Partial bool
	// Health is "up" or "down" of what can be either, and Server what is told of a
	// server's changes.
	Health string
	Server *ServerState
}

// Read reads an element of a listing.
func (k *Kind) Read(raw jsontext.Value, in Context) (Reading, error) {
	r := &reader{in: in, kind: k, raw: raw}
	if err := jsonUnmarshal(raw, &r.base); err != nil {
		return r.Reading, fmt.Errorf("reading one of %s: %w", k, err)
	}
	r.begin()
	if err := k.read(r); err != nil {
		return r.Reading, fmt.Errorf("reading %s of %s: %w", r.ID, k, err)
	}
	if r.UID == "" {
		return r.Reading, fmt.Errorf("reading one of %s: it has no id", k)
	}
	r.ID = or(r.ID, r.Name)
	if r.Name == "" && !r.Partial {
		r.Name = r.ID
	}
	r.Created, r.Updated = inRange(r.Created), inRange(r.Updated)
	r.link()
	slices.SortFunc(r.Relations, compareRelations)
	r.Relations = slices.Compact(r.Relations)
	return r.Reading, nil
}

// base is what elements of many kinds have.
type base struct {
	ID          text           `json:"id"`
	UUID        text           `json:"uuid"`
	Name        text           `json:"name"`
	Project     text           `json:"project_id"`
	Tenant      text           `json:"tenant_id"`
	Status      text           `json:"status"`
	CreatedAt   moment         `json:"created_at"`
	UpdatedAt   moment         `json:"updated_at"`
	Created     moment         `json:"created"`
	Updated     moment         `json:"updated"`
	Tags        jsontext.Value `json:"tags"`
	Metadata    jsontext.Value `json:"metadata"`
	Description text           `json:"description"`
}

// reader makes the reading of one element.
type reader struct {
	in Context
	Reading
	kind *Kind
	raw  jsontext.Value
	base base
}

// begin takes what elements of many kinds have.
func (r *reader) begin() {
	b := &r.base
	r.ID = or(string(b.ID), string(b.UUID))
	r.Name = string(b.Name)
	r.Project = or(string(b.Project), string(b.Tenant))
	r.Status = string(b.Status)
	r.Created, r.Updated = b.CreatedAt.or(b.Created), b.UpdatedAt.or(b.Updated)
	if r.ID != "" {
		r.Key = plugin.Key{Type: r.kind.Type, UID: r.ID}
	}
	r.labels(b.Metadata)
	r.tags(b.Tags)
	if r.Project != "" {
		r.relate(partOf, typeProject, r.Project)
	}
}

// decode reads the element into a struct of the few fields that matter.
func (r *reader) decode(into any) error { return jsonUnmarshal(r.raw, into) }

// named makes the key of an element whose name is unique in the region only.
func (r *reader) named(kind, name string) {
	r.Key = plugin.Key{}
	if name != "" {
		r.Key = r.in.Key(r.kind.Type, kind, name)
		if r.kind.API.Global {
			r.Key = r.in.GlobalKey(r.kind.Type, kind, name)
		}
	}
}

// labels takes an object of texts.
func (r *reader) labels(object jsontext.Value) {
	var all map[string]text
	if object.Kind() != '{' || jsonUnmarshal(object, &all) != nil {
		return
	}
	for k, v := range all {
		r.label(k, string(v))
	}
}

// tags takes an array of texts. Those that are written as key=value are split.
func (r *reader) tags(array jsontext.Value) {
	var all []string
	if array.Kind() != '[' || jsonUnmarshal(array, &all) != nil {
		return
	}
	for _, tag := range all {
		k, v, _ := strings.Cut(tag, "=")
		r.label(k, v)
	}
}

// label adds a label. What does not leave the site in a document, by its name or
// by its text, does not do so here.
func (r *reader) label(k, v string) {
	if k == "" || len(k) > maxLabel || len(v) > maxLabel || r.kind.drops(k) || slices.Contains(sized, k) || boots([]byte(k)) ||
		boots([]byte(v)) {
		return
	}
	if r.Labels == nil {
		r.Labels = make(map[string]string)
	}
	r.Labels[k] = v
}

// maxLabel is the size of the longest text of a label.
const maxLabel = 1 << 10

// fact adds a derived fact.
func (r *reader) fact(name string, value any) {
	r.Derived = append(r.Derived, document.Member{Name: name, Value: value})
}

// text adds a derived fact unless it is empty.
func (r *reader) text(name, value string) {
	if value != "" {
		r.fact(name, value)
	}
}

// list adds a derived fact unless it is empty.
func (r *reader) list(name string, values []string) {
	if len(values) > 0 {
		r.fact(name, values)
	}
}

// when adds a derived fact of a time unless it is not known.
func (r *reader) when(name string, at moment) {
	if !at.isZero() {
		r.fact(name, time.Time(at))
	}
}

// amount adds a derived fact of so many units. What is no number, as a capacity
// that is "infinite", is left out.
func (r *reader) amount(name string, n number, unit float64) {
	all := n.value * unit
	switch {
	case !n.known || math.IsInf(all, 0):
	case all == math.Trunc(all) && math.Abs(all) < 1<<63:
		r.fact(name, int64(all))
	default:
		r.fact(name, all)
	}
}

// of takes the project where it is not where most elements have it.
func (r *reader) of(project string) {
	if r.Project == "" && project != "" {
		r.Project = project
		r.relate(partOf, typeProject, project)
	}
}

// relate adds a relation to an asset whose uid is its id. Nothing refers to an
// empty id.
func (r *reader) relate(verb, typ, id string) {
	if id != "" {
		r.edge(verb, plugin.Key{Type: typ, UID: id})
	}
}

// relateNamed adds a relation to an asset whose name is unique in the region only.
func (r *reader) relateNamed(verb, typ, kind, name string) {
	if name != "" {
		r.edge(verb, r.in.Key(typ, kind, name))
	}
}

// edge adds a relation to an asset. None leads to the asset itself, and none to what
// can be no asset: people write texts of all kinds where ids should be.
func (r *reader) edge(verb string, to plugin.Key) {
	if to != r.Key && plain(to.UID) {
		r.Relations = append(r.Relations, plugin.Relation{Kind: verb, To: to})
	}
}

// link adds the address of the element's page in Horizon.
func (r *reader) link() {
	panel := r.kind.Panel
	if r.in.Project != "" {
		panel = r.kind.MyPanel
	}
	if r.in.Dashboard == "" || panel == "" {
		return
	}
	if strings.Contains(panel, "%s") {
		panel = fmt.Sprintf(panel, url.PathEscape(r.ID))
	}
	r.fact("horizon", strings.TrimRight(r.in.Dashboard, "/")+"/"+panel)
}

func compareRelations(a, b plugin.Relation) int {
	if d := strings.Compare(a.Kind, b.Kind); d != 0 {
		return d
	}
	if d := strings.Compare(a.To.Type, b.To.Type); d != 0 {
		return d
	}
	return strings.Compare(a.To.UID, b.To.UID)
}

// or returns value, or another one where value is empty.
func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// text is a text, or a number or a boolean as one. Anything else is empty.
type text string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*t = ""
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
		*t = text(s)
	case '0', 't', 'f':
		*t = text(v)
	}
	return nil
}

// number is a number, also where a text has it. Of anything else it is not known.
type number struct {
	value float64
	known bool
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (n *number) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var t text
	if err := t.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	*n = numberOf(t)
	return nil
}

func numberOf(t text) number {
	value, err := strconv.ParseFloat(string(t), 64)
	if err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
		return number{}
	}
	return number{value, true}
}

// moment is a time in one of the forms that services write. Anything else is zero.
type moment time.Time

// inRange returns a time, or none where it is before there were clouds, or far ahead.
func inRange(at time.Time) time.Time {
	if at.Year() < 1970 || at.Year() >= 2200 {
		return time.Time{}
	}
	return at
}

// forms of times. Those without a zone are UTC.
var forms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999-0700", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999-07:00",
	"2006-01-02 15:04:05.999999"}

// ParseTime reads a time in one of the forms that services write.
func ParseTime(s string) (time.Time, bool) {
	for _, form := range forms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (m *moment) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var t text
	if err := t.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	at, _ := ParseTime(string(t))
	*m = moment(at)
	return nil
}

func (m moment) or(n moment) time.Time {
	if time.Time(m).IsZero() {
		return time.Time(n)
	}
	return time.Time(m)
}

// EventID makes the id of an event of what tells it from others.
func EventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Units that APIs count in.
const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// ref is a reference to something by its id.
type ref struct {
	ID text `json:"id"`
}

// lastSegment returns the id at the end of an address.
func lastSegment(address string) string {
	address = strings.TrimRight(address, "/")
	return address[strings.LastIndexByte(address, '/')+1:]
}

// sorted returns values in order: some lists come in another one each time.
func sorted(values []string) []string {
	slices.Sort(values)
	return values
}

// isZero reports whether nothing is known of a moment.
func (m moment) isZero() bool { return time.Time(m).IsZero() }

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
