package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gophercloud/gophercloud/v2"

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

// Request is one request to a service, relative to its base.
type Request struct {
	Path  string
	Query url.Values
	// Microversion is the one that has all that is wanted; see [Service.Speaks].
	Microversion Microversion
	// Headers are more headers.
	Headers map[string]string
}

// Speaks returns the microversion that is used where wanted would be best.
func (s *Service) Speaks(wanted Microversion) Microversion {
	return within(wanted, s.Lowest, s.Highest)
}

// do makes a GET request. The caller closes the answer's body.
func (s *Service) do(ctx context.Context, r Request, address string) (*http.Response, error) {
	headers := map[string]string{}
	for k, v := range r.Headers {
		headers[k] = v
	}
	if v := s.Speaks(r.Microversion); v != (Microversion{}) {
		headers["OpenStack-API-Version"] = s.API.Header + " " + v.String()
		switch s.API.Name {
		case Compute.Name:
			headers["X-OpenStack-Nova-API-Version"] = v.String()
		case Share.Name:
			headers["X-OpenStack-Manila-API-Version"] = v.String()
		case BareMetal.Name:
			headers["X-OpenStack-Ironic-API-Version"] = v.String()
		}
	}
	answer, err := s.cloud.provider.Request(ctx, http.MethodGet, address, &gophercloud.RequestOpts{
		MoreHeaders: headers, KeepResponseBody: true, OkCodes: []int{http.StatusOK, http.StatusMultipleChoices, http.StatusNoContent},
	})
	if err != nil {
		return nil, explain(err)
	}
	return answer, nil
}

func (s *Service) address(r Request) string {
	address := s.Base + strings.TrimLeft(r.Path, "/")
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	return address
}

// Get reads one answer as it is. It returns the time by the service's clock.
func (s *Service) Get(ctx context.Context, r Request) (jsontext.Value, time.Time, error) {
	answer, err := s.do(ctx, r, s.address(r))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxElement+1))
	if err == nil && len(data) > maxElement {
		err = fmt.Errorf("the answer has more than %d bytes", maxElement)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	value := jsontext.Value(data)
	if !value.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return nil, time.Time{}, fmt.Errorf("GET %s of %s: the answer is not JSON", r.Path, s.API.Name)
	}
	return value, clock(answer.Header), nil
}

// GetMember is Get of one member of the answer, as in {"server": {...}}.
func (s *Service) GetMember(ctx context.Context, r Request, member string) (jsontext.Value, time.Time, error) {
	value, at, err := s.Get(ctx, r)
	if err != nil || member == "" {
		return value, at, err
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(value, &all, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, at, fmt.Errorf("GET %s of %s: %w", r.Path, s.API.Name, err)
	}
	inner, ok := all[member]
	if !ok {
		return nil, at, fmt.Errorf("GET %s of %s: the answer has no %s", r.Path, s.API.Name, member)
	}
	return inner, at, nil
}

// Paging is how a service divides a list.
type Paging int

// The ways. Most services say where the next page is; some want to be asked
// until there is nothing more.
const (
	// Links follows the link to the next page, if the answer has one.
	Links Paging = iota
	// Marker asks for what is behind the last element, until nothing is.
	Marker
	// Offset asks for what is behind so many elements, until nothing is.
	Offset
	// Whole lists have one page.
	Whole
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
	for k, v := range l.Query {
		query[k] = v
	}
	if l.Limit > 0 && l.Paging != Whole {
		query.Set("limit", strconv.Itoa(l.Limit))
	}
	key := l.Key
	if key == "" {
		key = "id"
	}
	// keys are those of the page before: should its last element be deleted
	// before the next page is asked for, the ones before it do as well.
	var keys []string
	for {
		if done.Pages == maxPages {
			return done, fmt.Errorf("listing %s of %s: %d pages, and no end", l.Path, s.API.Name, done.Pages)
		}
		p, err := s.page(ctx, l, query, key, visit)
		for back := 2; err != nil && isGone(err) && query.Get("marker") != "" && back <= min(stepsBack, len(keys)); back++ {
			query.Set("marker", keys[len(keys)-back])
			p, err = s.page(ctx, l, query, key, visit)
		}
		if err != nil {
			return done, fmt.Errorf("listing %s of %s: %w", l.Path, s.API.Name, err)
		}
		if done.Pages == 0 {
			done.At = p.at
		}
		done.Pages++
		done.Elements += p.elements
		if len(p.keys) > 0 {
			keys = p.keys
		}
		var more bool
		if query, more = l.next(query, p, keys, done.Elements); !more {
			return done, nil
		}
	}
}

// next returns the query of the next page, if there is one.
func (l *List) next(query url.Values, p page, keys []string, elements int) (url.Values, bool) {
	switch l.Paging {
	case Links:
		if p.next == "" {
			return nil, false
		}
		// The address in the link may be one that is only known inside the cloud.
		u, err := url.Parse(p.next)
		if err != nil {
			return nil, false
		}
		next := u.Query()
		if next.Encode() == query.Encode() {
			return nil, false
		}
		return next, len(next) > 0
	case Marker:
		if p.elements == 0 || len(keys) == 0 || l.Limit > 0 && p.elements < l.Limit {
			return nil, false
		}
		query.Set("marker", keys[len(keys)-1])
		return query, true
	case Offset:
		if p.elements == 0 || l.Limit > 0 && p.elements < l.Limit {
			return nil, false
		}
		query.Set("offset", strconv.Itoa(elements))
		return query, true
	default:
		return nil, false
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
		if l.Paging != Whole && l.Paging != Offset {
			if k := memberText(v, key); k != "" {
				p.keys = append(p.keys, k)
			}
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

// errShape says that an answer is JSON, but not a list.
var errShape = errors.New("unexpected form")

// decodePage reads an answer that has a list. A list that is missing is an error:
// an answer that says something else is no empty list.
func decodePage(dec *jsontext.Decoder, envelope string, element func(jsontext.Value) error, next *string) error {
	if envelope == "" {
		if err := decodeArray(dec, element); err != nil {
			return err
		}
		return end(dec)
	}
	if err := expect(dec, '{'); err != nil {
		return err
	}
	found := false
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		switch name := token.String(); name {
		case envelope:
			found = true
			if err := decodeArray(dec, element); err != nil {
				return err
			}
		case envelope + "_links", "links", "next":
			v, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if link := nextLink(v); link != "" {
				*next = link
			}
		default:
			if err := dec.SkipValue(); err != nil {
				return err
			}
		}
	}
	if err := expect(dec, '}'); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: there is no %s in it", errShape, envelope)
	}
	return end(dec)
}

func expect(dec *jsontext.Decoder, kind jsontext.Kind) error {
	if k := dec.PeekKind(); k != kind {
		// What cannot be peeked at is an error of reading.
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s where %s should be", errShape, k, kind)
	}
	_, err := dec.ReadToken()
	return err
}

func end(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != io.EOF {
		if err == nil {
			err = fmt.Errorf("%w: there is more than one value", errShape)
		}
		return err
	}
	return nil
}

func decodeArray(dec *jsontext.Decoder, element func(jsontext.Value) error) error {
	if err := expect(dec, '['); err != nil {
		return err
	}
	for {
		switch dec.PeekKind() {
		case ']':
			_, err := dec.ReadToken()
			return err
		case 0:
			_, err := dec.ReadToken()
			return err
		}
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if len(v) > maxElement {
			return fmt.Errorf("%w: an element has %d bytes, at most %d are taken", errShape, len(v), maxElement)
		}
		if err := element(v); err != nil {
			return err
		}
	}
}

// nextLink finds the address of the next page: in an array of links with their
// relations (Nova, Cinder, Neutron, Octavia), an object of links (Keystone,
// Designate), or a text (Glance, Ironic, Magnum, Barbican).
func nextLink(v jsontext.Value) string {
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	switch v.Kind() {
	case '"':
		var s string
		if json.Unmarshal(v, &s, lenient) == nil {
			return s
		}
	case '[':
		var links []struct {
			Rel  string `json:"rel"`
			Href string `json:"href"`
		}
		if json.Unmarshal(v, &links, lenient) == nil {
			for _, l := range links {
				if l.Rel == "next" {
					return l.Href
				}
			}
		}
	case '{':
		var links struct {
			Next *string `json:"next"`
		}
		if json.Unmarshal(v, &links, lenient) == nil && links.Next != nil {
			return *links.Next
		}
	}
	return ""
}

// memberText returns a member of an object that is a text or a number.
func memberText(object jsontext.Value, name string) string {
	v := Member(object, name)
	switch v.Kind() {
	case '"':
		var s string
		if json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) == nil {
			return s
		}
	case '0':
		return string(v)
	}
	return ""
}

// Member returns a member of an object, or nil.
func Member(object jsontext.Value, name string) jsontext.Value {
	dec := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil
		}
		if token.String() == name {
			v, err := dec.ReadValue()
			if err != nil {
				return nil
			}
			return v
		}
		if err := dec.SkipValue(); err != nil {
			return nil
		}
	}
	return nil
}

// clock returns the time of an answer by the clock of the service that made it.
func clock(h http.Header) time.Time {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Now()
	}
	return at
}

// message finds the message in the body of an error.
func message(body []byte) string {
	const most = 300
	text := ""
	var all map[string]jsontext.Value
	if json.Unmarshal(body, &all, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
		text = findMessage(all, 3)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}
	return text
}

// findMessage looks where services put their message: {"forbidden": {"message"}},
// {"error": {"message"}}, {"NeutronError": {"message"}}, {"faultstring"},
// {"errors": [{"detail"}]}.
func findMessage(all map[string]jsontext.Value, depth int) string {
	for _, name := range []string{"message", "faultstring", "detail", "description", "title", "error_message"} {
		if v := all[name]; v.Kind() == '"' {
			var s string
			if json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) == nil && s != "" {
				return s
			}
		}
	}
	if depth == 0 {
		return ""
	}
	for _, v := range all {
		if v.Kind() == '[' {
			var list []jsontext.Value
			if json.Unmarshal(v, &list, jsontext.AllowInvalidUTF8(true)) != nil || len(list) == 0 {
				continue
			}
			v = list[0]
		}
		var inner map[string]jsontext.Value
		if v.Kind() == '{' && json.Unmarshal(v, &inner, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
			if text := findMessage(inner, depth-1); text != "" {
				return text
			}
		}
	}
	return ""
}

// versions asks a service which microversions it speaks.
func (c *Cloud) versions(ctx context.Context, root string) (lowest, highest Microversion, err error) {
	answer, err := c.provider.Request(ctx, http.MethodGet, root, &gophercloud.RequestOpts{
		KeepResponseBody: true, OkCodes: []int{http.StatusOK, http.StatusMultipleChoices},
	})
	if err != nil {
		return lowest, highest, explain(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return lowest, highest, err
	}
	// Ironic and Magnum say it in headers.
	for name, values := range answer.Header {
		switch name = strings.ToLower(name); {
		case strings.HasSuffix(name, "api-minimum-version"):
			lowest = ParseMicroversion(last(values))
		case strings.HasSuffix(name, "api-maximum-version"):
			highest = ParseMicroversion(last(values))
		}
	}
	if highest != (Microversion{}) {
		return lowest, highest, nil
	}
	type told struct {
		Version    string `json:"version"`
		MinVersion string `json:"min_version"`
		MaxVersion string `json:"max_version"`
	}
	var body struct {
		Version  jsontext.Value `json:"version"`
		Versions jsontext.Value `json:"versions"`
	}
	if err := json.Unmarshal(data, &body, jsontext.AllowDuplicateNames(true)); err != nil {
		return lowest, highest, fmt.Errorf("the answer is not what it should be: %w", err)
	}
	var list []told
	if body.Versions.Kind() == '[' {
		err = json.Unmarshal(body.Versions, &list)
	} else if body.Version.Kind() == '{' {
		list = make([]told, 1)
		err = json.Unmarshal(body.Version, &list[0])
	}
	if err != nil {
		return lowest, highest, fmt.Errorf("the answer is not what it should be: %w", err)
	}
	for _, v := range list {
		for _, text := range []string{v.Version, v.MaxVersion} {
			if m := ParseMicroversion(text); highest.Less(m) {
				lowest, highest = ParseMicroversion(v.MinVersion), m
			}
		}
	}
	return lowest, highest, nil
}

// last returns the last word of a header: Magnum writes "container-infra 1.11".
func last(values []string) string {
	words := strings.Fields(strings.Join(values, " "))
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
