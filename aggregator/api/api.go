// Package api is the aggregator's public API: the services of package reevev1
// over Connect, gRPC, gRPC-Web and Connect's JSON, all on one port with TLS 1.3.
//
// People and programs show a bearer token of the registry with each call. Agents
// have no token: the EnrollmentService lets them in by their join token and
// renews their certificates by the one they have. A call without a right is
// refused before its body is read.
//
// Whatever arrives at the port, the server goes on: what is not TLS is refused
// with a line in the log, messages and headers are bounded in size and time, a
// panic costs the one call that it happens in. Lines that strangers can cause are
// limited in number.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reeve-cloud/reeve/aggregator/admission"
	"github.com/reeve-cloud/reeve/aggregator/reference"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

const (
	// maxMessage is the size of a message, compressed or not.
	maxMessage = 1 << 20
	// maxBody leaves room for what a protocol wraps around a message.
	maxBody    = maxMessage + 64<<10
	maxHeader  = 32 << 10
	maxStreams = 100

	// A header, a TLS handshake included, a body, and a response to a unary
	// call or one message of a stream must be through in so much time.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute

	// stopTimeout is how long Serve lets calls finish when it is to end.
	stopTimeout = 5 * time.Second
	// flushTimeout is how long answers may take to leave after that.
	flushTimeout = 500 * time.Millisecond
)

// Options configure a Server. All are required unless they say otherwise.
type Options struct {
	// Listener is closed by Serve.
	Listener net.Listener
	// Certificate returns the aggregator's certificate for a handshake.
	Certificate func() (*tls.Certificate, error)
	CA          *identity.CA
	Registry    *registry.Registry
	// Addresses are where agents reach the aggregator (host:port). Join tokens
	// name them. Without any, each token must be made with its own.
	Addresses []string
	// Warehouse returns its kind ("embedded" or "server") and the version of
	// ClickHouse. With an error, what else is returned still counts.
	Warehouse func(context.Context) (kind, version string, err error)
	// Ingest says why nothing is taken of agents at present, if so.
	Ingest func() error
	// AssetCounts returns how many assets that are not deleted each site has.
	AssetCounts func(context.Context) (map[string]int64, error)
	// Inventory may be nil: its calls are CodeUnimplemented then.
	Inventory reevev1connect.InventoryServiceHandler
	// Events may be nil, as Inventory may.
	Events reevev1connect.EventServiceHandler
	// Query may be nil, as Inventory may.
	Query reevev1connect.QueryServiceHandler
	// Export and View may be nil, as Inventory may.
	Export reevev1connect.ExportServiceHandler
	View   reevev1connect.ViewServiceHandler
	// Graph may be nil, as Inventory may.
	Graph reevev1connect.GraphServiceHandler
	// History may be nil, as Inventory may.
	History reevev1connect.HistoryServiceHandler
	// Metric may be nil, as Inventory may.
	Metric reevev1connect.MetricServiceHandler
	// Retention may be nil, as Inventory may.
	Retention reevev1connect.RetentionServiceHandler
	// CountSite returns what the warehouse has of a site, and RemoveSites has the
	// sites removed that are marked as deleted in the registry. They may be nil:
	// no site can be deleted then.
	CountSite   func(context.Context, string) (warehouse.SiteCounts, error)
	RemoveSites func()
	// Scope may be nil, as Inventory may.
	Scope reevev1connect.ScopeServiceHandler
	// Agents takes the sessions of agents over TCP, which come in at the same
	// port. It may be nil: there are none then.
	Agents Agents
	// Places bounds the connections. It may be nil: then they are as many as the
	// descriptors allow.
	Places *admission.Places
	// Metrics may be nil.
	Metrics prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger

	// For tests.
	strangerIdle, strangerLife time.Duration
}

// Agents takes connections whose client asks for wire.ALPN.
type Agents interface {
	// TLS is the configuration for their handshakes.
	TLS() *tls.Config
	// Take has one whose handshake is done, until it is closed.
	Take(*tls.Conn)
}

func (o *Options) validate() error {
	for _, required := range []struct {
		name  string
		given bool
	}{
		{"Listener", o.Listener != nil},
		{"Certificate", o.Certificate != nil},
		{"CA", o.CA != nil},
		{"Registry", o.Registry != nil},
		{"Warehouse", o.Warehouse != nil},
		{"Ingest", o.Ingest != nil},
		{"AssetCounts", o.AssetCounts != nil},
	} {
		if !required.given {
			return errors.New("api: Options." + required.name + " is missing")
		}
	}
	for _, a := range o.Addresses {
		if err := identity.CheckAddress(a); err != nil {
			return err
		}
	}
	if o.Inventory == nil {
		o.Inventory = reevev1connect.UnimplementedInventoryServiceHandler{}
	}
	if o.Events == nil {
		o.Events = reevev1connect.UnimplementedEventServiceHandler{}
	}
	if o.Scope == nil {
		o.Scope = reevev1connect.UnimplementedScopeServiceHandler{}
	}
	if o.Query == nil {
		o.Query = reevev1connect.UnimplementedQueryServiceHandler{}
	}
	if o.View == nil {
		o.View = reevev1connect.UnimplementedViewServiceHandler{}
	}
	if o.Export == nil {
		o.Export = reevev1connect.UnimplementedExportServiceHandler{}
	}
	if o.Graph == nil {
		o.Graph = reevev1connect.UnimplementedGraphServiceHandler{}
	}
	if o.History == nil {
		o.History = reevev1connect.UnimplementedHistoryServiceHandler{}
	}
	if o.Metric == nil {
		o.Metric = reevev1connect.UnimplementedMetricServiceHandler{}
	}
	if o.Retention == nil {
		o.Retention = reevev1connect.UnimplementedRetentionServiceHandler{}
	}
	if o.strangerIdle == 0 {
		o.strangerIdle = strangerIdle
	}
	if o.strangerLife == 0 {
		o.strangerLife = strangerLife
	}
	if o.Places == nil {
		descriptors, err := admission.Descriptors()
		if err != nil {
			return err
		}
		o.Places = admission.NewPlaces(admission.LimitsFor(admission.PlacesWithin(descriptors, false)))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Server is the API server. Serve must follow New.
type Server struct {
	options Options
	http    *http.Server
	// pages are the reference of the API.
	pages   http.Handler
	metrics *metrics
	calls   calls
	// streams ends when the server stops: it cuts streams.
	streams    context.Context
	cutStreams context.CancelFunc

	refusedCalls       *quietLog
	refusedEnrollments *quietLog
	refusedConnections *quietLog
	failures           *quietLog

	enrollAttempts *admission.Attempts
	renewAttempts  *admission.Attempts
}

// New makes a server. It does not touch the listener yet.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o, metrics: m,
		refusedCalls:       newQuietLog(o.Logger),
		refusedEnrollments: newQuietLog(o.Logger),
		refusedConnections: newQuietLog(o.Logger),
		failures:           newQuietLog(o.Logger),
		// A site may bring up hundreds of nodes at once behind one address.
		enrollAttempts: admission.NewAttempts(10, 200),
		renewAttempts:  admission.NewAttempts(0.1, 5),
	}
	if s.pages, err = reference.Handler(); err != nil {
		return nil, err
	}
	s.streams, s.cutStreams = context.WithCancel(context.Background())
	s.http = s.newHTTPServer(s.guard(s.mux()))
	return s, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.options.Listener.Addr() }

func (s *Server) mux() http.Handler {
	common := connect.WithHandlerOptions(
		strictJSON(),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompressMinBytes(1<<10),
		connect.WithInterceptors(observer{s}),
		connect.WithRecover(s.recovered),
	)
	open := connect.WithHandlerOptions(common, connect.WithRequestGate(s.admitEnrollment))
	closed := connect.WithHandlerOptions(common, connect.WithRequestGate(s.authenticate))

	mux := http.NewServeMux()
	mux.Handle(reevev1connect.NewEnrollmentServiceHandler(enrollmentService{s}, open))
	mux.Handle(reevev1connect.NewFleetServiceHandler(fleetService{s}, closed))
	mux.Handle(reevev1connect.NewAccessServiceHandler(accessService{s}, closed))
	mux.Handle(reevev1connect.NewInventoryServiceHandler(s.options.Inventory, closed))
	mux.Handle(reevev1connect.NewEventServiceHandler(s.options.Events, closed))
	mux.Handle(reevev1connect.NewQueryServiceHandler(s.options.Query, closed))
	mux.Handle(reevev1connect.NewScopeServiceHandler(s.options.Scope, closed))
	mux.Handle(reevev1connect.NewExportServiceHandler(s.options.Export, closed))
	mux.Handle(reevev1connect.NewViewServiceHandler(s.options.View, closed))
	mux.Handle("GET /s/{id}", s.linkHandler(s.options.View))
	mux.Handle(reevev1connect.NewGraphServiceHandler(s.options.Graph, closed))
	mux.Handle(reference.Path, s.pages)
	mux.Handle(reevev1connect.NewHistoryServiceHandler(s.options.History, closed))
	mux.Handle(reevev1connect.NewMetricServiceHandler(s.options.Metric, closed))
	mux.Handle(reevev1connect.NewRetentionServiceHandler(s.options.Retention, closed))
	reflector := grpcreflect.NewStaticReflector(
		reevev1connect.EnrollmentServiceName, reevev1connect.FleetServiceName, reevev1connect.AccessServiceName,
		reevev1connect.InventoryServiceName,
		reevev1connect.EventServiceName, reevev1connect.QueryServiceName, reevev1connect.ScopeServiceName,
		reevev1connect.ExportServiceName, reevev1connect.ViewServiceName, reevev1connect.GraphServiceName,
		reevev1connect.HistoryServiceName, reevev1connect.MetricServiceName, reevev1connect.RetentionServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, closed))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, closed))
	return mux
}
