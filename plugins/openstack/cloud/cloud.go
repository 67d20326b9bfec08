// Package cloud talks to one OpenStack cloud: it logs in as clouds.yaml or the
// environment say, finds the services in the catalog, agrees on microversions,
// and lists.
//
// A list is read page by page, and each element handed over as the JSON that the
// service sent, so that fields which are newer than this program survive. Nothing
// of a list is held when its callback has returned. Requests are paced for each
// service; one that was refused or broke off in a way that may pass is made again,
// and a token that has ended is replaced.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/reeve-cloud/reeve/pkg/version"
)

// Cloud is a client of a cloud. It may be used by several goroutines at once.
type Cloud struct {
	// ID tells the cloud from others: the id of its identity service.
	ID string
	// Host is the address of the identity service.
	Host string

	access      Access
	credentials credentials
	provider    *gophercloud.ProviderClient
	transport   *transport

	mu       sync.Mutex
	catalog  []tokens.CatalogEntry
	services map[serviceKey]*Service
	identity Identified
	// token is the one that identity was read from.
	token string
}

type serviceKey struct{ api, region string }

// Identified is who a credential is: what it may see follows from that.
type Identified struct {
	User, UserID       string
	Project, ProjectID string
	// Domain is set for a credential that is scoped to a domain, System for one
	// that is scoped to the whole deployment.
	DomainID string
	System   bool
	// Roles are in order.
	Roles []string
	// Expires is when the token ends.
	Expires time.Time
}

// HasRole reports whether one of the roles is there.
func (i Identified) HasRole(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(i.Roles, n) })
}

// Equal reports whether the same things can be seen.
func (i Identified) Equal(o Identified) bool {
	return i.UserID == o.UserID && i.ProjectID == o.ProjectID && i.DomainID == o.DomainID && i.System == o.System &&
		slices.Equal(i.Roles, o.Roles)
}

// Scope says in words what the credential is scoped to.
func (i Identified) Scope() string {
	switch {
	case i.System:
		return "the system"
	case i.ProjectID != "":
		return "project " + i.Project
	case i.DomainID != "":
		return "domain " + i.DomainID
	}
	return "nothing"
}

// Connect logs in.
func Connect(ctx context.Context, access Access) (*Cloud, error) {
	creds, err := access.resolve()
	if err != nil {
		return nil, err
	}
	provider, err := openstack.NewClient(creds.auth.IdentityEndpoint)
	if err != nil {
		return nil, fmt.Errorf("the address of the identity service: %w", err)
	}
	t := newTransport(creds.tls)
	provider.HTTPClient = http.Client{Transport: t, CheckRedirect: sameHost}
	provider.UserAgent.Prepend("reeve-agent/" + version.String())
	c := &Cloud{
		Host: creds.auth.IdentityEndpoint, access: access, credentials: creds, provider: provider, transport: t,
		services: make(map[serviceKey]*Service),
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// The version is not looked up: the answer would lead to any address that it names.
	if err := openstack.AuthenticateV3(ctx, provider, &creds.auth, gophercloud.EndpointOpts{}); err != nil {
		return nil, fmt.Errorf("logging in at %s: %w", c.Host, explainLogin(err))
	}
	if err := c.Refresh(); err != nil {
		return nil, fmt.Errorf("logging in at %s: %w", c.Host, err)
	}
	for _, entry := range c.entries() {
		if slices.Contains(Identity.Types, entry.Type) && entry.ID != "" {
			c.ID = entry.ID
			break
		}
	}
	if c.ID == "" {
		return nil, errors.New("the catalog does not have the identity service, whose id tells this cloud from others")
	}
	return c, nil
}

// Stale reports whether the files that the credentials were read from say something
// else now, that can be used. Then it is time to connect anew.
func (c *Cloud) Stale() bool {
	now, err := c.access.resolve()
	return err == nil && now.read != c.credentials.read
}

// tokenResult is what both ways to get a token return.
type tokenResult interface {
	ExtractServiceCatalog() (*tokens.ServiceCatalog, error)
	ExtractInto(any) error
}

// Refresh reads the catalog that came with the newest token.
func (c *Cloud) Refresh() error {
	result, ok := c.provider.GetAuthResult().(tokenResult)
	if !ok {
		return errors.New("the identity service has no version 3")
	}
	catalog, err := result.ExtractServiceCatalog()
	if err != nil {
		return fmt.Errorf("reading the catalog: %w", err)
	}
	if len(catalog.Entries) == 0 {
		return errors.New("the catalog is empty: is the credential scoped to a project, a domain or the system?")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catalog = catalog.Entries
	clear(c.services)
	return nil
}

func (c *Cloud) entries() []tokens.CatalogEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.catalog
}

// Identified returns who the credential is by its newest token.
func (c *Cloud) Identified() (Identified, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := c.provider.Token()
	if c.token == token && token != "" {
		return c.identity, nil
	}
	result, ok := c.provider.GetAuthResult().(tokenResult)
	if !ok {
		return Identified{}, errors.New("there is no token")
	}
	var t struct {
		Expires time.Time       `json:"expires_at"`
		User    tokens.User     `json:"user"`
		Project *tokens.Project `json:"project"`
		Domain  *tokens.Domain  `json:"domain"`
		System  map[string]any  `json:"system"`
		Roles   []tokens.Role   `json:"roles"`
	}
	if err := result.ExtractInto(&t); err != nil {
		return Identified{}, fmt.Errorf("reading the token: %w", err)
	}
	i := Identified{User: t.User.Name, UserID: t.User.ID, System: len(t.System) > 0, Expires: t.Expires}
	if t.Project != nil {
		i.Project, i.ProjectID = t.Project.Name, t.Project.ID
	}
	if t.Domain != nil {
		i.DomainID = t.Domain.ID
	}
	for _, r := range t.Roles {
		i.Roles = append(i.Roles, r.Name)
	}
	slices.Sort(i.Roles)
	c.identity, c.token = i, token
	return i, nil
}

// Requests returns how many requests were made so far, those made again included.
func (c *Cloud) Requests() int64 { return c.transport.requests.Load() }

// Region returns the region that the credentials name, or empty.
func (c *Cloud) Region() string { return c.credentials.region }

// Has reports whether the catalog has an API in a region.
func (c *Cloud) Has(a API, region string) bool {
	_, _, ok := c.find(a, region)
	return ok
}

// Endpoint returns the address that the catalog, or the operator, has for an API
// in a region, or empty.
func (c *Cloud) Endpoint(a API, region string) string {
	address, _, _ := c.find(a, region)
	return strings.TrimRight(address, "/")
}

// Service is one API in one region.
type Service struct {
	cloud *Cloud
	API   API
	// Region is empty for APIs that are the same in all regions.
	Region string
	// Base is the address that paths are relative to.
	Base string
	// Lowest and Highest are the microversions that it speaks, if it has any.
	Lowest, Highest Microversion
	// untold is set where it does not tell which it speaks.
	untold *untold
}

// untold is what was learned of the microversions of a service that does not tell.
type untold struct {
	mu      sync.Mutex
	refused bool
	highest Microversion
}

// speaks returns the microversion to try where wanted would be best.
func (u *untold) speaks(wanted Microversion) Microversion {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.refused {
		return wanted
	}
	return within(wanted, Microversion{}, u.highest)
}

// learn takes what a refusal says: "Maximum is 2.60". Where it says nothing there
// are none.
func (u *untold) learn(refusal string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused = true
	if at := newest.FindStringSubmatch(refusal); at != nil {
		u.highest = ParseMicroversion(at[1])
	}
}

var newest = regexp.MustCompile(`(?i)max(?:imum)?(?:[ _a-z]*)["':= ]+([0-9]+\.[0-9]+)`)

// Service returns an API in a region. It asks the service for its versions, once.
func (c *Cloud) Service(ctx context.Context, a API, region string) (*Service, error) {
	if a.Global {
		region = ""
	}
	key := serviceKey{a.Name, region}
	c.mu.Lock()
	s := c.services[key]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	endpoint, overridden, ok := c.find(a, region)
	if !ok {
		return nil, fmt.Errorf("%s in region %q: %w", a.Types[0], region, ErrNoService)
	}
	if !overridden && onlyHere(endpoint) && !onlyHere(c.Host) {
		return nil, fmt.Errorf("the catalog has %q as the address of %s, which leads to this machine and not to the cloud: no token is sent "+
			"there; "+
			"mend the endpoint, or set %s_endpoint_override beside the credentials", endpoint, a.Types[0], strings.ReplaceAll(a.Types[0], "-", "_"))
	}
	base, root, err := a.base(endpoint)
	if err != nil {
		return nil, err
	}
	s = &Service{cloud: c, API: a, Region: region, Base: base}
	if a.Header != "" {
		s.Lowest, s.Highest, err = c.versions(ctx, root)
		switch {
		case err == nil:
		case errors.Is(err, ErrUnavailable), errors.Is(err, ErrCredential) && !errors.Is(err, ErrToken), ctx.Err() != nil:
			return nil, fmt.Errorf("asking %s at %s for its versions: %w", a.Types[0], root, err)
		default:
			// A proxy may let nothing pass but what is behind the version. The endpoint is
			// tried as it is, and says itself which microversion is too new.
			s.untold = &untold{}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[key] = s
	return s, nil
}
