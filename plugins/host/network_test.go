package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// namespace is a fresh network namespace, with a way to change things in it.
type namespace struct {
	*netlink.Handle
	ns netns.NsHandle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	result := make(chan made)
	go func() {
		// The thread is spoilt for others, so it ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- made{err: err}
			return
		}
		ns, err := netns.Get()
		result <- made{ns, err}
	}()
	m := <-result
	if m.err != nil {
		t.Skipf("no network namespace can be made here (this needs root): %v", m.err)
	}
	h, err := netlink.NewHandleAt(m.ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		m.ns.Close()
	})
	return &namespace{h, m.ns}
}

func (n *namespace) collector(t testing.TB) *collector {
	c := testCollector(t, options{})
	c.ns = n.ns
	return c
}

// run runs a program inside the namespace.
func (n *namespace) run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.ns); err != nil {
			done <- result{err: err}
			return
		}
		out, err := exec.Command(name, args...).Output()
		done <- result{out, err}
	}()
	r := <-done
	if r.err != nil {
		t.Skipf("%s cannot be run to compare with: %v", name, r.err)
	}
	return r.out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustAddr(t testing.TB, text string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(text)
	must(t, err)
	return a
}

func mustNet(t testing.TB, text string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(text)
	must(t, err)
	return n
}

func (n *namespace) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := n.LinkByName(name)
	must(t, err)
	return l
}

func (n *namespace) veth(t testing.TB, name, peer string) {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = name
	must(t, n.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: peer}))
}

// ipAddr is what "ip -json addr" says.
type ipAddr struct {
	Ifindex   int
	Ifname    string
	Flags     []string
	MTU       int
	Operstate string
	Address   string
	Master    string
	AddrInfo  []struct {
		Family    string
		Local     string
		Prefixlen int
		Scope     string
		Broadcast string
		Address   string
	} `json:"addr_info"`
}

// compareWithIP sweeps and compares. A network that is alive may change between
// the two, so a difference counts when it stays.
func compareWithIP(t *testing.T, c *collector, ip func(args ...string) []byte) *sink {
	t.Helper()
	for try := 1; ; try++ {
		s := sweepScope(t, c, scopeNetwork)
		differences := diffWithIP(t, s, ip("-json", "addr"), ip("-json", "route"), ip("-json", "-6", "route"))
		if len(differences) == 0 {
			return s
		}
		if try == 10 {
			t.Error(strings.Join(differences, "\n"))
			return s
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func diffWithIP(t *testing.T, s *sink, addrOut, routeOut, route6Out []byte) (differences []string) {
	t.Helper()
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	var want []ipAddr
	must(t, json.Unmarshal(addrOut, &want))
	list := s.ofType(typeInterface)
	if len(list) != len(want) {
		differ("%d interfaces, ip has %d", len(list), len(want))
	}
	for _, w := range want {
		o, ok := s.named(typeInterface, w.Ifname)
		if !ok {
			differ("no interface %s", w.Ifname)
			continue
		}
		d := document[netInterface](t, o)
		if d.Index != w.Ifindex || d.MTU != w.MTU || d.MAC != hardwareAddress(w.Address) || d.Master != w.Master ||
			o.Status != strings.ToLower(strings.ReplaceAll(w.Operstate, "LOWERLAYERDOWN", "lower-layer-down")) {
			differ("ip has %+v, the collector %s", w, o.Document)
		}
		for _, flag := range w.Flags {
			if flag = strings.ToLower(flag); flag != "no-carrier" && !slices.Contains(d.Flags, flag) {
				differ("%s: no flag %s in %v", w.Ifname, flag, d.Flags)
			}
		}
		if (d.AdminState == "up") != slices.Contains(w.Flags, "UP") {
			differ("%s: admin state %s", w.Ifname, d.AdminState)
		}
		var got, addrs []string
		for _, a := range d.Addresses {
			got = append(got, fmt.Sprint(a.Family, a.Address, a.Prefix, a.Scope, a.Broadcast, a.Peer))
		}
		for _, a := range w.AddrInfo {
			addrs = append(addrs, fmt.Sprint(a.Family, a.Local, a.Prefixlen, a.Scope, a.Broadcast, a.Address))
		}
		slices.Sort(got)
		slices.Sort(addrs)
		if !slices.Equal(got, addrs) {
			differ("%s: addresses %q, ip has %q", w.Ifname, got, addrs)
		}
	}

	var routes []string
	for _, o := range s.ofType(typeRoute) {
		r := document[route](t, o)
		dst := strings.TrimSuffix(strings.TrimSuffix(r.Destination, "/32"), "/128")
		if dst == "0.0.0.0/0" || dst == "::/0" {
			dst = "default"
		}
		routes = append(routes, fmt.Sprint(dst, " via ", r.Gateway, " dev ", r.Interface, " metric ", r.Metric, " src ", r.Source, " hops ",
			len(r.NextHops), r.Protocol))
	}
	var ip []string
	for i, out := range [][]byte{routeOut, route6Out} {
		var list []struct {
			Type, Dst, Gateway, Dev, Protocol, Prefsrc string
			Metric                                     int
			Nexthops                                   []any
			Via                                        struct{ Host string }
		}
		must(t, json.Unmarshal(out, &list))
		for _, r := range list {
			if r.Type != "" && r.Type != "unicast" {
				continue
			}
			if r.Protocol == "" {
				r.Protocol = "boot" // ip leaves the usual one out
			}
			if i == 0 && r.Gateway == "" {
				r.Gateway = r.Via.Host
			}
			ip = append(ip, fmt.Sprint(r.Dst, " via ", r.Gateway, " dev ", r.Dev, " metric ", r.Metric, " src ", r.Prefsrc, " hops ",
				len(r.Nexthops), r.Protocol))
		}
	}
	slices.Sort(routes)
	slices.Sort(ip)
	if !slices.Equal(routes, ip) {
		differ("routes\n%s\nip has\n%s", strings.Join(routes, "\n"), strings.Join(ip, "\n"))
	}
	return differences
}

// hardwareAddress drops what is none: a loopback's zeros, a tunnel's end.
func hardwareAddress(s string) string {
	mac, err := net.ParseMAC(s)
	if err != nil || strings.Trim(s, "0:") == "" {
		return ""
	}
	return mac.String()
}

// TestNetworkAsIP looks at this machine's own network, whoever runs the test.
func TestNetworkAsIP(t *testing.T) {
	compareWithIP(t, testCollector(t, options{}), func(args ...string) []byte {
		out, err := exec.Command("ip", args...).Output()
		if err != nil {
			t.Skipf("ip cannot be run to compare with: %v", err)
		}
		return out
	})
}

// TestNamespaceAsIP has interfaces of many kinds, and routes of many.
func TestNamespaceAsIP(t *testing.T) {
	n := newNamespace(t)
	must(t, n.LinkSetUp(n.link(t, "lo")))
	n.veth(t, "left", "right")
	bridgeAttrs := netlink.NewLinkAttrs()
	bridgeAttrs.Name = "br0"
	must(t, n.LinkAdd(&netlink.Bridge{LinkAttrs: bridgeAttrs}))
	must(t, n.LinkSetMaster(n.link(t, "right"), n.link(t, "br0")))
	kinds := map[string]string{"lo": "loopback", "left": "veth", "right": "veth", "br0": "bridge"}
	for _, name := range []string{"left", "right", "br0"} {
		must(t, n.LinkSetUp(n.link(t, name)))
	}
	must(t, n.LinkSetAlias(n.link(t, "left"), "to the right"))
	must(t, n.AddrAdd(n.link(t, "left"), mustAddr(t, "192.0.2.1/24")))
	must(t, n.AddrAdd(n.link(t, "left"), mustAddr(t, "2001:db8::1/64")))
	must(t, n.AddrAdd(n.link(t, "br0"), mustAddr(t, "198.51.100.1/24")))

	vlanAttrs := netlink.NewLinkAttrs()
	vlanAttrs.Name, vlanAttrs.ParentIndex = "left.7", n.link(t, "left").Attrs().Index
	if err := n.LinkAdd(&netlink.Vlan{LinkAttrs: vlanAttrs, VlanId: 7}); err != nil {
		t.Logf("no VLAN interfaces on this kernel: %v", err)
	} else {
		kinds["left.7"] = "vlan"
	}
	bondAttrs := netlink.NewLinkAttrs()
	bondAttrs.Name = "bond9"
	if err := n.LinkAdd(netlink.NewLinkBond(bondAttrs)); err != nil {
		t.Logf("no bonds on this kernel: %v", err)
	} else {
		kinds["bond9"] = "bond"
	}
	dummyAttrs := netlink.NewLinkAttrs()
	dummyAttrs.Name = "dummy9"
	if err := n.LinkAdd(&netlink.Dummy{LinkAttrs: dummyAttrs}); err != nil {
		t.Logf("no dummy interfaces on this kernel: %v", err)
	} else {
		kinds["dummy9"] = "dummy"
	}

	left, br := n.link(t, "left").Attrs().Index, n.link(t, "br0").Attrs().Index
	for _, r := range []*netlink.Route{
		{Dst: mustNet(t, "0.0.0.0/0"), Gw: net.ParseIP("192.0.2.254")},
		{Dst: mustNet(t, "10.1.0.0/16"), Gw: net.ParseIP("192.0.2.9"), Priority: 50, Protocol: unix.RTPROT_STATIC, Src: net.ParseIP("192.0.2.1")},
		{Dst: mustNet(t, "10.1.0.0/16"), Gw: net.ParseIP("192.0.2.9"), Priority: 60, Protocol: unix.RTPROT_BGP},
		{Dst: mustNet(t, "10.2.0.1/32"), LinkIndex: left, Scope: netlink.SCOPE_LINK},
		{Dst: mustNet(t, "10.3.0.0/16"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: left, Gw: net.ParseIP("192.0.2.9")}, {LinkIndex: br, Gw: net.ParseIP("198.51.100.9"), Hops: 4},
		}},
		{Dst: mustNet(t, "10.4.0.0/16"), Type: unix.RTN_BLACKHOLE},
		{Dst: mustNet(t, "10.5.0.0/16"), Gw: net.ParseIP("192.0.2.9"), Table: 100},
		{Dst: mustNet(t, "2001:db8:1::/48"), Gw: net.ParseIP("2001:db8::9"), LinkIndex: left},
	} {
		if err := n.RouteAdd(r); err != nil {
			t.Errorf("add %v: %v", r, err)
		}
	}
	s := compareWithIP(t, n.collector(t), func(args ...string) []byte { return n.run(t, "ip", args...) })

	for name, kind := range kinds {
		o, _ := s.named(typeInterface, name)
		if d := document[netInterface](t, o); d.Kind != kind {
			t.Errorf("%s is a %s, want %s", name, d.Kind, kind)
		}
	}
	key := func(name string) plugin.Key { return partKey(testID, typeInterface, name) }
	onMachine := relate(partOf, machineKey(testID))
	for name, want := range map[string][]plugin.Relation{
		"lo":    {onMachine},
		"left":  {onMachine, relate(connectedTo, key("right"))},
		"right": {onMachine, relate(memberOf, key("br0")), relate(connectedTo, key("left"))},
	} {
		if o, _ := s.named(typeInterface, name); !slices.Equal(o.Relations, want) {
			t.Errorf("%s: relations %v, want %v", name, o.Relations, want)
		}
	}
	if _, ok := kinds["left.7"]; ok {
		o, _ := s.named(typeInterface, "left.7")
		d := document[netInterface](t, o)
		if d.VLAN == nil || d.VLAN.ID != 7 || d.Parent != "left" || !slices.Contains(o.Relations, relate(partOf, key("left"))) {
			t.Errorf("VLAN: %s %v", o.Document, o.Relations)
		}
	}
	multi := plugin.Key{Type: typeRoute, UID: testID + "/route/main/inet/10.3.0.0/16/multipath/-/0"}
	if o, ok := s.all()[multi]; !ok || !slices.Equal(o.Relations,
		[]plugin.Relation{onMachine, relate(uses, key("left")), relate(uses, key("br0"))}) {
		t.Errorf("multipath route: %+v", o)
	}
	o, _ := s.named(typeInterface, "left")
	if d := document[netInterface](t, o); d.Alias != "to the right" {
		t.Errorf("alias: %s", o.Document)
	}
	t.Logf("%s %s", o.Document, o.Relations)
}

func TestWatchNetwork(t *testing.T) {
	n := newNamespace(t)
	s := startWatch(t, n.collector(t), scopeNetwork)
	get := func(name string) (netInterface, bool) {
		o, ok := s.named(typeInterface, name)
		if !ok {
			return netInterface{}, false
		}
		return document[netInterface](t, o), true
	}
	var slowest time.Duration
	step := func(what string, change func(), seen func() bool) {
		t.Helper()
		change()
		slowest = max(slowest, s.eventually(t, what, seen))
	}
	step("veth pair added", func() { n.veth(t, "v0", "v1") }, func() bool { d, ok := get("v1"); return ok && d.Peer == "v0" })
	step("mtu", func() { must(t, n.LinkSetMTU(n.link(t, "v0"), 1400)) }, func() bool { d, _ := get("v0"); return d.MTU == 1400 })
	step("up", func() { must(t, n.LinkSetUp(n.link(t, "v0"))); must(t, n.LinkSetUp(n.link(t, "v1"))) },
		func() bool { d, _ := get("v0"); return d.AdminState == "up" && d.OperState == "up" })
	step("alias", func() { must(t, n.LinkSetAlias(n.link(t, "v0"), "a")) }, func() bool { d, _ := get("v0"); return d.Alias == "a" })
	step("address added", func() { must(t, n.AddrAdd(n.link(t, "v0"), mustAddr(t, "192.0.2.1/24"))) },
		func() bool {
			d, _ := get("v0")
			return slices.ContainsFunc(d.Addresses, func(a address) bool { return a.Address == "192.0.2.1" && a.Prefix == 24 })
		})
	step("route added", func() {
		must(t, n.RouteAdd(&netlink.Route{Dst: mustNet(t, "10.0.0.0/8"), Gw: net.ParseIP("192.0.2.2")}))
	}, func() bool { _, ok := s.named(typeRoute, "10.0.0.0/8 via 192.0.2.2 dev v0"); return ok })
	step("down takes the route along", func() { must(t, n.LinkSetDown(n.link(t, "v0"))) },
		func() bool {
			d, _ := get("v0")
			_, route := s.named(typeRoute, "10.0.0.0/8 via 192.0.2.2 dev v0")
			return d.AdminState == "down" && !route
		})
	step("address deleted", func() { must(t, n.AddrDel(n.link(t, "v0"), mustAddr(t, "192.0.2.1/24"))) },
		func() bool {
			d, _ := get("v0")
			return !slices.ContainsFunc(d.Addresses, func(a address) bool { return a.Address == "192.0.2.1" })
		})
	step("renamed", func() { must(t, n.LinkSetName(n.link(t, "v0"), "w0")) },
		func() bool { _, old := get("v0"); _, renamed := get("w0"); return !old && renamed })
	step("deleted", func() { must(t, n.LinkDel(n.link(t, "w0"))) },
		func() bool { _, a := get("w0"); _, b := get("v1"); return !a && !b })
	t.Logf("slowest: %v", slowest.Round(time.Millisecond))
}

// TestWatchUnderFlapping changes interfaces faster than they can be listed.
func TestWatchUnderFlapping(t *testing.T) {
	n := newNamespace(t)
	for i := range 50 {
		n.veth(t, fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	s := startWatch(t, n.collector(t), scopeNetwork)
	before, start := s.sweeps, time.Now()
	for i := 0; time.Since(start) < 3*time.Second; i++ {
		n.veth(t, "flap", "flop")
		must(t, n.LinkSetUp(n.link(t, "flap")))
		must(t, n.LinkDel(n.link(t, "flap")))
	}
	n.veth(t, "last", "tsal")
	s.eventually(t, "the last change", func() bool { _, ok := s.named(typeInterface, "last"); return ok })
	s.mu.Lock()
	sweeps, took := s.sweeps-before, time.Since(start)
	s.mu.Unlock()
	t.Logf("%d listings in %v", sweeps, took)
	if limit := int(2.5*took.Seconds()) + 2; sweeps > limit {
		t.Errorf("%d listings in %v, want at most %d", sweeps, took, limit)
	}
}

// TestOverflow lets the kernel drop announcements.
func TestOverflow(t *testing.T) {
	n := newNamespace(t)
	n.veth(t, "v0", "v1")
	sub, err := subscribe(n.ns)
	must(t, err)
	conn, err := sub.file.SyscallConn()
	must(t, err)
	must(t, conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}))
	must(t, err)
	link := n.link(t, "v0")
	for i := range 200 {
		must(t, n.LinkSetMTU(link, 1300+i))
	}
	overflows, done := make(chan struct{}, 10), make(chan error)
	go func() { done <- sub.read(func() bool { return false }, func() { overflows <- struct{}{} }) }()
	select {
	case <-overflows:
	case <-time.After(10 * time.Second):
		t.Fatal("no overflow was seen")
	}
	// It goes on, and notes the changes that follow.
	for drain(sub.changes) {
		time.Sleep(20 * time.Millisecond)
	}
	must(t, n.LinkSetMTU(link, 1280))
	select {
	case <-sub.changes:
	case <-time.After(10 * time.Second):
		t.Fatal("no change is noted after an overflow")
	}
	sub.close()
	if err := <-done; err == nil {
		t.Error("the reader ended without an error")
	}
}

// TestManyRoutes has more routes than are listed whole.
func TestManyRoutes(t *testing.T) {
	n := newNamespace(t)
	n.veth(t, "v0", "v1")
	must(t, n.LinkSetUp(n.link(t, "v0")))
	must(t, n.LinkSetUp(n.link(t, "v1")))
	must(t, n.AddrAdd(n.link(t, "v0"), mustAddr(t, "192.0.2.1/24")))
	index := n.link(t, "v0").Attrs().Index
	learned := func(i int) *netlink.Route {
		return &netlink.Route{
			Dst: &net.IPNet{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}, LinkIndex: index,
			Gw: net.ParseIP("192.0.2.2"), Protocol: unix.RTPROT_BGP,
		}
	}
	c := n.collector(t)
	add := func(from, to int) {
		for i := from; i < to; i++ {
			must(t, n.RouteAdd(learned(i)))
		}
	}
	count := func() int { // of IPv4: the kernel adds to IPv6 when it likes
		return len(slices.DeleteFunc(sweepScope(t, c, scopeNetwork).ofType(typeRoute), func(o plugin.Observation) bool {
			return document[route](t, o).Family != "inet"
		}))
	}
	own := count()
	add(0, 1000)
	if got := count(); got != own+1000 {
		t.Errorf("%d routes, want %d", got, own+1000)
	}
	add(1000, maxRoutes+1)
	if got := count(); got != own {
		t.Errorf("%d routes of a large table, want the %d configured ones", got, own)
	}
	for i := range 500 {
		must(t, n.RouteDel(learned(i)))
	}
	if got := count(); got != own {
		t.Errorf("%d routes a little below the limit, want still %d", got, own)
	}
	for i := 500; i < 1500; i++ {
		must(t, n.RouteDel(learned(i)))
	}
	if got, want := count(), own+maxRoutes+1-1500; got != want {
		t.Errorf("%d routes well below the limit, want %d", got, want)
	}
}

// TestTornListing sweeps while interfaces come and go: every committed listing
// must have the ones that stay.
func TestTornListing(t *testing.T) {
	n := newNamespace(t)
	const pairs = 100
	for i := range pairs {
		n.veth(t, fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	flapper, err := netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	must(t, err)
	defer flapper.Close()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			a := netlink.NewLinkAttrs()
			a.Name = "flap"
			if flapper.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "flop"}) == nil {
				_ = flapper.LinkDel(&netlink.Veth{LinkAttrs: a})
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	c := n.collector(t)
	failed := 0
	for range 40 {
		s := newSink()
		if err := c.Sweep(ctx, plugin.Scope{Name: scopeNetwork}, s); err != nil {
			failed++
			t.Log(err)
			continue
		}
		kept := 0
		for _, o := range s.ofType(typeInterface) {
			if o.Name != "flap" && o.Name != "flop" {
				kept++
			}
		}
		if kept < 2*pairs+1 {
			t.Fatalf("a listing of %d interfaces was committed, want at least %d", kept, 2*pairs+1)
		}
	}
	cancel()
	<-done
	t.Logf("%d of 40 listings were given up", failed)
}

// TestOtherInterfaces maps kinds that the kernel of a test machine may not have.
func TestOtherInterfaces(t *testing.T) {
	attrs := func(name string, index, parent int) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name, a.Index, a.ParentIndex = name, index, parent
		return a
	}
	bonded := netlink.NewLinkBond(attrs("bond0", 2, 0))
	bonded.Mode = netlink.BOND_MODE_802_3AD
	port := attrs("eth0", 1, 0)
	port.MasterIndex, port.ParentDev, port.ParentDevBus, port.AltNames = 2, "0000:00:03.0", "pci", []string{"enp0s3"}
	abroad := attrs("veth9", 5, 1) // the peer's index is one of another namespace
	abroad.NetNsID = 0
	links := []netlink.Link{
		&netlink.Device{LinkAttrs: port}, bonded,
		&netlink.Vlan{LinkAttrs: attrs("bond0.5", 3, 2), VlanId: 5, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q},
		&netlink.Vxlan{LinkAttrs: attrs("vx", 4, 0), VxlanId: 42, Port: 4789, SrcAddr: net.ParseIP("192.0.2.1")},
		&netlink.Veth{LinkAttrs: abroad},
	}
	n := &network{links: links, names: map[int]string{}}
	for _, l := range links {
		n.names[l.Attrs().Index] = l.Attrs().Name
	}
	c := testCollector(t, options{Root: writeTree(t, map[string]string{
		"sys/class/net/eth0/ifindex":                   "1\n",
		"sys/class/net/eth0/speed":                     "25000\n",
		"sys/class/net/eth0/duplex":                    "full\n",
		"sys/class/net/bond0/ifindex":                  "7\n",
		"sys/class/net/bond0/speed":                    "1\n",
		"sys/bus/pci/devices/0000:00:03.0/driver":      "-> ../../drivers/mlx5_core",
		"sys/class/net/bond0/device/should-not-matter": "",
	}).Root()})
	key := func(name string) plugin.Key { return partKey(testID, typeInterface, name) }
	for i, want := range []struct {
		document  string
		relations []plugin.Relation
	}{
		{`"kind":"physical","alternative_names":["enp0s3"]`, []plugin.Relation{relate(memberOf, key("bond0"))}},
		{`"kind":"bond"`, nil},
		{`"kind":"vlan"`, []plugin.Relation{relate(partOf, key("bond0"))}},
		{`"kind":"vxlan"`, nil},
		{`"kind":"veth"`, nil},
	} {
		o, err := c.observeInterface(testID, n, links[i])
		must(t, err)
		if !strings.Contains(string(o.Document), want.document) || !slices.Equal(o.Relations[1:], want.relations) {
			t.Errorf("%s %v, want %s %v", o.Document, o.Relations, want.document, want.relations)
		}
		d := document[netInterface](t, o)
		switch d.Name {
		case "eth0":
			if want := (hardware{Driver: "mlx5_core", Bus: "pci", Device: "0000:00:03.0", SpeedMbps: 25000, Duplex: "full"}); d.Hardware == nil ||
				*d.Hardware != want {
				t.Errorf("hardware: %+v", d.Hardware)
			}
		case "bond0":
			if d.Bond == nil || d.Bond.Mode != "802.3ad" || d.Hardware != nil {
				t.Errorf("bond: %s", o.Document)
			}
		case "bond0.5":
			if d.VLAN == nil || *d.VLAN != (vlan{ID: 5, Protocol: "802.1q"}) {
				t.Errorf("vlan: %s", o.Document)
			}
		}
	}
}

func TestChangeFilter(t *testing.T) {
	n := newNamespace(t)
	n.veth(t, "v0", "v1")
	sub, err := subscribe(n.ns)
	must(t, err)
	done := make(chan error)
	go func() { done <- sub.read(func() bool { return false }, func() {}) }()
	changed := func() bool { time.Sleep(100 * time.Millisecond); return drain(sub.changes) }
	link := n.link(t, "v0")
	must(t, n.LinkSetUp(link)) // the kernel does not announce an alias of one that is down
	changed()
	must(t, n.LinkSetAlias(link, "one"))
	if !changed() {
		t.Error("a new alias is no change")
	}
	must(t, n.LinkSetAlias(link, "one"))
	if changed() {
		t.Error("the same alias is a change")
	}
	expiring := mustAddr(t, "2001:db8::1/64")
	expiring.ValidLft, expiring.PreferedLft, expiring.Flags = 1000, 900, unix.IFA_F_NODAD
	must(t, n.AddrReplace(link, expiring))
	if !changed() {
		t.Error("a new address is no change")
	}
	expiring.ValidLft = 2000
	must(t, n.AddrReplace(link, expiring))
	if changed() {
		t.Error("an address that lives on is a change")
	}
	must(t, n.AddrDel(link, expiring))
	if !changed() {
		t.Error("a deleted address is no change")
	}
	sub.close()
	<-done
}
