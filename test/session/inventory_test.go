package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	"github.com/reeve-cloud/reeve/test/centre"
)

// client returns a signed-in client of the inventory.
func client(t *testing.T, c *centre.Centre) reevev1connect.InventoryServiceClient {
	t.Helper()
	return reevev1connect.NewInventoryServiceClient(signedIn(t, c))
}

// signedIn returns an HTTP client with a bearer token, and the API's address.
func signedIn(t *testing.T, c *centre.Centre) (*http.Client, string) {
	t.Helper()
	token, secret := registry.NewAPIToken("test", "admin")
	if err := c.Registry.AddAPIToken(t.Context(), registry.System, token); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: identity.PinnedClient(c.CA.Pin()), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bearer{transport, token.ID + "." + secret}}, "https://" + c.Address
}

type bearer struct {
	next  http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// insert writes versions as an agent of theirs would.
func insert(t *testing.T, c *centre.Centre, versions ...warehouse.AssetVersion) {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	for i := range versions {
		v := &versions[i]
		if v.Version == 0 {
			v.Version = uint64(hlc.FromTime(now)) + uint64(i)
		}
		if v.Document == nil {
			v.Document = []byte(`{}`)
		}
		v.Hash, v.ObservedAt, v.Seq, v.Scope = document.Hash{1}, now, uint64(i), "fake/s"
	}
	if err := c.Store.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: now, Versions: versions}); err != nil {
		t.Fatal(err)
	}
}

func version(site, kind, uid string, op warehouse.Operation) warehouse.AssetVersion {
	return warehouse.AssetVersion{Origin: warehouse.Origin{Site: site, AgentID: "gone-agent", SpoolID: "s"}, Type: kind, UID: uid,
		Operation: op}
}

func code(t *testing.T, err error, want connect.Code, text string) {
	t.Helper()
	if connect.CodeOf(err) != want || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v with %q", err, want, text)
	}
}

func TestListAssets(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	var want []string
	var versions []warehouse.AssetVersion
	for i := range 25 {
		site, kind := fmt.Sprint("site", i%2), fmt.Sprint("fake.test.Kind", i%3)
		uid := fmt.Sprintf("u%02d", i)
		versions = append(versions, version(site, kind, uid, warehouse.Created))
		want = append(want, site+" "+kind+" "+uid)
	}
	insert(t, c, versions...)
	slices.Sort(want)
	list := func(r *reevev1.ListAssetsRequest) (got []string, pages int) {
		t.Helper()
		for {
			res, err := api.ListAssets(t.Context(), connect.NewRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, a := range res.Msg.GetAssets() {
				got = append(got, a.GetSite()+" "+a.GetType()+" "+a.GetUid())
			}
			if r.PageToken = res.Msg.GetNextPageToken(); r.PageToken == "" {
				return got, pages
			}
		}
	}
	if got, pages := list(&reevev1.ListAssetsRequest{PageSize: 7}); !slices.Equal(got, want) || pages != 4 {
		t.Errorf("%d pages: %q", pages, got)
	}
	if got, pages := list(&reevev1.ListAssetsRequest{PageSize: 25}); len(got) != 25 || pages != 1 {
		t.Errorf("a full last page: %d assets on %d pages", len(got), pages)
	}
	if got, _ := list(&reevev1.ListAssetsRequest{Site: "site1", Type: "fake.test.Kind2"}); len(got) != 4 {
		t.Errorf("filtered: %q", got)
	}
	_, err := api.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{PageSize: -1}))
	code(t, err, connect.CodeInvalidArgument, "page_size")
	_, err = api.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{PageToken: "x"}))
	code(t, err, connect.CodeInvalidArgument, "page_token")
	_, err = api.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{States: []reevev1.State{9}}))
	code(t, err, connect.CodeInvalidArgument, "states[0]")
}

func TestListAssetTypes(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	insert(t, c, version("west", "fake.test.Kind1", "a", warehouse.Created), version("west", "fake.test.Kind3", "b", warehouse.Created))
	g := &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().Truncate(time.Millisecond)}
	for i := range 3 {
		g.Types = append(g.Types, warehouse.AssetType{
			Origin: warehouse.Origin{Site: fmt.Sprint("site", i%2)}, Name: fmt.Sprint("fake.test.Kind", i), Title: fmt.Sprint("Kind ", i),
			Version: 1,
		})
	}
	g.Types[1].Layout = []byte(`{"columns":[{"title":"N","path":"n","wide":true}]}`)
	if err := c.Store.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := &reevev1.ListAssetTypesRequest{PageSize: 3}
	for pages := 0; pages == 0 || r.PageToken != ""; pages++ {
		res, err := api.ListAssetTypes(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range res.Msg.GetAssetTypes() {
			got = append(got, fmt.Sprint(k.GetName(), " ", k.GetTitle(), " ", k.GetLayout().AsMap(), " ", k.GetActiveAssets()))
		}
		r.PageToken = res.Msg.GetNextPageToken()
	}
	want := []string{
		"fake.test.Kind0 Kind 0 map[] 0", "fake.test.Kind1 Kind 1 map[columns:[map[path:n title:N wide:true]]] 1",
		"fake.test.Kind2 Kind 2 map[] 0", "fake.test.Kind3  map[] 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	res, err := api.ListAssetTypes(t.Context(), connect.NewRequest(&reevev1.ListAssetTypesRequest{Site: "site1"}))
	if err != nil || len(res.Msg.GetAssetTypes()) != 1 || res.Msg.GetAssetTypes()[0].GetActiveAssets() != 0 {
		t.Errorf("one site: %v, %v", res, err)
	}
	_, err = api.ListAssetTypes(t.Context(), connect.NewRequest(&reevev1.ListAssetTypesRequest{PageSize: -1}))
	code(t, err, connect.CodeInvalidArgument, "page_size")
	_, err = api.ListAssetTypes(t.Context(), connect.NewRequest(&reevev1.ListAssetTypesRequest{PageToken: "x"}))
	code(t, err, connect.CodeInvalidArgument, "page_token")
}

func TestGetAsset(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	v := version("west", "fake.test.Thing", "a", warehouse.Created)
	v.Document = []byte(`{"big":9223372036854775807,"list":[1,2.5,null,true],"text":"x"}`)
	insert(t, c, v, version("west", "fake.test.Thing", "twice", warehouse.Created),
		version("east", "fake.test.Thing", "twice", warehouse.Created),
		version("west", "fake.test.Thing", "d", warehouse.Deleted))
	res, err := api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	doc := res.Msg.GetAsset().GetDocument().AsMap()
	if doc["big"] != "9223372036854775807" || doc["text"] != "x" || fmt.Sprint(doc["list"]) != "[1 2.5 <nil> true]" {
		t.Errorf("document %v", doc)
	}
	res, err = api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "d"}))
	if err != nil || res.Msg.GetAsset().GetState() != reevev1.State_STATE_DELETED || res.Msg.GetAsset().GetDeleteTime() == nil {
		t.Errorf("a deleted asset: %v, %v", res, err)
	}
	_, err = api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "nope"}))
	code(t, err, connect.CodeNotFound, "nope")
	_, err = api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{}))
	code(t, err, connect.CodeInvalidArgument, "uid")
	_, err = api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "twice"}))
	code(t, err, connect.CodeFailedPrecondition, "give the site")
	if _, err = api.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "twice", Site: "east"})); err != nil {
		t.Error(err)
	}
}

func TestListChangesPages(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	var versions []warehouse.AssetVersion
	for i := range 5 {
		v := version("west", "fake.test.Thing", "a", warehouse.Updated)
		v.Version, v.Changed = uint64(100+i), []string{fmt.Sprint("p", i)}
		versions = append(versions, v)
	}
	insert(t, c, versions...)
	r := &reevev1.ListChangesRequest{Uid: "a", PageSize: 2}
	var got []string
	for {
		res, err := api.ListChanges(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range res.Msg.GetChanges() {
			got = append(got, ch.GetChangedPaths()...)
		}
		if r.PageToken = res.Msg.GetNextPageToken(); r.PageToken == "" {
			break
		}
	}
	if strings.Join(got, " ") != "p4 p3 p2 p1 p0" {
		t.Errorf("%q", got)
	}
	_, err := api.ListChanges(t.Context(), connect.NewRequest(&reevev1.ListChangesRequest{Uid: "nope"}))
	code(t, err, connect.CodeNotFound, "nope")
}

func TestStates(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	e := newEdge(t, c)
	e.observe(3)
	e.arrived(3)
	state := func() reevev1.State {
		res, err := api.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Msg.GetAssets()) != 3 {
			t.Fatalf("%d assets", len(res.Msg.GetAssets()))
		}
		return res.Msg.GetAssets()[0].GetState()
	}
	if s := state(); s != reevev1.State_STATE_ACTIVE {
		t.Fatalf("state %v while the agent is connected", s)
	}
	e.stop()
	centre.WaitFor(t, "assets of a silent agent to be disconnected", func() bool { return state() == reevev1.State_STATE_DISCONNECTED })
	none, err := api.ListAssets(t.Context(),
		connect.NewRequest(&reevev1.ListAssetsRequest{States: []reevev1.State{reevev1.State_STATE_ACTIVE}}))
	if err != nil || len(none.Msg.GetAssets()) != 0 {
		t.Fatalf("%v, %v", none, err)
	}
}

func TestWatchChanges(t *testing.T) {
	c := centre.New(t)
	api := client(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := api.WatchChanges(ctx, connect.NewRequest(&reevev1.WatchChangesRequest{Site: "west"}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() || len(stream.Msg().GetChanges()) != 0 {
		t.Fatalf("the watch did not begin: %v", stream.Err())
	}
	e := newEdge(t, c)
	e.observe(4)
	n := 0
	for n < 4 && stream.Receive() {
		n += len(stream.Msg().GetChanges())
	}
	if n != 4 {
		t.Fatalf("%d changes, %v", n, stream.Err())
	}
	cancel()
	for stream.Receive() {
	}
	if err := stream.Err(); err != nil && !errors.Is(err, context.Canceled) && connect.CodeOf(err) != connect.CodeCanceled {
		t.Error(err)
	}
}
