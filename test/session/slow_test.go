package session_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/agent/uplink"
	"github.com/reeve-cloud/reeve/pkg/transport"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/test/centre"
	"github.com/reeve-cloud/reeve/test/chaos/link"
)

// TestSlowAndNarrowWays ships over ways that are bad, and sound: one session carries it
// all.
func TestSlowAndNarrowWays(t *testing.T) {
	// Of IP with 1,280 bytes UDP has so many, over IPv6.
	const narrowest = 1280 - 40 - 8
	for name, test := range map[string]struct {
		rules link.Rules
		want  transport.Kind // what it must run over; any if empty. For TCP, UDP is blocked
		// rounds of observations, each with bytes that do not compress.
		rounds, bytes int
	}{
		"a round trip of 3 s": {rules: link.Rules{Delay: 1500 * time.Millisecond}, rounds: 4, bytes: 1000},
		"a round trip of 3 s, TCP": {rules: link.Rules{Delay: 1500 * time.Millisecond}, want: transport.TCP, rounds: 4,
			bytes: 1000},
		"2 kB/s with a round trip of 0.7 s": {rules: link.Rules{Delay: 350 * time.Millisecond, BytesPerSecond: 2000}, rounds: 3,
			bytes: 15_000},
		"2 kB/s with a round trip of 0.7 s, TCP": {rules: link.Rules{Delay: 350 * time.Millisecond, BytesPerSecond: 2000}, want: transport.TCP,
			rounds: 3, bytes: 15_000},
		"packets of 1,280 bytes": {rules: link.Rules{MaxDatagram: narrowest}, want: transport.QUIC, rounds: 3, bytes: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := centre.New(t)
			id := c.Join(t.TempDir())
			way, err := link.Listen("127.0.0.1:0", c.Address, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { way.Close() })
			if test.want == transport.TCP {
				test.rules.MaxDatagram = 1
			}
			for _, d := range link.Both {
				way.Set(d, test.rules)
			}
			e := startEdge(t, c, id, t.TempDir(), func(u *uplink.Uplink) { u.Addresses = []string{way.Address()} })
			random := rand.New(rand.NewPCG(1, 2))
			for range test.rounds {
				e.sent++
				text := make([]byte, test.bytes)
				for i := range text {
					text[i] = 'a' + byte(random.IntN(26))
				}
				if err := e.spool.Append(t.Context(), assets, []*wirev1.Record{{Body: &wirev1.Record_Asset{Asset: &wirev1.AssetVersion{
					Type: "fake.test.Thing", Uid: fmt.Sprint("u", e.sent), Version: uint64(e.link.Clock.Next()),
					Operation: wirev1.Operation_OPERATION_CREATED,
					Scope:     "fake/s", Document: fmt.Appendf(nil, `{"n":"%s"}`, text), Hash: make([]byte, 16),
				}}}}); err != nil {
					t.Fatal(err)
				}
				waitLong(t, e)
			}
			log := e.log.String()
			if n := strings.Count(log, "session established"); n != 1 {
				t.Errorf("%d sessions were needed:\n%s", n, log)
			}
			if test.want != "" && !strings.Contains(log, "transport="+string(test.want)) {
				t.Errorf("it does not run over %s:\n%s", test.want, log)
			}
		})
	}
}

// waitLong waits until everything is acknowledged, with the patience of a slow way.
func waitLong(t *testing.T, e *edge) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); e.spool.Stat()[0].Waiting > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing arrives:\n%s", e.log)
		}
	}
}
