package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

// errBroken is an answer that ends in its middle.
var errBroken = errors.New("the connection to the API server broke")

var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

const (
	// pageSize is how many objects a page of a list has.
	pageSize = 500
	// maxEmptyPages is how many pages in a row may have none.
	maxEmptyPages = 10
)

// Query narrows a list or a watch.
type Query struct {
	// Namespace is empty for all.
	Namespace string
	// LabelSelector is evaluated by the server.
	LabelSelector string
}

func (c *Cluster) request(kind object.Kind, q Query) *rest.Request {
	path := "/apis/" + kind.Group + "/" + kind.Version
	if kind.Group == "" {
		path = "/api/" + kind.Version
	}
	if q.Namespace != "" {
		path += "/namespaces/" + q.Namespace
	}
	r := c.client.Load().rest.Get().AbsPath(path+"/"+kind.Resource).SetHeader("Accept", "application/json")
	if q.LabelSelector != "" {
		r.Param("labelSelector", q.LabelSelector)
	}
	return r
}

// List is what a list says beside its objects.
type List struct {
	// Version is the resource version from which a watch continues the list. It is
	// empty where the server has none: such a kind can be listed again, not watched.
	Version string
	// Odd is how many elements are none that can be read, and Why says it of one. The
	// list does not tell what is missing from it then.
	Odd int
	Why error
}

func (l *List) odd(err error) {
	l.Odd++
	l.Why = err
}

// ErrNoList is an answer in the place of a list that is complete, and none: a Status
// that says that all is well, of a kind that is made for something else.
var ErrNoList = errors.New("the API server's answer is no list")

// List calls visit with every object of a kind. An error means that the list is not
// complete. Again, if it is not nil, is called where the list begins anew: what was
// visited until then may not exist any more.
func (c *Cluster) List(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error, again func()) (list List,
	err error) {
	if again == nil {
		again = func() {}
	}
	if _, paged := c.paged.Load(kind.String()); c.streams() && !paged {
		list, err = c.stream(ctx, kind, q, visit)
		switch {
		case refuses(err):
		case errors.Is(err, errStandsStill):
			// A server behind this one that does not know streamed lists takes the
			// request for a plain watch, and never ends the list.
			c.paged.Store(kind.String(), true)
			again()
		default:
			return list, wrap(err, "listing", kind)
		}
	}
	list, err = c.pages(ctx, kind, q, visit, again)
	return list, wrap(err, "listing", kind)
}

func wrap(err error, what string, kind object.Kind) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, kind, explain(err))
}

// streams reports whether the server streams lists as watches (WatchList), which
// spares it building a page of them in memory. Older servers take the request
// for a plain watch, which never says that the list is complete.
func (c *Cluster) streams() bool {
	major, _ := strconv.Atoi(c.Version.Major)
	minor, _ := strconv.Atoi(trimDigits(c.Version.Minor))
	return major > 1 || major == 1 && minor >= 34
}

// trimDigits returns the digits that a text begins with: "31+" is what some
// providers' servers say.
func trimDigits(s string) string {
	for i, r := range s {
		if r < '0' || r > '9' {
			return s[:i]
		}
	}
	return s
}

// stream lists by a watch that begins with the whole state.
func (c *Cluster) stream(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error) (list List, err error) {
	ctx, alive := c.guardSilence(ctx)
	defer func() { err = alive.end(err) }()
	body, err := c.request(kind, q).
		Param("watch", "true").Param("sendInitialEvents", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan)).
		Param("timeoutSeconds", strconv.Itoa(int(watchTimeout().Seconds()))).
		Stream(ctx)
	if err != nil {
		return List{}, err
	}
	defer body.Close()
	visit = alive.during(visit)
	dec := jsontext.NewDecoder(body, lenient)
	objects := 0
	for {
		change, err := read(dec, kind)
		if err != nil {
			return List{}, broken(err)
		}
		alive.sign()
		switch change.Type {
		case Added, Modified:
			if change.Odd != nil {
				list.odd(change.Odd)
				continue
			}
			objects++
			if err := visit(change.Object); err != nil {
				return List{}, err
			}
		case Bookmark:
			if change.listEnds {
				list.Version = change.Version
				return list, list.check(objects)
			}
		default:
			return List{}, fmt.Errorf("the list came with a change of the type %s", change.Type)
		}
	}
}

// check refuses a list in which nothing can be read.
func (l *List) check(objects int) error {
	if l.Odd > 0 && objects == 0 {
		return fmt.Errorf("of %d elements of the list none can be read: %w", l.Odd, l.Why)
	}
	return nil
}

// listSilence is how long a list may stand still.
const listSilence = time.Minute

var errStandsStill = errors.New("nothing came for too long in the middle of a list")

// silence ends a list that stands still.
type silence struct {
	cancel context.CancelFunc
	limit  time.Duration
	timer  *time.Timer
	fired  atomic.Bool
}

func (c *Cluster) guardSilence(ctx context.Context) (context.Context, *silence) {
	ctx, cancel := context.WithCancel(ctx)
	s := &silence{cancel: cancel, limit: listSilence}
	if c.impatience > 0 {
		s.limit = c.impatience
	}
	s.timer = time.AfterFunc(s.limit, func() {
		s.fired.Store(true)
		cancel()
	})
	return ctx, s
}

// sign says that the list goes on.
func (s *silence) sign() { s.timer.Reset(s.limit) }

// during returns a visit of which the time does not count: the agent cannot take
// more meanwhile.
func (s *silence) during(visit func(*object.Object) error) func(*object.Object) error {
	return func(o *object.Object) error {
		s.timer.Stop()
		defer s.sign()
		return visit(o)
	}
}

// end ends the guard, and says why the list ended with an error.
func (s *silence) end(err error) error {
	s.timer.Stop()
	s.cancel()
	if err != nil && s.fired.Load() {
		return fmt.Errorf("%w: %w", errBroken, errStandsStill)
	}
	return err
}

// pages lists page by page. A list of many pages may outlast the snapshot that
// it reads from; it then begins again, in one piece.
func (c *Cluster) pages(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error, again func()) (List, error) {
	list, next, limit, objects := List{}, "", pageSize, 0
	empty := 0 // pages without an object, in a row
	// begun are the objects that pages begin with: no two begin with the same one, unless
	// they go in a circle.
	begun, begins, circle := make(map[[2]string]bool), true, false
	count := func(o *object.Object) error {
		if begins {
			begins = false
			first := [2]string{o.Meta.Namespace, o.Meta.Name}
			circle, begun[first] = circle || begun[first], true
		}
		objects++
		return visit(o)
	}
	for {
		request := c.request(kind, q)
		if limit > 0 {
			request.Param("limit", strconv.Itoa(limit))
		}
		if next != "" {
			request.Param("continue", next)
		}
		before := objects
		begins = true
		page, more, err := c.page(ctx, request, kind, count)
		switch {
		case Expired(err) && limit > 0:
			list, next, limit, objects = List{}, "", 0, 0
			clear(begun)
			again()
			continue
		case err != nil:
			return List{}, err
		}
		list.Version = page.Version
		if page.Odd > 0 {
			list.Odd, list.Why = list.Odd+page.Odd, page.Why
		}
		if empty++; objects > before {
			empty = 0
		}
		switch {
		case more == "":
			return list, list.check(objects)
		case more == next || circle || empty > maxEmptyPages:
			return List{}, fmt.Errorf("the list has no end: %d objects, and each page points to another one", objects)
		}
		next = more
	}
}

func (c *Cluster) page(ctx context.Context, request *rest.Request, kind object.Kind, visit func(*object.Object) error) (list List,
	next string, err error) {
	ctx, alive := c.guardSilence(ctx)
	defer func() { err = alive.end(err) }()
	body, err := request.Stream(ctx)
	if err != nil {
		return List{}, "", err
	}
	defer body.Close()
	return readList(jsontext.NewDecoder(body, lenient), kind, alive.during(visit))
}

// head is what is said of a list, or of what comes in its place.
type head struct {
	Kind     string `json:"kind"`
	Metadata struct {
		ResourceVersion revision `json:"resourceVersion"`
		Continue        string   `json:"continue"`
	} `json:"metadata"`
	// Of a Status.
	Status  string              `json:"status"`
	Message string              `json:"message"`
	Reason  metav1.StatusReason `json:"reason"`
	Code    int32               `json:"code"`
}

// revision is a resource version. Some servers make a number of it.
type revision string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (v *revision) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if k := token.Kind(); k != '"' && k != '0' {
		return fmt.Errorf("a resource version is %v", token)
	}
	*v = revision(token.String())
	return nil
}

// readList reads a list object by object. It is complete only if there is no
// error.
func readList(dec *jsontext.Decoder, kind object.Kind, visit func(*object.Object) error) (list List, next string, err error) {
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return List{}, "", fmt.Errorf("%w: a list should begin (%v)", errBroken,
			err) //nolint:errorlint // the cause may be an io.EOF, which this is not
	}
	var head head
	listed := false
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return List{}, "", broken(err)
		}
		var into any
		switch name.String() {
		case "items":
			listed = true
			if err := readItems(dec, kind, &list, visit); err != nil {
				return List{}, "", err
			}
			continue
		case "kind":
			into = &head.Kind
		case "metadata":
			into = &head.Metadata
		case "status":
			into = &head.Status
		case "message":
			into = &head.Message
		case "reason":
			into = &head.Reason
		case "code":
			into = &head.Code
		default:
			if err := dec.SkipValue(); err != nil {
				return List{}, "", broken(err)
			}
			continue
		}
		raw, err := dec.ReadValue()
		if err != nil {
			return List{}, "", broken(err)
		}
		if err := json.Unmarshal(raw, into, lenient); err != nil && name.String() == "metadata" {
			return List{}, "", fmt.Errorf("reading the metadata of a list: %w", err)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return List{}, "", broken(err)
	}
	if !listed {
		return List{Version: string(head.Metadata.ResourceVersion)}, "", head.noItems()
	}
	list.Version = string(head.Metadata.ResourceVersion)
	return list, head.Metadata.Continue, nil
}

// noItems says what an answer without items is. An empty list may leave them out.
func (h *head) noItems() error {
	switch {
	case h.Kind == "Status" && h.Status == metav1.StatusFailure:
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: h.Status, Message: h.Message, Reason: h.Reason, Code: h.Code}}
	case h.Kind == "Status":
		return fmt.Errorf("%w, but a Status: %.200q", ErrNoList, h.Message)
	case strings.HasSuffix(h.Kind, "List") && h.Metadata.ResourceVersion != "" && h.Metadata.Continue == "":
		return nil
	}
	return errors.New("the answer to a list has no items")
}

// readItems reads the elements of a list. One that cannot be read is counted, and
// holds up no other.
func readItems(dec *jsontext.Decoder, kind object.Kind, list *List, visit func(*object.Object) error) error {
	if dec.PeekKind() == 'n' { // some aggregated servers say null for none
		return broken(dec.SkipValue())
	}
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '[' {
		return fmt.Errorf("%w: the elements of a list should begin: %w", errBroken, err)
	}
	for {
		if dec.PeekKind() == ']' {
			_, err := dec.ReadToken()
			return broken(err)
		}
		raw, err := dec.ReadValue()
		if err != nil {
			return fmt.Errorf("a list should go on: %w", broken(err))
		}
		o, err := object.Read(kind, raw)
		if err != nil {
			list.odd(err)
			continue
		}
		if err := visit(o); err != nil {
			return err
		}
	}
}

// broken marks an error of reading an answer.
func broken(err error) error {
	if err == nil || errors.Is(err, errBroken) || status(err) != 0 {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// ChangeType is what a watch says has happened.
type ChangeType string

// The types of changes.
const (
	Added    ChangeType = "ADDED"
	Modified ChangeType = "MODIFIED"
	Deleted  ChangeType = "DELETED"
	Bookmark ChangeType = "BOOKMARK"
)

// Change is one message of a watch.
type Change struct {
	Type ChangeType
	// Object is the object, or its last state if it is deleted. Nil with a
	// bookmark.
	Object *object.Object
	// Odd is why the object cannot be read. It is nil then.
	Odd error
	// Version is the resource version that the watch has reached. It is empty where
	// that is not said.
	Version string

	listEnds bool
}

// Watch is a watch under way. Read it in a loop until an error; io.EOF is how
// the server ends one after some minutes.
type Watch struct {
	kind    object.Kind
	body    io.ReadCloser
	dec     *jsontext.Decoder
	Timeout time.Duration
}

// watchTimeout is how long the server is asked to keep a watch. The many
// watches of an agent end at different times.
func watchTimeout() time.Duration {
	return 5*time.Minute + rand.N(5*time.Minute)
}

// Watch follows the changes of a kind behind a resource version.
func (c *Cluster) Watch(ctx context.Context, kind object.Kind, q Query, version string) (*Watch, error) {
	timeout := watchTimeout()
	body, err := c.request(kind, q).
		Param("watch", "true").Param("allowWatchBookmarks", "true").Param("resourceVersion", version).
		Param("timeoutSeconds", strconv.Itoa(int(timeout.Seconds()))).
		Stream(ctx)
	if err != nil {
		return nil, wrap(err, "watching", kind)
	}
	return &Watch{kind: kind, body: body, dec: jsontext.NewDecoder(body, lenient), Timeout: timeout}, nil
}

// Close ends the watch.
func (w *Watch) Close() error { return w.body.Close() }

// Next returns the next change. The object is the caller's to keep.
func (w *Watch) Next() (Change, error) {
	change, err := read(w.dec, w.kind)
	if err != nil && !errors.Is(err, io.EOF) {
		return change, wrap(err, "watching", w.kind)
	}
	return change, err
}

// read reads one message of a watch, with a copy of the object in it. A clean
// end between two messages is io.EOF.
func read(dec *jsontext.Decoder, kind object.Kind) (Change, error) {
	raw, err := dec.ReadValue()
	if err == io.EOF { //nolint:errorlint // a wrapped one is no clean end
		return Change{}, err
	}
	if err != nil {
		return Change{}, broken(err)
	}
	var message struct {
		Type   ChangeType     `json:"type"`
		Object jsontext.Value `json:"object"`
	}
	if err := json.Unmarshal(raw, &message, lenient); err != nil {
		return Change{}, fmt.Errorf("reading a message of a watch: %w", err)
	}
	change := Change{Type: message.Type}
	switch message.Type {
	case Added, Modified, Deleted:
		if change.Object, err = object.Read(kind, message.Object); err != nil {
			change.Odd = err
			return change, nil
		}
		change.Version = change.Object.Meta.ResourceVersion
		return change, nil
	case Bookmark:
		var mark struct {
			Metadata object.Meta `json:"metadata"`
		}
		if err := json.Unmarshal(message.Object, &mark, lenient); err != nil {
			return Change{}, fmt.Errorf("reading a bookmark: %w", err)
		}
		change.Version = mark.Metadata.ResourceVersion
		change.listEnds = mark.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true"
		return change, nil
	case "ERROR":
		var status metav1.Status
		if err := json.Unmarshal(message.Object, &status, lenient); err != nil {
			return Change{}, fmt.Errorf("reading an error of a watch: %w", err)
		}
		return Change{}, &apierrors.StatusError{ErrStatus: status}
	}
	return Change{}, fmt.Errorf("a watch sent a message of the unknown type %.40q", message.Type)
}

// Try lists one object at most, to find out whether a kind can be listed.
func (c *Cluster) Try(ctx context.Context, kind object.Kind, q Query) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, _, err := c.page(ctx, c.request(kind, q).Param("limit", "1"), kind, func(*object.Object) error { return nil })
	return wrap(err, "listing", kind)
}
