package watch

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
)

// Place is a set of rows of asset_version: those of groups that were received up to At, in
// milliseconds since 1970, but for what is Missing of them.
type Place struct {
	At      int64     `json:"at"`
	Missing []Missing `json:"missing,omitempty"`
}

// Missing are the rows of one group whose asset has an id from From on: all from 0 on.
type Missing struct {
	At   int64  `json:"at"`
	From uint64 `json:"from"`
}

// placeOf is the place of what can be read.
func placeOf(r ingest.Readable) Place {
	p := Place{At: r.At}
	for _, at := range r.Open {
		p.Missing = append(p.Missing, Missing{At: at})
	}
	return p
}

func (p Place) equal(q Place) bool { return p.At == q.At && slices.Equal(p.Missing, q.Missing) }

// has returns the condition that a row is in the place.
func (p Place) has(s *query.Statement) string {
	var b strings.Builder
	b.WriteString("(received_at <= " + moment(s, p.At))
	for _, m := range p.Missing {
		b.WriteString(" AND NOT (received_at = " + moment(s, m.At))
		if m.From > 0 {
			b.WriteString(" AND id >= " + s.Whole(m.From))
		}
		b.WriteString(")")
	}
	b.WriteString(")")
	return b.String()
}

// from is the time of the oldest rows that are not in the place.
func (p Place) from() int64 {
	from := p.At + 1
	for _, m := range p.Missing {
		from = min(from, m.At)
	}
	return from
}

// between returns the condition that a row is in a place, and not in one before it.
func between(s *query.Statement, from, to Place) string {
	// First what the engine finds parts by.
	return "received_at >= " + moment(s, from.from()) + " AND received_at <= " + moment(s, to.At) + " AND " + to.has(s) + " AND NOT " + from.has(s)
}

// upTo is the place between two others that has the rows of the second one up to a group and
// an asset, both of which it does not have.
func upTo(from, to Place, at int64, id uint64) Place {
	p := Place{At: max(from.At, at)}
	for _, m := range to.Missing {
		if m.At <= p.At && m.At != at {
			p.Missing = append(p.Missing, m)
		}
	}
	for _, m := range from.Missing {
		if m.At > at && !slices.ContainsFunc(p.Missing, func(o Missing) bool { return o.At == m.At }) {
			p.Missing = append(p.Missing, m)
		}
	}
	p.Missing = append(p.Missing, Missing{at, id})
	slices.SortFunc(p.Missing, func(a, b Missing) int { return int(a.At - b.At) })
	return p
}

// moment is a time of asset_version.
func moment(s *query.Statement, millis int64) string {
	return "fromUnixTimestamp64Milli(" + s.Bind("Int64", strconv.FormatInt(millis, 10)) + ", 'UTC')"
}

// token is what a watch goes on from.
type token struct {
	// Binding is of the question, and Kinds what was known of its paths.
	Binding string `json:"of"`
	Kinds   string `json:"kinds,omitempty"`
	// Issued is when the token was made, in milliseconds since 1970.
	Issued int64 `json:"issued"`
	Place
}

// Tokens are no longer than this, and have no more exceptions.
const (
	maxToken   = 8 << 10
	maxMissing = 64
)

func (t token) encode() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // it has numbers and texts only
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeToken(text, binding string) (t token, err error) {
	if len(text) > maxToken {
		return t, ErrToken
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, ErrToken
	}
	if err := json.Unmarshal(raw, &t); err != nil || t.Binding != binding || t.At < 0 || len(t.Missing) > maxMissing {
		return t, ErrToken
	}
	for i, m := range t.Missing {
		if m.At < 0 || m.At > t.At || i > 0 && m.At <= t.Missing[i-1].At {
			return t, ErrToken
		}
	}
	return t, nil
}

// bindingOf is what a token holds for: the same question.
func bindingOf(p *query.Plan) string {
	sum := sha256.Sum256([]byte(p.Binding()))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
