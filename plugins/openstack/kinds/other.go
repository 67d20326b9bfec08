package kinds

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// otherKinds are those of services of which there is little to list.
var otherKinds = []*Kind{
	{
		API: cloud.Orchestration, Name: "stacks", Type: typeStack, Title: "Stack",
		// One stack alone has its parameters and outputs: it is not read.
		Path: "stacks", Envelope: "stacks", Paging: cloud.Marker, Limit: 500, All: "global_tenant=True",
		Panel: "project/stacks/stack/%s/", MyPanel: "project/stacks/stack/%s/", read: (*reader).stack,
	},
	{
		API: cloud.Share, Name: "shares", Type: typeShare, Title: "Share",
		Path: "shares/detail", Envelope: "shares", Paging: cloud.Offset, Limit: 1000, All: "all_tenants=1", Microversion: shareVersion,
		ItemPath: "shares/%s", ItemEnvelope: "share",
		Panel: "admin/shares/%s/", MyPanel: "project/shares/%s/", read: (*reader).share,
	},
	{
		API: cloud.Share, Name: "types", Type: typeShareType, Title: "Share type",
		Path: "types", Envelope: "share_types", All: "is_public=all", Microversion: shareVersion,
		ItemPath: "types/%s", ItemEnvelope: "share_type",
		Panel: "admin/share_types/", read: (*reader).shareType,
	},
	{
		API: cloud.Share, Name: "networks", Type: typeShareNetwork, Title: "Share network",
		Path: "share-networks/detail", Envelope: "share_networks", Paging: cloud.Offset, Limit: 1000, All: "all_tenants=1",
		Microversion: shareVersion,
		ItemPath:     "share-networks/%s", ItemEnvelope: "share_network",
		Panel: "admin/share_networks/%s", MyPanel: "project/share_networks/%s", read: (*reader).shareNetwork,
	},
	{
		API: cloud.Share, Name: "snapshots", Type: typeShareSnapshot, Title: "Share snapshot",
		Path: "snapshots/detail", Envelope: "snapshots", Paging: cloud.Offset, Limit: 1000, All: "all_tenants=1", Microversion: shareVersion,
		ItemPath: "snapshots/%s", ItemEnvelope: "snapshot",
		Panel: "admin/share_snapshots/%s", MyPanel: "project/share_snapshots/%s", read: (*reader).shareSnapshot,
	},
	{
		API: cloud.DNS, Name: "zones", Type: typeZone, Title: "DNS zone",
		Path: "zones", Envelope: "zones", Limit: 1000, AllHeaders: map[string]string{"X-Auth-All-Projects": "True"},
		ItemPath: "zones/%s",
		Panel:    "ngdetails/OS::Designate::Zone/%s", MyPanel: "ngdetails/OS::Designate::Zone/%s",
		// A zone counts up with each of its records, and each time it is fetched.
		Volatile: []string{"serial", "version", "updated_at", "transferred_at"},
		read:     (*reader).zone,
	},
	{
		API: cloud.DNS, Name: "recordsets", Type: typeRecordSet, Title: "DNS record set",
		Path: "recordsets", Envelope: "recordsets", Limit: 1000, AllHeaders: map[string]string{"X-Auth-All-Projects": "True"},
		read: (*reader).recordSet,
	},
	{
		API: cloud.KeyManager, Name: "secrets", Type: typeSecret, Title: "Secret",
		// Only what is told of them: nobody reads what is in them.
		Path: "secrets", Envelope: "secrets", Limit: 100, Mine: true, MarkerKey: "secret_ref",
		ItemPath: "secrets/%s", read: (*reader).secret,
	},
	{
		API: cloud.KeyManager, Name: "containers", Type: typeSecretContainer, Title: "Secret container",
		Path: "containers", Envelope: "containers", Limit: 100, Mine: true, MarkerKey: "container_ref",
		ItemPath: "containers/%s", read: (*reader).secretContainer,
	},
	{
		API: cloud.ObjectStore, Name: "containers", Type: typeContainer, Title: "Object container",
		// An account is asked for by its own address.
		Path: "", Query: "format=json", Paging: cloud.Marker, Limit: 1000, MarkerKey: "name", Mine: true,
		MyPanel:  "project/containers/container/%s",
		Volatile: []string{"last_modified"},
		read:     (*reader).container,
	},
	{
		API: cloud.BareMetal, Name: "nodes", Type: typeNode, Title: "Bare metal node",
		// 1.51 has what it is for, 1.52 its allocation.
		Path: "nodes/detail", Envelope: "nodes", Limit: 1000, MarkerKey: "uuid", Microversion: "1.52", Admin: true, Copied: true,
		ItemPath: "nodes/%s",
		Panel:    "admin/ironic/%s/",
		Volatile: []string{"driver_internal_info.agent_last_heartbeat"},
		// Images are fetched from addresses that are signed.
		drop: []string{
			"ports", "portgroups", "states", "volume", "agent_secret_token", "rescue_password", "hashed_rescue_password", "image_url",
		},
		read: (*reader).node,
	},
	{
		API: cloud.BareMetal, Name: "ports", Type: typeBareMetalPort, Title: "Bare metal port",
		// 1.34 has the physical network.
		Path: "ports/detail", Envelope: "ports", Limit: 1000, MarkerKey: "uuid", Microversion: "1.34", Admin: true, Copied: true,
		ItemPath: "ports/%s", read: (*reader).bareMetalPort,
	},
	{
		API: cloud.Containers, Name: "clusters", Type: typeCluster, Title: "Container cluster",
		// Who is an administrator sees those of all projects.
		Path: "clusters/detail", Envelope: "clusters", Limit: 1000, MarkerKey: "uuid",
		ItemPath: "clusters/%s",
		Panel:    "ngdetails/OS::Magnum::Cluster/%s", MyPanel: "ngdetails/OS::Magnum::Cluster/%s",
		// Whoever has the address by which nodes find each other can join them.
		drop: []string{"discovery_url"},
		read: (*reader).cluster,
	},
	{
		API: cloud.Containers, Name: "cluster-templates", Type: typeClusterTemplate, Title: "Cluster template",
		Path: "clustertemplates/detail", Envelope: "clustertemplates", Limit: 1000, MarkerKey: "uuid",
		ItemPath: "clustertemplates/%s",
		Panel:    "ngdetails/OS::Magnum::ClusterTemplate/%s", MyPanel: "ngdetails/OS::Magnum::ClusterTemplate/%s",
		read: (*reader).clusterTemplate,
	},
	{
		API: cloud.Rating, Name: "modules", Type: typeRatingModule, Title: "Rating module",
		Path: "rating/modules", Envelope: "modules", Admin: true,
		ItemPath: "rating/modules/%s",
		Panel:    "admin/rating_modules/", read: (*reader).ratingModule,
	},
}

// shareVersion has the subnets of share networks. Where shares are exported is
// told one by one since 2.9.
const shareVersion = "2.51"

// relateID is relate where users may have given a name instead of an id. To a name
// nothing can be related.
func (r *reader) relateID(verb, typ, id string) {
	if uuid.Validate(id) == nil {
		r.relate(verb, typ, id)
	}
}

func (r *reader) stack() error {
	var s struct {
		Name    string `json:"stack_name"`
		Status  string `json:"stack_status"`
		Reason  text   `json:"stack_status_reason"`
		Project string `json:"project"`
		Owner   string `json:"stack_owner"`
		Parent  string `json:"parent"`
		Created moment `json:"creation_time"`
		Updated moment `json:"updated_time"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.Name, r.Status = s.Name, s.Status
	r.Created, r.Updated = s.Created.or(moment{}), s.Updated.or(moment{})
	r.of(or(s.Project, r.in.Project))
	r.relate(partOf, typeStack, s.Parent)
	r.text("owner", s.Owner)
	r.text("reason", string(s.Reason))
	return nil
}

func (r *reader) share() error {
	var s struct {
		Size     number `json:"size"`
		Protocol string `json:"share_proto"`
		Type     string `json:"share_type"`
		TypeName string `json:"share_type_name"`
		Network  string `json:"share_network_id"`
		Snapshot string `json:"snapshot_id"`
		Source   string `json:"source_share_id"`
		Host     string `json:"host"`
		Zone     string `json:"availability_zone"`
		Public   bool   `json:"is_public"`
		Replica  string `json:"replication_type"`
		Access   string `json:"access_rules_status"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.relate(uses, typeShareType, s.Type)
	r.relate(connectedTo, typeShareNetwork, s.Network)
	r.relate(copyOf, typeShareSnapshot, s.Snapshot)
	r.relate(copyOf, typeShare, s.Source)
	r.amount("size", s.Size, gibibyte)
	r.text("protocol", s.Protocol)
	r.text("shareType", or(s.TypeName, s.Type))
	r.text("zone", s.Zone)
	r.text("pool", s.Host)
	r.fact("public", s.Public)
	r.text("replication", s.Replica)
	r.text("accessStatus", s.Access)
	return nil
}

func (r *reader) shareType() error {
	var t struct {
		Public  *bool           `json:"share_type_access:is_public"`
		Access  *bool           `json:"os-share-type-access:is_public"`
		Default bool            `json:"is_default"`
		Specs   map[string]text `json:"extra_specs"`
	}
	if err := r.decode(&t); err != nil {
		return err
	}
	if t.Public == nil {
		t.Public = t.Access
	}
	r.Status = "public"
	if t.Public != nil && !*t.Public {
		r.Status = "private"
	}
	r.fact("default", t.Default)
	r.text("backend", string(t.Specs["share_backend_name"]))
	for k, v := range t.Specs {
		r.label(k, string(v))
	}
	return nil
}

func (r *reader) shareNetwork() error {
	type subnet struct {
		Network string `json:"neutron_net_id"`
		Subnet  string `json:"neutron_subnet_id"`
		CIDR    string `json:"cidr"`
	}
	// Before 2.51 it had one subnet, and was it.
	var one subnet
	var n struct {
		Subnets []subnet `json:"share_network_subnets"`
	}
	if err := r.decode(&one); err != nil {
		return err
	}
	if err := r.decode(&n); err != nil {
		return err
	}
	var cidrs []string
	for _, s := range append(n.Subnets, one) {
		r.relate(connectedTo, typeNetwork, s.Network)
		r.relate(connectedTo, typeSubnet, s.Subnet)
		if s.CIDR != "" {
			cidrs = append(cidrs, s.CIDR)
		}
	}
	r.list("cidrs", cidrs)
	return nil
}

func (r *reader) shareSnapshot() error {
	var s struct {
		Share    string `json:"share_id"`
		User     string `json:"user_id"`
		Size     number `json:"size"`
		Of       number `json:"share_size"`
		Protocol string `json:"share_proto"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.relate(snapshotOf, typeShare, s.Share)
	r.relate(ownedBy, typeUser, s.User)
	r.amount("size", s.Size, gibibyte)
	r.amount("shareSize", s.Of, gibibyte)
	r.text("protocol", s.Protocol)
	return nil
}

func (r *reader) zone() error {
	var z struct {
		Email  string `json:"email"`
		TTL    number `json:"ttl"`
		Type   string `json:"type"`
		Action string `json:"action"`
		Pool   string `json:"pool_id"`
	}
	if err := r.decode(&z); err != nil {
		return err
	}
	r.text("zoneType", z.Type)
	r.text("email", z.Email)
	r.amount("ttl", z.TTL, 1)
	r.text("pool", z.Pool)
	return nil
}

func (r *reader) recordSet() error {
	var s struct {
		Zone     string   `json:"zone_id"`
		ZoneName string   `json:"zone_name"`
		Type     string   `json:"type"`
		TTL      number   `json:"ttl"`
		Records  []string `json:"records"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.relate(partOf, typeZone, s.Zone)
	r.text("recordType", s.Type)
	r.text("zone", s.ZoneName)
	if s.Type != "SOA" {
		r.list("records", sorted(s.Records))
	}
	r.amount("ttl", s.TTL, 1)
	return nil
}

// byAddress takes the id of what Barbican tells the address of only.
func (r *reader) byAddress(address string) {
	r.ID = lastSegment(address)
	r.Key = plugin.Key{}
	if r.ID != "" {
		r.Key = plugin.Key{Type: r.kind.Type, UID: r.ID}
	}
	r.of(r.in.Project)
}

func (r *reader) secret() error {
	var s struct {
		Address   string            `json:"secret_ref"`
		Type      string            `json:"secret_type"`
		Algorithm string            `json:"algorithm"`
		Bits      number            `json:"bit_length"`
		Mode      string            `json:"mode"`
		Creator   string            `json:"creator_id"`
		Expires   moment            `json:"expiration"`
		Contents  map[string]string `json:"content_types"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.byAddress(s.Address)
	r.relate(ownedBy, typeUser, s.Creator)
	r.text("secretType", s.Type)
	r.text("algorithm", s.Algorithm)
	r.amount("bits", s.Bits, 1)
	r.text("mode", s.Mode)
	r.text("content", s.Contents["default"])
	r.when("expires", s.Expires)
	return nil
}

func (r *reader) secretContainer() error {
	var c struct {
		Address string `json:"container_ref"`
		Type    string `json:"type"`
		Creator string `json:"creator_id"`
		Secrets []struct {
			Name    string `json:"name"`
			Address string `json:"secret_ref"`
		} `json:"secret_refs"`
		Consumers []jsontext.Value `json:"consumers"`
	}
	if err := r.decode(&c); err != nil {
		return err
	}
	r.byAddress(c.Address)
	r.relate(ownedBy, typeUser, c.Creator)
	for _, s := range c.Secrets {
		r.relate(includes, typeSecret, lastSegment(s.Address))
	}
	r.text("containerType", c.Type)
	r.fact("members", len(c.Secrets))
	r.fact("consumers", len(c.Consumers))
	return nil
}

// container reads a container of Swift: it has no id, and its name is unique in
// its project.
func (r *reader) container() error {
	var c struct {
		Objects number `json:"count"`
		Size    number `json:"bytes"`
	}
	if err := r.decode(&c); err != nil {
		return err
	}
	r.ID = r.Name
	if r.Key = (plugin.Key{}); r.Name == "" {
		return nil
	}
	r.named("container", r.in.Project+"/"+r.Name)
	r.of(r.in.Project)
	r.amount("objects", c.Objects, 1)
	r.amount("size", c.Size, 1)
	return nil
}

func (r *reader) node() error {
	var n struct {
		Provision   string          `json:"provision_state"`
		Power       string          `json:"power_state"`
		Maintenance bool            `json:"maintenance"`
		Reason      string          `json:"maintenance_reason"`
		Server      string          `json:"instance_uuid"`
		Class       string          `json:"resource_class"`
		Driver      string          `json:"driver"`
		Conductor   string          `json:"conductor"`
		Owner       string          `json:"owner"`
		Fault       string          `json:"last_error"`
		Properties  map[string]text `json:"properties"`
		Traits      []string        `json:"traits"`
	}
	if err := r.decode(&n); err != nil {
		return err
	}
	// A node that nothing was ever done with has no state.
	r.Status = or(n.Provision, "available")
	if n.Maintenance {
		r.Status += ",maintenance"
	}
	// Owners are projects where the cloud lets them have nodes, else any text.
	if uuid.Validate(n.Owner) == nil {
		r.of(n.Owner)
	}
	r.relate(includes, typeServer, n.Server)
	r.text("power", n.Power)
	r.text("resourceClass", n.Class)
	r.text("driver", n.Driver)
	r.text("conductor", n.Conductor)
	for _, p := range []struct {
		name, property string
		unit           float64
	}{{"cpus", "cpus", 1}, {"memory", "memory_mb", mebibyte}, {"disk", "local_gb", gibibyte}} {
		r.amount(p.name, numberOf(n.Properties[p.property]), p.unit)
	}
	r.text("architecture", string(n.Properties["cpu_arch"]))
	r.text("vendor", string(n.Properties["vendor"]))
	r.list("traits", sorted(n.Traits))
	r.text("maintenanceReason", n.Reason)
	r.text("fault", n.Fault)
	return nil
}

func (r *reader) bareMetalPort() error {
	var p struct {
		Address  string `json:"address"`
		Node     string `json:"node_uuid"`
		PXE      bool   `json:"pxe_enabled"`
		Physical string `json:"physical_network"`
		Internal struct {
			Port text `json:"tenant_vif_port_id"`
		} `json:"internal_info"`
		Link struct {
			Switch text `json:"switch_info"`
			Port   text `json:"port_id"`
		} `json:"local_link_connection"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.Name = or(r.Name, p.Address)
	r.relate(partOf, typeNode, p.Node)
	r.relate(connectedTo, typePort, string(p.Internal.Port))
	r.text("mac", p.Address)
	r.fact("pxe", p.PXE)
	r.text("physicalNetwork", p.Physical)
	r.text("switch", string(p.Link.Switch))
	r.text("switchPort", string(p.Link.Port))
	return nil
}

func (r *reader) cluster() error {
	var c struct {
		Stack    string         `json:"stack_id"`
		Template string         `json:"cluster_template_id"`
		User     string         `json:"user_id"`
		Keypair  string         `json:"keypair"`
		Network  string         `json:"fixed_network"`
		Subnet   string         `json:"fixed_subnet"`
		Flavor   string         `json:"flavor_id"`
		Master   string         `json:"master_flavor_id"`
		Address  string         `json:"api_address"`
		Version  string         `json:"coe_version"`
		Health   string         `json:"health_status"`
		Masters  number         `json:"master_count"`
		Nodes    number         `json:"node_count"`
		Reason   string         `json:"status_reason"`
		Labels   jsontext.Value `json:"labels"`
	}
	if err := r.decode(&c); err != nil {
		return err
	}
	r.labels(c.Labels)
	r.relate(backedBy, typeStack, c.Stack)
	r.relate(uses, typeClusterTemplate, c.Template)
	r.relate(ownedBy, typeUser, c.User)
	if c.User != "" && c.Keypair != "" {
		r.edge(uses, r.in.Key(typeKeypair, "keypair", c.User+"/"+c.Keypair))
	}
	r.relateID(connectedTo, typeNetwork, c.Network)
	r.relateID(connectedTo, typeSubnet, c.Subnet)
	r.relateNamed(uses, typeFlavor, keyFlavor, c.Flavor)
	r.relateNamed(uses, typeFlavor, keyFlavor, c.Master)
	r.text("version", c.Version)
	r.text("health", c.Health)
	r.amount("masters", c.Masters, 1)
	r.amount("nodes", c.Nodes, 1)
	r.text("apiAddress", c.Address)
	r.text("flavor", c.Flavor)
	r.text("reason", c.Reason)
	return nil
}

func (r *reader) clusterTemplate() error {
	var t struct {
		Engine   string         `json:"coe"`
		Distro   string         `json:"cluster_distro"`
		Server   string         `json:"server_type"`
		Driver   string         `json:"network_driver"`
		Volumes  string         `json:"volume_driver"`
		User     string         `json:"user_id"`
		Image    string         `json:"image_id"`
		Flavor   string         `json:"flavor_id"`
		Master   string         `json:"master_flavor_id"`
		External string         `json:"external_network_id"`
		Network  string         `json:"fixed_network"`
		Subnet   string         `json:"fixed_subnet"`
		Public   bool           `json:"public"`
		Hidden   bool           `json:"hidden"`
		Labels   jsontext.Value `json:"labels"`
	}
	if err := r.decode(&t); err != nil {
		return err
	}
	r.labels(t.Labels)
	r.relate(ownedBy, typeUser, t.User)
	r.relateID(uses, typeImage, t.Image)
	r.relateID(uses, typeNetwork, t.External)
	r.relateID(uses, typeNetwork, t.Network)
	r.relateID(uses, typeSubnet, t.Subnet)
	r.relateNamed(uses, typeFlavor, keyFlavor, t.Flavor)
	r.relateNamed(uses, typeFlavor, keyFlavor, t.Master)
	r.text("engine", t.Engine)
	r.text("distro", t.Distro)
	r.text("image", t.Image)
	r.text("flavor", t.Flavor)
	r.text("serverType", t.Server)
	r.text("networkDriver", t.Driver)
	r.text("volumeDriver", t.Volumes)
	r.fact("public", t.Public)
	r.fact("hidden", t.Hidden)
	return nil
}

func (r *reader) ratingModule() error {
	var m struct {
		ID       string `json:"module_id"`
		Enabled  *bool  `json:"enabled"`
		Hot      bool   `json:"hot-config"`
		Priority number `json:"priority"`
	}
	if err := r.decode(&m); err != nil {
		return err
	}
	r.ID, r.Name = m.ID, m.ID
	r.named("rating-module", m.ID)
	r.enabled(m.Enabled)
	r.amount("priority", m.Priority, 1)
	r.fact("hotConfig", m.Hot)
	return nil
}
