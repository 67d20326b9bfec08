package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/filter"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// View is the view service.
type View struct {
	Layouts  *Layouts
	Registry *registry.Registry
	Logger   *slog.Logger
}

var _ reevev1connect.ViewServiceHandler = (*View)(nil)

const (
	maxQueryName   = 100
	maxDescription = 2000
	maxColumns     = 64
)

func (s *View) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	case errors.Is(err, registry.ErrTooMany):
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	s.Logger.ErrorContext(ctx, "a call about views failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the registry or the warehouse does not answer; the aggregator's log says why"))
}

func checkType(name string) error {
	if err := wire.CheckName("type", name); err != nil || name == "" {
		return invalid("type", "%q is not the name of a type, as in openstack.compute.Server", short(name))
	}
	return nil
}

// GetLayout implements the view service.
func (s *View) GetLayout(ctx context.Context, r *connect.Request[reevev1.GetLayoutRequest]) (*connect.Response[reevev1.GetLayoutResponse],
	error) {
	name := r.Msg.GetType()
	if err := checkType(name); err != nil {
		return nil, err
	}
	text, source, given, err := s.Layouts.of(ctx, r.Msg.GetSite(), name)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if source == reevev1.LayoutSource_LAYOUT_SOURCE_UNSPECIFIED {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("type %s has no layout, and no assets to make one of", name))
	}
	shown, err := structOf(text)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(&reevev1.GetLayoutResponse{Layout: &reevev1.Layout{
		Type: name, Layout: shown, Source: source, UpdateUser: given.UpdatedBy, UpdateTime: timestamp(given.UpdateTime),
	}}), nil
}

// SetLayout implements the view service.
func (s *View) SetLayout(ctx context.Context, r *connect.Request[reevev1.SetLayoutRequest]) (*connect.Response[reevev1.SetLayoutResponse],
	error) {
	name, caller := r.Msg.GetType(), CallerFrom(ctx)
	if err := checkType(name); err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(r.Msg.GetLayout())
	if err != nil {
		return nil, invalid("layout", "%w", err)
	}
	l, err := layout.Parse(text)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err) // it says "layout" itself
	}
	if text, err = json.Marshal(l); err != nil {
		return nil, s.failed(ctx, err)
	}
	given := registry.TypeLayout{Type: name, Layout: text, UpdatedBy: caller.User, UpdateTime: time.Now()}
	if err := s.Registry.SetLayout(ctx, caller.Actor(), given); err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(&reevev1.SetLayoutResponse{Layout: &reevev1.Layout{
		Type: name, Layout: r.Msg.GetLayout(), Source: reevev1.LayoutSource_LAYOUT_SOURCE_USER, UpdateUser: given.UpdatedBy,
		UpdateTime: timestamp(given.UpdateTime),
	}}), nil
}

// ResetLayout implements the view service.
func (s *View) ResetLayout(ctx context.Context, r *connect.Request[reevev1.ResetLayoutRequest]) (
	*connect.Response[reevev1.ResetLayoutResponse], error) {
	name := r.Msg.GetType()
	if err := checkType(name); err != nil {
		return nil, err
	}
	err := s.Registry.ResetLayout(ctx, CallerFrom(ctx).Actor(), name)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("nobody gave type %s a layout", name))
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(&reevev1.ResetLayoutResponse{}), nil
}

// stored returns what is kept of a query as what is asked: all else is kept beside it.
func stored(m *reevev1.SavedQuery) (json.RawMessage, error) {
	return protojson.Marshal(&reevev1.SavedQuery{Description: m.GetDescription(), Selection: m.GetSelection(), Columns: m.GetColumns(),
		OrderBy: m.GetOrderBy(), Analysis: m.GetAnalysis(), Chart: m.GetChart()})
}

// savedQuery returns a query as a user sees it.
func savedQuery(q *registry.SavedQuery, user string) (*reevev1.SavedQuery, error) {
	m := &reevev1.SavedQuery{}
	// What a newer version wrote is read without what this one does not know.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(q.Query, m); err != nil {
		return nil, fmt.Errorf("saved query %s: %w", q.ID, err)
	}
	m.Id, m.Name, m.Owner, m.Shared, m.DefaultOfType = q.ID, q.Name, q.Owner, q.Shared, q.Default
	m.Starred, m.CreateTime, m.UpdateTime = slices.Contains(q.StarredBy, user), timestamp(q.CreateTime), timestamp(q.UpdateTime)
	return m, nil
}

// checkQuery checks a query that is to be kept.
func checkQuery(m *reevev1.SavedQuery) error {
	for _, t := range []struct {
		field, text string
		most        int
	}{{"query.name", m.GetName(), maxQueryName}, {"query.description", m.GetDescription(), maxDescription}} {
		switch {
		case len(t.text) > t.most:
			return invalid(t.field, "%d bytes: must be at most %d", len(t.text), t.most)
		case !utf8.ValidString(t.text) || strings.ContainsFunc(t.text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) ||
			t.text != strings.TrimSpace(t.text) || t.most == maxQueryName && strings.Contains(t.text, "\n"):
			return invalid(t.field, "must have no control characters, and no spaces around it")
		}
	}
	if m.GetDefaultOfType() && (!m.GetShared() || m.GetSelection().GetType() == "") {
		return invalid("query.default_of_type", "only a query that is shared and has a type can be the default of the type")
	}
	selection := m.GetSelection()
	if _, err := filter.Parse(selection.GetFilter()); err != nil {
		return filterError("query.selection.filter", selection.GetFilter(), err)
	}
	if _, err := selectionOf(selection); err != nil {
		return err
	}
	if _, err := query.ParseOrder(m.GetOrderBy()); err != nil {
		return invalid("query.order_by", "%w", err)
	}
	if len(m.GetColumns()) > maxColumns {
		return invalid("query.columns", "%d of them: must be at most %d", len(m.GetColumns()), maxColumns)
	}
	asked := make([]*reevev1.ExportColumn, len(m.GetColumns()))
	for i, c := range m.GetColumns() {
		asked[i] = &reevev1.ExportColumn{Path: c.GetPath(), Title: c.GetTitle()}
	}
	if _, err := exportColumns(asked, nil); err != nil {
		return under("query", err)
	}
	if m.GetAnalysis() != nil {
		if proto.Size(m.GetAnalysis().GetSelection()) > 0 {
			return invalid("query.analysis.selection", "must be empty: it is that of the query")
		}
		keys := append(slices.Clone(m.GetAnalysis().GetGroupBy()), m.GetAnalysis().GetPivot())
		if err := checkGroups(keys, m.GetAnalysis().GetValues()); err != nil {
			return err
		}
	}
	if m.GetChart() != "" && (m.GetAnalysis() == nil || !slices.Contains(layout.Charts, m.GetChart())) {
		return invalid("query.chart", "%q: a query with an analysis can have one of %s", short(m.GetChart()), strings.Join(layout.Charts, ", "))
	}
	if text, err := stored(m); err != nil || len(text) > registry.MaxQueryBytes {
		return invalid("query", "%d bytes: must be at most %d", len(text), registry.MaxQueryBytes)
	}
	return nil
}

// SaveQuery implements the view service.
func (s *View) SaveQuery(ctx context.Context, r *connect.Request[reevev1.SaveQueryRequest]) (*connect.Response[reevev1.SaveQueryResponse],
	error) {
	m, caller := r.Msg.GetQuery(), CallerFrom(ctx)
	if err := checkQuery(m); err != nil {
		return nil, err
	}
	text, err := stored(m)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	now := time.Now()
	fill := func(q *registry.SavedQuery) {
		q.Name, q.Shared, q.Default = m.GetName(), m.GetShared(), m.GetDefaultOfType()
		q.Type, q.Query, q.UpdateTime = m.GetSelection().GetType(), text, now
	}
	var q registry.SavedQuery
	if m.GetId() == "" {
		q = registry.SavedQuery{Owner: caller.User, CreateTime: now}
		fill(&q)
		q, err = s.Registry.CreateQuery(ctx, caller.Actor(), q)
	} else {
		q, err = s.Registry.ChangeQuery(ctx, caller.Actor(), "query.change", m.GetId(), func(q *registry.SavedQuery) error {
			if err := s.own(q, caller); err != nil {
				return err
			}
			fill(q)
			return nil
		})
	}
	if err != nil {
		return nil, s.refused(ctx, m.GetId(), err)
	}
	return respond(s, ctx, q, func(m *reevev1.SavedQuery) *reevev1.SaveQueryResponse { return &reevev1.SaveQueryResponse{Query: m} })
}

func respond[T any](s *View, ctx context.Context, q registry.SavedQuery, as func(*reevev1.SavedQuery) *T) (*connect.Response[T], error) {
	m, err := savedQuery(&q, CallerFrom(ctx).User)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(as(m)), nil
}

var errNotYours = errors.New("the query is somebody else's")

// own returns an error unless a query is the caller's. One that they may not see is as if
// it were not there.
func (s *View) own(q *registry.SavedQuery, caller Caller) error {
	switch {
	case q.Owner == caller.User:
		return nil
	case q.Visible(caller.User):
		return errNotYours
	}
	return registry.ErrNotFound
}

// refused is the answer when a query cannot be changed or found.
func (s *View) refused(ctx context.Context, id string, err error) error {
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("id: there is no saved query %q", short(id)))
	case errors.Is(err, errNotYours):
		return connect.NewError(connect.CodePermissionDenied, errors.New("the query is somebody else's: save one of your own"))
	case errors.Is(err, registry.ErrConflict):
		return connect.NewError(connect.CodeAlreadyExists, errors.New("query.name: you have a saved query of this name"))
	}
	return s.failed(ctx, err)
}

// find returns a query that the caller may see.
func (s *View) find(ctx context.Context, id string) (registry.SavedQuery, error) {
	q, err := s.Registry.SavedQuery(ctx, id)
	if err == nil && !q.Visible(CallerFrom(ctx).User) {
		err = registry.ErrNotFound
	}
	return q, err
}

// GetQuery implements the view service.
func (s *View) GetQuery(ctx context.Context, r *connect.Request[reevev1.GetQueryRequest]) (*connect.Response[reevev1.GetQueryResponse], error) {
	q, err := s.find(ctx, r.Msg.GetId())
	if err != nil {
		return nil, s.refused(ctx, r.Msg.GetId(), err)
	}
	return respond(s, ctx, q, func(m *reevev1.SavedQuery) *reevev1.GetQueryResponse { return &reevev1.GetQueryResponse{Query: m} })
}

// ListQueries implements the view service.
func (s *View) ListQueries(ctx context.Context, r *connect.Request[reevev1.ListQueriesRequest]) (
	*connect.Response[reevev1.ListQueriesResponse], error) {
	m, user := r.Msg, CallerFrom(ctx).User
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	binding := fmt.Sprintf("%q %q %v", user, m.GetType(), m.GetStarred())
	after, err := decodePageToken(m.GetPageToken(), "saved queries", binding)
	if err != nil {
		return nil, err
	}
	response := &reevev1.ListQueriesResponse{}
	for q, err := range s.Registry.SavedQueries(ctx, after) {
		if errors.Is(err, registry.ErrCorrupt) {
			s.Logger.ErrorContext(ctx, "a saved query is left out of a list", "error", err)
			continue
		}
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		if !q.Visible(user) || q.Name == "" || m.GetType() != "" && q.Type != m.GetType() ||
			m.GetStarred() && !slices.Contains(q.StarredBy, user) {
			continue
		}
		if len(response.Queries) == size {
			response.NextPageToken = encodePageToken("saved queries", binding, response.Queries[size-1].GetId())
			break
		}
		shown, err := savedQuery(&q, user)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		response.Queries = append(response.Queries, shown)
	}
	return connect.NewResponse(response), nil
}

// DeleteQuery implements the view service.
func (s *View) DeleteQuery(ctx context.Context, r *connect.Request[reevev1.DeleteQueryRequest]) (
	*connect.Response[reevev1.DeleteQueryResponse], error) {
	id, caller := r.Msg.GetId(), CallerFrom(ctx)
	q, err := s.find(ctx, id)
	if err == nil {
		err = s.own(&q, caller)
	}
	if err == nil {
		err = s.Registry.DeleteQuery(ctx, caller.Actor(), id)
	}
	if err != nil {
		return nil, s.refused(ctx, id, err)
	}
	return connect.NewResponse(&reevev1.DeleteQueryResponse{}), nil
}

// StarQuery implements the view service.
func (s *View) StarQuery(ctx context.Context, r *connect.Request[reevev1.StarQueryRequest]) (*connect.Response[reevev1.StarQueryResponse],
	error) {
	caller := CallerFrom(ctx)
	q, err := s.Registry.ChangeQuery(ctx, caller.Actor(), "query.star", r.Msg.GetId(), func(q *registry.SavedQuery) error {
		if !q.Visible(caller.User) {
			return registry.ErrNotFound
		}
		return q.Star(caller.User, r.Msg.GetStarred())
	})
	if err != nil {
		return nil, s.refused(ctx, r.Msg.GetId(), err)
	}
	return respond(s, ctx, q, func(m *reevev1.SavedQuery) *reevev1.StarQueryResponse { return &reevev1.StarQueryResponse{Query: m} })
}

// linkHandler answers /s/ID with the query, as JSON, to callers who may see it.
func (s *Server) linkHandler(view reevev1connect.ViewServiceHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.authenticate(r.Context(), connect.Spec{Procedure: "/s/"}, connect.Peer{Addr: r.RemoteAddr}, r.Header)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token is needed: reeve query run "+r.PathValue("id")+" shows it", http.StatusUnauthorized)
			return
		}
		answer, err := view.GetQuery(ctx, connect.NewRequest(&reevev1.GetQueryRequest{Id: r.PathValue("id")}))
		if err != nil {
			status := http.StatusServiceUnavailable
			if connect.CodeOf(err) == connect.CodeNotFound || connect.CodeOf(err) == connect.CodeUnimplemented {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		text, err := protojson.Marshal(answer.Msg.GetQuery())
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(text) // the client is gone
	})
}
