package host

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// discard is a sink that costs nothing.
type discard struct{ observations int }

func (d *discard) Begin(context.Context) (plugin.Sweep, error)                    { return d, nil }
func (d *discard) Apply(context.Context, plugin.Checkpoint, ...plugin.Fact) error { return nil }
func (d *discard) Recall(context.Context, func(plugin.Observation) error) error   { return nil }
func (d *discard) Upsert(_ context.Context, observations ...plugin.Observation) error {
	d.observations += len(observations)
	return nil
}
func (d *discard) Keep(context.Context, ...plugin.Key) error        { return nil }
func (d *discard) Unread(context.Context, plugin.Key, string) error { return nil }
func (d *discard) Commit(context.Context, plugin.Checkpoint) error  { return nil }

func benchmarkSweep(b *testing.B, c *collector, scope string) {
	b.Helper()
	b.ReportAllocs()
	var d discard
	for b.Loop() {
		if err := c.Sweep(b.Context(), plugin.Scope{Name: scope}, &d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(d.observations)/float64(b.N), "assets")
}

func BenchmarkSweepSystem(b *testing.B) { benchmarkSweep(b, testCollector(b, options{}), scopeSystem) }
func BenchmarkSweepStorage(b *testing.B) {
	benchmarkSweep(b, testCollector(b, options{}), scopeStorage)
}
func BenchmarkSweepNetwork(b *testing.B) {
	benchmarkSweep(b, testCollector(b, options{}), scopeNetwork)
}

// BenchmarkSweepNetwork2000 is a Kubernetes node with many pods.
func BenchmarkSweepNetwork2000(b *testing.B) {
	n := newNamespace(b)
	for i := range 1000 {
		n.veth(b, fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	benchmarkSweep(b, n.collector(b), scopeNetwork)
}

// BenchmarkSweepNetworkManyRoutes is a router with a large table.
func BenchmarkSweepNetworkManyRoutes(b *testing.B) {
	n := newNamespace(b)
	n.veth(b, "v0", "v1")
	must(b, n.LinkSetUp(n.link(b, "v0")))
	must(b, n.LinkSetUp(n.link(b, "v1")))
	must(b, n.AddrAdd(n.link(b, "v0"), mustAddr(b, "192.0.2.1/24")))
	index := n.link(b, "v0").Attrs().Index
	for i := range 100_000 {
		must(b, n.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}, LinkIndex: index,
			Gw: net.ParseIP("192.0.2.2"), Protocol: unix.RTPROT_BGP,
		}))
	}
	benchmarkSweep(b, n.collector(b), scopeNetwork)
}
