package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/test/centre"
)

// TestQuestions asks the services questions about a small estate with a history.
func TestQuestions(t *testing.T) {
	c := centre.New(t)
	http, address := signedIn(t, c)
	inventory, questions := reevev1connect.NewInventoryServiceClient(http, address), reevev1connect.NewQueryServiceClient(http, address)
	then := time.Now().Add(-48 * time.Hour).UTC().Truncate(time.Millisecond)
	put := func(at time.Time, kind, uid, name, status, doc string) warehouse.AssetVersion {
		fields, err := document.Fields([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		v := version("seoul", kind, uid, warehouse.Updated)
		v.Version, v.Name, v.Status, v.Document, v.Fields = uint64(hlc.FromTime(at)), name, status, []byte(doc), fields
		return v
	}
	pod := func(n int, status, node string) string {
		return fmt.Sprintf(`{"cpu":"%d00m","node":"%s","conditions":[{"type":"Ready","status":"%v"}]}`, n, node, status == "Running")
	}
	var old, now []warehouse.AssetVersion
	for n := range 5 {
		uid, name := fmt.Sprintf("p%d", n), fmt.Sprintf("pod-%d", n)
		old = append(old, put(then, "k.core.Pod", uid, name, "Pending", pod(n, "Pending", "n1")))
		if n > 1 {
			now = append(now, put(time.Now().Add(-time.Hour), "k.core.Pod", uid, name, "Running", pod(n, "Running", "n2")))
		}
	}
	old = append(old, put(then, "k.core.Node", "node", "n2", "Ready", `{"zone":"a"}`))
	insert(t, c, old...)
	insert(t, c, now...)

	list := func(r *reevev1.ListAssetsRequest) *reevev1.ListAssetsResponse {
		t.Helper()
		answer, err := inventory.ListAssets(t.Context(), connect.NewRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Msg
	}
	names := func(m *reevev1.ListAssetsResponse) (names []string) {
		for _, a := range m.GetAssets() {
			names = append(names, a.GetName())
		}
		return names
	}
	first := list(&reevev1.ListAssetsRequest{Filter: "type:pod status=Running", OrderBy: "cpu desc", Columns: []string{"cpu",
		"conditions[type=Ready].status"},
		PageSize: 2, Total: reevev1.TotalSize_TOTAL_SIZE_EXACT})
	if !slices.Equal(names(first), []string{"pod-4", "pod-3"}) || first.GetTotalSize() != 3 || !first.GetTotalExact() ||
		first.GetNextPageToken() == "" ||
		first.GetCanonicalFilter() != `type:"pod" AND status="Running"` {
		t.Errorf("%v", first)
	}
	if a := first.GetAssets()[0]; len(a.GetColumns()) != 2 || !slices.Equal(a.GetColumns()[0].GetValues(), []string{"400m"}) ||
		!slices.Equal(a.GetColumns()[1].GetValues(), []string{"true"}) || a.GetDocument() != nil {
		t.Errorf("%v", a)
	}
	second := list(&reevev1.ListAssetsRequest{Filter: "type:pod AND status=Running", OrderBy: "cpu desc", PageToken: first.GetNextPageToken(),
		View: reevev1.AssetView_ASSET_VIEW_FULL})
	if !slices.Equal(names(second), []string{"pod-2"}) || second.GetNextPageToken() != "" || second.GetAssets()[0].GetDocument() == nil {
		t.Errorf("%v", second)
	}
	past := list(&reevev1.ListAssetsRequest{Filter: "node=n1 cpu>=300m", AsOf: timestamppb.New(then.Add(time.Hour))})
	if !slices.Equal(names(past), []string{"pod-3", "pod-4"}) || past.GetAssets()[0].GetStatus() != "Pending" {
		t.Errorf("%v", past)
	}

	// What is wrong is told with its place, by every call that takes a filter.
	for what, call := range map[string]func() error{
		"list": func() error {
			_, err := inventory.ListAssets(t.Context(), connect.NewRequest(&reevev1.ListAssetsRequest{Filter: "a AND b OR c"}))
			return err
		},
		"count": func() error {
			_, err := questions.CountAssets(t.Context(),
				connect.NewRequest(&reevev1.CountAssetsRequest{Selection: &reevev1.AssetSelection{Filter: "a AND b OR c"}}))
			return err
		},
	} {
		var e *connect.Error
		if err := call(); !errors.As(err, &e) || e.Code() != connect.CodeInvalidArgument || len(e.Details()) != 1 {
			t.Fatalf("%s: %v", what, err)
		}
		value, err := e.Details()[0].Value()
		detail, ok := value.(*reevev1.FilterError)
		if err != nil || !ok || detail.GetFilter() != "a AND b OR c" || len(detail.GetProblems()) != 1 ||
			detail.GetProblems()[0].GetEnd() != 12 ||
			len(detail.GetProblems()[0].GetMends()) != 2 {
			t.Errorf("%s: %v, %v", what, value, err)
		}
	}
	for _, r := range []*reevev1.ListAssetsRequest{{OrderBy: "name desc,"}, {OrderBy: "a b c"}, {Columns: []string{"name:x"}},
		{PageToken: first.GetNextPageToken()},
		{Total: 9}, {AsOf: &timestamppb.Timestamp{Seconds: -5}}, {OrderBy: "labels"}} {
		_, err := inventory.ListAssets(t.Context(), connect.NewRequest(r))
		code(t, err, connect.CodeInvalidArgument, "")
	}

	count, err := questions.CountAssets(t.Context(),
		connect.NewRequest(&reevev1.CountAssetsRequest{Selection: &reevev1.AssetSelection{Filter: "-status=Running"}}))
	if err != nil || count.Msg.GetCount() != 3 {
		t.Errorf("%v, %v", count, err)
	}
	facets, err := questions.ListFacets(t.Context(), connect.NewRequest(&reevev1.ListFacetsRequest{Fields: []string{"status", "node"}}))
	if err != nil || len(facets.Msg.GetFacets()) != 2 || facets.Msg.GetFacets()[0].GetValues()[0].GetValue() != "Running" ||
		facets.Msg.GetFacets()[1].GetMissingAssets() != 1 {
		t.Errorf("%v, %v", facets, err)
	}
	analysis, err := questions.AnalyzeAssets(t.Context(),
		connect.NewRequest(&reevev1.AnalyzeAssetsRequest{GroupBy: []*reevev1.GroupKey{{Field: "node"}},
			Selection: &reevev1.AssetSelection{Type: "k.core.Pod"}, Totals: true, Values: []*reevev1.GroupValue{{Name: "n"},
				{Name: "cpu", Function: reevev1.GroupValue_FUNCTION_SUM, Field: "cpu"}}, OrderBy: "cpu desc"}))
	if err != nil || len(analysis.Msg.GetGroups()) != 2 || analysis.Msg.GetGroups()[0].GetKeys()[0] != "n2" ||
		analysis.Msg.GetGroups()[0].GetValues().GetNumbers()[0].GetNumberValue() != 3 ||
		analysis.Msg.GetTotals().GetValues().GetNumbers()[0].GetNumberValue() != 5 {
		t.Errorf("%v, %v", analysis, err)
	}
	series, err := questions.QuerySeries(t.Context(),
		connect.NewRequest(&reevev1.QuerySeriesRequest{Selection: &reevev1.AssetSelection{Type: "k.core.Pod"},
			Interval: reevev1.GroupKey_BUCKET_DAY, StartTime: timestamppb.New(then.Add(-24 * time.Hour)), GroupBy: []*reevev1.GroupKey{{Field: "status"}}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range series.Msg.GetSeries() {
		last := x.GetPoints()[len(x.GetPoints())-1].GetNumbers()[0].GetNumberValue()
		if first := x.GetPoints()[0].GetNumbers()[0].GetNumberValue(); first != 0 || last != map[string]float64{"Pending": 2,
			"Running": 3}[x.GetKeys()[0]] {
			t.Errorf("%v", x)
		}
	}
	asset, err := inventory.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "p4",
		AsOf: timestamppb.New(then.Add(time.Minute))}))
	if err != nil || asset.Msg.GetAsset().GetStatus() != "Pending" || asset.Msg.GetAsset().GetDocument().AsMap()["node"] != "n1" {
		t.Errorf("%v, %v", asset, err)
	}
	_, err = inventory.GetAsset(t.Context(), connect.NewRequest(&reevev1.GetAssetRequest{Uid: "p4",
		AsOf: timestamppb.New(then.Add(-time.Minute))}))
	code(t, err, connect.CodeNotFound, "p4")
	suggested, err := questions.SuggestFilter(t.Context(), connect.NewRequest(&reevev1.SuggestFilterRequest{Filter: "type:pod sta",
		Cursor: 12}))
	if err != nil || !slices.ContainsFunc(suggested.Msg.GetSuggestions(),
		func(s *reevev1.FilterSuggestion) bool { return s.GetText() == "status" }) {
		t.Errorf("%v, %v", suggested, err)
	}
	suggested, err = questions.SuggestFilter(t.Context(), connect.NewRequest(&reevev1.SuggestFilterRequest{Filter: "status=Run", Cursor: 10}))
	if err != nil || len(suggested.Msg.GetSuggestions()) != 1 || suggested.Msg.GetSuggestions()[0].GetText() != "Running" ||
		suggested.Msg.GetStart() != 7 {
		t.Errorf("%v, %v", suggested, err)
	}
	explained, err := questions.ExplainQuery(t.Context(),
		connect.NewRequest(&reevev1.ExplainQueryRequest{Selection: &reevev1.AssetSelection{Filter: "node='x;\ny'"}}))
	if err != nil || len(explained.Msg.GetStatements()) != 3 || strings.Contains(explained.Msg.GetStatements()[0].GetSql(), "x;") {
		t.Errorf("%v, %v", explained, err)
	}
}
