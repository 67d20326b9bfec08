package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// maxPage is the size of the largest answer that is read. A page of a thousand
	// servers has some 5 MB.
	maxPage = 256 << 20
	// maxElement is the size of the largest element of a list.
	maxElement = 8 << 20
	// maxPages ends a list that leads in circles.
	maxPages = 100_000
	// stepsBack is how many markers before the last one are tried when the
	// element that was the marker is gone.
	stepsBack = 20
)

// Paging is how a service divides a list.
type Paging int

// The ways. Most services say where the next page is; some want to be asked
// until there is nothing more: that a page is smaller than was asked for does not
// say so, for a service may have a limit of its own.
const (
	// Links follows the link to the next page, if the answer has one.
	Links Paging = iota
	// Marker asks for what is behind the last element, until nothing is.
	Marker
	// Offset asks for what is behind so many elements, until nothing is. Elements
	// move up when one before them goes, so the pages overlap by one: where it is
	// not the same in both, the list is read from its beginning.
	Offset
	// First reads the first page and no more.
	First
)

// List is a list of a service.
type List struct {
	Request
	// Envelope is the member of the answer that has the elements. Empty means
	// that the answer is an array.
	Envelope string
	Paging   Paging
	// Limit is how many elements a page shall have, or 0 for what the service
	// thinks best.
	Limit int
	// Key is the element's member that a marker names. Empty means id.
	Key string
	// Ended says that elements which are deleted are in the list: a service may
	// refuse them as markers.
	Ended bool

	// known is the element that a page of an offset begins with, and the page before
	// ended with.
	known string
}

// Listed is what is known of a list that was read to its end.
type Listed struct {
	// At is when the list was begun, by the service's clock.
	At time.Time
	// Pages and Elements are how many were read.
	Pages, Elements int
}

// List reads a list to its end and calls visit with each element, which is valid
// until visit returns. An element may come more than once: a page that broke off
// is read again, and elements move while pages are turned. An error means that the
// list is not complete, whatever was visited.
func (s *Service) List(ctx context.Context, l List, visit func(jsontext.Value) error) (Listed, error) {
	var done Listed
	query := url.Values{}
	maps.Copy(query, l.Query)
	if l.Limit > 0 {
		query.Set("limit", strconv.Itoa(l.Limit))
	}
	key := l.Key
	if key == "" {
		key = "id"
	}
	// keys are those of the page before: should its last element be deleted
	// before the next page is asked for, the ones before it do as well.
	var keys []string
	linked, restarts, overlap := false, 0, 0
	var circle circle
	// asked are the pages that were asked for, where the service leads to the next.
	asked := make(map[string]bool)
	for {
		if l.Paging == Links {
			if asked[query.Encode()] {
				return done, fmt.Errorf("listing %s of %s: the links to the next page lead in a circle", l.Path, s.API.Name)
			}
			asked[query.Encode()] = true
		}
		if done.Pages == maxPages {
			return done, fmt.Errorf("listing %s of %s: %d pages, and no end", l.Path, s.API.Name, done.Pages)
		}
		p, err := s.page(ctx, l, query, key, visit)
		for back := 2; err != nil && isGone(err) && query.Get("marker") != "" && back <= min(stepsBack, len(keys)); back++ {
			query.Set("marker", keys[len(keys)-back])
			p, err = s.page(ctx, l, query, key, visit)
		}
		if err != nil && isGone(err) && l.Ended && l.Paging == Marker && done.Pages > 0 && !linked {
			// All of the page before is deleted, and it did not lead to another.
			return done, nil
		}
		if err != nil {
			return done, fmt.Errorf("listing %s of %s: %w", l.Path, s.API.Name, err)
		}
		if done.Pages == 0 {
			done.At = p.at
		}
		done.Pages++
		linked = p.next != ""
		switch {
		case l.Paging == Marker && len(p.keys) > 0 && slices.Equal(p.keys, keys):
			return done, fmt.Errorf("listing %s of %s: the page behind %q is the same once more", l.Path, s.API.Name, query.Get("marker"))
		case l.Paging == Offset && overlap == 0 && len(p.keys) > 0 && slices.Equal(p.keys, keys):
			return done, nil // it knows no offset, and has one element
		case overlap > 0:
			again, err := overlaps(l, p, keys)
			if err != nil {
				return done, fmt.Errorf("listing %s of %s: %w", l.Path, s.API.Name, err)
			}
			if again {
				if restarts++; restarts == maxRestarts {
					return done, fmt.Errorf("listing %s of %s: its elements moved each of %d times that it was read", l.Path, s.API.Name, restarts)
				}
				done.Elements, keys, overlap, l.known = 0, nil, 0, ""
				circle.begun = nil
				query.Del("offset")
				continue
			}
			if p.elements > 0 && len(p.keys) == len(keys) && slices.Equal(p.keys, keys) && len(keys) > 1 {
				return done, nil // it knows no offset, and all was in the first page
			}
			if p.elements == overlap {
				return done, nil
			}
		}
		if circle.closes(p) {
			return done, fmt.Errorf("listing %s of %s: %d pages, and they lead in a circle", l.Path, s.API.Name, done.Pages)
		}
		done.Elements += p.elements - overlap
		if len(p.keys) > 0 {
			keys = p.keys
		}
		overlap, l.known = l.overlap(p), ""
		if overlap > 0 {
			l.known = keys[len(keys)-1]
		}
		query, err = l.next(query, p, keys, done.Elements)
		if err != nil {
			return done, fmt.Errorf("listing %s of %s: %w", l.Path, s.API.Name, err)
		}
		if query == nil {
			return done, nil
		}
	}
}

// maxEmpty is how many pages in a row may be empty, and lead to another.
const maxEmpty = 10

// circle tells pages that lead in a circle, by the elements that they begin with.
type circle struct {
	begun map[string]bool
	empty int
}

// closes takes note of a page, and reports whether it was there before.
func (c *circle) closes(p page) bool {
	if p.elements == 0 {
		c.empty++
		return c.empty > maxEmpty
	}
	c.empty = 0
	if len(p.keys) == 0 {
		return false
	}
	if c.begun == nil {
		c.begun = make(map[string]bool)
	}
	again := c.begun[p.keys[0]]
	c.begun[p.keys[0]] = true
	return again
}

// overlap is how many elements of a page the next one has, too. A page of one may
// be all that the service has in any.
func (l *List) overlap(p page) int {
	if l.Paging == Offset && p.elements > 1 {
		return 1
	}
	return 0
}

// maxRestarts is how often a list whose elements move is read.
const maxRestarts = 5

// overlaps compares a page with the one before, whose last element must be its
// first. It reports whether the list is to be read again.
func overlaps(l List, p page, before []string) (again bool, err error) {
	switch {
	case len(before) == 0:
		return false, fmt.Errorf("the elements have no %s to tell them by", cmp.Or(l.Key, "id"))
	case len(p.keys) == 0:
		return true, nil
	case p.keys[0] == before[len(before)-1]:
		return false, nil
	case slices.Equal(p.keys, before):
		if len(before) == l.Limit {
			return false, fmt.Errorf("the page behind %d elements is the first one once more", len(before))
		}
		return false, nil
	}
	return true, nil
}

// next returns the query of the next page behind so many elements, or nil if there
// is none.
func (l *List) next(query url.Values, p page, keys []string, elements int) (url.Values, error) {
	switch l.Paging {
	case Links:
		if p.next == "" {
			return nil, nil
		}
		// The address in the link may be one that is only known inside the cloud.
		u, err := url.Parse(p.next)
		if err != nil {
			return nil, fmt.Errorf("the link to the next page: %w", err)
		}
		next := u.Query()
		if len(next) == 0 || next.Encode() == query.Encode() {
			return nil, fmt.Errorf("the link to the next page, %.200q, leads to the same page", p.next)
		}
		return next, nil
	case Marker:
		if p.elements == 0 {
			return nil, nil
		}
		if len(p.keys) == 0 {
			return nil, fmt.Errorf("the elements have no %s to go on from", cmp.Or(l.Key, "id"))
		}
		query.Set("marker", keys[len(keys)-1])
		return query, nil
	case Offset:
		if p.elements == 0 {
			return nil, nil
		}
		query.Set("offset", strconv.Itoa(elements-l.overlap(p)))
		return query, nil
	default:
		return nil, nil
	}
}

// page is one page that was read.
type page struct {
	at       time.Time
	elements int
	keys     []string
	next     string
}

// errCut says that an answer is not whole.
var errCut = errors.New("the answer broke off")

// isGone reports whether a page was refused for its marker.
func isGone(err error) bool {
	if errors.Is(err, ErrNotFound) {
		return true
	}
	text := strings.ToLower(err.Error())
	return strings.HasPrefix(text, "400: ") && strings.Contains(text, "marker")
}

// page reads one page, and once more if it breaks off.
func (s *Service) page(ctx context.Context, l List, query url.Values, key string, visit func(jsontext.Value) error) (page, error) {
	r := l.Request
	r.Query = query
	for n := 1; ; n++ {
		p, err := s.readPage(ctx, l, r, key, visit)
		if err == nil || !errors.Is(err, errCut) || n == 3 || ctx.Err() != nil {
			return p, err
		}
		if err := retry.Sleep(ctx, time.Duration(n)*s.cloud.transport.first); err != nil {
			return p, err
		}
	}
}

func (s *Service) readPage(ctx context.Context, l List, r Request, key string, visit func(jsontext.Value) error) (p page, err error) {
	answer, err := s.do(ctx, r, s.address(r))
	if err != nil {
		return p, err
	}
	defer answer.Body.Close()
	p.at = clock(answer.Header)
	if answer.StatusCode == http.StatusNoContent {
		if l.Envelope != "" {
			return p, errors.New("the answer is empty")
		}
		return p, nil
	}
	body := &io.LimitedReader{R: answer.Body, N: maxPage}
	dec := jsontext.NewDecoder(body, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var ours error
	element := func(v jsontext.Value) error {
		p.elements++
		k := memberText(v, key)
		if k == "" && l.Paging == Offset {
			k = string(v) // it is told by all that it has
		}
		if k != "" {
			p.keys = append(p.keys, k)
		}
		if p.elements == 1 && l.known != "" && k == l.known {
			return nil
		}
		ours = visit(v)
		return ours
	}
	err = decodePage(dec, l.Envelope, element, &p.next)
	switch {
	case err == nil:
		return p, nil
	case ours != nil:
		return p, ours
	case body.N <= 0:
		return p, fmt.Errorf("the answer has more than %d bytes; a smaller page is needed", maxPage)
	case ctx.Err() != nil:
		return p, ctx.Err()
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errShape) {
		return p, fmt.Errorf("the answer is not what a list is: %w", err)
	}
	return p, fmt.Errorf("%w: %w", errCut, err)
}
