package kinds

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// Neutron refuses changed_since where a listing does not have it.
var networkKinds = []*Kind{
	{
		API: cloud.Network, Name: "networks", Type: typeNetwork, Title: "Network",
		Path: "networks", Envelope: "networks", Limit: 1000, Changes: ChangedSince,
		ItemPath: "networks/%s", ItemEnvelope: "network",
		Panel: "admin/networks/%s/detail", MyPanel: "project/networks/%s/detail", read: (*reader).network,
	},
	{
		API: cloud.Network, Name: "subnets", Type: typeSubnet, Title: "Subnet",
		Path: "subnets", Envelope: "subnets", Limit: 1000, Changes: ChangedSince,
		ItemPath: "subnets/%s", ItemEnvelope: "subnet",
		Panel: "admin/networks/subnets/%s/detail", MyPanel: "project/networks/subnets/%s/detail", read: (*reader).subnet,
	},
	{
		API: cloud.Network, Name: "subnetpools", Type: typeSubnetPool, Title: "Subnet pool",
		Path: "subnetpools", Envelope: "subnetpools", Limit: 1000, Changes: ChangedSince,
		ItemPath: "subnetpools/%s", ItemEnvelope: "subnetpool",
		read: (*reader).subnetPool,
	},
	{
		API: cloud.Network, Name: "address-scopes", Type: typeAddressScope, Title: "Address scope",
		Path: "address-scopes", Envelope: "address_scopes", Limit: 1000,
		ItemPath: "address-scopes/%s", ItemEnvelope: "address_scope",
		read: (*reader).addressScope,
	},
	{
		API: cloud.Network, Name: "ports", Type: typePort, Title: "Port",
		Path: "ports", Envelope: "ports", Limit: 1000, Changes: ChangedSince,
		ItemPath: "ports/%s", ItemEnvelope: "port",
		Panel: "admin/networks/ports/%s/detail", MyPanel: "project/networks/ports/%s/detail", read: (*reader).port,
	},
	{
		API: cloud.Network, Name: "routers", Type: typeRouter, Title: "Router",
		Path: "routers", Envelope: "routers", Limit: 1000, Changes: ChangedSince,
		ItemPath: "routers/%s", ItemEnvelope: "router",
		Panel: "admin/routers/%s/", MyPanel: "project/routers/%s/", read: (*reader).router,
	},
	{
		API: cloud.Network, Name: "floatingips", Type: typeFloatingIP, Title: "Floating IP",
		Path: "floatingips", Envelope: "floatingips", Limit: 1000, Changes: ChangedSince,
		ItemPath: "floatingips/%s", ItemEnvelope: "floatingip",
		Panel: "admin/floating_ips/%s/detail/", MyPanel: "project/floating_ips/", read: (*reader).floatingIP,
	},
	{
		API: cloud.Network, Name: "security-groups", Type: typeSecurityGroup, Title: "Security group",
		// A rule that is made or deleted is a change of its group.
		Path: "security-groups", Envelope: "security_groups", Limit: 1000, Changes: ChangedSince,
		ItemPath: "security-groups/%s", ItemEnvelope: "security_group",
		Panel: "project/security_groups/%s/", MyPanel: "project/security_groups/%s/", read: (*reader).securityGroup,
	},
	{
		API: cloud.Network, Name: "agents", Type: typeAgent, Title: "Network agent",
		Path: "agents", Envelope: "agents", Limit: 1000, Admin: true,
		ItemPath: "agents/%s", ItemEnvelope: "agent",
		Panel: "admin/info/",
		// An agent says every half minute that it is alive, and how much it does.
		Volatile: []string{
			"heartbeat_timestamp", "configurations.devices", "configurations.networks", "configurations.subnets", "configurations.ports",
			"configurations.routers", "configurations.ex_gw_ports", "configurations.interfaces", "configurations.floating_ips", "load",
		},
		read: (*reader).agent,
	},
	{
		API: cloud.Network, Name: "trunks", Type: typeTrunk, Title: "Trunk",
		Path: "trunks", Envelope: "trunks", Limit: 1000,
		ItemPath: "trunks/%s", ItemEnvelope: "trunk",
		Panel: "ngdetails/OS::Neutron::Trunk/%s", MyPanel: "ngdetails/OS::Neutron::Trunk/%s", read: (*reader).trunk,
	},
	{
		API: cloud.Network, Name: "qos-policies", Type: typeQoSPolicy, Title: "QoS policy",
		Path: "qos/policies", Envelope: "policies", Limit: 1000,
		ItemPath: "qos/policies/%s", ItemEnvelope: "policy",
		Panel: "ngdetails/OS::Neutron::QoSPolicy/%s", MyPanel: "ngdetails/OS::Neutron::QoSPolicy/%s", read: (*reader).qosPolicy,
	},
	{
		API: cloud.Network, Name: "rbac-policies", Type: typeRBACPolicy, Title: "RBAC policy",
		Path: "rbac-policies", Envelope: "rbac_policies", Limit: 1000,
		ItemPath: "rbac-policies/%s", ItemEnvelope: "rbac_policy",
		Panel: "admin/rbac_policies/%s/", read: (*reader).rbacPolicy,
	},
	{
		API: cloud.Network, Name: "segments", Type: typeSegment, Title: "Segment",
		Path: "segments", Envelope: "segments", Limit: 1000, Admin: true,
		ItemPath: "segments/%s", ItemEnvelope: "segment",
		read: (*reader).segment,
	},
	{
		API: cloud.Network, Name: "ip-availabilities", Type: typeIPAvailability, Title: "IP availability",
		Path: "network-ip-availabilities", Envelope: "network_ip_availabilities", Admin: true,
		ItemPath: "network-ip-availabilities/%s", ItemEnvelope: "network_ip_availability",
		// What is used changes with every port.
		read: (*reader).ipAvailability,
	},
	{
		API: cloud.Network, Name: "quotas", Type: typeNetworkQuota, Title: "Network quota",
		// Only projects that have quotas of their own are in the list. Alone, a quota
		// does not say whose it is.
		Path: "quotas", Envelope: "quotas", Admin: true, Every: 6,
		Panel: "admin/defaults/", read: (*reader).quota,
	},
}

func (r *reader) network() error {
	var n struct {
		Subnets  []string         `json:"subnets"`
		External bool             `json:"router:external"`
		Shared   bool             `json:"shared"`
		Up       *bool            `json:"admin_state_up"`
		MTU      number           `json:"mtu"`
		Kind     string           `json:"provider:network_type"`
		Physical string           `json:"provider:physical_network"`
		Segment  text             `json:"provider:segmentation_id"`
		Segments []jsontext.Value `json:"segments"`
		QoS      string           `json:"qos_policy_id"`
		Scope4   string           `json:"ipv4_address_scope"`
		Scope6   string           `json:"ipv6_address_scope"`
		Domain   string           `json:"dns_domain"`
	}
	if err := r.decode(&n); err != nil {
		return err
	}
	r.relate(uses, typeQoSPolicy, n.QoS)
	r.relate(memberOf, typeAddressScope, n.Scope4)
	r.relate(memberOf, typeAddressScope, n.Scope6)
	r.fact("external", n.External)
	r.fact("shared", n.Shared)
	r.adminUp(n.Up)
	r.fact("subnets", len(n.Subnets))
	r.amount("mtu", n.MTU, 1)
	r.text("networkType", n.Kind)
	r.text("physicalNetwork", n.Physical)
	r.text("segmentationId", string(n.Segment))
	if len(n.Segments) > 0 {
		r.fact("segments", len(n.Segments))
	}
	r.text("dnsDomain", n.Domain)
	return nil
}

// adminUp tells of what an administrator has shut down or not.
func (r *reader) adminUp(up *bool) {
	if up != nil {
		r.fact("adminUp", *up)
	}
}

func (r *reader) subnet() error {
	var s struct {
		Network string   `json:"network_id"`
		Pool    string   `json:"subnetpool_id"`
		Segment string   `json:"segment_id"`
		CIDR    string   `json:"cidr"`
		Version number   `json:"ip_version"`
		Gateway string   `json:"gateway_ip"`
		DHCP    bool     `json:"enable_dhcp"`
		DNS     []string `json:"dns_nameservers"`
		Pools   []struct {
			Start string `json:"start"`
			End   string `json:"end"`
		} `json:"allocation_pools"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.Name = or(r.Name, s.CIDR)
	r.relate(partOf, typeNetwork, s.Network)
	r.relate(partOf, typeSegment, s.Segment)
	// IPv6 prefixes that are delegated are of a pool that is not there.
	if s.Pool != "prefix_delegation" {
		r.relate(uses, typeSubnetPool, s.Pool)
	}
	r.text("cidr", s.CIDR)
	r.amount("ipVersion", s.Version, 1)
	r.text("gateway", s.Gateway)
	r.fact("dhcp", s.DHCP)
	r.list("dns", s.DNS)
	pools := make([]string, 0, len(s.Pools))
	for _, p := range s.Pools {
		pools = append(pools, p.Start+"-"+p.End)
	}
	r.list("pools", pools)
	return nil
}

func (r *reader) subnetPool() error {
	var p struct {
		Scope    string   `json:"address_scope_id"`
		Prefixes []string `json:"prefixes"`
		Version  number   `json:"ip_version"`
		Default  text     `json:"default_prefixlen"`
		Shared   bool     `json:"shared"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.relate(memberOf, typeAddressScope, p.Scope)
	r.list("prefixes", p.Prefixes)
	r.amount("ipVersion", p.Version, 1)
	r.text("defaultPrefixLength", string(p.Default))
	r.fact("shared", p.Shared)
	return nil
}

func (r *reader) addressScope() error {
	var s struct {
		Version number `json:"ip_version"`
		Shared  bool   `json:"shared"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.amount("ipVersion", s.Version, 1)
	r.fact("shared", s.Shared)
	return nil
}

// Owner returns what a port is of, by its device_owner and device_id.
func Owner(owner, device string) (plugin.Key, bool) {
	typ := ""
	switch {
	case device == "":
	case strings.HasPrefix(owner, "compute:"):
		typ = typeServer
	case strings.HasPrefix(owner, "network:router_"), owner == "network:ha_router_replicated_interface":
		typ = typeRouter
	case owner == "network:floatingip":
		// While it is being made there is no id yet.
		if device != "PENDING" {
			typ = typeFloatingIP
		}
	case strings.HasPrefix(device, "lb-"):
		typ, device = typeLoadBalancer, device[len("lb-"):]
	case owner == "Octavia", owner == "neutron:LOADBALANCERV2":
		typ = typeLoadBalancer
	case strings.HasPrefix(owner, "baremetal:"):
		typ = typeNode
	case owner == "trunk:subport":
		typ = typeTrunk
	}
	return plugin.Key{Type: typ, UID: device}, typ != "" && device != ""
}

// address is one of a port's.
type address struct {
	Subnet  string `json:"subnet_id"`
	Address string `json:"ip_address"`
}

func (r *reader) port() error {
	var p struct {
		Network   string    `json:"network_id"`
		MAC       string    `json:"mac_address"`
		Owner     string    `json:"device_owner"`
		Device    string    `json:"device_id"`
		Addresses []address `json:"fixed_ips"`
		Groups    []string  `json:"security_groups"`
		QoS       string    `json:"qos_policy_id"`
		Up        *bool     `json:"admin_state_up"`
		Secure    *bool     `json:"port_security_enabled"`
		Host      string    `json:"binding:host_id"`
		VIF       string    `json:"binding:vif_type"`
		VNIC      string    `json:"binding:vnic_type"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.relate(connectedTo, typeNetwork, p.Network)
	var addresses []string
	for _, a := range p.Addresses {
		r.relate(connectedTo, typeSubnet, a.Subnet)
		addresses = append(addresses, a.Address)
	}
	if r.Name == "" {
		r.Name = p.MAC
		if len(addresses) > 0 {
			r.Name = addresses[0]
		}
	}
	for _, g := range p.Groups {
		r.relate(uses, typeSecurityGroup, g)
	}
	r.relate(uses, typeQoSPolicy, p.QoS)
	if to, ok := Owner(p.Owner, p.Device); ok {
		verb := attachedTo
		if to.Type == typeFloatingIP {
			// The port that holds the address says nothing of whether it is used.
			verb = partOf
		}
		r.edge(verb, to)
	}
	r.list("addresses", addresses)
	r.text("mac", p.MAC)
	r.text("owner", p.Owner)
	r.text("device", p.Device)
	r.text("host", p.Host)
	r.text("vif", p.VIF)
	r.text("vnic", p.VNIC)
	r.adminUp(p.Up)
	if p.Secure != nil {
		r.fact("portSecurity", *p.Secure)
	}
	return nil
}

func (r *reader) router() error {
	var o struct {
		Gateway *struct {
			Network   string    `json:"network_id"`
			SNAT      *bool     `json:"enable_snat"`
			Addresses []address `json:"external_fixed_ips"`
			QoS       string    `json:"qos_policy_id"`
		} `json:"external_gateway_info"`
		Up          *bool            `json:"admin_state_up"`
		HA          bool             `json:"ha"`
		Distributed bool             `json:"distributed"`
		Routes      []jsontext.Value `json:"routes"`
	}
	if err := r.decode(&o); err != nil {
		return err
	}
	if g := o.Gateway; g != nil {
		r.relate(routesTo, typeNetwork, g.Network)
		r.relate(uses, typeQoSPolicy, g.QoS)
		r.text("externalNetwork", g.Network)
		var addresses []string
		for _, a := range g.Addresses {
			addresses = append(addresses, a.Address)
		}
		r.list("externalAddresses", addresses)
		if g.SNAT != nil {
			r.fact("snat", *g.SNAT)
		}
	}
	r.adminUp(o.Up)
	r.fact("ha", o.HA)
	r.fact("distributed", o.Distributed)
	if len(o.Routes) > 0 {
		r.fact("routes", len(o.Routes))
	}
	if r.in.Joins.Interfaces == nil {
		return nil
	}
	all := []document.Object{}
	for _, i := range r.in.Joins.Interfaces(r.ID) {
		r.relate(connectedTo, typeNetwork, i.Network)
		for _, s := range i.Subnets {
			r.relate(connectedTo, typeSubnet, s)
		}
		all = append(all, document.Object{{Name: "port", Value: i.Port}, {Name: "network", Value: i.Network},
			{Name: "subnets", Value: i.Subnets}, {Name: "addresses", Value: i.Addresses}})
	}
	r.fact("interfaces", all)
	return nil
}

func (r *reader) floatingIP() error {
	var f struct {
		Address string `json:"floating_ip_address"`
		Fixed   string `json:"fixed_ip_address"`
		Network string `json:"floating_network_id"`
		Router  string `json:"router_id"`
		Port    string `json:"port_id"`
		QoS     string `json:"qos_policy_id"`
		Details *struct {
			Device string `json:"device_id"`
			Owner  string `json:"device_owner"`
		} `json:"port_details"`
		Forwardings []jsontext.Value `json:"port_forwardings"`
	}
	if err := r.decode(&f); err != nil {
		return err
	}
	r.Name = f.Address
	r.relate(connectedTo, typeNetwork, f.Network)
	r.relate(routesTo, typeRouter, f.Router)
	r.relate(attachedTo, typePort, f.Port)
	r.relate(uses, typeQoSPolicy, f.QoS)
	if f.Details != nil {
		if to, ok := Owner(f.Details.Owner, f.Details.Device); ok {
			r.edge(attachedTo, to)
		}
	}
	r.text("address", f.Address)
	r.text("fixedAddress", f.Fixed)
	r.fact("associated", f.Port != "" || len(f.Forwardings) > 0)
	if len(f.Forwardings) > 0 {
		r.fact("portForwardings", len(f.Forwardings))
	}
	return nil
}

func (r *reader) securityGroup() error {
	var g struct {
		Rules []struct {
			Direction string `json:"direction"`
			EtherType string `json:"ethertype"`
			Protocol  text   `json:"protocol"`
			Low       *int64 `json:"port_range_min"`
			High      *int64 `json:"port_range_max"`
			Group     string `json:"remote_group_id"`
			Addresses string `json:"remote_address_group_id"`
			Prefix    string `json:"remote_ip_prefix"`
		} `json:"security_group_rules"`
		Stateful *bool `json:"stateful"`
		Shared   bool  `json:"shared"`
	}
	if err := r.decode(&g); err != nil {
		return err
	}
	in, out := 0, 0
	open := map[string]bool{}
	for _, rule := range g.Rules {
		if rule.Direction != "ingress" {
			out++
			continue
		}
		in++
		r.relate(allows, typeSecurityGroup, rule.Group)
		switch rule.Prefix {
		case "", "0.0.0.0/0", "::/0":
		default:
			continue
		}
		if rule.Group != "" || rule.Addresses != "" {
			continue
		}
		what := or(string(rule.Protocol), "any")
		switch {
		case rule.Low == nil:
		case rule.High == nil || *rule.High == *rule.Low:
			what += fmt.Sprintf("/%d", *rule.Low)
		default:
			what += fmt.Sprintf("/%d-%d", *rule.Low, *rule.High)
		}
		open[what] = true
	}
	r.fact("rulesIn", in)
	r.fact("rulesOut", out)
	// What everybody may reach.
	r.list("open", sortedKeys(open))
	r.fact("shared", g.Shared)
	if g.Stateful != nil {
		r.fact("stateful", *g.Stateful)
	}
	return nil
}

func (r *reader) agent() error {
	var a struct {
		Type    string `json:"agent_type"`
		Binary  string `json:"binary"`
		Host    string `json:"host"`
		Alive   *bool  `json:"alive"`
		Up      *bool  `json:"admin_state_up"`
		Zone    string `json:"availability_zone"`
		Started moment `json:"started_at"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	r.Name = or(a.Binary, a.Type) + "@" + a.Host
	state, status := "", ""
	if a.Alive != nil {
		state = map[bool]string{true: "up", false: "down"}[*a.Alive]
	}
	if a.Up != nil && !*a.Up {
		status = "disabled"
	}
	r.upDown(state, status)
	r.text("agentType", a.Type)
	r.text("binary", a.Binary)
	r.text("host", a.Host)
	r.text("zone", a.Zone)
	r.when("started", a.Started)
	return nil
}

func (r *reader) trunk() error {
	var t struct {
		Port string `json:"port_id"`
		Sub  []struct {
			Port string `json:"port_id"`
		} `json:"sub_ports"`
		Up *bool `json:"admin_state_up"`
	}
	if err := r.decode(&t); err != nil {
		return err
	}
	r.relate(uses, typePort, t.Port)
	for _, s := range t.Sub {
		r.relate(includes, typePort, s.Port)
	}
	r.fact("subPorts", len(t.Sub))
	r.adminUp(t.Up)
	return nil
}

func (r *reader) qosPolicy() error {
	var p struct {
		Shared  bool `json:"shared"`
		Default bool `json:"is_default"`
		Rules   []struct {
			Type string `json:"type"`
		} `json:"rules"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.fact("shared", p.Shared)
	r.fact("default", p.Default)
	r.fact("rules", len(p.Rules))
	types := map[string]bool{}
	for _, rule := range p.Rules {
		if rule.Type != "" {
			types[rule.Type] = true
		}
	}
	r.list("ruleTypes", sortedKeys(types))
	return nil
}

// shareable are the types of what RBAC policies share.
var shareable = map[string]string{
	"network": typeNetwork, "qos_policy": typeQoSPolicy, "security_group": typeSecurityGroup, "address_scope": typeAddressScope,
	"subnetpool": typeSubnetPool,
}

func (r *reader) rbacPolicy() error {
	var p struct {
		Action  string `json:"action"`
		Kind    string `json:"object_type"`
		Object  string `json:"object_id"`
		Target  string `json:"target_tenant"`
		Project string `json:"target_project"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	target := or(p.Project, p.Target)
	r.Name = strings.TrimSpace(p.Action + " " + p.Kind)
	if typ := shareable[p.Kind]; typ != "" {
		r.relate(describes, typ, p.Object)
	}
	if target != "*" {
		r.relate(sharedWith, typeProject, target)
	}
	r.text("action", p.Action)
	r.text("objectType", p.Kind)
	r.text("target", target)
	return nil
}

func (r *reader) segment() error {
	var s struct {
		Network  string `json:"network_id"`
		Kind     string `json:"network_type"`
		Physical string `json:"physical_network"`
		ID       text   `json:"segmentation_id"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.relate(partOf, typeNetwork, s.Network)
	r.text("networkType", s.Kind)
	r.text("physicalNetwork", s.Physical)
	r.text("segmentationId", string(s.ID))
	return nil
}

func (r *reader) ipAvailability() error {
	var a struct {
		Network string           `json:"network_id"`
		Name    string           `json:"network_name"`
		Used    number           `json:"used_ips"`
		Total   number           `json:"total_ips"`
		Subnets []jsontext.Value `json:"subnet_ip_availability"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	r.ID, r.Name = a.Network, a.Name
	r.named("ip-availability", a.Network)
	r.relate(describes, typeNetwork, a.Network)
	r.amount("used", a.Used, 1)
	r.amount("total", a.Total, 1)
	if a.Total.value > 0 {
		r.fact("ratio", a.Used.value/a.Total.value)
	}
	r.fact("subnets", len(a.Subnets))
	return nil
}
