package kinds

import (
	"strings"

	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

var loadBalancerKinds = []*Kind{
	{
		API: cloud.LoadBalancer, Name: "loadbalancers", Type: typeLoadBalancer, Title: "Load balancer",
		Path: "lbaas/loadbalancers", Envelope: "loadbalancers", Limit: 1000,
		ItemPath: "lbaas/loadbalancers/%s", ItemEnvelope: "loadbalancer",
		Panel: "project/load_balancer/%s", MyPanel: "project/load_balancer/%s", read: (*reader).loadBalancer,
	},
	{
		API: cloud.LoadBalancer, Name: "listeners", Type: typeListener, Title: "Listener",
		Path: "lbaas/listeners", Envelope: "listeners", Limit: 1000,
		ItemPath: "lbaas/listeners/%s", ItemEnvelope: "listener",
		read: (*reader).listener,
	},
	{
		API: cloud.LoadBalancer, Name: "pools", Type: typePool, Title: "Load balancer pool",
		Path: "lbaas/pools", Envelope: "pools", Limit: 1000,
		ItemPath: "lbaas/pools/%s", ItemEnvelope: "pool",
		read: (*reader).pool,
	},
	{
		API: cloud.LoadBalancer, Name: "members", Type: typeMember, Title: "Load balancer member",
		// For each pool: there is no list of all.
		Path: "lbaas/pools/%s/members", Envelope: "members", Limit: 1000,
		read: (*reader).member,
	},
	{
		API: cloud.LoadBalancer, Name: "healthmonitors", Type: typeHealthMonitor, Title: "Health monitor",
		Path: "lbaas/healthmonitors", Envelope: "healthmonitors", Limit: 1000,
		ItemPath: "lbaas/healthmonitors/%s", ItemEnvelope: "healthmonitor",
		read: (*reader).healthMonitor,
	},
	{
		API: cloud.LoadBalancer, Name: "l7policies", Type: typeL7Policy, Title: "L7 policy",
		Path: "lbaas/l7policies", Envelope: "l7policies", Limit: 1000,
		ItemPath: "lbaas/l7policies/%s", ItemEnvelope: "l7policy",
		read: (*reader).l7Policy,
	},
	{
		API: cloud.LoadBalancer, Name: "amphorae", Type: typeAmphora, Title: "Amphora",
		Path: "octavia/amphorae", Envelope: "amphorae", Limit: 1000, Admin: true,
		ItemPath: "octavia/amphorae/%s", ItemEnvelope: "amphora",
		read: (*reader).amphora,
	},
}

// balancing takes what all parts of a load balancer have. What is being changed, or
// could not be, says so; else it is told how it does.
func (r *reader) balancing() error {
	var s struct {
		Provisioning string `json:"provisioning_status"`
		Operating    string `json:"operating_status"`
		Up           *bool  `json:"admin_state_up"`
		Balancers    []ref  `json:"loadbalancers"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.Status = s.Provisioning
	if s.Provisioning == "ACTIVE" {
		r.Status = or(s.Operating, s.Provisioning)
	}
	for _, b := range s.Balancers {
		r.relate(partOf, typeLoadBalancer, string(b.ID))
	}
	r.text("provisioningStatus", s.Provisioning)
	r.text("operatingStatus", s.Operating)
	r.adminUp(s.Up)
	return nil
}

// secrets relates to what keys and certificates are in, by their addresses.
func (r *reader) secrets(addresses ...string) {
	for _, a := range addresses {
		switch {
		case strings.Contains(a, "/secrets/"):
			r.relate(uses, typeSecret, lastSegment(a))
		case strings.Contains(a, "/containers/"):
			r.relate(uses, typeSecretContainer, lastSegment(a))
		}
	}
}

func (r *reader) loadBalancer() error {
	var b struct {
		Address    string `json:"vip_address"`
		Port       string `json:"vip_port_id"`
		Subnet     string `json:"vip_subnet_id"`
		Network    string `json:"vip_network_id"`
		QoS        string `json:"vip_qos_policy_id"`
		Provider   string `json:"provider"`
		Flavor     string `json:"flavor_id"`
		Zone       string `json:"availability_zone"`
		Additional []struct {
			Address string `json:"ip_address"`
			Subnet  string `json:"subnet_id"`
		} `json:"additional_vips"`
		Listeners []ref `json:"listeners"`
		Pools     []ref `json:"pools"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&b); err != nil {
		return err
	}
	r.relate(uses, typePort, b.Port)
	r.relate(connectedTo, typeSubnet, b.Subnet)
	r.relate(connectedTo, typeNetwork, b.Network)
	r.relate(uses, typeQoSPolicy, b.QoS)
	var more []string
	for _, a := range b.Additional {
		r.relate(connectedTo, typeSubnet, a.Subnet)
		more = append(more, a.Address)
	}
	r.text("address", b.Address)
	r.list("moreAddresses", more)
	r.text("provider", b.Provider)
	r.text("flavor", b.Flavor)
	r.text("zone", b.Zone)
	r.fact("listeners", len(b.Listeners))
	r.fact("pools", len(b.Pools))
	return nil
}

func (r *reader) listener() error {
	var l struct {
		Protocol string   `json:"protocol"`
		Port     number   `json:"protocol_port"`
		Pool     string   `json:"default_pool_id"`
		Limit    number   `json:"connection_limit"`
		TLS      string   `json:"default_tls_container_ref"`
		SNI      []string `json:"sni_container_refs"`
		CA       string   `json:"client_ca_tls_container_ref"`
		CRL      string   `json:"client_crl_container_ref"`
		Allowed  []string `json:"allowed_cidrs"`
		Policies []ref    `json:"l7policies"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	r.relate(routesTo, typePool, l.Pool)
	r.secrets(append([]string{l.TLS, l.CA, l.CRL}, l.SNI...)...)
	r.text("protocol", l.Protocol)
	r.amount("port", l.Port, 1)
	r.amount("connectionLimit", l.Limit, 1)
	r.list("allowed", l.Allowed)
	r.fact("l7policies", len(l.Policies))
	return nil
}

func (r *reader) pool() error {
	var p struct {
		Protocol    string `json:"protocol"`
		Algorithm   string `json:"lb_algorithm"`
		Listeners   []ref  `json:"listeners"`
		Members     []ref  `json:"members"`
		TLS         string `json:"tls_container_ref"`
		CA          string `json:"ca_tls_container_ref"`
		CRL         string `json:"crl_container_ref"`
		Persistence *struct {
			Type string `json:"type"`
		} `json:"session_persistence"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.secrets(p.TLS, p.CA, p.CRL)
	r.text("protocol", p.Protocol)
	r.text("algorithm", p.Algorithm)
	if p.Persistence != nil {
		r.text("persistence", p.Persistence.Type)
	}
	r.fact("listeners", len(p.Listeners))
	r.fact("members", len(p.Members))
	return nil
}

// member reads a member of a pool, with the pool's id that the collector has put
// beside it.
func (r *reader) member() error {
	var m struct {
		Pool    string `json:"pool_id"`
		Address string `json:"address"`
		Port    number `json:"protocol_port"`
		Subnet  string `json:"subnet_id"`
		Weight  number `json:"weight"`
		Backup  bool   `json:"backup"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&m); err != nil {
		return err
	}
	r.Name = or(r.Name, m.Address)
	r.relate(partOf, typePool, m.Pool)
	r.relate(connectedTo, typeSubnet, m.Subnet)
	if r.in.Joins.Owners != nil && m.Subnet != "" && m.Address != "" {
		for _, to := range r.in.Joins.Owners(m.Subnet, m.Address) {
			r.edge(routesTo, to)
		}
	}
	r.text("address", m.Address)
	r.amount("port", m.Port, 1)
	r.amount("weight", m.Weight, 1)
	r.fact("backup", m.Backup)
	return nil
}

func (r *reader) healthMonitor() error {
	var h struct {
		Type    string `json:"type"`
		Delay   number `json:"delay"`
		Timeout number `json:"timeout"`
		Retries number `json:"max_retries"`
		Path    string `json:"url_path"`
		Codes   string `json:"expected_codes"`
		Pools   []ref  `json:"pools"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&h); err != nil {
		return err
	}
	r.Name = or(r.Name, h.Type)
	for _, p := range h.Pools {
		r.relate(attachedTo, typePool, string(p.ID))
	}
	r.text("type", h.Type)
	r.amount("delay", h.Delay, 1)
	r.amount("timeout", h.Timeout, 1)
	r.amount("retries", h.Retries, 1)
	r.text("path", h.Path)
	r.text("codes", h.Codes)
	return nil
}

func (r *reader) l7Policy() error {
	var p struct {
		Listener string `json:"listener_id"`
		Pool     string `json:"redirect_pool_id"`
		URL      string `json:"redirect_url"`
		Prefix   string `json:"redirect_prefix"`
		Action   string `json:"action"`
		Position number `json:"position"`
		Rules    []ref  `json:"rules"`
	}
	if err := r.balancing(); err != nil {
		return err
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.relate(partOf, typeListener, p.Listener)
	r.relate(routesTo, typePool, p.Pool)
	r.text("action", p.Action)
	r.text("redirect", or(p.URL, p.Prefix))
	r.amount("position", p.Position, 1)
	r.fact("rules", len(p.Rules))
	return nil
}

func (r *reader) amphora() error {
	var a struct {
		Balancer string `json:"loadbalancer_id"`
		Server   string `json:"compute_id"`
		Image    string `json:"image_id"`
		Role     string `json:"role"`
		Manage   string `json:"lb_network_ip"`
		Address  string `json:"vrrp_ip"`
		HA       string `json:"ha_ip"`
		Port     string `json:"vrrp_port_id"`
		HAPort   string `json:"ha_port_id"`
		Expires  moment `json:"cert_expiration"`
		Zone     string `json:"cached_zone"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	r.relate(partOf, typeLoadBalancer, a.Balancer)
	r.relate(runsOn, typeServer, a.Server)
	r.relate(backedBy, typeImage, a.Image)
	r.relate(uses, typePort, a.Port)
	r.relate(uses, typePort, a.HAPort)
	r.text("role", a.Role)
	r.text("manageAddress", a.Manage)
	r.text("address", a.Address)
	r.text("haAddress", a.HA)
	r.text("zone", a.Zone)
	r.when("certificateExpires", a.Expires)
	return nil
}
