package uplink

import (
	"bufio"
	"bytes"
	"log/slog"
	"testing"

	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// TestDrained acknowledges what waits, a part and then all: the aggregator is told at
// once when nothing waits any more, if it was told before that something does.
func TestDrained(t *testing.T) {
	const assets = wirev1.Class_CLASS_ASSETS
	for name, test := range map[string]struct {
		told, acked uint64
		want        int
	}{
		"all, and it was told":         {3, 3, 1},
		"a part of it":                 {3, 2, 0},
		"all, and it was told nothing": {0, 3, 0},
	} {
		sp, err := spool.Open(spool.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := sp.Append(t.Context(), assets, []*wirev1.Record{{}}); err != nil {
				t.Fatal(err)
			}
		}
		s := &session{
			Uplink: &Uplink{Spool: sp, Clock: hlc.New(0), Logger: slog.New(slog.DiscardHandler)}, window: newWindow(1 << 20),
			drained: make(chan struct{}, 1),
		}
		s.told.Store(test.told)
		var said bytes.Buffer
		if err := wire.WriteMessage(&said, &wirev1.Control{Message: &wirev1.Control_Ack{Ack: &wirev1.Ack{
			Durable: []*wirev1.Watermark{{Class: assets, Seq: test.acked}},
		}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.listen(bufio.NewReader(&said)); err == nil {
			t.Error("it listens on behind the end")
		}
		if got := len(s.drained); got != test.want {
			t.Errorf("%s: it is said %d times, want %d", name, got, test.want)
		}
		if err := sp.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
