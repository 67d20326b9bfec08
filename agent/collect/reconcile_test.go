package collect

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/agent/spool"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// parts is a spool that counts what is appended at once.
type parts struct {
	Spool
	sizes []int
}

func (p *parts) Append(ctx context.Context, class wirev1.Class, records []*wirev1.Record, c ...spool.Checkpoint) error {
	size := 0
	for _, r := range records {
		size += len(r.GetAsset().GetDocument())
	}
	p.sizes = append(p.sizes, size)
	return p.Spool.Append(ctx, class, records, c...)
}

// TestRestoreInParts: large documents are appended again in parts that are small
// enough for a batch, whatever has changed since the listing is left out, and
// listings end where they are full.
func TestRestoreInParts(t *testing.T) {
	a := newAgent(t)
	const things, each = 40, 256 << 10
	l := fake.Listing{}
	for i := range things {
		l.Assets = append(l.Assets, thing(fmt.Sprintf("u%02d", i), fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("x", each))))
	}
	a.list("s", l)
	a.start()
	a.wait("first sweep", func() bool { return len(a.history()) == things })
	to := &parts{Spool: a.spool}
	r := &Recorder{Seen: a.seen, Spool: to, Logger: slog.New(slog.DiscardHandler)}

	digests, complete, err := r.Digest(t.Context())
	if err != nil || fmt.Sprint(complete) != "[f/s]" || len(digests) != 1 || digests[0].GetAssets() != things ||
		digests[0].GetScope() != "f/s" || digests[0].GetType() != fake.TypeThing {
		t.Fatalf("the digests are %v, %v", digests, err)
	}
	var uids []string
	var whole wirev1.Listing
	for after := ""; ; {
		part, err := r.Listing(t.Context(), "f/s", fake.TypeThing, after, 300)
		if err != nil || part.GetAfter() != after || len(part.GetAssets()) == 0 || len(part.GetAssets()) > 20 {
			t.Fatalf("a listing behind %q: %v, %v", after, part, err)
		}
		for _, listed := range part.GetAssets() {
			uids = append(uids, listed.GetUid())
		}
		whole.Scope, whole.Type, whole.Assets = part.GetScope(), part.GetType(), append(whole.Assets, part.GetAssets()...)
		if after = part.GetUntil(); after == "" {
			break
		}
	}
	if len(uids) != things || uids[0] != "u00" || uids[things-1] != "u39" {
		t.Fatalf("listed are %q", uids)
	}
	whole.Assets[3].Hash = make([]byte, 16) // as if it had changed since
	n, err := r.Restore(t.Context(), &whole, uids, nil)
	if err != nil || n != things-1 {
		t.Fatalf("%d were restored, %v", n, err)
	}
	for _, size := range to.sizes {
		if size > flushBytes+each+100 {
			t.Errorf("%d bytes were appended at once", size)
		}
	}
	if len(to.sizes) < 2 {
		t.Errorf("all were appended in %d parts", len(to.sizes))
	}
	if n, err := r.Restore(t.Context(), &whole, []string{"nowhere"}, nil); err == nil || n != 0 {
		t.Errorf("what was not listed: %d, %v", n, err)
	}
	gone, err := r.Gone("f/s", fake.TypeThing, []*wirev1.Unlisted{{Uid: "u07", Version: 1}, {Uid: "other", Version: 2}})
	if err != nil || len(gone) != 1 || gone[0].GetUid() != "other" {
		t.Errorf("gone are %v, %v", gone, err)
	}
}
