package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/api/reeve/v1/reevev1connect"
)

func (f *fixture) access(bearer string) reevev1connect.AccessServiceClient {
	return reevev1connect.NewAccessServiceClient(f.client(nil), f.url(), with("Bearer "+bearer))
}

// TestTokenLife rotates the admin's token: a new one is made, used, and ends the old
// one, with what runs with it.
func TestTokenLife(t *testing.T) {
	service := inventory{caller: make(chan Caller, 1)}
	f := start(t, func(o *Options) { o.Inventory = service })
	ctx := t.Context()
	list, err := f.access(f.bearer).ListApiTokens(ctx, connect.NewRequest(&reevev1.ListApiTokensRequest{}))
	if err != nil || len(list.Msg.GetTokens()) != 1 || !list.Msg.GetTokens()[0].GetCurrent() {
		t.Fatalf("%v, %v", list, err)
	}
	old := list.Msg.GetTokens()[0].GetId()
	revoke := func(bearer, id string) error {
		_, err := f.access(bearer).RevokeApiToken(ctx, connect.NewRequest(&reevev1.RevokeApiTokenRequest{Id: id}))
		return err
	}
	wantError(t, revoke(f.bearer, old), connect.CodeFailedPrecondition, "last", "make another one")
	wantError(t, revoke(f.bearer, "nosuch"), connect.CodeNotFound)
	wantError(t, revoke(f.bearer, "no such"), connect.CodeInvalidArgument, "id:")

	for field, r := range map[string]*reevev1.CreateApiTokenRequest{
		"user:": {User: "two\nlines"}, "ttl:": {Ttl: durationpb.New(-1)},
	} {
		_, err := f.access(f.bearer).CreateApiToken(ctx, connect.NewRequest(r))
		wantError(t, err, connect.CodeInvalidArgument, field)
	}
	made, err := f.access(f.bearer).CreateApiToken(ctx, connect.NewRequest(&reevev1.CreateApiTokenRequest{}))
	if err != nil || made.Msg.GetToken().GetUser() != "admin" || made.Msg.GetToken().GetExpireTime() != nil {
		t.Fatalf("%v, %v", made, err)
	}
	fresh := made.Msg.GetSecret()
	if strings.Contains(f.log.String(), fresh) {
		t.Error("the token is in the log")
	}
	stream, err := f.inventory().WatchChanges(ctx, connect.NewRequest(&reevev1.WatchChangesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	if c := <-service.caller; c.TokenID != old {
		t.Errorf("caller %+v", c)
	}
	if err := revoke(fresh, old); err != nil {
		t.Fatal(err)
	}
	if stream.Receive() || stream.Err() == nil {
		t.Error("a stream goes on with a token that was revoked")
	}
	_, err = f.access(f.bearer).ListApiTokens(ctx, connect.NewRequest(&reevev1.ListApiTokensRequest{}))
	wantError(t, err, connect.CodeUnauthenticated, "unknown")
}

// TestTokenExpires has a token end, and a stream that runs with it.
func TestTokenExpires(t *testing.T) {
	service := inventory{caller: make(chan Caller, 1)}
	f := start(t, func(o *Options) { o.Inventory = service })
	made, err := f.access(f.bearer).CreateApiToken(t.Context(),
		connect.NewRequest(&reevev1.CreateApiTokenRequest{User: "ci", Ttl: durationpb.New(2 * time.Second)}))
	if err != nil || made.Msg.GetToken().GetUser() != "ci" || made.Msg.GetToken().GetExpireTime() == nil {
		t.Fatalf("%v, %v", made, err)
	}
	f.bearer = made.Msg.GetSecret()
	stream, err := f.inventory().WatchChanges(t.Context(), connect.NewRequest(&reevev1.WatchChangesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	if stream.Receive() || stream.Err() == nil {
		t.Error("a stream goes on with a token that has ended")
	}
	_, err = f.access(f.bearer).ListApiTokens(context.Background(), connect.NewRequest(&reevev1.ListApiTokensRequest{}))
	wantError(t, err, connect.CodeUnauthenticated, "expired")
}

func TestListAuditEntries(t *testing.T) {
	f := start(t, nil)
	began := time.Now()
	id, _ := f.enroll("lab")
	if _, err := f.fleet().RevokeAgent(t.Context(), connect.NewRequest(&reevev1.RevokeAgentRequest{Id: id})); err != nil {
		t.Fatal(err)
	}
	read := func(r *reevev1.ListAuditEntriesRequest) (lines []string) {
		t.Helper()
		for {
			res, err := f.access(f.bearer).ListAuditEntries(t.Context(), connect.NewRequest(r))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range res.Msg.GetEntries() {
				who, _, _ := strings.Cut(e.GetActor(), ":")
				lines = append(lines, who+" "+e.GetAction())
			}
			if r.PageToken = res.Msg.GetNextPageToken(); r.PageToken == "" {
				return lines
			}
		}
	}
	for _, test := range []struct {
		r    *reevev1.ListAuditEntriesRequest
		want string
	}{
		{&reevev1.ListAuditEntriesRequest{PageSize: 1, StartTime: timestamppb.New(began)},
			"user agent.revoke, join-token agent.enroll, join-token join_token.use, user site.create, user join_token.create"},
		{&reevev1.ListAuditEntriesRequest{Action: "agent."}, "user agent.revoke, join-token agent.enroll"},
		{&reevev1.ListAuditEntriesRequest{Actor: "user:admin", Action: "agent.revoke"}, "user agent.revoke"},
		{&reevev1.ListAuditEntriesRequest{EndTime: timestamppb.New(began)}, "system api_token.create"},
		{&reevev1.ListAuditEntriesRequest{Actor: "nobody"}, ""},
	} {
		if got := strings.Join(read(test.r), ", "); got != test.want {
			t.Errorf("%v:\n%s, want\n%s", test.r, got, test.want)
		}
	}
	_, err := f.access(f.bearer).ListAuditEntries(t.Context(),
		connect.NewRequest(&reevev1.ListAuditEntriesRequest{PageToken: encodePageToken("audit entries", "other", "x")}))
	wantError(t, err, connect.CodeInvalidArgument, "page_token:")
	_, err = f.access(f.bearer).ListAuditEntries(t.Context(),
		connect.NewRequest(&reevev1.ListAuditEntriesRequest{StartTime: &timestamppb.Timestamp{Nanos: -1}}))
	wantError(t, err, connect.CodeInvalidArgument, "start_time:")
}
