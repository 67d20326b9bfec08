package cli_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

const testToken = "test-token"

// fakeServer answers the API from a file, for the scripts.
type fakeServer struct {
	ca *identity.CA
	// page is the most that a page has.
	page    int
	sites   []*reevev1.Site
	agents  []*reevev1.Agent
	tokens  []*reevev1.JoinToken
	types   []*reevev1.AssetType
	assets  []*reevev1.Asset
	changes []*reevev1.Change
	related []*reevev1.Relation
	cas     []*reevev1.CertificateAuthority
	gaps    []*reevev1.Gap
	events  []*reevev1.Event

	address string
	http    *http.Server

	mu       sync.Mutex
	watchers map[chan *reevev1.WatchChangesResponse]bool
	calls    []string
	// setRequests are what was asked of WatchAssets.
	setRequests []string
	// bearers are the API tokens, by secret.
	bearers []*reevev1.ApiToken
}

func newFakeServer(dir string, page int, inventory []byte) (*fakeServer, error) {
	ca, err := identity.MakeCA(dir)
	if err != nil {
		return nil, err
	}
	f := &fakeServer{ca: ca, page: page,
		bearers:  []*reevev1.ApiToken{{Id: testToken, User: "admin", CreateTime: timestamppb.New(testNow.Add(-time.Hour))}},
		watchers: make(map[chan *reevev1.WatchChangesResponse]bool)}
	var (
		sites   reevev1.ListSitesResponse
		agents  reevev1.ListAgentsResponse
		tokens  reevev1.ListJoinTokensResponse
		types   reevev1.ListAssetTypesResponse
		assets  reevev1.ListAssetsResponse
		changes reevev1.ListChangesResponse
		related reevev1.GetAssetResponse
		cas     reevev1.ListCertificateAuthoritiesResponse
		gaps    reevev1.ListGapsResponse
		events  reevev1.ListEventsResponse
	)
	// Each message takes its own field of the file.
	for _, m := range []proto.Message{&sites, &agents, &tokens, &types, &assets, &changes, &related, &cas, &gaps, &events} {
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(inventory, m); err != nil {
			return nil, err
		}
	}
	f.events = events.Events
	f.types, f.cas, f.gaps = types.AssetTypes, cas.CertificateAuthorities, gaps.Gaps
	f.sites, f.agents, f.tokens, f.assets, f.changes, f.related = sites.Sites, agents.Agents, tokens.Tokens, assets.Assets, changes.Changes,
		related.Relations
	return f, nil
}

// start listens, at the address of the last time if there was one.
func (f *fakeServer) start() error {
	address := f.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	f.address = l.Addr().String()
	certificate, err := f.ca.IssueAggregator([]string{"127.0.0.1", "localhost"})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(reevev1connect.NewFleetServiceHandler(fakeFleet{fakeServer: f}))
	mux.Handle(reevev1connect.NewInventoryServiceHandler(fakeInventory{fakeServer: f}))
	mux.Handle(reevev1connect.NewEventServiceHandler(fakeEvents{fakeServer: f}))
	mux.Handle(reevev1connect.NewQueryServiceHandler(fakeQuery{}))
	mux.Handle(reevev1connect.NewExportServiceHandler(fakeExport{f}))
	mux.Handle(reevev1connect.NewAccessServiceHandler(fakeAccess{fakeServer: f}))
	f.http = &http.Server{
		Handler:           f.check(mux),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{*certificate}},
		ErrorLog:          nil,
		ReadHeaderTimeout: time.Minute,
	}
	go func(s *http.Server) { _ = s.ServeTLS(l, "", "") }(f.http)
	return nil
}

func (f *fakeServer) stop() error { return f.http.Close() }

// check lets only signed calls through, and only those over HTTP/2 with the
// Connect protocol's binary codec.
func (f *fakeServer) check(next http.Handler) http.Handler {
	refuse := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.calls = append(f.calls, r.URL.Path)
		f.mu.Unlock()
		contentType := r.Header.Get("Content-Type")
		switch {
		case r.ProtoMajor != 2, contentType != "application/proto" && contentType != "application/connect+proto":
			_ = refuse.Write(w, r, connect.NewError(connect.CodeInternal, fmt.Errorf("%s, %s", r.Proto, contentType)))
		case !f.knows(r.Header.Get("Authorization")):
			_ = refuse.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("unknown token")))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (f *fakeServer) caPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.ca.Certificate().Raw})
}

// push sends changes to all watchers.
func (f *fakeServer) push(m *reevev1.WatchChangesResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w <- m
	}
}

func (f *fakeServer) watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers)
}

func (f *fakeServer) countCalls(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == path {
			n++
		}
	}
	return n
}

// pageOf returns a page of the items and the next page's token.
func pageOf[T any](f *fakeServer, items []T, size int32, token string) ([]T, string) {
	start, _ := strconv.Atoi(token)
	end := min(start+min(int(size), f.page), len(items))
	if end == len(items) {
		return items[start:], ""
	}
	return items[start:end], strconv.Itoa(end)
}

type fakeFleet struct {
	reevev1connect.UnimplementedFleetServiceHandler
	*fakeServer
}

func (f fakeFleet) GetStatus(context.Context, *connect.Request[reevev1.GetStatusRequest]) (*connect.Response[reevev1.GetStatusResponse],
	error) {
	return connect.NewResponse(&reevev1.GetStatusResponse{Version: "v0.1.0", User: "admin", Warehouse: "embedded",
		WarehouseVersion: "25.8.1"}), nil
}

func (f fakeFleet) ListSites(_ context.Context, r *connect.Request[reevev1.ListSitesRequest]) (
	*connect.Response[reevev1.ListSitesResponse], error) {
	page, next := pageOf(f.fakeServer, f.sites, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListSitesResponse{Sites: page, NextPageToken: next}), nil
}

func (f fakeFleet) DeleteSite(_ context.Context, r *connect.Request[reevev1.DeleteSiteRequest]) (
	*connect.Response[reevev1.DeleteSiteResponse], error) {
	for _, s := range f.sites {
		if s.Name == r.Msg.Name {
			if !r.Msg.ValidateOnly {
				s.DeleteTime = timestamppb.New(testNow)
			}
			return connect.NewResponse(&reevev1.DeleteSiteResponse{Site: s, JoinTokens: 1, StoredAssets: 5, StoredVersions: 70, StoredEvents: 1}),
				nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("name: there is no site "+r.Msg.Name+"; is it seoul-1?"))
}

func (f fakeFleet) ListAgents(_ context.Context, r *connect.Request[reevev1.ListAgentsRequest]) (
	*connect.Response[reevev1.ListAgentsResponse], error) {
	agents := slices.DeleteFunc(slices.Clone(f.agents), func(a *reevev1.Agent) bool {
		return r.Msg.Site != "" && a.Site != r.Msg.Site || a.RevokeTime != nil && !r.Msg.ShowRevoked
	})
	page, next := pageOf(f.fakeServer, agents, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListAgentsResponse{Agents: page, NextPageToken: next}), nil
}

func (f fakeFleet) RevokeAgent(_ context.Context, r *connect.Request[reevev1.RevokeAgentRequest]) (
	*connect.Response[reevev1.RevokeAgentResponse], error) {
	for _, a := range f.agents {
		if a.Id == r.Msg.Id {
			a.RevokeTime, a.Connected = timestamppb.New(testNow), false
			return connect.NewResponse(&reevev1.RevokeAgentResponse{Agent: a}), nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such agent"))
}

func (f fakeFleet) ListCertificateAuthorities(context.Context,
	*connect.Request[reevev1.ListCertificateAuthoritiesRequest]) (*connect.Response[reevev1.ListCertificateAuthoritiesResponse], error) {
	return connect.NewResponse(&reevev1.ListCertificateAuthoritiesResponse{CertificateAuthorities: f.cas}), nil
}

func (f fakeFleet) RotateCertificateAuthority(context.Context,
	*connect.Request[reevev1.RotateCertificateAuthorityRequest]) (*connect.Response[reevev1.RotateCertificateAuthorityResponse], error) {
	made := &reevev1.CertificateAuthority{Hash: "sha256:3333", Signing: true, CreateTime: timestamppb.New(testNow),
		ExpireTime: timestamppb.New(testNow.AddDate(10, 0, 0))}
	f.cas[0].Signing = false
	f.fakeServer.cas = append([]*reevev1.CertificateAuthority{made}, f.cas...)
	return connect.NewResponse(&reevev1.RotateCertificateAuthorityResponse{CertificateAuthority: made}), nil
}

func (f fakeFleet) RetireCertificateAuthority(_ context.Context,
	r *connect.Request[reevev1.RetireCertificateAuthorityRequest]) (*connect.Response[reevev1.RetireCertificateAuthorityResponse], error) {
	if !r.Msg.Force {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the certificate authority is still needed by 1 agents (x on y)"))
	}
	f.fakeServer.cas = slices.DeleteFunc(slices.Clone(f.cas), func(c *reevev1.CertificateAuthority) bool { return c.Hash == r.Msg.Hash })
	return connect.NewResponse(&reevev1.RetireCertificateAuthorityResponse{}), nil
}

func (f fakeFleet) CreateJoinToken(_ context.Context, r *connect.Request[reevev1.CreateJoinTokenRequest]) (
	*connect.Response[reevev1.CreateJoinTokenResponse], error) {
	if r.Msg.Ttl.AsDuration() > 30*24*time.Hour {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("ttl: must be 30 days at most"))
	}
	if r.Msg.Site == "nowhere" {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			errors.New("addresses: the aggregator does not know by which address agents reach it"))
	}
	var warnings []string
	if len(r.Msg.Addresses) == 2 {
		warnings = []string{"agents on other machines may not reach b:2"}
	}
	return connect.NewResponse(&reevev1.CreateJoinTokenResponse{
		Token: &reevev1.JoinToken{
			Id:         "x9y8",
			Site:       r.Msg.Site,
			CreateTime: timestamppb.New(testNow),
			ExpireTime: timestamppb.New(testNow.Add(r.Msg.Ttl.AsDuration())),
			MaxUses:    r.Msg.MaxUses,
			CreatedBy:  "admin",
			Addresses:  r.Msg.Addresses,
		},
		Warnings: warnings,
		Secret:   fmt.Sprintf("reeve-join-1.for-%s-at-%d-addresses", r.Msg.Site, len(r.Msg.Addresses)),
	}), nil
}

func (f fakeFleet) ListJoinTokens(_ context.Context, r *connect.Request[reevev1.ListJoinTokensRequest]) (
	*connect.Response[reevev1.ListJoinTokensResponse], error) {
	page, next := pageOf(f.fakeServer, f.tokens, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListJoinTokensResponse{Tokens: page, NextPageToken: next}), nil
}

func (f fakeFleet) DeleteJoinToken(_ context.Context, r *connect.Request[reevev1.DeleteJoinTokenRequest]) (
	*connect.Response[reevev1.DeleteJoinTokenResponse], error) {
	n := len(f.tokens)
	f.tokens = slices.DeleteFunc(slices.Clone(f.tokens), func(t *reevev1.JoinToken) bool { return t.Id == r.Msg.Id })
	if len(f.tokens) == n {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such token"))
	}
	return connect.NewResponse(&reevev1.DeleteJoinTokenResponse{}), nil
}

type fakeInventory struct {
	reevev1connect.UnimplementedInventoryServiceHandler
	*fakeServer
}

func (f fakeInventory) ListAssets(ctx context.Context, r *connect.Request[reevev1.ListAssetsRequest]) (
	*connect.Response[reevev1.ListAssetsResponse], error) {
	if r.Msg.Type == "test.slow.Thing" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	states := r.Msg.States
	if len(states) == 0 {
		states = []reevev1.State{reevev1.State_STATE_ACTIVE, reevev1.State_STATE_DISCONNECTED}
	}
	var assets []*reevev1.Asset
	for _, a := range f.assets {
		if r.Msg.Site != "" && r.Msg.Site != a.Site || r.Msg.Type != "" && r.Msg.Type != a.Type || !slices.Contains(states, a.State) {
			continue
		}
		if r.Msg.View != reevev1.AssetView_ASSET_VIEW_FULL {
			a = proto.CloneOf(a)
			a.Document = nil
		}
		for _, c := range r.Msg.Columns {
			a = proto.CloneOf(a)
			a.Columns = append(a.Columns, &reevev1.ColumnValues{Values: []string{c + " of " + a.Uid}})
		}
		assets = append(assets, a)
	}
	warnings, err := filtered("filter", r.Msg.Filter)
	if err != nil {
		return nil, err
	}
	page, next := pageOf(f.fakeServer, assets, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListAssetsResponse{Assets: page, NextPageToken: next, Warnings: warnings}), nil
}

func (f fakeInventory) ListAssetTypes(_ context.Context, r *connect.Request[reevev1.ListAssetTypesRequest]) (
	*connect.Response[reevev1.ListAssetTypesResponse], error) {
	if f.types == nil {
		return nil, connect.NewError(connect.CodeUnimplemented, errors.New("a server of the version before"))
	}
	page, next := pageOf(f.fakeServer, f.types, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListAssetTypesResponse{AssetTypes: page, NextPageToken: next}), nil
}

func (f fakeInventory) GetAsset(_ context.Context, r *connect.Request[reevev1.GetAssetRequest]) (
	*connect.Response[reevev1.GetAssetResponse], error) {
	for _, a := range f.assets {
		if a.Uid != r.Msg.Uid || r.Msg.Site != "" && r.Msg.Site != a.Site {
			continue
		}
		answer := &reevev1.GetAssetResponse{Asset: a}
		for _, e := range f.related {
			if e.FromUid == a.Uid || e.ToUid == a.Uid {
				answer.Relations = append(answer.Relations, e)
			}
		}
		return connect.NewResponse(answer), nil
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such asset"))
}

func (f fakeInventory) ListChanges(_ context.Context, r *connect.Request[reevev1.ListChangesRequest]) (
	*connect.Response[reevev1.ListChangesResponse], error) {
	var changes []*reevev1.Change
	for _, c := range f.changes {
		if c.Uid == r.Msg.Uid {
			changes = append(changes, c)
		}
	}
	if changes == nil {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such asset"))
	}
	page, next := pageOf(f.fakeServer, changes, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListChangesResponse{Changes: page, NextPageToken: next}), nil
}

func (f fakeInventory) ListGaps(_ context.Context, r *connect.Request[reevev1.ListGapsRequest]) (
	*connect.Response[reevev1.ListGapsResponse], error) {
	var gaps []*reevev1.Gap
	for _, g := range f.gaps {
		if r.Msg.Site == "" || r.Msg.Site == g.Site {
			gaps = append(gaps, g)
		}
	}
	page, next := pageOf(f.fakeServer, gaps, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListGapsResponse{Gaps: page, NextPageToken: next}), nil
}

type fakeEvents struct {
	reevev1connect.UnimplementedEventServiceHandler
	*fakeServer
}

func (f fakeEvents) ListEvents(_ context.Context, r *connect.Request[reevev1.ListEventsRequest]) (
	*connect.Response[reevev1.ListEventsResponse], error) {
	m := r.Msg
	var events []*reevev1.Event
	for _, e := range f.events {
		at := e.Time.AsTime()
		if m.Site != "" && m.Site != e.Site || m.Type != "" && m.Type != e.Type || m.AssetUid != "" && m.AssetUid != e.AssetUid ||
			len(m.Severities) > 0 && !slices.Contains(m.Severities, e.Severity) ||
			m.StartTime != nil && at.Before(m.StartTime.AsTime()) || m.EndTime != nil && !at.Before(m.EndTime.AsTime()) {
			continue
		}
		if m.View != reevev1.EventView_EVENT_VIEW_FULL {
			e = proto.CloneOf(e)
			e.Data = nil
		}
		events = append(events, e)
	}
	page, next := pageOf(f.fakeServer, events, m.PageSize, m.PageToken)
	return connect.NewResponse(&reevev1.ListEventsResponse{Events: page, NextPageToken: next}), nil
}

// fakeQuery answers every statement with rows of all kinds, in two messages, and one
// that asks for it with an error.
type fakeQuery struct {
	reevev1connect.UnimplementedQueryServiceHandler
}

func (fakeQuery) RunSQL(_ context.Context, r *connect.Request[reevev1.RunSQLRequest],
	stream *connect.ServerStream[reevev1.RunSQLResponse]) error {
	if r.Msg.Statement == "DROP TABLE asset" {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("statement: only a SELECT statement can be run"))
	}
	m := &reevev1.RunSQLResponse{Columns: []*reevev1.SQLColumn{
		{Name: "site", Type: "String"}, {Name: "count()", Type: "UInt64"}, {Name: "labels", Type: "Map"}, {Name: "statement", Type: "String"},
	}}
	row := func(values ...any) *structpb.ListValue {
		list, err := structpb.NewList(values)
		if err != nil {
			panic(err)
		}
		return list
	}
	m.Rows = []*structpb.ListValue{row("seoul-1", 4, map[string]any{"a": "b, \"c\""}, r.Msg.Statement)}
	if err := stream.Send(m); err != nil || r.Msg.MaxRows == 1 {
		return err
	}
	return stream.Send(&reevev1.RunSQLResponse{Rows: []*structpb.ListValue{row("busan-1\x1b[31m", "18446744073709551615", nil, 1.5)},
		Truncated: r.Msg.MaxRows == 2})
}

// fakeExport answers with the request as the file, in two messages. Of a site that is called
// broken the end is missing, and of one that is called changed a byte is another one.
type fakeExport struct{ *fakeServer }

func (f fakeExport) Export(_ context.Context, r *connect.Request[reevev1.ExportRequest],
	stream *connect.ServerStream[reevev1.ExportResponse]) error {
	file, err := protojson.Marshal(r.Msg)
	if err != nil {
		return err
	}
	file = append(bytes.ReplaceAll(file, []byte(" "), nil), '\n')
	sum := sha256.Sum256(file)
	site := r.Msg.Tables[0].GetAssets().GetSite()
	if site == "changed" {
		file[0] = '['
	}
	for _, m := range []*reevev1.ExportResponse{
		{Data: file[:10]}, {Progress: &reevev1.ExportProgress{Rows: 1, TotalRows: 2}}, {Data: file[10:]},
	} {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	if site == "broken" {
		return nil
	}
	return stream.Send(&reevev1.ExportResponse{Summary: &reevev1.ExportSummary{
		Rows: int64(len(site)), Bytes: int64(len(file)), Sha256: sum[:], Notes: []string{"2 cells are cut"},
	}})
}

func (fakeQuery) GetSQLSchema(context.Context, *connect.Request[reevev1.GetSQLSchemaRequest]) (
	*connect.Response[reevev1.GetSQLSchemaResponse], error) {
	return connect.NewResponse(&reevev1.GetSQLSchemaResponse{
		Views: []*reevev1.SQLView{
			{Name: "assets", Comment: "what there is now", Columns: []*reevev1.SQLViewColumn{
				{Name: "site", Type: "LowCardinality(String)", Comment: "the site"}, {Name: "labels", Type: "Map(String, String)", Comment: "labels, and tags"},
			}},
			{Name: "usage", Comment: "what assets used", Columns: []*reevev1.SQLViewColumn{{Name: "quantity", Type: "Float64", Comment: "how much"}}},
		},
		Limits: &reevev1.SQLLimits{Time: durationpb.New(time.Minute), MemoryBytes: 256 << 20, Rows: 100_000, AnswerBytes: 64 << 20, AtOnce: 2},
	}), nil
}

func (f fakeEvents) ListEventTypes(_ context.Context, r *connect.Request[reevev1.ListEventTypesRequest]) (
	*connect.Response[reevev1.ListEventTypesResponse], error) {
	seen := make(map[string]bool)
	var types []*reevev1.EventType
	for _, e := range f.events {
		if !seen[e.Type] {
			types = append(types, &reevev1.EventType{Name: e.Type, LatestTime: e.Time})
		}
		seen[e.Type] = true
	}
	page, next := pageOf(f.fakeServer, types, r.Msg.PageSize, r.Msg.PageToken)
	return connect.NewResponse(&reevev1.ListEventTypesResponse{EventTypes: page, NextPageToken: next}), nil
}

// WatchAssets answers with the next of the file's streams of a set, to whom the token is right.
func (f fakeInventory) WatchAssets(ctx context.Context, r *connect.Request[reevev1.WatchAssetsRequest],
	stream *connect.ServerStream[reevev1.WatchAssetsResponse]) error {
	f.mu.Lock()
	f.setRequests = append(f.setRequests, fmt.Sprintf("filter=%s type=%s initial=%v token=%s view=%d", r.Msg.GetFilter(), r.Msg.GetType(),
		r.Msg.GetInitial(), r.Msg.GetToken(), r.Msg.GetView()))
	n := len(f.setRequests)
	f.mu.Unlock()
	asset := func(uid string) *reevev1.Asset {
		return &reevev1.Asset{Uid: uid, Type: "kubernetes.core.Pod", Site: "seoul-1", Name: uid, Status: "Pending", ObserveTime: timestamppb.New(testNow)}
	}
	send := func(kind reevev1.SetChange_Kind, uid string, reason reevev1.SetChange_Reason, token string, synced bool) error {
		return stream.Send(&reevev1.WatchAssetsResponse{CanonicalFilter: r.Msg.GetFilter(), Token: token, Synced: synced,
			Changes: []*reevev1.SetChange{{Kind: kind, Reason: reason, Asset: asset(uid), ChangedPaths: []string{"status.phase"}}}})
	}
	const none = reevev1.SetChange_REASON_UNSPECIFIED
	switch n {
	case 1: // the whole set, and then the connection breaks
		return errors.Join(send(reevev1.SetChange_KIND_ENTERED, "p-1", none, "t1", true), connect.NewError(connect.CodeUnavailable, errors.New("it breaks")))
	case 2: // the way on from the token is not known
		return connect.NewError(connect.CodeOutOfRange, errors.New("the token is of yesterday: begin anew"))
	case 3:
		if err := errors.Join(send(reevev1.SetChange_KIND_ENTERED, "p-1", none, "t2", true),
			send(reevev1.SetChange_KIND_CHANGED, "p-1", none, "t3", false)); err != nil {
			return err
		}
		return connect.NewError(connect.CodeResourceExhausted, errors.New("it is read slowly"))
	}
	if err := errors.Join(send(reevev1.SetChange_KIND_LEFT, "p-1", reevev1.SetChange_REASON_NO_MATCH, "t4", true),
		send(reevev1.SetChange_KIND_LEFT, "p-2", reevev1.SetChange_REASON_DELETED, "t5", false)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (f fakeInventory) WatchChanges(ctx context.Context, r *connect.Request[reevev1.WatchChangesRequest],
	stream *connect.ServerStream[reevev1.WatchChangesResponse]) error {
	w := make(chan *reevev1.WatchChangesResponse, 16)
	f.mu.Lock()
	f.watchers[w] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-w:
			// A message of nothing stands for a client that fell behind.
			if len(m.Changes) == 0 {
				return connect.NewError(connect.CodeResourceExhausted, errors.New("the client fell behind"))
			}
			if r.Msg.Site != "" && m.Changes[0].Site != r.Msg.Site {
				continue
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}
