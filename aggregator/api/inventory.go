package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/reeve-cloud/reeve/aggregator/ingest"
	"github.com/reeve-cloud/reeve/aggregator/query"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/scope"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/aggregator/watch"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

const (
	// silentAfter is how long an agent must not have been heard from, and have
	// no session, for its assets to count as disconnected: a little more than a
	// reconnect takes.
	silentAfter = 10 * time.Second
	// pageBytes is what the documents of a page may have together, unless one alone has
	// more: some ten times as much is needed to make a message of them.
	pageBytes = 4 << 20
	// maxRelations is how many edges GetAsset shows.
	maxRelations = 10_000
)

// Inventory is the inventory service.
type Inventory struct {
	Warehouse *warehouse.Warehouse
	Registry  *registry.Registry
	Feed      *ingest.Feed
	Tail      *watch.Tail
	// Started is when the aggregator began to take sessions: it cannot know
	// that an agent is silent before that.
	Started time.Time
	Logger  *slog.Logger
	// Scopes says who looks after what.
	Scopes *scope.Scopes
	// Layouts says how types are shown.
	Layouts *Layouts
	// Engine answers questions about the assets.
	Engine *query.Engine
}

var _ reevev1connect.InventoryServiceHandler = (*Inventory)(nil)

// silent returns the agents that are not heard from, with the time since when.
func (s *Inventory) silent() map[string]time.Time {
	silent := make(map[string]time.Time)
	for id, l := range s.Registry.AllLiveness() {
		listening := l.SeenTime
		if s.Started.After(listening) {
			listening = s.Started
		}
		if !l.Connected && time.Since(listening) > silentAfter {
			silent[id] = l.SeenTime
		}
	}
	return silent
}

// SilentAgents returns the agents that are not heard from.
func (s *Inventory) SilentAgents() []string { return agentIDs(s.silent()) }

func agentIDs(silent map[string]time.Time) []string {
	ids := make([]string, 0, len(silent))
	for id := range silent {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// unavailable is the answer when the warehouse fails. The log has the cause.
func (s *Inventory) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	s.Logger.Error("the warehouse failed a query", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the warehouse does not answer; the aggregator's log says why"))
}

// wantedStates returns the states that are asked for: all but the deleted by
// default.
func wantedStates(states []reevev1.State) ([]warehouse.State, error) {
	if len(states) == 0 {
		return []warehouse.State{warehouse.Active, warehouse.Disconnected}, nil
	}
	var wanted []warehouse.State
	for i, st := range states {
		switch st {
		case reevev1.State_STATE_ACTIVE:
			wanted = append(wanted, warehouse.Active)
		case reevev1.State_STATE_DISCONNECTED:
			wanted = append(wanted, warehouse.Disconnected)
		case reevev1.State_STATE_DELETED:
			wanted = append(wanted, warehouse.Gone)
		default:
			return nil, invalid(fmt.Sprintf("states[%d]", i), "%d is not a state", st)
		}
	}
	return wanted, nil
}

// GetAsset implements the inventory service.
func (s *Inventory) GetAsset(ctx context.Context, r *connect.Request[reevev1.GetAssetRequest]) (
	*connect.Response[reevev1.GetAssetResponse], error) {
	if r.Msg.GetAsOf() != nil {
		return s.assetThen(ctx, r.Msg)
	}
	silent := s.silent()
	found, err := s.find(ctx, r.Msg, silent, true)
	if err != nil {
		return nil, err
	}
	response := &reevev1.GetAssetResponse{}
	if response.Asset, err = s.asset(found, silent); err != nil {
		return nil, s.unavailable(ctx, err)
	}
	relations, err := s.Warehouse.Relations(ctx, warehouse.AssetKey{Site: found.Site, Type: found.Type, UID: found.UID}, maxRelations)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	for _, e := range relations {
		response.Relations = append(response.Relations, &reevev1.Relation{
			Kind: e.Kind, FromType: e.FromType, FromUid: e.FromUID, ToType: e.ToType, ToUid: e.ToUID,
		})
	}
	return connect.NewResponse(response), nil
}

// ListAssetTypes implements the inventory service.
func (s *Inventory) ListAssetTypes(ctx context.Context, r *connect.Request[reevev1.ListAssetTypesRequest]) (
	*connect.Response[reevev1.ListAssetTypesResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q", m.GetSite())
	after, err := decodePageToken(m.GetPageToken(), "asset types", filter)
	if err != nil {
		return nil, err
	}
	list, err := s.Warehouse.Types(ctx, warehouse.TypeQuery{Site: m.GetSite(), Silent: agentIDs(s.silent()), After: after, Limit: size + 1})
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response := &reevev1.ListAssetTypesResponse{}
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = encodePageToken("asset types", filter, list[size-1].Name)
	}
	for _, t := range list {
		text, _, _, err := s.Layouts.instead(ctx, t.Name, t.Layout)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		shown, err := structOf(text)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		response.AssetTypes = append(response.AssetTypes, &reevev1.AssetType{Name: t.Name, Title: t.Title, Layout: shown, ActiveAssets: t.Active})
	}
	return connect.NewResponse(response), nil
}

// named is a request that names one asset.
type named interface {
	GetUid() string
	GetSite() string
	GetType() string
}

// find returns the one asset that a request names.
func (s *Inventory) find(ctx context.Context, r named, silent map[string]time.Time, withDocument bool) (*warehouse.Asset, error) {
	if r.GetUid() == "" {
		return nil, invalid("uid", "must not be empty")
	}
	list, err := s.Warehouse.Assets(ctx, warehouse.AssetQuery{
		Site: r.GetSite(), Type: r.GetType(), UID: r.GetUid(), Silent: agentIDs(silent), Limit: 2, WithDocument: withDocument,
	})
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	keys := make([]warehouse.AssetKey, len(list))
	for i, a := range list {
		keys[i] = warehouse.AssetKey{Site: a.Site, Type: a.Type, UID: a.UID}
	}
	if err := exactlyOne(r.GetUid(), keys); err != nil {
		return nil, err
	}
	return &list[0], nil
}

// exactlyOne returns an error unless one asset has a uid, of those that were found.
func exactlyOne(uid string, list []warehouse.AssetKey) error {
	switch {
	case len(list) == 0:
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no asset %q", uid))
	case len(list) > 1:
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"several assets have the uid %q, among them %s of site %s and %s of site %s: give the site and the type",
			uid, list[0].Type, list[0].Site, list[1].Type, list[1].Site))
	}
	return nil
}

// ListChanges implements the inventory service.
func (s *Inventory) ListChanges(ctx context.Context, r *connect.Request[reevev1.ListChangesRequest]) (
	*connect.Response[reevev1.ListChangesResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, m, nil, false)
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q %q %q", found.Site, found.Type, found.UID)
	after, err := decodePageToken(m.GetPageToken(), "changes", filter)
	if err != nil {
		return nil, err
	}
	q := warehouse.ChangeQuery{
		AssetKey: warehouse.AssetKey{Site: found.Site, Type: found.Type, UID: found.UID},
		Limit:    size + 1, WithDocument: m.GetView() == reevev1.AssetView_ASSET_VIEW_FULL,
	}
	if after != "" {
		if q.Before, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, invalid("page_token", "%w", errPageToken)
		}
	}
	if q.WithDocument {
		fit, err := s.Warehouse.ChangesWithin(ctx, q, pageBytes)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		size = min(size, max(fit, 1))
		q.Limit = size + 1
	}
	list, err := s.Warehouse.Changes(ctx, q)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response := &reevev1.ListChangesResponse{}
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = encodePageToken("changes", filter, strconv.FormatUint(list[size-1].Version, 10))
	}
	for i := range list {
		c, err := change(&list[i].AssetVersion, list[i].ReceivedAt)
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		response.Changes = append(response.Changes, c)
	}
	return connect.NewResponse(response), nil
}

// ListGaps implements the inventory service.
func (s *Inventory) ListGaps(ctx context.Context, r *connect.Request[reevev1.ListGapsRequest]) (
	*connect.Response[reevev1.ListGapsResponse], error) {
	m := r.Msg
	size, err := checkPageSize(m.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("%q", m.GetSite())
	after, err := decodePageToken(m.GetPageToken(), "gaps", filter)
	if err != nil {
		return nil, err
	}
	q := warehouse.GapQuery{Site: m.GetSite(), Limit: size + 1}
	if after != "" {
		if err := json.Unmarshal([]byte(after), &q.After); err != nil || q.After == nil {
			return nil, invalid("page_token", "%w", errPageToken)
		}
	}
	list, err := s.Warehouse.Gaps(ctx, q)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	response := &reevev1.ListGapsResponse{}
	if len(list) > size {
		list = list[:size]
		g := list[size-1]
		key, err := json.Marshal(warehouse.GapKey{
			ReceivedAt: g.ReceivedAt.UnixMilli(), Site: g.Site, AgentID: g.AgentID, SpoolID: g.SpoolID, Class: g.Class, LastSeq: g.LastSeq,
		})
		if err != nil {
			return nil, s.unavailable(ctx, err)
		}
		response.NextPageToken = encodePageToken("gaps", filter, string(key))
	}
	for i := range list {
		g := &list[i]
		response.Gaps = append(response.Gaps, &reevev1.Gap{
			Site: g.Site, AgentId: g.AgentID, SpoolId: g.SpoolID, Class: g.Class, FirstSeq: g.FirstSeq, LastSeq: g.LastSeq,
			Reason:   reevev1.Gap_Reason(reevev1.Gap_Reason_value["REASON_"+strings.ToUpper(g.Reason)]),
			Versions: g.Versions, AssetTypes: g.AssetTypes, Events: g.Events, Usages: g.Usages, Unknown: g.Unknown,
			EarliestTime: timestamp(g.Earliest), LatestTime: timestamp(g.Latest), ReceiveTime: timestamp(g.ReceivedAt),
		})
	}
	return connect.NewResponse(response), nil
}

// WatchChanges implements the inventory service.
func (s *Inventory) WatchChanges(ctx context.Context, r *connect.Request[reevev1.WatchChangesRequest],
	out *connect.ServerStream[reevev1.WatchChangesResponse]) error {
	feed := s.Feed.Subscribe()
	defer feed.Close()
	// An empty message tells the client that the watch stands.
	if err := out.Send(&reevev1.WatchChangesResponse{}); err != nil {
		return err
	}
	for {
		g, err := feed.Next(ctx)
		if errors.Is(err, ingest.ErrFellBehind) {
			return connect.NewError(connect.CodeResourceExhausted,
				errors.New("this watch reads more slowly than changes come; start it again, or narrow it down"))
		}
		if err != nil {
			return err
		}
		if err := sendChanges(g, r.Msg, out); err != nil {
			return err
		}
	}
}

func sendChanges(g *warehouse.Group, want *reevev1.WatchChangesRequest, out *connect.ServerStream[reevev1.WatchChangesResponse]) error {
	var changes []*reevev1.Change
	for i := range g.Versions {
		v := &g.Versions[i]
		if want.GetSite() != "" && want.GetSite() != v.Site || want.GetType() != "" && want.GetType() != v.Type {
			continue
		}
		changes = append(changes, basicChange(v, g.ReceivedAt))
	}
	if len(changes) == 0 {
		return nil
	}
	return out.Send(&reevev1.WatchChangesResponse{Changes: changes})
}

func (s *Inventory) asset(a *warehouse.Asset, silent map[string]time.Time) (*reevev1.Asset, error) {
	m := &reevev1.Asset{
		Uid: a.UID, Type: a.Type, Site: a.Site, Name: a.Name, Status: a.Status, Region: a.Region, Project: a.Project,
		Labels: a.Labels, Scope: a.Scope, AgentId: a.AgentID, Version: a.Version,
		CreateTime: timestamp(a.CreatedAt), UpdateTime: timestamp(a.UpdatedAt), ObserveTime: timestamp(a.ObservedAt),
	}
	switch a.State {
	case warehouse.Gone:
		m.State, m.DeleteTime = reevev1.State_STATE_DELETED, timestamp(a.ObservedAt)
	case warehouse.Disconnected:
		m.State, m.DisconnectTime = reevev1.State_STATE_DISCONNECTED, timestamp(s.disconnected(a, silent))
	default:
		m.State = reevev1.State_STATE_ACTIVE
	}
	var err error
	m.Document, err = structOf(a.Document)
	return m, err
}

func change(v *warehouse.AssetVersion, receivedAt time.Time) (*reevev1.Change, error) {
	m := basicChange(v, receivedAt)
	var err error
	m.Document, err = structOf(v.Document)
	return m, err
}

func basicChange(v *warehouse.AssetVersion, receivedAt time.Time) *reevev1.Change {
	m := &reevev1.Change{
		Uid: v.UID, Type: v.Type, Site: v.Site, Name: v.Name, Version: v.Version, ChangedPaths: v.Changed, Status: v.Status,
		ObserveTime: timestamp(v.ObservedAt), ReceiveTime: timestamp(receivedAt), AgentId: v.AgentID,
	}
	switch v.Operation {
	case warehouse.Created:
		m.Operation = reevev1.Change_OPERATION_CREATED
	case warehouse.Updated:
		m.Operation = reevev1.Change_OPERATION_UPDATED
	case warehouse.Deleted:
		m.Operation = reevev1.Change_OPERATION_DELETED
	}
	return m
}

// disconnected is since when nobody looks after an asset.
func (s *Inventory) disconnected(a *warehouse.Asset, silent map[string]time.Time) time.Time {
	if s.Scopes != nil {
		if st, ok := s.Scopes.Get(a.Site, a.Scope); ok && st.Holder == "" {
			return st.ReleaseTime
		} else if ok {
			return silent[st.Holder]
		}
	}
	return silent[a.AgentID]
}

// structOf makes a message of a document. Integers that a double cannot hold
// become strings, as in the JSON mapping of protobuf.
func structOf(doc []byte) (*structpb.Struct, error) {
	if len(doc) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("a document in the warehouse: %w", err)
	}
	st, err := structpb.NewStruct(numbers(m).(map[string]any))
	if err != nil {
		return nil, fmt.Errorf("a document in the warehouse: %w", err)
	}
	return st, nil
}

// maxExact is the first whole number that a double has for another one, too: 2^53 + 1.
const maxExact = 1 << 53

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	case json.Number:
		f, err := v.Float64()
		whole := !strings.ContainsAny(v.String(), ".eE")
		if err != nil || whole && (f >= maxExact || f <= -maxExact) {
			return v.String()
		}
		return f
	}
	return v
}
