package host

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/escape"
	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// netInterface is the document of an Interface.
type netInterface struct {
	Name             string      `json:"name"`
	Index            int         `json:"index"`
	Kind             string      `json:"kind"`
	AlternativeNames []string    `json:"alternative_names,omitempty"`
	Alias            string      `json:"alias,omitempty"`
	MAC              string      `json:"mac,omitempty"`
	PermanentMAC     string      `json:"permanent_mac,omitempty"`
	MTU              int         `json:"mtu"`
	Flags            []string    `json:"flags,omitempty"`
	AdminState       string      `json:"admin_state"`
	OperState        string      `json:"oper_state"`
	Addresses        []address   `json:"addresses,omitempty"`
	Master           string      `json:"master,omitempty"`
	Parent           string      `json:"parent,omitempty"`
	Peer             string      `json:"peer,omitempty"`
	Hardware         *hardware   `json:"hardware,omitempty"`
	VLAN             *vlan       `json:"vlan,omitempty"`
	VXLAN            *vxlan      `json:"vxlan,omitempty"`
	Bond             *bond       `json:"bond,omitempty"`
	Bridge           *bridge     `json:"bridge,omitempty"`
	Statistics       *statistics `json:"statistics,omitempty"`
}

// address leaves lifetimes and the flags that follow from them out: they tick.
type address struct {
	Family    string `json:"family"`
	Address   string `json:"address"`
	Prefix    int    `json:"prefix_length"`
	Peer      string `json:"peer,omitempty"`
	Broadcast string `json:"broadcast,omitempty"`
	Scope     string `json:"scope"`
	Label     string `json:"label,omitempty"`
	// Dynamic means that the address expires unless it is renewed.
	Dynamic bool `json:"dynamic,omitempty"`
}

type hardware struct {
	Driver string `json:"driver,omitempty"`
	Bus    string `json:"bus,omitempty"`
	Device string `json:"device,omitempty"`
	// SpeedMbps and Duplex are absent while there is no link.
	SpeedMbps int    `json:"speed_mbps,omitempty"`
	Duplex    string `json:"duplex,omitempty"`
}

type vlan struct {
	ID       int    `json:"id"`
	Protocol string `json:"protocol"`
}

type vxlan struct {
	ID    int    `json:"id"`
	Local string `json:"local,omitempty"`
	Group string `json:"group,omitempty"`
	Port  int    `json:"port,omitempty"`
}

type bond struct {
	Mode string `json:"mode"`
}

type bridge struct {
	VLANFiltering bool `json:"vlan_filtering"`
}

type statistics struct {
	Receive  counters `json:"receive"`
	Transmit counters `json:"transmit"`
}

type counters struct {
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets"`
	Errors  uint64 `json:"errors"`
	Dropped uint64 `json:"dropped"`
}

func (c *collector) observeInterface(machine string, n *network, link netlink.Link) (plugin.Observation, error) {
	a := link.Attrs()
	key := partKey(machine, typeInterface, a.Name)
	doc := netInterface{
		Name: escape.Printable(a.Name), Index: a.Index, Alias: escape.Printable(a.Alias), MTU: a.MTU,
		AlternativeNames: sorted(a.AltNames), MAC: a.HardwareAddr.String(), PermanentMAC: a.PermHWAddr.String(),
		Flags: linkFlags(a.RawFlags), AdminState: "down", OperState: a.OperState.String(),
		Addresses: addresses(n.addrs[a.Index]), Master: escape.Printable(n.names[a.MasterIndex]),
	}
	if a.RawFlags&unix.IFF_UP != 0 {
		doc.AdminState = "up"
	}
	doc.Kind, doc.Hardware = c.kindAndHardware(link)
	relations := []plugin.Relation{relate(partOf, machineKey(machine))}
	if doc.Master != "" {
		relations = append(relations, relate(memberOf, partKey(machine, typeInterface, n.names[a.MasterIndex])))
	}
	// An index in another namespace (NetNsID) says nothing here, and an
	// interface that is its own parent has none.
	if other, ok := n.names[a.ParentIndex]; ok && a.NetNsID < 0 && a.ParentIndex != a.Index {
		to := partKey(machine, typeInterface, other)
		if doc.Kind == "veth" {
			doc.Peer = escape.Printable(other)
			relations = append(relations, relate(connectedTo, to))
		} else {
			doc.Parent = escape.Printable(other)
			relations = append(relations, relate(partOf, to))
		}
	}
	switch l := link.(type) {
	case *netlink.Vlan:
		doc.VLAN = &vlan{ID: l.VlanId, Protocol: l.VlanProtocol.String()}
	case *netlink.Vxlan:
		doc.VXLAN = &vxlan{ID: l.VxlanId, Local: ipText(l.SrcAddr), Group: ipText(l.Group), Port: l.Port}
	case *netlink.Bond:
		doc.Bond = &bond{Mode: l.Mode.String()}
	case *netlink.Bridge:
		doc.Bridge = &bridge{VLANFiltering: l.VlanFiltering != nil && *l.VlanFiltering}
	}
	if s := a.Statistics; s != nil {
		doc.Statistics = &statistics{
			Receive:  counters{Bytes: s.RxBytes, Packets: s.RxPackets, Errors: s.RxErrors, Dropped: s.RxDropped},
			Transmit: counters{Bytes: s.TxBytes, Packets: s.TxPackets, Errors: s.TxErrors, Dropped: s.TxDropped},
		}
	}
	raw, err := encode(key, doc)
	return plugin.Observation{Key: key, Name: doc.Name, Status: doc.OperState, Document: raw, Relations: relations}, err
}

// kindAndHardware says what an interface is, and of which hardware if of any.
// Sysfs is asked for little, as a machine may have thousands of interfaces.
func (c *collector) kindAndHardware(link netlink.Link) (string, *hardware) {
	a := link.Attrs()
	kind := link.Type()
	if kind != "device" && kind != "" && kind != "bond" && kind != "team" {
		return kind, nil // veth, bridge, vlan, vxlan, dummy, tun, wireguard ...
	}
	if a.RawFlags&unix.IFF_LOOPBACK != 0 {
		return "loopback", nil
	}
	t := c.tree.Sub("sys/class/net", a.Name)
	if t.Text("ifindex") != strconv.Itoa(a.Index) {
		t = tree.New(os.DevNull) // sysfs shows another namespace, or it was renamed
	}
	hw := &hardware{Bus: a.ParentDevBus, Device: a.ParentDev}
	if hw.Device == "" { // the kernel is older than 5.14
		hw.Device, hw.Bus = t.Link("device"), t.Link("device/subsystem")
	}
	if hw.Device != "" {
		kind = "physical"
		hw.Driver = c.tree.Link("sys/bus", hw.Bus, "devices", hw.Device, "driver")
	}
	if speed, ok := t.Number("speed"); ok && speed > 0 && speed < 1<<31 {
		hw.SpeedMbps = int(speed)
		hw.Duplex = t.Text("duplex")
	}
	if *hw == (hardware{}) {
		hw = nil
	}
	return kind, hw
}

func addresses(list []netlink.Addr) []address {
	all := make([]address, 0, len(list))
	for _, a := range list {
		if a.IPNet == nil || a.IP == nil { // of no family that is known here
			continue
		}
		doc := address{
			Family: familyName(a.IP), Address: a.IP.String(), Broadcast: ipText(a.Broadcast), Scope: scopeName(a.Scope),
			Dynamic: a.Flags&unix.IFA_F_PERMANENT == 0,
		}
		doc.Prefix, _ = a.Mask.Size()
		if a.Peer != nil && a.Peer.IP != nil && !a.Peer.IP.Equal(a.IP) {
			doc.Peer = a.Peer.IP.String()
		}
		doc.Label = escape.Printable(a.Label)
		all = append(all, doc)
	}
	slices.SortFunc(all, func(a, b address) int {
		if d := strings.Compare(a.Family, b.Family); d != 0 {
			return d
		}
		if d := strings.Compare(a.Address, b.Address); d != 0 {
			return d
		}
		return a.Prefix - b.Prefix
	})
	return all
}

// familyName is an address family in the words of ip(8).
func familyName(ip net.IP) string {
	if ip.To4() != nil {
		return "inet"
	}
	return "inet6"
}

// scopeName is an address's or route's scope in the words of ip(8).
func scopeName(scope int) string {
	switch scope {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	case unix.RT_SCOPE_NOWHERE:
		return "nowhere"
	}
	return strconv.Itoa(scope)
}

// linkFlags names an interface's flags as ip(8) does, in lower case.
func linkFlags(raw uint32) []string {
	var names []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{
		{unix.IFF_LOOPBACK, "loopback"}, {unix.IFF_BROADCAST, "broadcast"}, {unix.IFF_POINTOPOINT, "pointopoint"},
		{unix.IFF_MULTICAST, "multicast"}, {unix.IFF_NOARP, "noarp"}, {unix.IFF_ALLMULTI, "allmulti"},
		{unix.IFF_PROMISC, "promisc"}, {unix.IFF_MASTER, "master"}, {unix.IFF_SLAVE, "slave"}, {unix.IFF_DYNAMIC, "dynamic"},
		{unix.IFF_UP, "up"}, {unix.IFF_RUNNING, "running"}, {unix.IFF_LOWER_UP, "lower_up"}, {unix.IFF_DORMANT, "dormant"},
	} {
		if raw&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

func ipText(ip net.IP) string {
	if ip == nil || ip.IsUnspecified() {
		return ""
	}
	return ip.String()
}

func sorted(list []string) []string {
	all := make([]string, 0, len(list))
	for _, s := range list {
		all = append(all, escape.Printable(s))
	}
	slices.Sort(all)
	return all
}
