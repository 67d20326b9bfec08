package kinds

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

// The types of compute. The collector of Kubernetes names servers so, too.
const (
	typeServer           = "openstack.compute.Server"
	typeFlavor           = "openstack.compute.Flavor"
	typeHypervisor       = "openstack.compute.Hypervisor"
	typeAggregate        = "openstack.compute.Aggregate"
	typeAvailabilityZone = "openstack.compute.AvailabilityZone"
	typeServerGroup      = "openstack.compute.ServerGroup"
	typeKeypair          = "openstack.compute.Keypair"
	typeComputeService   = "openstack.compute.Service"
	typeComputeQuota     = "openstack.compute.Quota"
	typeMigration        = "openstack.compute.Migration"
	typeProvider         = "openstack.placement.ResourceProvider"
)

// The kinds in the keys of what is named.
const (
	keyFlavor     = "flavor"
	keyHypervisor = "hypervisor"
	keyZone       = "availability-zone"
	keyService    = "compute-service"
)

var computeKinds = []*Kind{
	{
		API: cloud.Compute, Name: "servers", Type: typeServer, Title: "Server",
		// Below 2.69 the servers of a cell that is down are left out of the list, as
		// if they were deleted. 2.73 has the reason of a lock. While a server is being
		// made it may count twice, and a full page is then taken for one that is not: it
		// has no link to the next.
		Path: "servers/detail", Envelope: "servers", Paging: cloud.Marker, Limit: 1000, All: "all_tenants=1", Microversion: "2.73",
		Changes: ChangesSince, ItemPath: "servers/%s", ItemEnvelope: "server", Every: 6,
		Panel: "admin/instances/%s/detail", MyPanel: "project/instances/%s/",
		// They are told of a server alone, and not in a list.
		drop: []string{"server_groups"},
		read: (*reader).server,
	},
	{
		API: cloud.Compute, Name: "flavors", Type: typeFlavor, Title: "Flavor",
		// 2.61 has the extra specs.
		Path: "flavors/detail", Envelope: "flavors", Limit: 1000, Query: "is_public=None", Microversion: "2.61", ByRole: true,
		Panel: "admin/flavors/", read: (*reader).flavor,
	},
	{
		API: cloud.Compute, Name: "hypervisors", Type: typeHypervisor, Title: "Hypervisor",
		// 2.53 has UUIDs; from 2.88 on there are no capacities.
		Path: "os-hypervisors/detail", Envelope: "hypervisors", Limit: 1000, Microversion: "2.53", Admin: true,
		Panel: "admin/hypervisors/", Twins: true,
		// What is used changes with every server; placement has it exactly.
		Volatile: []string{"current_workload", "running_vms", "vcpus_used", "memory_mb_used", "free_ram_mb", "local_gb_used", "free_disk_gb",
			"disk_available_least", "uptime"},
		read: (*reader).hypervisor,
	},
	{
		API: cloud.Compute, Name: "aggregates", Type: typeAggregate, Title: "Host aggregate",
		Path: "os-aggregates", Envelope: "aggregates", Microversion: "2.41", Admin: true,
		Panel: "admin/aggregates/", read: (*reader).aggregate,
	},
	{
		API: cloud.Compute, Name: "availability-zones", Type: typeAvailabilityZone, Title: "Availability zone",
		Path: "os-availability-zone/detail", Envelope: "availabilityZoneInfo", Admin: true,
		Panel: "admin/aggregates/",
		// A service says every few seconds that it is alive.
		Volatile: []string{"hosts.*.*.updated_at"},
		read:     (*reader).availabilityZone,
	},
	{
		API: cloud.Compute, Name: "server-groups", Type: typeServerGroup, Title: "Server group",
		Path: "os-server-groups", Envelope: "server_groups", Paging: cloud.Offset, Limit: 1000, All: "all_projects=True", Microversion: "2.64",
		ByRole:   true,
		ItemPath: "os-server-groups/%s", ItemEnvelope: "server_group",
		MyPanel: "project/server_groups/%s/", read: (*reader).serverGroup,
	},
	{
		API: cloud.Compute, Name: "keypairs", Type: typeKeypair, Title: "Key pair",
		// For each user with a role: there is no list of all.
		Path: "os-keypairs", Envelope: "keypairs", Microversion: "2.35", Limit: 1000, Every: 36, OfUser: true, ByProjects: true,
		MyPanel: "project/key_pairs/", read: (*reader).keypair,
	},
	{
		API: cloud.Compute, Name: "services", Type: typeComputeService, Title: "Compute service",
		Path: "os-services", Envelope: "services", Microversion: "2.53", Admin: true, Twins: true,
		Panel:    "admin/info/",
		Volatile: []string{"updated_at"},
		read:     (*reader).computeService,
	},
	{
		API: cloud.Compute, Name: "quotas", Type: typeComputeQuota, Title: "Compute quota",
		// For each project: there is no list of all.
		Path: "os-quota-sets/%s/detail", ItemEnvelope: "quota_set", Microversion: "2.57", Every: 6, ByProjects: true,
		Panel: "admin/defaults/", read: (*reader).quota,
	},
	{
		API: cloud.Compute, Name: "migrations", Type: typeMigration, Title: "Migration",
		Path: "os-migrations", Envelope: "migrations", Limit: 1000, Microversion: "2.80", Admin: true, MarkerKey: "uuid",
		Changes: ChangesSince, Every: 6, read: (*reader).migration,
	},
}

var placementKinds = []*Kind{
	{
		API: cloud.Placement, Name: "resource-providers", Type: typeProvider, Title: "Resource provider",
		// 1.14 has the parent and the root. What a provider has is asked for
		// each provider whose generation is another than before.
		Path: "resource_providers", Envelope: "resource_providers", Microversion: "1.14", Admin: true,
		read: (*reader).provider,
	},
}

// ServerState is what is told of a server when it changes.
type ServerState struct {
	Status, VMState, TaskState, Power string
	Flavor, Host                      string
	// Fault is why it is in ERROR.
	Fault string
}

// power is Nova's word for each number of a power state (nova/compute/power_state.py).
var power = map[int]string{0: "no state", 1: "running", 3: "paused", 4: "shut down", 6: "crashed", 7: "suspended"}

func (r *reader) server() error {
	var s struct {
		Host       string         `json:"OS-EXT-SRV-ATTR:host"`
		Hypervisor string         `json:"OS-EXT-SRV-ATTR:hypervisor_hostname"`
		Zone       string         `json:"OS-EXT-AZ:availability_zone"`
		VMState    string         `json:"OS-EXT-STS:vm_state"`
		TaskState  string         `json:"OS-EXT-STS:task_state"`
		Power      *int           `json:"OS-EXT-STS:power_state"`
		Launched   moment         `json:"OS-SRV-USG:launched_at"`
		Terminated moment         `json:"OS-SRV-USG:terminated_at"`
		KeyName    string         `json:"key_name"`
		User       string         `json:"user_id"`
		Image      jsontext.Value `json:"image"`
		Flavor     struct {
			ID        text              `json:"id"`
			Name      string            `json:"original_name"`
			VCPUs     *int              `json:"vcpus"`
			RAM       int64             `json:"ram"`
			Disk      int64             `json:"disk"`
			Ephemeral int64             `json:"ephemeral"`
			Swap      text              `json:"swap"`
			Extra     map[string]string `json:"extra_specs"`
		} `json:"flavor"`
		Groups []struct {
			Name string `json:"name"`
		} `json:"security_groups"`
		Volumes []struct {
			ID string `json:"id"`
		} `json:"os-extended-volumes:volumes_attached"`
		Addresses map[string][]struct {
			Address string `json:"addr"`
			Version int    `json:"version"`
			Kind    string `json:"OS-EXT-IPS:type"`
		} `json:"addresses"`
		Fault struct {
			Message string `json:"message"`
		} `json:"fault"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.Deleted = r.Status == "DELETED"
	// Of a server in a cell that is down Nova knows little more than the id.
	r.Partial = r.Status == "UNKNOWN" && r.Name == "" && s.VMState == ""

	if r.Status == "ERROR" && s.Fault.Message == "" && r.in.Joins.Fault != nil {
		s.Fault.Message = r.in.Joins.Fault(r.ID)
	}

	r.relateNamed(runsOn, typeHypervisor, keyHypervisor, s.Hypervisor)
	r.relateNamed(partOf, typeAvailabilityZone, keyZone, s.Zone)
	// Below 2.47 Nova names the flavor's id only.
	if s.Flavor.Name == "" && s.Flavor.ID != "" && r.in.Joins.Flavor != nil {
		if f, ok := r.in.Joins.Flavor(string(s.Flavor.ID)); ok {
			s.Flavor.Name = f.Name
			if s.Flavor.VCPUs == nil {
				s.Flavor.VCPUs, s.Flavor.RAM, s.Flavor.Disk, s.Flavor.Ephemeral = &f.VCPUs, f.RAM, f.Disk, f.Ephemeral
			}
		}
	}
	r.relateNamed(uses, typeFlavor, keyFlavor, s.Flavor.Name)
	var image struct {
		ID string `json:"id"`
	}
	if s.Image.Kind() == '{' {
		if err := jsonUnmarshal(s.Image, &image); err != nil {
			return err
		}
		r.relate(backedBy, typeImage, image.ID)
	}
	for _, v := range s.Volumes {
		r.relate(uses, typeVolume, v.ID)
	}
	if r.in.Joins.SecurityGroups != nil {
		for _, g := range s.Groups {
			// A name may be that of several: the ports tell which one it is.
			if ids := r.in.Joins.SecurityGroups(r.Project, g.Name); len(ids) == 1 {
				r.relate(uses, typeSecurityGroup, ids[0])
			}
		}
	}
	r.relate(ownedBy, typeUser, s.User)
	if s.KeyName != "" && s.User != "" {
		r.edge(uses, r.in.Key(typeKeypair, "keypair", s.User+"/"+s.KeyName))
	}

	state := &ServerState{
		Status: r.Status, VMState: s.VMState, TaskState: s.TaskState, Flavor: s.Flavor.Name, Host: s.Host,
		Fault: s.Fault.Message,
	}
	if s.Power != nil {
		state.Power = or(power[*s.Power], strconv.Itoa(*s.Power))
	}
	r.Server = state

	r.text("power", state.Power)
	r.text("host", s.Host)
	r.text("zone", s.Zone)
	r.text("flavor", or(s.Flavor.Name, string(s.Flavor.ID)))
	if s.Flavor.VCPUs != nil {
		r.fact("vcpus", *s.Flavor.VCPUs)
		r.fact("memory", s.Flavor.RAM*mebibyte)
		r.fact("disk", (s.Flavor.Disk+s.Flavor.Ephemeral)*gibibyte)
	}
	r.text("image", image.ID)
	fixed, floating := map[string]bool{}, map[string]bool{}
	for _, list := range s.Addresses {
		for _, a := range list {
			if a.Kind == "floating" {
				floating[a.Address] = true
			} else {
				fixed[a.Address] = true
			}
		}
	}
	r.list("addresses", sortedKeys(fixed))
	r.list("floatingAddresses", sortedKeys(floating))
	if len(s.Volumes) > 0 {
		r.fact("volumes", len(s.Volumes))
	}
	if !s.Launched.isZero() {
		r.fact("launched", s.Launched.or(moment{}))
	}
	r.text("fault", s.Fault.Message)
	return nil
}

func (r *reader) flavor() error {
	var f struct {
		VCPUs     int64             `json:"vcpus"`
		RAM       int64             `json:"ram"`
		Disk      int64             `json:"disk"`
		Ephemeral int64             `json:"OS-FLV-EXT-DATA:ephemeral"`
		Public    *bool             `json:"os-flavor-access:is_public"`
		Disabled  bool              `json:"OS-FLV-DISABLED:disabled"`
		Extra     map[string]string `json:"extra_specs"`
	}
	if err := r.decode(&f); err != nil {
		return err
	}
	r.named(keyFlavor, r.Name)
	switch {
	case f.Disabled:
		r.Status = "disabled"
	case f.Public != nil && !*f.Public:
		r.Status = "private"
	default:
		r.Status = "public"
	}
	r.fact("vcpus", f.VCPUs)
	r.fact("memory", f.RAM*mebibyte)
	r.fact("disk", (f.Disk+f.Ephemeral)*gibibyte)
	for k, v := range f.Extra {
		r.label(k, v)
	}
	return nil
}

func (r *reader) hypervisor() error {
	var h struct {
		Hostname string `json:"hypervisor_hostname"`
		State    string `json:"state"`
		Status   string `json:"status"`
		VCPUs    int64  `json:"vcpus"`
		Memory   int64  `json:"memory_mb"`
		Disk     int64  `json:"local_gb"`
		Service  struct {
			Host string `json:"host"`
		} `json:"service"`
	}
	if err := r.decode(&h); err != nil {
		return err
	}
	r.Name = h.Hostname
	r.named(keyHypervisor, h.Hostname)
	r.upDown(h.State, h.Status)
	if h.Service.Host != "" {
		r.edge(partOf, r.in.Key(typeComputeService, keyService, "nova-compute@"+h.Service.Host))
	}
	r.relate(backedBy, typeProvider, r.ID)
	r.fact("vcpus", h.VCPUs)
	r.fact("memory", h.Memory*mebibyte)
	r.fact("disk", h.Disk*gibibyte)
	return nil
}

// upDown sets the status of what is up or down, and enabled or disabled. When
// such a thing was last updated is when it last said that it is there.
func (r *reader) upDown(state, status string) {
	r.Updated = time.Time{}
	r.Health = state
	r.Status = state
	if status == "disabled" {
		r.Status = strings.TrimPrefix(state+",disabled", ",")
	}
}

func (r *reader) aggregate() error {
	var a struct {
		Zone  string   `json:"availability_zone"`
		Hosts []string `json:"hosts"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	r.named("aggregate", string(r.base.Name))
	r.relateNamed(partOf, typeAvailabilityZone, keyZone, a.Zone)
	for _, h := range a.Hosts {
		r.edge(includes, r.in.Key(typeComputeService, keyService, "nova-compute@"+h))
	}
	r.fact("hosts", len(a.Hosts))
	return nil
}

func (r *reader) availabilityZone() error {
	var z struct {
		Name  string `json:"zoneName"`
		State struct {
			Available *bool `json:"available"`
		} `json:"zoneState"`
		Hosts map[string]map[string]struct {
			Active    bool `json:"active"`
			Available bool `json:"available"`
		} `json:"hosts"`
	}
	if err := r.decode(&z); err != nil {
		return err
	}
	r.Name, r.ID = z.Name, z.Name
	r.named(keyZone, z.Name)
	if up := z.State.Available; up != nil {
		r.Status = map[bool]string{true: "available", false: "unavailable"}[*up]
	}
	computes := 0
	for host, services := range z.Hosts {
		for service := range services {
			r.edge(includes, r.in.Key(typeComputeService, keyService, service+"@"+host))
			if service == "nova-compute" {
				computes++
			}
		}
	}
	r.fact("hosts", len(z.Hosts))
	r.fact("computes", computes)
	return nil
}

func (r *reader) serverGroup() error {
	var g struct {
		Policy   string   `json:"policy"`
		Policies []string `json:"policies"`
		Members  []string `json:"members"`
		User     string   `json:"user_id"`
	}
	if err := r.decode(&g); err != nil {
		return err
	}
	for _, m := range g.Members {
		r.relate(includes, typeServer, m)
	}
	r.relate(ownedBy, typeUser, g.User)
	r.text("policy", or(g.Policy, strings.Join(g.Policies, ",")))
	r.fact("members", len(g.Members))
	return nil
}

// keypair reads what a list of keypairs has: each is wrapped once more. Whose it
// is the list does not tell; the collector does.
func (r *reader) keypair() error {
	var k struct {
		Keypair struct {
			Name        string `json:"name"`
			Type        string `json:"type"`
			Fingerprint string `json:"fingerprint"`
		} `json:"keypair"`
		User string `json:"user_id"`
	}
	if err := r.decode(&k); err != nil {
		return err
	}
	r.Name, r.ID = k.Keypair.Name, k.Keypair.Name
	if r.Key = (plugin.Key{}); k.User != "" && r.Name != "" {
		r.named("keypair", k.User+"/"+k.Keypair.Name)
		r.relate(ownedBy, typeUser, k.User)
	}
	r.text("type", k.Keypair.Type)
	r.text("fingerprint", k.Keypair.Fingerprint)
	return nil
}

func (r *reader) computeService() error {
	var s struct {
		Binary string `json:"binary"`
		Host   string `json:"host"`
		Zone   string `json:"zone"`
		State  string `json:"state"`
		Status string `json:"status"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	if s.Binary == "" || s.Host == "" {
		r.Key = plugin.Key{}
		return nil
	}
	r.Name = s.Binary + "@" + s.Host
	r.named(keyService, r.Name)
	r.upDown(s.State, s.Status)
	r.relateNamed(partOf, typeAvailabilityZone, keyZone, s.Zone)
	r.text("binary", s.Binary)
	r.text("host", s.Host)
	r.text("zone", s.Zone)
	return nil
}

// quota reads the quota of a project: an object of amounts, or of objects that
// have limit and in_use.
func (r *reader) quota() error {
	var all map[string]jsontext.Value
	if err := r.decode(&all); err != nil {
		return err
	}
	project := or(r.ID, r.Project)
	r.ID = project
	r.named(r.kind.API.Name+"-quota", project)
	if r.Project == "" {
		r.Project = project
		r.relate(partOf, typeProject, project)
	}
	limits, used := document.Object{}, document.Object{}
	for _, name := range sortedKeys(all) {
		if name == "id" || name == "project_id" || name == "tenant_id" {
			continue
		}
		v := all[name]
		var amount struct {
			Limit jsontext.Value `json:"limit"`
			InUse jsontext.Value `json:"in_use"`
			Used  jsontext.Value `json:"used"`
		}
		if v.Kind() != '{' {
			amount.Limit = v
		} else if err := jsonUnmarshal(v, &amount); err != nil {
			return err
		}
		if n := exact(amount.Limit); n != nil {
			limits = append(limits, document.Member{Name: name, Value: n})
		}
		if amount.InUse == nil {
			amount.InUse = amount.Used
		}
		if n := exact(amount.InUse); n != nil {
			used = append(used, document.Member{Name: name, Value: n})
		}
	}
	r.fact("limits", limits)
	if len(used) > 0 {
		r.fact("used", used)
	}
	return nil
}

// exact returns a number as it is written, also one that a text has, or nil.
func exact(v jsontext.Value) jsontext.Value {
	if v.Kind() == '"' {
		var t text
		if jsonUnmarshal(v, &t) != nil {
			return nil
		}
		v = jsontext.Value(strings.TrimSpace(string(t)))
	}
	if !v.IsValid() || v.Kind() != '0' {
		return nil
	}
	return v
}

func (r *reader) migration() error {
	var m struct {
		UUID   string `json:"uuid"`
		Server string `json:"instance_uuid"`
		Type   string `json:"migration_type"`
		From   string `json:"source_compute"`
		To     string `json:"dest_compute"`
		// Old and new flavors are ids of Nova's database, which nothing else has.
		SourceNode string `json:"source_node"`
		DestNode   string `json:"dest_node"`
		User       string `json:"user_id"`
	}
	if err := r.decode(&m); err != nil {
		return err
	}
	r.ID = or(m.UUID, r.ID)
	r.UID = r.ID
	r.Name = or(m.Type, "migration") + " " + m.Server
	r.relate(describes, typeServer, m.Server)
	r.relate(ownedBy, typeUser, m.User)
	r.relateNamed(uses, typeHypervisor, keyHypervisor, m.SourceNode)
	r.relateNamed(uses, typeHypervisor, keyHypervisor, m.DestNode)
	r.text("type", m.Type)
	r.text("from", m.From)
	r.text("to", m.To)
	return nil
}

// provider reads a resource provider, with the inventories, usages, traits and
// aggregates that the collector has put beside it.
func (r *reader) provider() error {
	var p struct {
		Parent      string `json:"parent_provider_uuid"`
		Root        string `json:"root_provider_uuid"`
		Inventories map[string]struct {
			Total    float64 `json:"total"`
			Reserved float64 `json:"reserved"`
			Ratio    float64 `json:"allocation_ratio"`
		} `json:"inventories"`
		Usages map[string]float64 `json:"usages"`
		Traits []string           `json:"traits"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	r.relate(partOf, typeProvider, p.Parent)
	if p.Root != p.Parent {
		r.relate(partOf, typeProvider, p.Root)
	}
	// A class is counted in what Nova's units are: see os-resource-classes.
	capacity, used := document.Object{}, document.Object{}
	for _, class := range sortedKeys(p.Inventories) {
		i := p.Inventories[class]
		unit := 1.0
		switch class {
		case "MEMORY_MB":
			unit = mebibyte
		case "DISK_GB":
			unit = gibibyte
		}
		all, taken := (i.Total-i.Reserved)*max(i.Ratio, 1e-9)*unit, p.Usages[class]*unit
		if math.IsInf(all, 0) || math.IsInf(taken, 0) {
			continue
		}
		capacity = append(capacity, document.Member{Name: class, Value: all})
		used = append(used, document.Member{Name: class, Value: taken})
	}
	if len(capacity) > 0 {
		r.fact("capacity", capacity)
		r.fact("used", used)
	}
	r.fact("traits", len(p.Traits))
	return nil
}
