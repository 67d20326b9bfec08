package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// A listing that the kernel could not take in one piece is taken again, after
// pauses that double from the first to the last.
const (
	listAttempts   = 12
	listFirstPause = 2 * time.Millisecond
	listLastPause  = 300 * time.Millisecond
)

// A routing table with more routes than maxRoutes holds what a routing protocol
// learned (a full BGP table has a million): then only configured routes are
// listed, until the table is well below the limit again.
const (
	maxRoutes   = 5000
	routesAgain = maxRoutes * 4 / 5
)

// network is one consistent listing of a network namespace.
type network struct {
	links  []netlink.Link
	addrs  map[int][]netlink.Addr // by interface index
	routes []netlink.Route
	names  map[int]string // of interfaces, by index
}

// errTorn means that a listing changed while it was taken.
var errTorn = errors.New("the network changed while it was listed")

func (c *collector) sweepNetwork(ctx context.Context, machine string, out plugin.Sink) error {
	n, err := c.listNetwork(ctx)
	if err != nil {
		return err
	}
	all, err := c.observeNetwork(machine, n)
	if err != nil {
		return err
	}
	return commit(ctx, out, all)
}

func (c *collector) observeNetwork(machine string, n *network) ([]plugin.Observation, error) {
	all := make([]plugin.Observation, 0, len(n.links)+len(n.routes))
	for _, link := range n.links {
		obs, err := c.observeInterface(machine, n, link)
		if err != nil {
			return nil, err
		}
		all = append(all, obs)
	}
	seen := make(map[plugin.Key]bool, len(n.routes))
	for _, route := range n.routes {
		obs, err := observeRoute(machine, n, route)
		if err != nil {
			return nil, err
		}
		// IPv4 takes a second route that differs in next to nothing ("ip route
		// append"); the kernel lists first the one that it uses.
		if !seen[obs.Key] {
			seen[obs.Key] = true
			all = append(all, obs)
		}
	}
	return all, nil
}

// listNetwork lists interfaces, addresses and routes, again and again until the
// three agree.
func (c *collector) listNetwork(ctx context.Context) (*network, error) {
	h, err := netlink.NewHandleAt(c.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	defer h.Close()
	// Lets the kernel leave out other tables' routes. An old one does not know.
	_ = h.SetStrictCheck(true)
	pause := listFirstPause
	for attempt := 1; ; attempt++ {
		n, err := c.dumpNetwork(h)
		if err == nil {
			return n, nil
		}
		torn := errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, errTorn)
		if !torn || attempt == listAttempts {
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, listLastPause)
	}
}

func (c *collector) dumpNetwork(h *netlink.Handle) (*network, error) {
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	n := &network{links: links, addrs: make(map[int][]netlink.Addr, len(links)), names: make(map[int]string, len(links))}
	for _, link := range links {
		n.names[link.Attrs().Index] = link.Attrs().Name
	}
	for _, a := range addrs {
		if _, ok := n.names[a.LinkIndex]; !ok {
			return nil, fmt.Errorf("address on unknown interface %d: %w", a.LinkIndex, errTorn)
		}
		n.addrs[a.LinkIndex] = append(n.addrs[a.LinkIndex], a)
	}
	if n.routes, err = c.dumpRoutes(h); err != nil {
		return nil, err
	}
	for _, r := range n.routes {
		for _, hop := range nextHops(r) {
			if _, ok := n.names[hop.LinkIndex]; !ok && hop.LinkIndex != 0 {
				return nil, fmt.Errorf("route over unknown interface %d: %w", hop.LinkIndex, errTorn)
			}
		}
	}
	return n, nil
}

// dumpRoutes lists the unicast routes of the main table.
func (c *collector) dumpRoutes(h *netlink.Handle) ([]netlink.Route, error) {
	var routes []netlink.Route
	total, capped := 0, c.capped.Load()
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := h.RouteListFilteredIter(family, filter, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Type != unix.RTN_UNICAST {
				return true
			}
			if total++; total > maxRoutes && !capped {
				capped = true
				routes = onlyConfigured(routes)
			}
			if !capped || configured(int(r.Protocol)) {
				routes = append(routes, r)
			}
			return true
		})
		// A namespace that never had a route in the main table has no table.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list routes: %w", err)
		}
	}
	if was := c.capped.Swap(capped); capped && !was {
		c.log.Warn("the main routing table is large: routes that a routing protocol learned are left out",
			"routes", total, "limit", maxRoutes, "listed", len(routes))
	}
	if capped && total < routesAgain {
		// The next listing has them all.
		c.capped.Store(false)
		c.log.Info("the main routing table is no longer large: all its routes are listed again", "routes", total)
		return nil, fmt.Errorf("list routes: %w", errTorn)
	}
	return routes, nil
}

func onlyConfigured(routes []netlink.Route) []netlink.Route {
	kept := make([]netlink.Route, 0, 64)
	for _, r := range routes {
		if configured(int(r.Protocol)) {
			kept = append(kept, r)
		}
	}
	return kept
}

// configured says that routes of such an origin are this machine's own
// configuration, not learned from other routers.
func configured(protocol int) bool {
	switch protocol {
	case unix.RTPROT_UNSPEC, unix.RTPROT_KERNEL, unix.RTPROT_BOOT, unix.RTPROT_STATIC, unix.RTPROT_DHCP, unix.RTPROT_RA:
		return true
	}
	return false
}
