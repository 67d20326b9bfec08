package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
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

// pageSize is how many objects a page of a list has.
const pageSize = 500

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
	r := c.rest.Get().AbsPath(path+"/"+kind.Resource).SetHeader("Accept", "application/json")
	if q.LabelSelector != "" {
		r.Param("labelSelector", q.LabelSelector)
	}
	return r
}

// List calls visit with every object of a kind, and returns the resource
// version from which a watch continues the list. An error means that the list
// is not complete.
func (c *Cluster) List(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error) (version string, err error) {
	if _, paged := c.paged.Load(kind.String()); c.streams() && !paged {
		version, err = c.stream(ctx, kind, q, visit)
		switch {
		case refuses(err):
		case errors.Is(err, errStandsStill):
			// A server behind this one that does not know streamed lists takes the
			// request for a plain watch, and never ends the list.
			c.paged.Store(kind.String(), true)
		default:
			return version, wrap(err, "listing", kind)
		}
	}
	version, err = c.pages(ctx, kind, q, visit)
	return version, wrap(err, "listing", kind)
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
func (c *Cluster) stream(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error) (version string, err error) {
	ctx, alive := c.guardSilence(ctx)
	defer func() { err = alive.end(err) }()
	body, err := c.request(kind, q).
		Param("watch", "true").Param("sendInitialEvents", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan)).
		Param("timeoutSeconds", strconv.Itoa(int(watchTimeout().Seconds()))).
		Stream(ctx)
	if err != nil {
		return "", err
	}
	defer body.Close()
	dec := jsontext.NewDecoder(body, lenient)
	for {
		change, err := read(dec, kind)
		if err != nil {
			return "", broken(err)
		}
		alive.sign()
		switch change.Type {
		case Added, Modified:
			if err := visit(change.Object); err != nil {
				return "", err
			}
		case Bookmark:
			if change.listEnds {
				return change.Version, nil
			}
		default:
			return "", fmt.Errorf("the list came with a change of the type %s", change.Type)
		}
	}
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
// it reads from; it then starts again, in one piece.
func (c *Cluster) pages(ctx context.Context, kind object.Kind, q Query, visit func(*object.Object) error) (version string, err error) {
	next, limit := "", pageSize
	for {
		request := c.request(kind, q)
		if limit > 0 {
			request.Param("limit", strconv.Itoa(limit))
		}
		if next != "" {
			request.Param("continue", next)
		}
		version, next, err = c.page(ctx, request, kind, visit)
		if Expired(err) && limit > 0 {
			next, limit = "", 0
			continue
		}
		if err != nil || next == "" {
			return version, err
		}
	}
}

func (c *Cluster) page(ctx context.Context, request *rest.Request, kind object.Kind, visit func(*object.Object) error) (version, next string, err error) {
	ctx, alive := c.guardSilence(ctx)
	defer func() { err = alive.end(err) }()
	body, err := request.Stream(ctx)
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	return readList(jsontext.NewDecoder(body, lenient), kind, func(o *object.Object) error {
		alive.sign()
		return visit(o)
	})
}

// readList reads a list object by object. It is complete only if there is no
// error.
func readList(dec *jsontext.Decoder, kind object.Kind, visit func(*object.Object) error) (version, next string, err error) {
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return "", "", fmt.Errorf("%w: a list should begin (%v)", errBroken, err) //nolint:errorlint // the cause may be an io.EOF, which this is not
	}
	listed := false
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", "", broken(err)
		}
		switch name.String() {
		case "metadata":
			var meta struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			}
			if err := json.UnmarshalDecode(dec, &meta, lenient); err != nil {
				return "", "", broken(err)
			}
			version, next = meta.ResourceVersion, meta.Continue
		case "items":
			listed = true
			if err := readItems(dec, kind, visit); err != nil {
				return "", "", err
			}
		default:
			if err := dec.SkipValue(); err != nil {
				return "", "", broken(err)
			}
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return "", "", broken(err)
	}
	if !listed {
		return "", "", errors.New("the answer to a list has no items")
	}
	return version, next, nil
}

func readItems(dec *jsontext.Decoder, kind object.Kind, visit func(*object.Object) error) error {
	if dec.PeekKind() == 'n' { // some aggregated servers say null for none
		return broken(dec.SkipValue())
	}
	if _, err := dec.ReadToken(); err != nil {
		return broken(err)
	}
	for {
		switch dec.PeekKind() {
		case ']':
			_, err := dec.ReadToken()
			return broken(err)
		case '{':
			raw, err := dec.ReadValue()
			if err != nil {
				return broken(err)
			}
			o, err := object.Read(kind, raw)
			if err != nil {
				return err
			}
			if err := visit(o); err != nil {
				return err
			}
		default:
			_, err := dec.ReadToken()
			return fmt.Errorf("%w: a list should go on (%v)", errBroken, err) //nolint:errorlint // the cause may be an io.EOF, which this is not
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
	// Version is the resource version that the watch has reached.
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
			return Change{}, err
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
	_, err := c.request(kind, q).Param("limit", "1").Timeout(requestTimeout).DoRaw(ctx)
	return wrap(err, "listing", kind)
}
