package cloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// certificate writes a certificate and its key, and returns the files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert, key
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// clearEnvironment removes what the machine of the test may have set.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "OS_") {
			t.Setenv(name, "")
		}
	}
}

func TestAccess(t *testing.T) {
	cert, key := certificate(t)
	for name, test := range map[string]struct {
		file, secure string
		env          map[string]string
		access       Access
		want         func(t *testing.T, c credentials)
		fails        string
	}{
		"password": {
			file: `clouds:
  west:
    region_name: one
    interface: internal
    auth: {auth_url: "https://k/v3", username: reeve, password: s3cret, project_name: ops, user_domain_name: Users, project_domain_id: d1}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if a := c.auth; a.Username != "reeve" || a.Password != "s3cret" || a.DomainName != "Users" || a.Scope.ProjectName != "ops" ||
					a.Scope.DomainID != "d1" || !a.AllowReauth {
					t.Errorf("the options are %+v, scope %+v", a, a.Scope)
				}
				if c.region != "one" || c.visibility != gophercloud.AvailabilityInternal || !c.renewable {
					t.Errorf("region %q, interface %q, renewable %v", c.region, c.visibility, c.renewable)
				}
			},
		},
		"the password is in secure.yaml": {
			file:   `{"clouds": {"west": {"auth": {"auth_url": "https://k/v3", "username": "reeve", "project_id": "p", "user_domain_id": "d"}}}}`,
			secure: `{"clouds": {"west": {"auth": {"password": "s3cret"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if c.auth.Password != "s3cret" || c.auth.Scope.ProjectID != "p" {
					t.Errorf("the options are %+v", c.auth)
				}
			},
		},
		"application credential": {
			file: `{"clouds": {"west": {"auth_type": "v3applicationcredential", "auth": {"auth_url": "https://k/v3", ` +
				`"application_credential_id": "ac", "application_credential_secret": "s3cret"}}}}`,
			access: Access{Cloud: "west", Interface: "admin"},
			want: func(t *testing.T, c credentials) {
				if a := c.auth; a.ApplicationCredentialID != "ac" || a.ApplicationCredentialSecret != "s3cret" || !c.renewable ||
					c.visibility != gophercloud.AvailabilityAdmin {
					t.Errorf("the options are %+v", c)
				}
			},
		},
		"token": {
			file:   `{"clouds": {"west": {"auth_type": "token", "auth": {"auth_url": "https://k/v3", "token": "gAAA", "project_id": "p"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if c.auth.TokenID != "gAAA" || c.auth.AllowReauth || c.renewable {
					t.Errorf("the options are %+v", c.auth)
				}
			},
		},
		"system scope": {
			file: `{"clouds": {"west": {"auth": {"auth_url": "https://k/v3", "username": "r", "password": "p", "user_domain_id": "d", ` +
				`"system_scope": "all"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if !c.auth.Scope.System {
					t.Errorf("the scope is %+v", c.auth.Scope)
				}
			},
		},
		"domain scope": {
			file: `{"clouds": {"west": {"auth": {"auth_url": "https://k/v3", "username": "r", "password": "p", "user_domain_id": "d", ` +
				`"domain_id": "d9"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if c.auth.Scope.DomainID != "d9" {
					t.Errorf("the scope is %+v", c.auth.Scope)
				}
			},
		},
		"certificates": {
			file: `{"clouds": {"west": {"cacert": "` + cert + `", "cert": "` + cert + `", "key": "` + key +
				`", "auth": {"auth_url": "https://k/v3", "token": "t"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if c.tls.RootCAs == nil || len(c.tls.Certificates) != 1 || c.tls.InsecureSkipVerify {
					t.Errorf("the TLS settings are %+v", c.tls)
				}
			},
		},
		"insecure": {
			file:   `{"clouds": {"west": {"verify": false, "auth": {"auth_url": "https://k/v3", "token": "t"}}}}`,
			access: Access{Cloud: "west"},
			want: func(t *testing.T, c credentials) {
				if !c.tls.InsecureSkipVerify {
					t.Error("the certificate is verified")
				}
			},
		},
		"OS_CLOUD": {
			file: `{"clouds": {"east": {"auth": {"auth_url": "https://k/v3", "token": "t"}}}}`,
			env:  map[string]string{"OS_CLOUD": "east", "OS_REGION_NAME": "two"},
			want: func(t *testing.T, c credentials) {
				if c.region != "two" {
					t.Errorf("the region is %q", c.region)
				}
			},
		},
		"environment, password": {
			env: map[string]string{
				"OS_AUTH_URL": "https://k:5000/v3", "OS_USERNAME": "reeve", "OS_PASSWORD": "s3cret: #", "OS_PROJECT_NAME": "ops",
				"OS_USER_DOMAIN_NAME": "Users", "OS_PROJECT_DOMAIN_NAME": "Projects", "OS_REGION_NAME": "one", "OS_INTERFACE": "internal",
				"OS_CACERT": cert, "OS_CERT": cert, "OS_KEY": key, "OS_INSECURE": "true",
			},
			want: func(t *testing.T, c credentials) {
				if a := c.auth; a.Password != "s3cret: #" || a.DomainName != "Users" || a.Scope.ProjectName != "ops" ||
					a.Scope.DomainName != "Projects" {
					t.Errorf("the options are %+v, scope %+v", a, a.Scope)
				}
				if c.region != "one" || c.visibility != gophercloud.AvailabilityInternal || c.tls.RootCAs == nil || len(c.tls.Certificates) != 1 ||
					!c.tls.InsecureSkipVerify {
					t.Errorf("the rest is %+v", c)
				}
			},
		},
		"environment, application credential": {
			env: map[string]string{"OS_AUTH_URL": "https://k/v3", "OS_APPLICATION_CREDENTIAL_ID": "ac",
				"OS_APPLICATION_CREDENTIAL_SECRET": "s3cret", "OS_PROJECT_NAME": "stray"},
			want: func(t *testing.T, c credentials) {
				if a := c.auth; a.ApplicationCredentialID != "ac" || a.Scope != nil {
					t.Errorf("the options are %+v", a)
				}
			},
		},
		"environment, token": {
			env: map[string]string{"OS_AUTH_URL": "https://k/v3", "OS_TOKEN": "gAAA", "OS_PROJECT_ID": "p"},
			want: func(t *testing.T, c credentials) {
				if c.auth.TokenID != "gAAA" || c.renewable {
					t.Errorf("the options are %+v", c.auth)
				}
			},
		},
		"environment, system": {
			env: map[string]string{"OS_AUTH_URL": "https://k/v3", "OS_USERNAME": "r", "OS_PASSWORD": "p", "OS_DEFAULT_DOMAIN": "d",
				"OS_SYSTEM_SCOPE": "all"},
			want: func(t *testing.T, c credentials) {
				if !c.auth.Scope.System || c.auth.DomainID != "d" {
					t.Errorf("the options are %+v", c.auth)
				}
			},
		},
		"nothing":       {fails: "there are no credentials"},
		"no such cloud": {file: `{"clouds": {"east": {}}}`, access: Access{Cloud: "west"}, fails: `"west"`},
		"which cloud":   {file: `{"clouds": {"east": {}}}`, access: Access{}, fails: "the option cloud must say"},
		"no address": {file: `{"clouds": {"west": {"auth": {"token": "s3cret"}}}}`, access: Access{Cloud: "west"},
			fails: "auth_url is missing"},
		"no such certificate": {file: `{"clouds": {"west": {"cacert": "/nowhere", "auth": {"auth_url": "https://k/v3", "password": "s3cret"}}}}`,
			access: Access{Cloud: "west"}, fails: "CA cert"},
		"insecure, perhaps": {env: map[string]string{"OS_AUTH_URL": "https://k/v3", "OS_INSECURE": "perhaps"}, fails: "OS_INSECURE"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			dir := t.TempDir()
			access := test.access
			if test.file != "" {
				file := filepath.Join(dir, "clouds.yaml")
				write(t, file, test.file)
				if len(test.env) > 0 {
					t.Setenv("OS_CLIENT_CONFIG_FILE", file)
				} else {
					access.File = file
				}
			}
			if test.secure != "" {
				write(t, filepath.Join(dir, "secure.yaml"), test.secure)
			}
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			c, err := access.resolve()
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "s3cret") {
					t.Fatalf("the error is %v, want one with %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want(t, c)
		})
	}
}
