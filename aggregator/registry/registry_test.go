package registry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

var admin = Actor{Name: "user:admin", Address: "192.0.2.1:1234"}

func open1(t *testing.T, o Options) *Registry {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// reopen closes the registry and opens it again.
func reopen(t *testing.T, r *Registry, o Options) *Registry {
	t.Helper()
	o.Dir = r.store.dir
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return open1(t, o)
}

func put(t *testing.T, r *Registry, key, value string) int64 {
	t.Helper()
	rev, err := r.store.Apply(t.Context(), admin, Op{Action: "test.put", Key: key, Value: []byte(value), Revision: AnyRevision})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// damage overwrites what lies under a raw key.
func damage(t *testing.T, r *Registry, key []byte, value string) {
	t.Helper()
	err := r.store.db.Update(func(txn *badger.Txn) error { return txn.Set(key, []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOneProcessMayOpen(t *testing.T) {
	r := open1(t, Options{})
	if _, err := Open(Options{Dir: r.store.dir}); err == nil || !strings.Contains(err.Error(), "opening the registry in") {
		t.Errorf("second Open: %v", err)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	r := open1(t, Options{})
	damage(t, r, keyFormat, "reeve-registry 9")
	dir := r.store.dir
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "reeve-registry 9") {
		t.Errorf("Open: %v", err)
	}
}

func TestClosedRegistry(t *testing.T) {
	r := open1(t, Options{})
	w, err := r.store.Watch("", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
	ctx := t.Context()
	_, getErr := r.store.Get(ctx, "a")
	_, applyErr := r.store.Apply(ctx, admin, Op{Action: "x", Key: "a", Value: []byte("1")})
	_, watchErr := r.store.Watch("", 0)
	_, nextErr := w.Next(ctx)
	markErr := r.SetWatermarks(ctx, map[SpoolClass]uint64{{spool, 1}: 1})
	for name, err := range map[string]error{
		"Get": getErr, "Apply": applyErr, "Watch": watchErr, "Next": nextErr, "SetWatermarks": markErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestFullDiskRefusesWritesAndReads(t *testing.T) {
	free := uint64(math.MaxUint64)
	r := open1(t, Options{freeSpace: func(string) (uint64, error) { return free, nil }})
	put(t, r, "a", "1")
	free = minFreeSpace - 1
	ctx := t.Context()
	if _, err := r.store.Apply(ctx, admin, Op{Action: "x", Key: "b", Value: []byte("1")}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Apply: %v", err)
	}
	if err := r.SetWatermarks(ctx, map[SpoolClass]uint64{{spool, 1}: 1}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("SetWatermarks: %v", err)
	}
	if got := r.Watermark(spool, 1); got != 0 {
		t.Errorf("watermark that was not saved: %d", got)
	}
	if _, err := r.store.Get(ctx, "a"); err != nil {
		t.Error(err)
	}
	free = math.MaxUint64
	put(t, r, "b", "1")
}

func TestCorruptObjectDoesNotHideOthers(t *testing.T) {
	var log bytes.Buffer
	r := open1(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := t.Context()
	for _, site := range []string{"a", "b", "c", "d", "e"} {
		if _, _, err := r.CreateJoinToken(ctx, admin, newToken(site, 1)); err != nil {
			t.Fatal(err)
		}
	}
	damage(t, r, objectKey(SitePrefix+"b"), "garbage without a header")
	damage(t, r, objectKey(SitePrefix+"c"), string(encodeKV(1, 1, []byte(`{"v":1,"name":`))))
	damage(t, r, objectKey(SitePrefix+"d"), string(encodeKV(1, 1, []byte(`{"v":2,"name":"d"}`))))

	var names []string
	var errs []error
	for site, err := range r.Sites(ctx, "") {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names = append(names, site.Name)
	}
	if got := strings.Join(names, " "); got != "a e" {
		t.Errorf("readable sites: %s", got)
	}
	if len(errs) != 3 {
		t.Fatalf("errors: %v", errs)
	}
	for i, want := range []string{`"sites/b"`, `"sites/c"`, "version 2"} {
		if !errors.Is(errs[i], ErrCorrupt) || !strings.Contains(errs[i].Error(), want) {
			t.Errorf("error %d: %v", i, errs[i])
		}
	}
	if _, err := r.Site(ctx, "b"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Site: %v", err)
	}
	// What is broken can be replaced and deleted, but not by accident.
	if _, err := r.store.Apply(ctx, admin, Op{Action: "x", Key: SitePrefix + "b", Value: []byte("{}"), Revision: 3}); !errors.Is(err,
		ErrCorrupt) {
		t.Errorf("Apply at a revision: %v", err)
	}
	if _, err := r.store.Apply(ctx, admin, Op{Action: "x", Key: SitePrefix + "b", Revision: AnyRevision}); err != nil {
		t.Error(err)
	}
}

func TestListStopsWithContext(t *testing.T) {
	r := open1(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range r.Sites(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func newToken(site string, uses int) JoinToken {
	now := time.Now()
	return JoinToken{Site: site, CreateTime: now, ExpireTime: now.Add(time.Hour), MaxUses: uses, CreatedBy: "admin",
		Addresses: []string{"reeve.example:7443"}}
}
