// Package client connects to an aggregator's public API.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/pkg/version"
)

// Options say where and how to connect. Server and Token are required.
type Options struct {
	// Server is a base URL, as ParseServer returns it.
	Server string
	// CAHash is the pin of the aggregator's CA. If it is empty, the system's
	// roots decide.
	CAHash string
	// Token is the bearer token. It goes to the server and nowhere else.
	Token string
	// Timeout bounds each unary call. Zero means no bound.
	Timeout time.Duration
}

// Client is the API of one aggregator.
type Client struct {
	Fleet     reevev1connect.FleetServiceClient
	Inventory reevev1connect.InventoryServiceClient
	Events    reevev1connect.EventServiceClient
	Access    reevev1connect.AccessServiceClient
	Query     reevev1connect.QueryServiceClient
	Scope     reevev1connect.ScopeServiceClient
	Export    reevev1connect.ExportServiceClient
	View      reevev1connect.ViewServiceClient
	Graph     reevev1connect.GraphServiceClient
	History   reevev1connect.HistoryServiceClient
	Metric    reevev1connect.MetricServiceClient
	Retention reevev1connect.RetentionServiceClient
	transport *http.Transport
}

// New returns a client. It does not connect yet.
func New(o Options) (*Client, error) {
	server, err := ParseServer(o.Server)
	if err != nil {
		return nil, err
	}
	if err := CheckToken(o.Token); err != nil {
		return nil, err
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAHash != "" {
		pin, err := identity.ParsePin(o.CAHash)
		if err != nil {
			return nil, err
		}
		tlsConfig = identity.PinnedClient(pin)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 15 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		// A watch may be silent for hours; the pings find out whether the other
		// side is still there.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 15 * time.Second},
	}
	httpClient := &http.Client{
		Transport: transport,
		// The API redirects nowhere, and the token is for this server only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	interceptors := connect.WithInterceptors(&signer{token: o.Token}, deadline(o.Timeout))
	return &Client{
		Fleet:     reevev1connect.NewFleetServiceClient(httpClient, server, interceptors),
		Inventory: reevev1connect.NewInventoryServiceClient(httpClient, server, interceptors),
		Access:    reevev1connect.NewAccessServiceClient(httpClient, server, interceptors),
		Events:    reevev1connect.NewEventServiceClient(httpClient, server, interceptors),
		Query:     reevev1connect.NewQueryServiceClient(httpClient, server, interceptors),
		Scope:     reevev1connect.NewScopeServiceClient(httpClient, server, interceptors),
		Export:    reevev1connect.NewExportServiceClient(httpClient, server, interceptors),
		View:      reevev1connect.NewViewServiceClient(httpClient, server, interceptors),
		Graph:     reevev1connect.NewGraphServiceClient(httpClient, server, interceptors),
		History:   reevev1connect.NewHistoryServiceClient(httpClient, server, interceptors),
		Metric:    reevev1connect.NewMetricServiceClient(httpClient, server, interceptors),
		Retention: reevev1connect.NewRetentionServiceClient(httpClient, server, interceptors),
		transport: transport,
	}, nil
}

// Close closes the connections that no call uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// ParseServer returns the base URL of a server that is given as https://host:port,
// as https://host, or as host:port.
func ParseServer(s string) (string, error) {
	const form = "must be https://host:port or host:port"
	rest, secure := strings.CutPrefix(s, "https://")
	if !secure && strings.Contains(s, "://") {
		return "", fmt.Errorf("server %q: %s", s, form)
	}
	u, err := url.Parse("https://" + rest)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery ||
		u.Fragment != "" {
		return "", fmt.Errorf("server %q: %s", s, form)
	}
	port := u.Port()
	if port == "" && secure {
		port = "443"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("server %q: %s", s, form)
	}
	return "https://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port), nil
}

// CheckToken returns an error unless token can be a bearer token. The error does
// not repeat it.
func CheckToken(token string) error {
	const maxToken = 16 << 10
	switch {
	case token == "":
		return errors.New("the token is empty")
	case len(token) > maxToken:
		return fmt.Errorf("the token is longer than %d bytes", maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the token has characters that no token has: is it the right file?")
	}
	return nil
}

// signer puts the bearer token on every call.
type signer struct{ token string }

func (s *signer) sign(h http.Header) {
	h.Set("Authorization", "Bearer "+s.token)
	h.Set("User-Agent", "reeve/"+version.String())
}

// WrapUnary implements connect.Interceptor.
func (s *signer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		s.sign(r.Header())
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (s *signer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		s.sign(conn.RequestHeader())
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (s *signer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// deadline bounds unary calls.
func deadline(timeout time.Duration) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return next(ctx, r)
		}
	}
}

var _ connect.Interceptor = (*signer)(nil)
