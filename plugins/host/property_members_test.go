package host

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
)

// oddValues are values of a kind that nobody expects there.
func oddValues(v reflect.Value) map[string]reflect.Value {
	odd := map[string]reflect.Value{"zero": reflect.Zero(v.Type())}
	of := func(what string, x any) {
		odd[what] = reflect.ValueOf(x).Convert(v.Type())
	}
	switch v.Kind() {
	case reflect.String:
		of("binary", "\xff\x00/\n")
		of("huge", strings.Repeat("odd", 1<<15))
		of("a path", "../../etc")
	case reflect.Int, reflect.Int64, reflect.Int32:
		of("below zero", int32(-1))
		of("the least", int32(math.MinInt32))
		of("the most", int32(math.MaxInt32))
	case reflect.Uint32, reflect.Uint64, reflect.Uint:
		of("the most", uint32(math.MaxUint32))
	case reflect.Uint8:
		of("the most", uint8(math.MaxUint8))
	case reflect.Slice:
		switch v.Type().Elem().Kind() {
		case reflect.Uint8: // addresses
			of("one byte", []byte{7})
			of("empty", []byte{})
			of("forty bytes", make([]byte, 40))
		case reflect.String:
			of("odd texts", []string{"", "\xff", strings.Repeat("x", 1<<15)})
		}
	}
	return odd
}

// oddFields calls with each field of a structure odd, one at a time, and puts it back.
func oddFields(v reflect.Value, name string, visit func(what string)) {
	for i := range v.NumField() {
		field := v.Field(i)
		if !field.CanSet() {
			continue
		}
		was, at := reflect.New(field.Type()).Elem(), name+"."+v.Type().Field(i).Name
		was.Set(field)
		for what, odd := range oddValues(field) {
			field.Set(odd)
			visit(at + " is " + what)
		}
		field.Set(was)
		switch {
		case field.Kind() == reflect.Struct:
			oddFields(field, at, visit)
		case field.Kind() == reflect.Pointer && !field.IsNil() && field.Elem().Kind() == reflect.Struct:
			oddFields(field.Elem(), at, visit)
		}
	}
}

// recordedNetwork is one as a hypervisor has it.
func recordedNetwork(t *testing.T) *network {
	t.Helper()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	attrs := func(index int, name string) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: index, Name: name, MTU: 1500, HardwareAddr: mac, PermHWAddr: mac, RawFlags: unix.IFF_UP | unix.IFF_RUNNING,
			Flags: net.FlagUp, OperState: netlink.OperUp, NetNsID: -1, AltNames: []string{"alt-" + name}, Alias: "to " + name,
			Statistics: &netlink.LinkStatistics{RxBytes: 5, TxBytes: 6}}
	}
	member, under, veth := attrs(2, "eth0"), attrs(4, "eth0.7"), attrs(6, "veth1")
	member.MasterIndex, under.ParentIndex, veth.ParentIndex = 3, 2, 2
	yes := true
	n := &network{
		links: []netlink.Link{
			&netlink.Device{LinkAttrs: attrs(1, "lo")}, &netlink.Device{LinkAttrs: member},
			&netlink.Bridge{LinkAttrs: attrs(3, "br0"), VlanFiltering: &yes}, &netlink.Vlan{LinkAttrs: under, VlanId: 7},
			&netlink.Vxlan{LinkAttrs: attrs(5, "vx0"), VxlanId: 9, SrcAddr: net.IPv4(192, 0, 2, 1), Group: net.IPv4(239, 0, 0, 1), Port: 4789},
			&netlink.Veth{LinkAttrs: veth}, &netlink.Bond{LinkAttrs: attrs(7, "bond0"), Mode: netlink.BOND_MODE_802_3AD},
		},
		addrs: map[int][]netlink.Addr{}, names: map[int]string{},
	}
	for _, l := range n.links {
		n.names[l.Attrs().Index] = l.Attrs().Name
	}
	n.addrs[2] = []netlink.Addr{*mustAddr(t, "192.0.2.7/24"), *mustAddr(t, "2001:db8::7/64")}
	n.addrs[2][0].Peer = mustNet(t, "192.0.2.8/32")
	n.routes = []netlink.Route{
		{Family: netlink.FAMILY_V4, LinkIndex: 2, Gw: net.IPv4(192, 0, 2, 1), Protocol: unix.RTPROT_STATIC},
		{Family: netlink.FAMILY_V4, LinkIndex: 2, Dst: mustNet(t, "192.0.2.0/24"), Src: net.IPv4(192, 0, 2, 7), Scope: netlink.SCOPE_LINK},
		{Family: netlink.FAMILY_V6, Dst: mustNet(t, "2001:db8:7::/48"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: 2, Gw: net.ParseIP("fe80::1")}, {LinkIndex: 5, Gw: net.ParseIP("fe80::2"), Hops: 1}}},
	}
	return n
}

func observed(t *testing.T, what string, all []plugin.Observation) map[plugin.Key]string {
	t.Helper()
	texts := make(map[plugin.Key]string)
	for _, o := range all {
		if o.UID == "" || !json.Valid(o.Document) {
			t.Errorf("%s: %+v", what, o)
		}
		texts[o.Key] = fmt.Sprint(o.Name, o.Status, string(o.Document), o.Relations)
	}
	return texts
}

// TestOneOddLink: of interfaces, their addresses and routes each member odd in every way, one
// at a time, fails no listing and changes only what it is a part of.
func TestOneOddLink(t *testing.T) {
	c := testCollector(t, options{})
	n := recordedNetwork(t)
	sweep := func(what string) map[plugin.Key]string {
		all, err := c.observeNetwork(testID, n)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return observed(t, what, all)
	}
	sound := sweep("nothing")
	if len(sound) != 10 {
		t.Fatalf("there are %d", len(sound))
	}
	listings := 0
	check := func(own plugin.Key) func(string) {
		return func(what string) {
			listings++
			now := sweep(what)
			for key, text := range sound {
				if key != own && now[key] != text {
					t.Errorf("%s: %s is\n %s\n and was\n %s", what, key.UID, now[key], text)
				}
			}
		}
	}
	key := func(i int) plugin.Key {
		all, err := c.observeNetwork(testID, n)
		if err != nil {
			t.Fatal(err)
		}
		return all[i].Key
	}
	for i, l := range n.links {
		oddFields(reflect.ValueOf(l).Elem(), l.Attrs().Name, check(key(i)))
	}
	for i := range n.addrs[2] {
		oddFields(reflect.ValueOf(&n.addrs[2][i]).Elem(), "address", check(key(1)))
	}
	for i := range n.routes {
		oddFields(reflect.ValueOf(&n.routes[i]).Elem(), "route", check(key(len(n.links)+i)))
		for j := range n.routes[i].MultiPath {
			oddFields(reflect.ValueOf(n.routes[i].MultiPath[j]).Elem(), "hop", check(key(len(n.links)+i)))
		}
	}
	t.Logf("%d listings were read", listings)
}

// TestOneOddProperty: of what systemd lists and says of a unit each member odd in every way, one
// at a time, is taken as far as it can be read.
func TestOneOddProperty(t *testing.T) {
	v := dbus.MakeVariant
	props := map[string]dbus.Variant{
		"UnitFileState": v("enabled"), "Type": v("notify"), "FragmentPath": v("/lib/systemd/system/ssh.service"), "DropInPaths": v([]string{"/etc/x.conf"}),
		"Environment":      v([]string{"A=1"}),
		"ExecStart":        v([][]any{{"/usr/sbin/sshd", []string{"sshd", "-D"}, false, uint64(1), uint64(2), uint64(3), uint64(4), uint32(5), int32(6), int32(7)}}),
		"EnvironmentFiles": v([][]any{{"/etc/default/ssh", true}}), "NRestarts": v(uint32(2)), "MainPID": v(uint32(77)), "User": v("root"),
		"Group": v("root"), "WorkingDirectory": v("/"), "Slice": v("system.slice"), "Restart": v("always"), "Result": v("success"),
		"MemoryCurrent": v(uint64(4096)), "MemoryMax": v(uint64(8192)), "CPUUsageNSec": v(uint64(1500000000)), "TasksCurrent": v(uint64(1)),
		"TasksMax": v(uint64(9)), "StateChangeTimestamp": v(uint64(1700000000000000)),
	}
	u := systemd.Unit{Name: "ssh.service", Description: "SSH", LoadState: "loaded", ActiveState: "active", SubState: "running", Path: "/x"}
	members := func(what string) map[string]any {
		t.Helper()
		o, err := observeService(testID, u, props)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		observed(t, what, []plugin.Observation{o})
		if !o.UpdatedAt.IsZero() && o.UpdatedAt.Before(time.Unix(0, 0)) {
			t.Errorf("%s: it changed at %v", what, o.UpdatedAt)
		}
		var m map[string]any
		if err := json.Unmarshal(o.Document, &m); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return m
	}
	sound := members("nothing")
	n := 0
	// differs reports how many members are other than they were: what is odd may be one, or two
	// where the name of the unit is a part of it.
	check := func(what string) {
		n++
		now, differ := members(what), 0
		for name, was := range sound {
			if fmt.Sprint(now[name]) != fmt.Sprint(was) {
				differ++
			}
		}
		if differ > 1 {
			t.Errorf("%s: %d members are other than they were", what, differ)
		}
	}
	oddFields(reflect.ValueOf(&u).Elem(), "unit", check)
	for name, was := range props {
		for _, odd := range []any{
			"", "\xff\x00", strings.Repeat("x", 1<<20), int32(-1), uint64(math.MaxUint64), uint64(math.MaxInt64), uint32(math.MaxUint32), uint64(0), true,
			1.5, math.NaN(), math.Inf(1), []string{}, []string{"", "\xff", "=", "=x", "\n=y"}, [][]any{}, [][]any{{}}, [][]any{{1, 2}},
			[][]any{{"\xff", []string{"\xff"}}}, [][]any{nil}, map[string]string{"a": "b"}, dbus.ObjectPath("/x"), []byte{1}, v("nested"),
		} {
			if _, nested := odd.(dbus.Variant); nested {
				props[name] = dbus.MakeVariantWithSignature(odd, dbus.ParseSignatureMust("v"))
			} else if f, float := odd.(float64); float {
				props[name] = dbus.MakeVariantWithSignature(f, dbus.ParseSignatureMust("d"))
			} else if _, ok := odd.([][]any); ok {
				props[name] = dbus.MakeVariantWithSignature(odd, dbus.ParseSignatureMust("aav"))
			} else {
				props[name] = v(odd)
			}
			check(fmt.Sprintf("%s is %.20q", name, fmt.Sprint(odd)))
		}
		delete(props, name)
		check(name + " is missing")
		props[name] = was
	}
	t.Logf("%d units were read", n)
}
