package cloud

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// Access says how to reach a cloud.
type Access struct {
	// File is a clouds.yaml, with a secure.yaml beside it if there is one. Empty
	// means the places where OpenStack's own clients look.
	File string
	// Cloud is an entry of the file. Empty means OS_CLOUD, and if that is not
	// set either, the other OS_ variables instead of a file.
	Cloud string
	// Interface is the catalog's interface that is used: public, internal or
	// admin. Empty means what the file or the environment says, or public.
	Interface string
}

// credentials are what an [Access] leads to.
type credentials struct {
	auth gophercloud.AuthOptions
	// region is the one that the file or the environment names, or empty.
	region     string
	visibility gophercloud.Availability
	tls        *tls.Config
	// renewable says that a new token can be had when one has ended.
	renewable bool
	// overrides are what is said of single services, by the names of their APIs.
	overrides map[string]override
	// read is a hash of what they were read from.
	read [sha256.Size]byte
}

// resolve reads the file or the environment. What it says of a file never
// includes what the file holds.
func (a Access) resolve() (credentials, error) {
	text, err := a.read()
	if err != nil {
		return credentials{}, err
	}
	fail := func(err error) (credentials, error) {
		return credentials{}, fmt.Errorf("reading the credentials of %q (%s): %w", text.name, text.source, err)
	}
	entry, err := text.entry()
	if err != nil {
		return fail(err)
	}
	if err := entry.supported(); err != nil {
		return fail(err)
	}
	options := []clouds.ParseOption{clouds.WithCloudName(text.name), clouds.WithCloudsYAML(bytes.NewReader(unquoteVerify(text.clouds)))}
	public := text.public
	if public == nil {
		public = []byte("public-clouds: {}") // else the library looks elsewhere
	}
	options = append(options, clouds.WithCloudsPublicYAML(bytes.NewReader(public)))
	if text.secure != nil {
		options = append(options, clouds.WithSecureYAML(bytes.NewReader(unquoteVerify(text.secure))))
	}
	if a.Interface != "" {
		options = append(options, clouds.WithEndpointType(a.Interface))
	}
	auth, endpoint, tlsConfig, err := clouds.Parse(options...)
	if err != nil {
		return fail(entry.explain(err))
	}
	if auth.IdentityEndpoint == "" {
		return fail(entry.explain(errors.New("auth_url is missing")))
	}
	if auth.TokenID != "" {
		// With a token nothing else may be told, and its end cannot be helped. Its
		// scope stays as it is: asking for another would make another token.
		auth = gophercloud.AuthOptions{IdentityEndpoint: auth.IdentityEndpoint, TokenID: auth.TokenID}
	}
	c := credentials{
		auth: auth, region: endpoint.Region, visibility: endpoint.Availability, tls: tlsConfig,
		renewable: auth.TokenID == "",
		read:      sha256.Sum256(slices.Concat(text.clouds, []byte{0}, text.secure, []byte{0}, text.public)),
	}
	if c.overrides, err = entry.overrides(c.region); err != nil {
		return fail(err)
	}
	c.auth.AllowReauth = c.renewable
	c.tls.MinVersion = tls.VersionTLS12
	return c, nil
}

// environmentCloud is what the cloud of the environment is called.
const environmentCloud = "environment"

// environmentFile writes what the OS_ variables say as a clouds.yaml, so that
// both are read in one way.
func environmentFile(getenv func(string) string) ([]byte, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	domain := func(kind string) (id, name string) {
		id, name = getenv("OS_"+kind+"_DOMAIN_ID"), getenv("OS_"+kind+"_DOMAIN_NAME")
		if id == "" && name == "" {
			id = getenv("OS_DEFAULT_DOMAIN")
		}
		return id, name
	}
	auth := &clouds.AuthInfo{
		AuthURL:  getenv("OS_AUTH_URL"),
		Token:    first("OS_TOKEN", "OS_AUTH_TOKEN"),
		Username: getenv("OS_USERNAME"), UserID: first("OS_USER_ID", "OS_USERID"), Password: getenv("OS_PASSWORD"),
		ApplicationCredentialID:     getenv("OS_APPLICATION_CREDENTIAL_ID"),
		ApplicationCredentialName:   getenv("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: getenv("OS_APPLICATION_CREDENTIAL_SECRET"),
		SystemScope:                 getenv("OS_SYSTEM_SCOPE"),
		TrustID:                     getenv("OS_TRUST_ID"),
		DomainID:                    getenv("OS_DOMAIN_ID"), DomainName: getenv("OS_DOMAIN_NAME"),
	}
	if auth.ApplicationCredentialID != "" || auth.ApplicationCredentialName != "" {
		// It has a project of its own.
		auth.Password = ""
	} else {
		auth.ProjectID, auth.ProjectName = first("OS_PROJECT_ID", "OS_TENANT_ID"), first("OS_PROJECT_NAME", "OS_TENANT_NAME")
		auth.ProjectDomainID, auth.ProjectDomainName = domain("PROJECT")
	}
	auth.UserDomainID, auth.UserDomainName = domain("USER")
	if auth.UserID != "" {
		auth.Username, auth.UserDomainID, auth.UserDomainName = "", "", ""
	}
	c := clouds.Cloud{
		AuthInfo: auth, AuthType: clouds.AuthType(first("OS_AUTH_TYPE", "OS_AUTH_PLUGIN")), RegionName: getenv("OS_REGION_NAME"),
		Interface:  first("OS_INTERFACE", "OS_ENDPOINT_TYPE"),
		CACertFile: getenv("OS_CACERT"), ClientCertFile: getenv("OS_CERT"), ClientKeyFile: getenv("OS_KEY"),
	}
	if text := getenv("OS_INSECURE"); text != "" {
		insecure, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("OS_INSECURE is %q: it must be true or false", text)
		}
		verify := !insecure
		c.Verify = &verify
	}
	text, err := yaml.Marshal(clouds.Clouds{Clouds: map[string]clouds.Cloud{environmentCloud: c}})
	if err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	return text, nil
}
