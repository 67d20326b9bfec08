package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/reeve-cloud/reeve/agent/enroll"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/agent/uplink"
	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/identity"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/estate"
	"github.com/reeve-cloud/reeve/tui/client"
)

// portion is how many assets a sweep appends at once, as in package collect.
const portion = 256

// agent is one agent of the fleet: an estate in place of collectors and last seen,
// and the real spool, uplink and enrollment.
type agent struct {
	*estate.Estate
	site  string
	clock *hlc.Clock
	spool *spool.Spool
	link  *uplink.Uplink

	// mu is held while versions are made and appended, so that they are in the
	// spool in the order of their stamps.
	mu     sync.Mutex
	assets []state
	events int
}

// state is the truth of one asset.
type state struct {
	stamp      uint64
	hash       [16]byte
	generation uint32
	// versions counts all that there were.
	versions uint32
	deleted  bool
}

// siteName is a name that sorts as its number does.
func siteName(number int) string { return fmt.Sprintf("fleet-%05d", number) }

func newAgent(seed uint64, number, assets int, dir string) (*agent, error) {
	a := &agent{Estate: estate.New(seed, number), site: siteName(number), clock: hlc.New(0), assets: make([]state, assets)}
	var err error
	a.spool, err = spool.Open(spool.Options{Dir: filepath.Join(dir, a.site, "spool")})
	return a, err
}

// join makes a site with a token and enrolls with it.
func (a *agent) join(ctx context.Context, api *client.Client, address, dir string, metrics *uplink.Metrics) error {
	token, err := api.Fleet.CreateJoinToken(ctx, connect.NewRequest(&reevev1.CreateJoinTokenRequest{
		Site: a.site, MaxUses: 1, Ttl: durationpb.New(time.Hour), Addresses: []string{address},
	}))
	if err != nil {
		return fmt.Errorf("making a join token: %w", err)
	}
	parsed, err := identity.ParseJoinToken(token.Msg.GetSecret())
	if err != nil {
		return err
	}
	id, err := enroll.Join(ctx, filepath.Join(dir, a.site, "identity"), parsed, nil, a.site, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	a.link = &uplink.Uplink{
		Spool: a.spool, Clock: a.clock, Addresses: []string{address}, TLS: id.ClientTLS, Hostname: a.site,
		Collectors: []string{"fleet"}, Metrics: metrics, Logger: slog.New(slog.DiscardHandler),
	}
	return nil
}

// sweep appends everything for the first time.
func (a *agent) sweep(ctx context.Context) error {
	for from := 0; from < len(a.assets); from += portion {
		var part []int
		for i := from; i < min(from+portion, len(a.assets)); i++ {
			part = append(part, i)
		}
		if err := a.observe(ctx, false, part...); err != nil {
			return err
		}
	}
	return nil
}

// change lets one asset change, come or go, and perhaps something happen to it.
func (a *agent) change(ctx context.Context, o operation) error {
	if o.event {
		if err := a.happen(ctx, o.asset); err != nil {
			return err
		}
	}
	return a.observe(ctx, o.gone, o.asset)
}

// observe appends the next version of assets: a deletion, if they are there and
// shall go, or else one that creates or updates them.
func (a *agent) observe(ctx context.Context, gone bool, assets ...int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	records := make([]*wirev1.Record, 0, len(assets))
	for _, i := range assets {
		s := &a.assets[i]
		exists := s.versions > 0 && !s.deleted
		s.deleted = exists && gone
		if !s.deleted {
			s.generation++
		}
		v := a.Version(i, int(s.generation))
		v.ObservedAt = time.Now().UnixMilli()
		switch {
		case s.deleted:
			v.Operation = wirev1.Operation_OPERATION_DELETED
			v.Relations, v.RemovedRelations = nil, v.GetRelations()
		case exists:
			v.Operation = wirev1.Operation_OPERATION_UPDATED
			v.Changed = []string{"status"}
		default:
			v.Operation = wirev1.Operation_OPERATION_CREATED
		}
		v.Version = uint64(a.clock.Next())
		s.stamp, s.hash = v.GetVersion(), [16]byte(v.GetHash())
		s.versions++
		records = append(records, &wirev1.Record{Body: &wirev1.Record_Asset{Asset: v}})
	}
	return a.spool.Append(ctx, wirev1.Class_CLASS_ASSETS, records)
}

// happen appends an event.
func (a *agent) happen(ctx context.Context, asset int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.Version(asset, 1)
	a.events++
	return a.spool.Append(ctx, wirev1.Class_CLASS_EVENTS, []*wirev1.Record{{Body: &wirev1.Record_Event{Event: &wirev1.Event{
		Id: a.ID("event", a.events), Type: "cloud.reeve.fleet.happened", Scope: v.GetScope(), AssetType: v.GetType(), AssetUid: v.GetUid(),
		Time: time.Now().UnixMilli(), Severity: "info", Message: "Something happened to " + v.GetName(), Data: []byte(`{"reason":"Churn"}`),
	}}}})
}

// shipped says whether everything is acknowledged.
func (a *agent) shipped() bool {
	for _, s := range a.spool.Stat() {
		if s.Waiting > 0 {
			return false
		}
	}
	return true
}

// run ships until ctx ends.
func (a *agent) run(ctx context.Context) error {
	if err := a.link.Run(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the uplink of %s: %w", a.site, err)
	}
	return nil
}
