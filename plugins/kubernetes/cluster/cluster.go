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
	"time"

	"github.com/go-json-experiment/json"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
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
	rest *rest.RESTClient
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
	config, err := access.config()
	if err != nil {
		return nil, err
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of the API server: %w", err)
	}
	c := &Cluster{rest: client, Host: config.Host}
	if c.Version, err = c.AskVersion(ctx); err != nil {
		return nil, err
	}
	var namespace struct {
		Metadata object.Meta `json:"metadata"`
	}
	if err := c.get(ctx, "/api/v1/namespaces/kube-system", "", &namespace); err != nil {
		return nil, fmt.Errorf("finding out which cluster this is (the uid of the namespace kube-system): %w", err)
	}
	if namespace.Metadata.UID == "" {
		return nil, errors.New("finding out which cluster this is: the namespace kube-system has no uid")
	}
	c.ID = namespace.Metadata.UID
	return c, nil
}

func (a Access) config() (*rest.Config, error) {
	if a.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("using the pod's service account (set the option kubeconfig outside of a cluster): %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: a.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: a.Context},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", a.Kubeconfig, err)
	}
	return config, nil
}

func newClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: serializer.NewCodecFactory(scheme)}
	config.GroupVersion = &schema.GroupVersion{}
	config.UserAgent = "reeve-agent/" + version.String()
	// The server's priority and fairness paces a client better than a fixed rate.
	config.QPS = -1
	// Deprecation warnings are about a choice that the server itself makes here:
	// the versions that it prefers.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	return rest.UnversionedRESTClientFor(config)
}

// AskVersion asks the server for its version.
func (c *Cluster) AskVersion(ctx context.Context) (v Version, err error) {
	if err := c.get(ctx, "/version", "", &v); err != nil {
		return v, fmt.Errorf("asking the API server for its version: %w", err)
	}
	return v, nil
}

// Ready asks whether the server is ready to serve: it also answers before its
// caches and roles are complete.
func (c *Cluster) Ready(ctx context.Context) error {
	if _, err := c.rest.Get().AbsPath("/readyz").Timeout(requestTimeout).DoRaw(ctx); err != nil {
		return fmt.Errorf("asking the API server whether it is ready: %w", explain(err))
	}
	return nil
}

// requestTimeout bounds what is neither a list nor a watch.
const requestTimeout = 30 * time.Second

// get gets a small answer.
func (c *Cluster) get(ctx context.Context, path, accept string, into any) error {
	request := c.rest.Get().AbsPath(path).Timeout(requestTimeout)
	if accept != "" {
		request.SetHeader("Accept", accept)
	}
	raw, err := request.DoRaw(ctx)
	if err != nil {
		return explain(err)
	}
	if err := json.Unmarshal(raw, into, lenient); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}

// NotFound reports whether the server said that something does not exist.
func NotFound(err error) bool { return apierrors.IsNotFound(err) }

// Forbidden reports whether the server said that the agent may not.
func Forbidden(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsMethodNotSupported(err)
}

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

// explain puts what people can do about it behind the errors they meet most.
func explain(err error) error {
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: the API server does not accept the credentials", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: give the agent's account the verbs get, list and watch there, or exclude it", err)
	}
	return err
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
