package kinds

// The types that other kinds refer to. The collector of Kubernetes names volumes
// and shares so, too.
const (
	typeDomain         = "openstack.identity.Domain"
	typeProject        = "openstack.identity.Project"
	typeUser           = "openstack.identity.User"
	typeGroup          = "openstack.identity.Group"
	typeRole           = "openstack.identity.Role"
	typeRoleAssignment = "openstack.identity.RoleAssignment"
	typeService        = "openstack.identity.Service"
	typeEndpoint       = "openstack.identity.Endpoint"
	typeRegion         = "openstack.identity.Region"
	typeAppCredential  = "openstack.identity.ApplicationCredential"

	typeNetwork        = "openstack.network.Network"
	typeSubnet         = "openstack.network.Subnet"
	typeSubnetPool     = "openstack.network.SubnetPool"
	typeAddressScope   = "openstack.network.AddressScope"
	typePort           = "openstack.network.Port"
	typeRouter         = "openstack.network.Router"
	typeFloatingIP     = "openstack.network.FloatingIP"
	typeSecurityGroup  = "openstack.network.SecurityGroup"
	typeAgent          = "openstack.network.Agent"
	typeTrunk          = "openstack.network.Trunk"
	typeQoSPolicy      = "openstack.network.QoSPolicy"
	typeRBACPolicy     = "openstack.network.RBACPolicy"
	typeSegment        = "openstack.network.Segment"
	typeIPAvailability = "openstack.network.IPAvailability"
	typeNetworkQuota   = "openstack.network.Quota"

	typeVolume         = "openstack.storage.Volume"
	typeVolumeType     = "openstack.storage.VolumeType"
	typeSnapshot       = "openstack.storage.Snapshot"
	typeBackup         = "openstack.storage.Backup"
	typeAttachment     = "openstack.storage.Attachment"
	typeStoragePool    = "openstack.storage.Pool"
	typeStorageService = "openstack.storage.Service"
	typeStorageQuota   = "openstack.storage.Quota"
	typeVolumeGroup    = "openstack.storage.Group"

	typeImage = "openstack.image.Image"

	typeLoadBalancer  = "openstack.loadbalancer.LoadBalancer"
	typeListener      = "openstack.loadbalancer.Listener"
	typePool          = "openstack.loadbalancer.Pool"
	typeMember        = "openstack.loadbalancer.Member"
	typeHealthMonitor = "openstack.loadbalancer.HealthMonitor"
	typeL7Policy      = "openstack.loadbalancer.L7Policy"
	typeAmphora       = "openstack.loadbalancer.Amphora"

	typeStack           = "openstack.orchestration.Stack"
	typeShare           = "openstack.share.Share"
	typeShareType       = "openstack.share.ShareType"
	typeShareNetwork    = "openstack.share.ShareNetwork"
	typeShareSnapshot   = "openstack.share.Snapshot"
	typeZone            = "openstack.dns.Zone"
	typeRecordSet       = "openstack.dns.RecordSet"
	typeSecret          = "openstack.keymanager.Secret"
	typeSecretContainer = "openstack.keymanager.Container"
	typeContainer       = "openstack.objectstore.Container"
	typeNode            = "openstack.baremetal.Node"
	typeBareMetalPort   = "openstack.baremetal.Port"
	typeCluster         = "openstack.containerinfra.Cluster"
	typeClusterTemplate = "openstack.containerinfra.ClusterTemplate"
	typeRatingModule    = "openstack.rating.Module"
)

// The kinds in the keys of what is named.
const (
	keyDomain         = "domain"
	keyRegion         = "region"
	keyVolumeType     = "volume-type"
	keyStoragePool    = "storage-pool"
	keyStorageService = "storage-service"
)
