package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reeve-cloud/reeve/pkg/version"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

const (
	// requestTimeout bounds what is neither a list nor a watch.
	requestTimeout = 30 * time.Second
	// maxAnswer is the largest answer to such a request. What a server with hundreds
	// of definitions says that it serves has less than 2 MiB.
	maxAnswer = 64 << 20
)

// client makes requests with one set of credentials.
type client struct {
	rest *rest.RESTClient
	host string
	// sum is that of what it was made of.
	sum [sha256.Size]byte
}

// client makes a client of what the kubeconfig, or the pod, says now.
func (a Access) client() (*client, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	sum, err := a.sum(config)
	if err != nil {
		return nil, err
	}
	r, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of the API server: %w", err)
	}
	return &client{rest: r, host: config.Host, sum: sum}, nil
}

// config reads how to reach the API server.
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

// sum tells whether anything of what a configuration says, or of the files that it
// names, has changed. Tokens in files of their own the client reads again itself.
func (a Access) sum(config *rest.Config) (sum [sha256.Size]byte, err error) {
	var kubeconfig []byte
	if a.Kubeconfig != "" {
		if kubeconfig, err = os.ReadFile(a.Kubeconfig); err != nil {
			return sum, fmt.Errorf("reading the kubeconfig: %w", err)
		}
	}
	tls := rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(tls); err != nil {
		return sum, fmt.Errorf("reading the certificates that the kubeconfig names: %w", err)
	}
	// A hash for each, so that nothing moves from one to the next.
	h := sha256.New()
	for _, part := range [][]byte{kubeconfig, []byte(config.Host), tls.CAData, tls.CertData, tls.KeyData} {
		s := sha256.Sum256(part)
		h.Write(s[:])
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
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
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	own := *h // it may be the one that all share
	own.CheckRedirect = sameHost
	return rest.UnversionedRESTClientForConfigAndClient(config, &own)
}

// maxRedirects is how many redirects a request follows.
const maxRedirects = 3

// errRedirect is an answer that leads elsewhere.
var errRedirect = errors.New("the answer is a redirect to another host, to which the credentials are not sent")

// sameHost follows redirects at the host that the kubeconfig names: the credentials are
// added to each request, wherever it goes.
func sameHost(to *http.Request, via []*http.Request) error {
	switch first := via[0].URL; {
	case to.URL.Host != first.Host || to.URL.Scheme != first.Scheme:
		return fmt.Errorf("%w: %s://%s", errRedirect, to.URL.Scheme, to.URL.Host)
	case len(via) > maxRedirects:
		return errors.New("the redirects have no end")
	}
	return nil
}

// identify asks which cluster it is.
func (c *client) identify(ctx context.Context) (id string, err error) {
	var namespace struct {
		Metadata object.Meta `json:"metadata"`
	}
	raw, err := c.get(ctx, "/api/v1/namespaces/kube-system", "")
	if err == nil {
		err = json.Unmarshal(raw, &namespace, lenient)
	}
	if err == nil && namespace.Metadata.UID == "" {
		err = errors.New("it has no uid")
	}
	if err != nil {
		return "", fmt.Errorf("finding out which cluster this is (the uid of the namespace kube-system): %w", err)
	}
	return namespace.Metadata.UID, nil
}

// get gets a small answer.
func (c *client) get(ctx context.Context, path, accept string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request := c.rest.Get().AbsPath(path)
	if accept != "" {
		request.SetHeader("Accept", accept)
	}
	// A stream's errors are those that the server sent, with the account and the verb.
	body, err := request.Stream(ctx)
	if err != nil {
		return nil, explain(err)
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return nil, broken(err)
	}
	if len(raw) > maxAnswer {
		return nil, fmt.Errorf("the answer to %s has more than %d bytes", path, maxAnswer)
	}
	return bytes.TrimSpace(raw), nil
}

// renew makes a new client, if what the one in use was made of has changed and
// still leads to the same cluster.
func (c *Cluster) renew(ctx context.Context) error {
	if !c.renewing.TryLock() {
		return nil // somebody else is about it
	}
	defer c.renewing.Unlock()
	config, err := c.access.config()
	if err != nil {
		return err
	}
	sum, err := c.access.sum(config)
	if err != nil || sum == c.client.Load().sum {
		return err
	}
	made, err := c.access.client()
	if err != nil {
		return err
	}
	id, err := made.identify(ctx)
	if err != nil {
		return err
	}
	if id != c.ID {
		return fmt.Errorf("the kubeconfig leads to another cluster now (%s instead of %s, by the uid of the namespace kube-system): "+
			"give each cluster a collector of its own", id, c.ID)
	}
	c.client.Store(made)
	return nil
}

// RefusedError is a request that the server's account may not make.
type RefusedError struct {
	// Account is whom the server takes the agent for. It may be empty.
	Account string
	Err     error
}

// Who returns the account in words.
func (e *RefusedError) Who() string {
	if e.Account == "" {
		return "the agent's account"
	}
	return fmt.Sprintf("%q", e.Account)
}

// Error implements [error].
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v: allow %s the verbs get, list and watch there, or exclude it (reeve-agent check names all kinds that are refused)",
		e.Err, e.Who())
}

// Unwrap returns what the server said.
func (e *RefusedError) Unwrap() error { return e.Err }

// explain puts what people can do about it behind the errors they meet most.
func explain(err error) error {
	switch {
	case Unauthorized(err):
		return fmt.Errorf("%w: the API server does not accept the credentials (any more): renew them; a kubeconfig that changes is read again",
			err)
	case Forbidden(err):
		// widgets.example.com is forbidden: User "x" cannot list resource "widgets" in API group ...
		_, rest, _ := strings.Cut(err.Error(), `User "`)
		account, _, found := strings.Cut(rest, `" cannot `)
		if !found {
			account = ""
		}
		return &RefusedError{Account: account, Err: err}
	}
	return err
}
