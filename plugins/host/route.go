package host

import (
	"fmt"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/escape"
)

// route is the document of a Route.
type route struct {
	Family      string `json:"family"`
	Destination string `json:"destination"`
	Table       string `json:"table"`
	Gateway     string `json:"gateway,omitempty"`
	Interface   string `json:"interface,omitempty"`
	Metric      int    `json:"metric"`
	Protocol    string `json:"protocol"`
	Scope       string `json:"scope"`
	Source      string `json:"source,omitempty"`
	TOS         int    `json:"tos,omitempty"`
	MTU         int    `json:"mtu,omitempty"`
	// NextHops are there if there are several.
	NextHops []nextHop `json:"next_hops,omitempty"`
}

type nextHop struct {
	Gateway   string `json:"gateway,omitempty"`
	Interface string `json:"interface,omitempty"`
	Weight    int    `json:"weight"`
}

func observeRoute(machine string, n *network, r netlink.Route) (plugin.Observation, error) {
	doc := route{
		Family: "inet", Table: "main", Metric: r.Priority, Protocol: protocolName(int(r.Protocol)),
		Scope: scopeName(int(r.Scope)), Source: ipText(r.Src), TOS: r.Tos, MTU: r.MTU,
	}
	everything := "0.0.0.0/0"
	if r.Family == netlink.FAMILY_V6 {
		doc.Family, everything = "inet6", "::/0"
	}
	doc.Destination = everything
	if r.Dst != nil && r.Dst.IP != nil {
		doc.Destination = r.Dst.String()
	}
	hops := nextHops(r)
	relations := []plugin.Relation{relate(partOf, machineKey(machine))}
	seen := map[string]bool{}
	for _, hop := range hops {
		h := nextHop{Gateway: gateway(hop), Interface: n.names[hop.LinkIndex], Weight: hop.Hops + 1}
		if h.Interface != "" && !seen[h.Interface] {
			seen[h.Interface] = true
			relations = append(relations, relate(uses, partKey(machine, typeInterface, h.Interface)))
		}
		if len(hops) == 1 {
			doc.Gateway, doc.Interface = h.Gateway, h.Interface
		} else {
			doc.NextHops = append(doc.NextHops, h)
		}
	}
	key := partKey(machine, typeRoute, naturalRoute(doc))
	doc.Interface = escape.Printable(doc.Interface)
	for i := range doc.NextHops {
		doc.NextHops[i].Interface = escape.Printable(doc.NextHops[i].Interface)
	}
	raw, err := encode(key, doc)
	return plugin.Observation{Key: key, Name: routeName(doc), Document: raw, Relations: relations}, err
}

// naturalRoute is a route's natural key. Neither an address nor the name of an
// interface has a slash in it.
func naturalRoute(r route) string {
	gw, dev := r.Gateway, r.Interface
	if len(r.NextHops) > 0 {
		gw, dev = "multipath", ""
	}
	key := fmt.Sprintf("%s/%s/%s/%s/%s/%d", r.Table, r.Family, r.Destination, orDash(gw), orDash(dev), r.Metric)
	if r.TOS != 0 {
		key += "/tos" + strconv.Itoa(r.TOS)
	}
	return key
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func routeName(r route) string {
	name := r.Destination
	if r.Gateway != "" {
		name += " via " + r.Gateway
	}
	if r.Interface != "" {
		name += " dev " + r.Interface
	}
	if len(r.NextHops) > 0 {
		name += fmt.Sprintf(" over %d next hops", len(r.NextHops))
	}
	return name
}

// nextHops are where a route leads, as one list whether it is one or several.
func nextHops(r netlink.Route) []*netlink.NexthopInfo {
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
}

func gateway(hop *netlink.NexthopInfo) string {
	if via, ok := hop.Via.(*netlink.Via); ok && via != nil {
		return ipText(via.Addr) // an IPv4 route over an IPv6 neighbour
	}
	return ipText(hop.Gw)
}

// protocolName is a route's origin in the words of ip(8).
func protocolName(protocol int) string {
	if protocol == unix.RTPROT_UNSPEC {
		return "unspec"
	}
	return netlink.RouteProtocol(protocol).String()
}
