package cloud

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// API is one of OpenStack's APIs.
type API struct {
	// Name is Reeve's word for it, and the group of its asset types.
	Name string
	// Types are the service types by which catalogs know it, the official one
	// first (https://service-types.openstack.org).
	Types []string
	// Path is the version that its paths begin with, as in "v2.0". Catalogs name
	// endpoints with and without it.
	Path string
	// Header is what the microversion header calls the service. It is empty for
	// APIs without microversions.
	Header string
	// Global says that the API is the same one in all regions.
	Global bool
}

// The APIs. Names of services that were renamed stay in catalogs for years.
var (
	Identity      = API{Name: "identity", Types: []string{"identity", "identityv3"}, Path: "v3", Global: true}
	Compute       = API{Name: "compute", Types: []string{"compute"}, Path: "v2.1", Header: "compute"}
	Placement     = API{Name: "placement", Types: []string{"placement"}, Header: "placement"}
	Network       = API{Name: "network", Types: []string{"network"}, Path: "v2.0"}
	Storage       = API{Name: "storage", Types: []string{"block-storage", "volumev3", "block-store", "volume"}, Path: "v3", Header: "volume"}
	Image         = API{Name: "image", Types: []string{"image"}, Path: "v2"}
	LoadBalancer  = API{Name: "loadbalancer", Types: []string{"load-balancer"}, Path: "v2"}
	Orchestration = API{Name: "orchestration", Types: []string{"orchestration"}, Path: "v1"}
	Share         = API{Name: "share", Types: []string{"shared-file-system", "sharev2", "share"}, Path: "v2", Header: "shared-file-system"}
	DNS           = API{Name: "dns", Types: []string{"dns"}, Path: "v2"}
	KeyManager    = API{Name: "keymanager", Types: []string{"key-manager"}, Path: "v1"}
	ObjectStore   = API{Name: "objectstore", Types: []string{"object-store"}, Path: "v1"}
	BareMetal     = API{Name: "baremetal", Types: []string{"baremetal"}, Path: "v1", Header: "baremetal"}
	Containers    = API{Name: "containerinfra", Types: []string{"container-infrastructure-management", "container-infrastructure",
		"container-infra"}, Path: "v1", Header: "container-infra"}
	Rating = API{Name: "rating", Types: []string{"rating"}, Path: "v1"}
)

// APIs are all of them, in the order in which people think of them.
var APIs = []API{
	Identity, Compute, Placement, Network, Storage, Image, LoadBalancer, Orchestration, Share, DNS,
	KeyManager, ObjectStore, BareMetal, Containers, Rating,
}

// versioned finds the version in the path of an endpoint, and what is behind it:
// some name the project there.
var versioned = regexp.MustCompile(`/v[0-9]+(\.[0-9]+)?(/|$)`)

// base returns the address that the API's paths begin with, with a slash at the
// end, and the one where it tells its versions.
func (a API) base(endpoint string) (base, root string, err error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Contains(endpoint, "(") {
		return "", "", fmt.Errorf("the catalog has %q as the address of %s: there must be a scheme, a host and no placeholder in it; "+
			"mend the endpoint, or set %s_endpoint_override beside the credentials", endpoint, a.Types[0], strings.ReplaceAll(a.Types[0], "-", "_"))
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	at := versioned.FindStringIndex(u.Path)
	switch {
	case a.Path == "":
		return u.String(), u.String(), nil
	case at == nil:
		u.Path += a.Path + "/"
		return u.String(), u.String(), nil
	case a.Name == Identity.Name || a.Name == Image.Name || a.Name == Network.Name:
		// Old catalogs name versions that ended long ago, or none in full.
		u.Path = u.Path[:at[0]] + "/" + a.Path + "/"
		return u.String(), u.String(), nil
	}
	top := *u
	top.Path = u.Path[:at[1]]
	return u.String(), top.String(), nil
}

// Microversion is one of an API's, as in 2.73.
type Microversion struct{ Major, Minor int }

// ParseMicroversion reads "2.73". Anything else is the zero microversion.
func ParseMicroversion(s string) (m Microversion) {
	if _, err := fmt.Sscanf(s, "%d.%d", &m.Major, &m.Minor); err != nil {
		return Microversion{}
	}
	return m
}

func (m Microversion) String() string {
	if m == (Microversion{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d", m.Major, m.Minor)
}

// Less reports whether m is older than n.
func (m Microversion) Less(n Microversion) bool {
	return m.Major < n.Major || m.Major == n.Major && m.Minor < n.Minor
}

// within returns the microversion that is asked for where wanted would be best
// and a server has those from lowest to highest.
func within(wanted, lowest, highest Microversion) Microversion {
	switch {
	case wanted == (Microversion{}) || highest == (Microversion{}):
		return Microversion{}
	case highest.Less(wanted):
		return highest
	case wanted.Less(lowest):
		return lowest
	}
	return wanted
}

// find returns the endpoint of an API in a region, and whether it is the
// operator's own word and not the catalog's.
func (c *Cloud) find(a API, region string) (address string, overridden, ok bool) {
	o := c.credentials.overrides[a.Name]
	if o.endpoint != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fill(o.endpoint, c.identity), true, true
	}
	types, visibility := a.Types, string(c.credentials.visibility)
	if o.serviceType != "" {
		types = []string{o.serviceType}
	}
	if o.visibility != "" {
		visibility = o.visibility
	}
	for _, kind := range types {
		for _, entry := range c.entries() {
			if entry.Type != kind || o.serviceName != "" && entry.Name != o.serviceName {
				continue
			}
			for _, e := range entry.Endpoints {
				if e.Interface != visibility || region != "" && !a.Global && e.Region != region && e.RegionID != region {
					continue
				}
				// Of several, as /v2 beside /v2.1, the one of the version that is spoken.
				if path, _, _ := strings.Cut(e.URL, "?"); strings.Contains(path+"/", "/"+a.Path+"/") {
					return e.URL, false, true
				}
				if !ok {
					address, ok = e.URL, true
				}
			}
		}
		if ok {
			return address, false, true
		}
	}
	return "", false, false
}

// fill puts the project and the user in the places of an endpoint that stand for them.
func fill(endpoint string, who Identified) string {
	if !strings.Contains(endpoint, "(") {
		return endpoint
	}
	var pairs []string
	for name, id := range map[string]string{"project_id": who.ProjectID, "tenant_id": who.ProjectID, "user_id": who.UserID} {
		pairs = append(pairs, "%("+name+")s", id, "$("+name+")s", id)
	}
	return strings.NewReplacer(pairs...).Replace(endpoint)
}

// onlyHere reports whether an address leads to whoever asks, or to who is linked
// with it: what listens there is another one for each machine.
func onlyHere(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	return err == nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast())
}

// Regions returns the regions that the catalog has, in order.
func (c *Cloud) Regions() []string {
	var regions []string
	for _, entry := range c.entries() {
		for _, e := range entry.Endpoints {
			region := e.RegionID
			if region == "" {
				region = e.Region
			}
			if region != "" && !slices.Contains(Identity.Types, entry.Type) && !slices.Contains(regions, region) {
				regions = append(regions, region)
			}
		}
	}
	slices.Sort(regions)
	return regions
}
