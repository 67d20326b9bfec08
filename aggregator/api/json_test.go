package api

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

// Words that a request does not have are refused, over every way that JSON comes in.
func TestWrongWordsInJSON(t *testing.T) {
	for name, tt := range map[string]struct{ procedure, body, want string }{
		"a field": {reevev1connect.FleetServiceListAgentsProcedure, `{"sitee":"a"}`,
			"sitee: ListAgentsRequest has no such field; is it site?"},
		"far from all":       {reevev1connect.FleetServiceListAgentsProcedure, `{"colour":"a"}`, "colour: ListAgentsRequest has no such field"},
		"in JSON's own form": {reevev1connect.FleetServiceListAgentsProcedure, `{"showRevokd":true}`, "is it show_revoked?"},
		"where none are":     {reevev1connect.FleetServiceGetStatusProcedure, `{"a":1}`, "a: GetStatusRequest has no such field"},
		"an enum": {reevev1connect.InventoryServiceListAssetsProcedure, `{"view":"ASSET_VIEW_FUL"}`,
			`view: \"ASSET_VIEW_FUL\" is no value of AssetView; is it ASSET_VIEW_FULL?`},
		"an enum in a list": {reevev1connect.InventoryServiceListAssetsProcedure, `{"states":["STATE_ACTIVE","GONE"]}`,
			`states[1]: \"GONE\" is no value of State, which are [STATE_ACTIVE STATE_DISCONNECTED STATE_DELETED]`},
		"not an object": {reevev1connect.FleetServiceListAgentsProcedure, `[]`, "invalid_argument"},
		"nothing":       {reevev1connect.FleetServiceListAgentsProcedure, ``, "must be a JSON object"},
		"a very long one": {reevev1connect.FleetServiceListAgentsProcedure, `{"` + strings.Repeat("x", 10_000) + `":1}`,
			"xxx...: ListAgentsRequest has no such field"},
		"enrollment as well":  {reevev1connect.EnrollmentServiceEnrollProcedure, `{"tokenid":"a"}`, "is it token_id?"},
		"and what is right":   {reevev1connect.FleetServiceListAgentsProcedure, `{"pageSize":5,"show_revoked":true}`, "{}"},
		"a well-known type's": {reevev1connect.FleetServiceCreateJoinTokenProcedure, `{"site":"a","ttl":"3600s"}`, `"token"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(o *Options) { o.Inventory = inventory{} })
			post := func(contentType string) string {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url()+tt.procedure, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", contentType)
				return f.answer(req)
			}
			for _, contentType := range []string{"application/json", "application/json; charset=utf-8"} {
				if got := post(contentType); !strings.Contains(got, tt.want) {
					t.Errorf("%s: answer %s, want %s", contentType, got, tt.want)
				}
			}
			if tt.procedure == reevev1connect.FleetServiceListAgentsProcedure && tt.body != "" {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
					f.url()+tt.procedure+"?encoding=json&message="+url.QueryEscape(tt.body), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := f.answer(req); !strings.Contains(got, tt.want) && len(tt.body) < 1000 {
					t.Errorf("GET: answer %s, want %s", got, tt.want)
				}
			}
		})
	}
}

func (f *fixture) answer(req *http.Request) string {
	f.t.Helper()
	req.Header.Set("Authorization", "Bearer "+f.bearer)
	res, err := f.client(nil).Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(body)
}

// What is taken is what protobuf's own strict decoder takes, and it does not crash.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"site":"a"}`, `{"states":["STATE_ACTIVE"],"view":2}`, `{"states":[["a"]]}`, `{"view":"x"}`,
		`{"startTime":"2026-01-01T00:00:00Z"}`, `null`, `{"":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{&reevev1.ListAssetsRequest{}, &reevev1.ListEventsRequest{}, &reevev1.ListAssetsResponse{}} {
			want := protojson.Unmarshal(data, proto.Clone(m))
			got := jsonCodec{"json"}.Unmarshal(bytes.Clone(data), m)
			if (want == nil) != (got == nil) {
				t.Errorf("%T: %v, protobuf says %v", m, got, want)
			}
		}
	})
}
