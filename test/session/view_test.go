package session_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/test/centre"
)

// as returns an HTTP client of a user, and the API's address.
func as(t *testing.T, c *centre.Centre, user string) (*http.Client, string) {
	t.Helper()
	token, secret := registry.NewAPIToken(user, "admin")
	if err := c.Registry.AddAPIToken(t.Context(), registry.System, token); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: identity.PinnedClient(c.CA.Pin()), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bearer{transport, token.ID + "." + secret}}, "https://" + c.Address
}

func TestLayoutsOfPeople(t *testing.T) {
	c := centre.New(t)
	api := reevev1connect.NewViewServiceClient(signedIn(t, c))
	ctx := t.Context()
	const kind = "fake.test.Machine"
	get := func() (*reevev1.Layout, error) {
		answer, err := api.GetLayout(ctx, connect.NewRequest(&reevev1.GetLayoutRequest{Type: kind}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetLayout(), nil
	}
	_, err := get()
	code(t, err, connect.CodeNotFound, "no layout")
	if err := c.Store.Write(ctx, &warehouse.Group{Types: []warehouse.AssetType{{
		Origin: warehouse.Origin{Site: "a", AgentID: "a", SpoolID: "s"}, Name: kind, Layout: []byte(`{"icon":"disk"}`)}}}); err != nil {
		t.Fatal(err)
	}
	icon := func(l *reevev1.Layout) string { return l.GetLayout().GetFields()["icon"].GetStringValue() }
	if l, err := get(); err != nil || icon(l) != "disk" || l.GetSource() != reevev1.LayoutSource_LAYOUT_SOURCE_COLLECTOR {
		t.Errorf("%v, %v", l, err)
	}
	set := func(members map[string]any) error {
		l, err := structpb.NewStruct(members)
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.SetLayout(ctx, connect.NewRequest(&reevev1.SetLayoutRequest{Type: kind, Layout: l}))
		return err
	}
	code(t, set(map[string]any{"icon": "dragon"}), connect.CodeInvalidArgument, `layout: icon: "dragon" is not one of`)
	if err := set(map[string]any{"icon": "pod"}); err != nil {
		t.Fatal(err)
	}
	if l, err := get(); err != nil || icon(l) != "pod" || l.GetSource() != reevev1.LayoutSource_LAYOUT_SOURCE_USER ||
		l.GetUpdateUser() != "test" {
		t.Errorf("%v, %v", l, err)
	}
	types, err := client(t, c).ListAssetTypes(ctx, connect.NewRequest(&reevev1.ListAssetTypesRequest{}))
	if err != nil || types.Msg.GetAssetTypes()[0].GetLayout().GetFields()["icon"].GetStringValue() != "pod" {
		t.Errorf("the list of types has %v, %v", types, err)
	}
	if _, err := api.ResetLayout(ctx, connect.NewRequest(&reevev1.ResetLayoutRequest{Type: kind})); err != nil {
		t.Fatal(err)
	}
	if l, err := get(); err != nil || icon(l) != "disk" {
		t.Errorf("reset: %v, %v", l, err)
	}
	_, err = api.ResetLayout(ctx, connect.NewRequest(&reevev1.ResetLayoutRequest{Type: kind}))
	code(t, err, connect.CodeNotFound, "nobody gave")
}

func TestSavedQueries(t *testing.T) {
	c := centre.New(t)
	ctx := t.Context()
	annHTTP, address := as(t, c, "ann")
	bobHTTP, _ := as(t, c, "bob")
	ann, bob := reevev1connect.NewViewServiceClient(annHTTP, address), reevev1connect.NewViewServiceClient(bobHTTP, address)
	save := func(api reevev1connect.ViewServiceClient, q *reevev1.SavedQuery) (*reevev1.SavedQuery, error) {
		answer, err := api.SaveQuery(ctx, connect.NewRequest(&reevev1.SaveQueryRequest{Query: q}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetQuery(), nil
	}
	q, err := save(ann, &reevev1.SavedQuery{Name: "Errors", Selection: &reevev1.AssetSelection{Filter: "status=ERROR", Type: "a.b.C"},
		Columns: []*reevev1.SavedColumn{{Path: "@name", Title: "Name"}, {Path: "spec.x"}}, OrderBy: "created desc"})
	if err != nil {
		t.Fatal(err)
	}
	get := func(api reevev1connect.ViewServiceClient, id string) (*reevev1.SavedQuery, error) {
		answer, err := api.GetQuery(ctx, connect.NewRequest(&reevev1.GetQueryRequest{Id: id}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetQuery(), nil
	}
	if got, err := get(ann, q.GetId()); err != nil || got.GetOwner() != "ann" || got.GetSelection().GetFilter() != "status=ERROR" ||
		got.GetColumns()[0].GetTitle() != "Name" || got.GetOrderBy() != "created desc" || got.GetCreateTime() == nil {
		t.Errorf("%v, %v", got, err)
	}
	// What is not shared is to others as if it were not there.
	_, err = get(bob, q.GetId())
	code(t, err, connect.CodeNotFound, "no saved query")
	_, none := get(bob, strings.Repeat("a", 12))
	if strings.ReplaceAll(none.Error(), strings.Repeat("a", 12), q.GetId()) != err.Error() {
		t.Errorf("hidden: %v; absent: %v", err, none)
	}
	_, err = save(bob, &reevev1.SavedQuery{Id: q.GetId()})
	code(t, err, connect.CodeNotFound, "no saved query")
	_, err = bob.StarQuery(ctx, connect.NewRequest(&reevev1.StarQueryRequest{Id: q.GetId(), Starred: true}))
	code(t, err, connect.CodeNotFound, "no saved query")
	_, err = bob.DeleteQuery(ctx, connect.NewRequest(&reevev1.DeleteQueryRequest{Id: q.GetId()}))
	code(t, err, connect.CodeNotFound, "no saved query")

	q.Shared, q.DefaultOfType = true, true
	if q, err = save(ann, q); err != nil || !q.GetDefaultOfType() {
		t.Fatal(q, err)
	}
	_, err = save(bob, q)
	code(t, err, connect.CodePermissionDenied, "somebody else's")
	_, err = bob.DeleteQuery(ctx, connect.NewRequest(&reevev1.DeleteQueryRequest{Id: q.GetId()}))
	code(t, err, connect.CodePermissionDenied, "somebody else's")
	if starred, err := bob.StarQuery(ctx, connect.NewRequest(&reevev1.StarQueryRequest{Id: q.GetId(), Starred: true})); err != nil ||
		!starred.Msg.GetQuery().GetStarred() {
		t.Errorf("%v, %v", starred, err)
	}
	if got, err := get(ann, q.GetId()); err != nil || got.GetStarred() {
		t.Errorf("bob's star is ann's: %v, %v", got, err)
	}
	if _, err := save(ann, &reevev1.SavedQuery{Selection: &reevev1.AssetSelection{Filter: "a=b"}}); err != nil { // a link
		t.Fatal(err)
	}
	for _, test := range []struct {
		api  reevev1connect.ViewServiceClient
		r    *reevev1.ListQueriesRequest
		want int
	}{
		{ann, &reevev1.ListQueriesRequest{}, 1}, {bob, &reevev1.ListQueriesRequest{Type: "a.b.C"}, 1},
		{bob, &reevev1.ListQueriesRequest{Starred: true}, 1},
		{ann, &reevev1.ListQueriesRequest{Starred: true}, 0}, {bob, &reevev1.ListQueriesRequest{Type: "x"}, 0},
	} {
		list, err := test.api.ListQueries(ctx, connect.NewRequest(test.r))
		if err != nil || len(list.Msg.GetQueries()) != test.want {
			t.Errorf("%v: %v, %v", test.r, list, err)
		}
	}

	// The link.
	link := func(client *http.Client) (int, string) {
		t.Helper()
		r, err := client.Get(address + "/s/" + q.GetId())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(text)
	}
	if status, text := link(bobHTTP); status != http.StatusOK || !strings.Contains(text, "status=ERROR") {
		t.Errorf("%d: %s", status, text)
	}
	stranger := &http.Client{Transport: bobHTTP.Transport.(bearer).next}
	if status, text := link(stranger); status != http.StatusUnauthorized || strings.Contains(text, "ERROR") {
		t.Errorf("a stranger gets %d: %s", status, text)
	}
	if _, err := ann.DeleteQuery(ctx, connect.NewRequest(&reevev1.DeleteQueryRequest{Id: q.GetId()})); err != nil {
		t.Fatal(err)
	}
	if status, _ := link(annHTTP); status != http.StatusNotFound {
		t.Errorf("deleted: %d", status)
	}

	for want, bad := range map[string]*reevev1.SavedQuery{
		"query.name":               {Name: strings.Repeat("x", 101)},
		"query.name: must":         {Name: "a\nb"},
		"query.description":        {Description: " a"},
		"query.default_of_type":    {DefaultOfType: true, Selection: &reevev1.AssetSelection{Type: "a"}},
		"query.selection.filter":   {Selection: &reevev1.AssetSelection{Filter: "a=("}},
		"query.columns[0].path":    {Columns: []*reevev1.SavedColumn{{Path: "a..b"}}},
		"query.order_by":           {OrderBy: "a,,b"},
		"query.chart":              {Chart: "bar"},
		"query.analysis.selection": {Analysis: &reevev1.AnalyzeAssetsRequest{Selection: &reevev1.AssetSelection{Site: "a"}}},
		"query.chart: \"pie\"":     {Chart: "pie", Analysis: &reevev1.AnalyzeAssetsRequest{}},
		"have a saved query of":    {Name: "Twice"},
	} {
		if bad.GetName() == "Twice" {
			if _, err := save(ann, bad); err != nil {
				t.Fatal(err)
			}
			_, err := save(ann, bad)
			code(t, err, connect.CodeAlreadyExists, want)
			continue
		}
		_, err := save(ann, bad)
		code(t, err, connect.CodeInvalidArgument, want)
	}
}
