package kinds

import (
	"strings"

	"github.com/reeve-cloud/reeve/pkg/document"
	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/cloud"
)

var storageKinds = []*Kind{
	{
		API: cloud.Storage, Name: "volumes", Type: typeVolume, Title: "Volume",
		// From 3.60 on times can be compared. Below, and in all other lists of Cinder,
		// a comparison is not refused: nothing matches it.
		Path: "volumes/detail", Envelope: "volumes", Limit: 1000, All: "all_tenants=1", Microversion: "3.60",
		Changes: UpdatedAt, ItemPath: "volumes/%s", ItemEnvelope: "volume",
		Panel: "admin/volumes/%s/", MyPanel: "project/volumes/%s/",
		drop: []string{"encryption_key_id"}, read: (*reader).volume,
	},
	{
		API: cloud.Storage, Name: "types", Type: typeVolumeType, Title: "Volume type",
		Path: "types", Envelope: "volume_types", Limit: 1000, Query: "is_public=None",
		ItemPath: "types/%s", ItemEnvelope: "volume_type",
		Panel: "admin/volume_types/", read: (*reader).volumeType,
	},
	{
		API: cloud.Storage, Name: "snapshots", Type: typeSnapshot, Title: "Volume snapshot",
		// 3.41 has who made it.
		Path: "snapshots/detail", Envelope: "snapshots", Limit: 1000, All: "all_tenants=1", Microversion: "3.41",
		ItemPath: "snapshots/%s", ItemEnvelope: "snapshot",
		Panel: "admin/snapshots/%s/", MyPanel: "project/snapshots/%s/", read: (*reader).snapshot,
	},
	{
		API: cloud.Storage, Name: "backups", Type: typeBackup, Title: "Volume backup",
		// 3.18 has the project, 3.43 metadata, 3.56 who made it.
		Path: "backups/detail", Envelope: "backups", Limit: 1000, All: "all_tenants=1", Microversion: "3.56",
		ItemPath: "backups/%s", ItemEnvelope: "backup",
		Panel: "admin/backups/%s/", MyPanel: "project/backups/%s/",
		drop: []string{"encryption_key_id"}, read: (*reader).backup,
	},
	{
		API: cloud.Storage, Name: "attachments", Type: typeAttachment, Title: "Volume attachment",
		// There are none below 3.27.
		Path: "attachments/detail", Envelope: "attachments", Paging: cloud.Marker, Limit: 1000, All: "all_tenants=1", Microversion: "3.27",
		ItemPath: "attachments/%s", ItemEnvelope: "attachment",
		read: (*reader).attachment,
	},
	{
		API: cloud.Storage, Name: "pools", Type: typeStoragePool, Title: "Storage pool",
		Path: "scheduler-stats/get_pools", Envelope: "pools", Query: "detail=true", Admin: true,
		// A pool tells of itself once a minute.
		Volatile: []string{"capabilities.timestamp"},
		read:     (*reader).storagePool,
	},
	{
		API: cloud.Storage, Name: "services", Type: typeStorageService, Title: "Storage service",
		// 3.49 has the state of the backend.
		Path: "os-services", Envelope: "services", Microversion: "3.49", Admin: true, Twins: true,
		Panel:    "admin/info/",
		Volatile: []string{"updated_at"},
		read:     (*reader).storageService,
	},
	{
		API: cloud.Storage, Name: "quotas", Type: typeStorageQuota, Title: "Storage quota",
		// For each project: there is no list of all.
		Path: "os-quota-sets/%s", ItemEnvelope: "quota_set", Query: "usage=True", Every: 6, ByProjects: true,
		Panel: "admin/defaults/", read: (*reader).quota,
	},
	{
		API: cloud.Storage, Name: "groups", Type: typeVolumeGroup, Title: "Volume group",
		// There are none below 3.13.
		Path: "groups/detail", Envelope: "groups", Limit: 1000, All: "all_tenants=1", Microversion: "3.13",
		ItemPath: "groups/%s", ItemEnvelope: "group",
		Panel: "admin/volume_groups/%s", MyPanel: "project/volume_groups/%s", read: (*reader).volumeGroup,
	},
}

var imageKinds = []*Kind{
	{
		API: cloud.Image, Name: "images", Type: typeImage, Title: "Image",
		Path: "images", Envelope: "images", Limit: 1000, Changes: UpdatedAt, Public: true, Copied: true, Hidden: "os_hidden=true",
		ItemPath: "images/%s",
		Panel:    "ngdetails/OS::Glance::Image/%s", MyPanel: "ngdetails/OS::Glance::Image/%s",
		// Where the data lies may be told with what lets somebody read it.
		drop: []string{"locations", "direct_url"},
		read: (*reader).image,
	},
}

func (r *reader) volume() error {
	var v struct {
		Project    string `json:"os-vol-tenant-attr:tenant_id"`
		Host       string `json:"os-vol-host-attr:host"`
		User       string `json:"user_id"`
		Size       number `json:"size"`
		Type       string `json:"volume_type"`
		Zone       string `json:"availability_zone"`
		Snapshot   string `json:"snapshot_id"`
		Source     string `json:"source_volid"`
		Group      string `json:"group_id"`
		Consistent string `json:"consistencygroup_id"`
		Bootable   text   `json:"bootable"`
		Encrypted  bool   `json:"encrypted"`
		Multi      bool   `json:"multiattach"`
		Image      struct {
			ID   string `json:"image_id"`
			Name string `json:"image_name"`
		} `json:"volume_image_metadata"`
		Attachments []struct {
			Server string `json:"server_id"`
			Device string `json:"device"`
			Host   string `json:"host_name"`
		} `json:"attachments"`
	}
	if err := r.decode(&v); err != nil {
		return err
	}
	r.of(v.Project)
	r.relate(ownedBy, typeUser, v.User)
	r.relateNamed(uses, typeVolumeType, keyVolumeType, v.Type)
	r.relateNamed(runsOn, typeStoragePool, keyStoragePool, v.Host)
	r.relate(copyOf, typeSnapshot, v.Snapshot)
	r.relate(copyOf, typeVolume, v.Source)
	r.relateID(copyOf, typeImage, v.Image.ID) // people may write it
	r.relate(memberOf, typeVolumeGroup, or(v.Group, v.Consistent))
	r.amount("size", v.Size, gibibyte)
	r.text("volumeType", v.Type)
	r.text("zone", v.Zone)
	r.text("pool", v.Host)
	r.fact("bootable", isTrue(v.Bootable))
	r.fact("encrypted", v.Encrypted)
	r.fact("multiattach", v.Multi)
	r.text("image", or(v.Image.Name, v.Image.ID))
	var devices []document.Object
	for _, a := range v.Attachments {
		r.relate(attachedTo, typeServer, a.Server)
		device := document.Object{{Name: "server", Value: a.Server}, {Name: "device", Value: a.Device}}
		if a.Host != "" {
			device = append(device, document.Member{Name: "host", Value: a.Host})
		}
		devices = append(devices, device)
	}
	r.fact("attachments", len(devices))
	if len(devices) > 0 {
		r.fact("devices", devices)
	}
	return nil
}

func (r *reader) volumeType() error {
	var t struct {
		Public *bool           `json:"is_public"`
		Access *bool           `json:"os-volume-type-access:is_public"`
		QoS    string          `json:"qos_specs_id"`
		Specs  map[string]text `json:"extra_specs"`
	}
	if err := r.decode(&t); err != nil {
		return err
	}
	r.named(keyVolumeType, r.Name)
	if t.Public == nil {
		t.Public = t.Access
	}
	r.Status = "public"
	if t.Public != nil && !*t.Public {
		r.Status = "private"
	}
	r.text("backend", string(t.Specs["volume_backend_name"]))
	r.text("qosSpecs", t.QoS)
	for k, v := range t.Specs {
		r.label(k, string(v))
	}
	return nil
}

func (r *reader) snapshot() error {
	var s struct {
		Project string `json:"os-extended-snapshot-attributes:project_id"`
		User    string `json:"user_id"`
		Volume  string `json:"volume_id"`
		Size    number `json:"size"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	r.of(s.Project)
	r.relate(ownedBy, typeUser, s.User)
	r.relate(snapshotOf, typeVolume, s.Volume)
	r.amount("size", s.Size, gibibyte)
	return nil
}

func (r *reader) backup() error {
	var b struct {
		Project     string `json:"os-backup-project-attr:project_id"`
		User        string `json:"user_id"`
		Volume      string `json:"volume_id"`
		Snapshot    string `json:"snapshot_id"`
		Size        number `json:"size"`
		Container   string `json:"container"`
		Incremental bool   `json:"is_incremental"`
		Dependent   bool   `json:"has_dependent_backups"`
		Fault       string `json:"fail_reason"`
		Data        moment `json:"data_timestamp"`
	}
	if err := r.decode(&b); err != nil {
		return err
	}
	r.of(b.Project)
	r.relate(ownedBy, typeUser, b.User)
	r.relate(copyOf, typeVolume, b.Volume)
	r.relate(copyOf, typeSnapshot, b.Snapshot)
	r.amount("size", b.Size, gibibyte)
	r.fact("incremental", b.Incremental)
	r.fact("dependents", b.Dependent)
	r.text("container", b.Container)
	r.when("dataTime", b.Data)
	r.text("fault", b.Fault)
	return nil
}

func (r *reader) attachment() error {
	var a struct {
		Volume   string `json:"volume_id"`
		Server   string `json:"instance"`
		Mode     string `json:"attach_mode"`
		Attached moment `json:"attached_at"`
	}
	if err := r.decode(&a); err != nil {
		return err
	}
	r.relate(partOf, typeVolume, a.Volume)
	r.relate(attachedTo, typeServer, a.Server)
	r.Created = a.Attached.or(moment(r.Created))
	r.text("volume", a.Volume)
	r.text("server", a.Server)
	r.text("mode", a.Mode)
	return nil
}

// storageName is the name of a service of Cinder: a volume service is one for each
// backend, and says so in its host.
func storageName(binary, host string) string { return binary + "@" + host }

func (r *reader) storagePool() error {
	var p struct {
		Capabilities struct {
			Total       number `json:"total_capacity_gb"`
			Free        number `json:"free_capacity_gb"`
			Allocated   number `json:"allocated_capacity_gb"`
			Provisioned number `json:"provisioned_capacity_gb"`
			Ratio       number `json:"max_over_subscription_ratio"`
			Reserved    number `json:"reserved_percentage"`
			Thin        text   `json:"thin_provisioning_support"`
			Backend     text   `json:"volume_backend_name"`
			Protocol    text   `json:"storage_protocol"`
			Vendor      text   `json:"vendor_name"`
			State       text   `json:"backend_state"`
		} `json:"capabilities"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	c := &p.Capabilities
	r.ID = r.Name
	r.named(keyStoragePool, r.Name)
	r.Status = string(c.State)
	if at := strings.LastIndexByte(r.Name, '#'); at >= 0 {
		r.relateNamed(partOf, typeStorageService, keyStorageService, storageName("cinder-volume", r.Name[:at]))
	}
	r.amount("total", c.Total, gibibyte)
	r.amount("free", c.Free, gibibyte)
	r.amount("allocated", c.Allocated, gibibyte)
	r.amount("provisioned", c.Provisioned, gibibyte)
	r.amount("overSubscription", c.Ratio, 1)
	r.amount("reservedPercent", c.Reserved, 1)
	r.fact("thin", isTrue(c.Thin))
	r.text("backend", string(c.Backend))
	r.text("protocol", string(c.Protocol))
	r.text("vendor", string(c.Vendor))
	return nil
}

func (r *reader) storageService() error {
	var s struct {
		Binary  string `json:"binary"`
		Host    string `json:"host"`
		Zone    string `json:"zone"`
		State   string `json:"state"`
		Status  string `json:"status"`
		Reason  string `json:"disabled_reason"`
		Backend string `json:"backend_state"`
		Cluster string `json:"cluster"`
	}
	if err := r.decode(&s); err != nil {
		return err
	}
	if s.Binary == "" || s.Host == "" {
		r.Key = plugin.Key{}
		return nil
	}
	r.Name = storageName(s.Binary, s.Host)
	r.ID = r.Name
	r.named(keyStorageService, r.Name)
	r.upDown(s.State, s.Status)
	r.text("binary", s.Binary)
	r.text("host", s.Host)
	r.text("zone", s.Zone)
	r.text("backendState", s.Backend)
	r.text("cluster", s.Cluster)
	r.text("disabledReason", s.Reason)
	return nil
}

func (r *reader) volumeGroup() error {
	var g struct {
		Zone     string   `json:"availability_zone"`
		Types    []string `json:"volume_types"`
		Snapshot string   `json:"group_snapshot_id"`
		Source   string   `json:"source_group_id"`
		Volumes  []string `json:"volumes"`
	}
	if err := r.decode(&g); err != nil {
		return err
	}
	r.relate(copyOf, typeVolumeGroup, g.Source)
	for _, v := range g.Volumes {
		r.relate(includes, typeVolume, v)
	}
	r.text("zone", g.Zone)
	r.fact("volumeTypes", len(g.Types))
	return nil
}

// image reads an image. What somebody has set on it stands beside what Glance
// has of every image.
func (r *reader) image() error {
	var i struct {
		Owner      string `json:"owner"`
		Size       number `json:"size"`
		Virtual    number `json:"virtual_size"`
		Visibility string `json:"visibility"`
		Disk       string `json:"disk_format"`
		Container  string `json:"container_format"`
		MinDisk    number `json:"min_disk"`
		MinRAM     number `json:"min_ram"`
		Protected  bool   `json:"protected"`
		Hidden     bool   `json:"os_hidden"`
		Type       text   `json:"os_type"`
		Distro     text   `json:"os_distro"`
		Version    text   `json:"os_version"`
		Arch       text   `json:"architecture"`
		Server     text   `json:"instance_uuid"`
		Base       text   `json:"base_image_ref"`
		Kernel     text   `json:"kernel_id"`
		Ramdisk    text   `json:"ramdisk_id"`
		Kind       text   `json:"image_type"`
		Stores     text   `json:"stores"`
	}
	if err := r.decode(&i); err != nil {
		return err
	}
	// Members that Glance does not have are properties that people set: a project_id
	// among them says nothing.
	r.Project, r.Relations, r.Labels = "", nil, nil
	r.tags(r.base.Tags)
	r.Created, r.Updated = r.base.CreatedAt.or(moment{}), r.base.UpdatedAt.or(moment{})
	r.of(i.Owner)
	r.relateID(snapshotOf, typeServer, string(i.Server))
	r.relateID(copyOf, typeImage, string(i.Base))
	r.relateID(uses, typeImage, string(i.Kernel))
	r.relateID(uses, typeImage, string(i.Ramdisk))
	r.amount("size", i.Size, 1)
	r.amount("virtualSize", i.Virtual, 1)
	r.text("visibility", i.Visibility)
	r.text("diskFormat", i.Disk)
	r.text("containerFormat", i.Container)
	r.amount("minDisk", i.MinDisk, gibibyte)
	r.amount("minMemory", i.MinRAM, mebibyte)
	r.text("os", string(i.Type))
	r.text("osDistro", string(i.Distro))
	r.text("osVersion", string(i.Version))
	r.text("architecture", string(i.Arch))
	r.text("imageType", string(i.Kind))
	r.text("stores", string(i.Stores))
	r.fact("protected", i.Protected)
	r.fact("hidden", i.Hidden)
	return nil
}
