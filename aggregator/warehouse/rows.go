package warehouse

import (
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/document"
)

// Group is what is inserted together. Its content never changes: an insert that
// may or may not have happened is repeated with the very same rows.
type Group struct {
	ID         uuid.UUID
	ReceivedAt time.Time // to the millisecond
	// Within are the ids of larger groups that this one is a part of. If inserting one of
	// them came as far as a table, the rows of this one are there, as that one's.
	Within []uuid.UUID

	Types       []AssetType
	Versions    []AssetVersion
	Relations   []Relation
	Events      []Event
	Usage       []Usage
	Gaps        []Gap
	DeadLetters []DeadLetter
}

// Operation is what a version did to its asset.
type Operation int8

// The operations, as the warehouse numbers them.
const (
	Created Operation = 1
	Updated Operation = 2
	Deleted Operation = 3
)

// String is the operation's name in the warehouse.
func (o Operation) String() string {
	switch o {
	case Created:
		return "created"
	case Updated:
		return "updated"
	}
	return "deleted"
}

// Origin is who shipped a record.
type Origin struct {
	Site    string
	AgentID string
	SpoolID string
	Seq     uint64
}

// AssetType is what a site's agents say of a type of assets.
type AssetType struct {
	Origin
	Name, Title string
	// Layout is JSON (package layout), or empty.
	Layout  []byte
	Version uint64
}

// AssetVersion is one version of an asset.
type AssetVersion struct {
	Origin
	Type, UID string
	// Version orders the versions of an asset. ClaimedVersion is the stamp that the
	// agent gave, where that is another one because it was too far ahead.
	Version, ClaimedVersion       uint64
	Operation                     Operation
	Scope                         string
	Name, Region, Project, Status string
	Labels                        map[string]string
	Hash                          document.Hash
	Document                      []byte
	// Fields is the document, flattened (document.Fields).
	Fields  []document.Field
	Changed []string
	// Edges are the relations that lead from the asset.
	Edges                            []Relation
	CreatedAt, UpdatedAt, ObservedAt time.Time
}

// Relation is an edge, or the end of one.
type Relation struct {
	Site              string
	FromType, FromUID string
	Kind              string
	ToType, ToUID     string
	Version           uint64
	Deleted           bool
}

// Event is one happening.
type Event struct {
	Origin
	ID, Type, Source    string
	AssetType, AssetUID string
	Time                time.Time
	Severity, Message   string
	Data                []byte
}

// Usage is what an asset used of something in a period. Of two with the same
// asset, meter and start the one with the larger version holds.
type Usage struct {
	Origin
	AssetType, AssetUID string
	Scope               string
	Meter, Unit         string
	Start, End          time.Time
	Quantity            float64
	Version             uint64
}

// Gap is what an agent gave up of the records FirstSeq to LastSeq of its spool.
type Gap struct {
	Origin
	Class             string
	FirstSeq, LastSeq uint64
	Reason            string
	// How many are missing, by kind.
	Versions, AssetTypes, Events, Usages, Unknown uint64
	// When the first and the last of them was observed, or zero.
	Earliest, Latest time.Time
}

// DeadLetter is a record, or a whole batch, that could not be taken.
type DeadLetter struct {
	Origin
	Class string
	// Scope, Type, UID and Version say which asset's version it was, where it was one.
	Scope, Type, UID string
	Version          uint64
	Records          uint32
	Reason           string
	Raw              []byte
}
