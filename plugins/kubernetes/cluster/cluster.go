// Package cluster talks to one Kubernetes API server: what it serves, and lists
// and watches of it.
//
// It holds no objects: each is handed over as the JSON that the server sent, and
// is gone when the callback returns. JSON, not protobuf, because a document is
// JSON in the end, because it is the only form in which fields that are newer
// than this program survive, and because it makes one path for built-in kinds
// and custom resources.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Access says how to reach an API server.
type Access struct {
	// Kubeconfig is a file. Empty means the service account of the pod that the
	// agent runs in.
	Kubeconfig string
	// Context is one of the file's. Empty means its current one.
	Context string
}

// Cluster is a client of an API server.
type Cluster struct {
	access Access
	// client is renewed when what it was made of changes. renewing is held
	// meanwhile.
	client   atomic.Pointer[client]
	renewing sync.Mutex
	// ID is the uid of the namespace kube-system.
	ID string
	// Version is what the server says of itself.
	Version Version
	// Host is the server's address.
	Host string

	// paged are the kinds whose lists must not be asked for as streams.
	paged sync.Map
	// impatience, if set, is how long a list may stand still.
	impatience time.Duration
}

// Version is the answer of /version.
type Version struct {
	Major      string `json:"major"`
	Minor      string `json:"minor"`
	GitVersion string `json:"gitVersion"`
	Platform   string `json:"platform"`
}

// Connect makes a client and asks the server who it is.
func Connect(ctx context.Context, access Access) (*Cluster, error) {
	made, err := access.client()
	if err != nil {
		return nil, err
	}
	c := &Cluster{access: access, Host: made.host}
	c.client.Store(made)
	if c.Version, err = c.AskVersion(ctx); err != nil {
		return nil, err
	}
	if c.ID, err = made.identify(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// AskVersion asks the server for its version.
func (c *Cluster) AskVersion(ctx context.Context) (v Version, err error) {
	if err := c.get(ctx, "/version", "", &v); err != nil {
		return v, fmt.Errorf("asking the API server for its version: %w", err)
	}
	return v, nil
}

// Ready asks whether the server is ready to serve: it also answers before its
// caches and roles are complete. Credentials and addresses that have changed since
// they were read are read again before.
func (c *Cluster) Ready(ctx context.Context) error {
	renewal := c.renew(ctx)
	_, err := c.client.Load().get(ctx, "/readyz", "")
	if NotFound(err) || Forbidden(err) {
		err = nil // it answers, and does not have this page or hides it
	}
	if err != nil {
		return fmt.Errorf("asking the API server whether it is ready: %w", errors.Join(err, renewal))
	}
	return nil
}

// get gets a small answer.
func (c *Cluster) get(ctx context.Context, path, accept string, into any) error {
	raw, err := c.client.Load().get(ctx, path, accept)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into, lenient); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}

// NotFound reports whether the server said that something does not exist.
func NotFound(err error) bool { return apierrors.IsNotFound(err) }

// Forbidden reports whether the server said that the account may not.
func Forbidden(err error) bool { return apierrors.IsForbidden(err) }

// Unauthorized reports whether the server said that it does not know the account.
func Unauthorized(err error) bool { return apierrors.IsUnauthorized(err) }

// Refused reports whether the server said that this may not, or cannot, be done
// with a kind.
func Refused(err error) bool { return Forbidden(err) || refuses(err) }

// Expired reports whether a resource version or continue token is too old.
func Expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// Unreachable reports whether the server gave no answer of its own: it is down,
// starting, or cut off.
func Unreachable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
	}
	var urlError *url.Error
	var netError net.Error
	return errors.As(err, &urlError) || errors.As(err, &netError) || errors.Is(err, errBroken)
}

// status returns the HTTP code of an answer that is an error, or 0.
func status(err error) int {
	if s := apierrors.APIStatus(nil); errors.As(err, &s) {
		return int(s.Status().Code)
	}
	return 0
}

// refuses reports whether a server does not know what it was asked for.
func refuses(err error) bool {
	switch status(err) {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
		http.StatusMethodNotAllowed: // to watch what can only be listed
		return true
	}
	return false
}
