package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/time/rate"

	"github.com/reeve-cloud/reeve/pkg/transport"
)

// proxy returns the configured proxy, or nil if none is. Errors never have its
// credentials.
func (c *Config) proxy() (*url.URL, error) {
	if c.Proxy == "" {
		if c.ProxyCredentialsFile != "" {
			return nil, errors.New("proxy_credentials_file: there is no proxy that it is for")
		}
		return nil, nil
	}
	u, err := url.Parse(c.Proxy)
	if err != nil {
		// Its words would have the whole address.
		return nil, errors.New("proxy: is not an address of the form http://HOST:PORT")
	}
	if err := transport.CheckProxy(u); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if u.User != nil && c.ProxyCredentialsFile != "" {
		return nil, errors.New("proxy: has a user in it, and there is a proxy_credentials_file too: take the user out")
	}
	return u, nil
}

// Through returns the proxy by which aggregators are reached. It reads the file
// with its credentials.
func (c *Config) Through() (transport.Proxy, error) {
	u, err := c.proxy()
	if err != nil {
		return nil, err
	}
	if u == nil {
		return transport.ProxyFromEnvironment(), nil
	}
	if c.ProxyCredentialsFile != "" {
		data, err := os.ReadFile(c.ProxyCredentialsFile)
		if err != nil {
			return nil, fmt.Errorf("proxy_credentials_file: %w", err)
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(data), "\r\n"), ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("proxy_credentials_file: %s does not have the form USER:PASSWORD", c.ProxyCredentialsFile)
		}
		u.User = url.UserPassword(user, password)
	}
	return transport.FixedProxy(u), nil
}

// bandwidthUnits are bits a second.
var bandwidthUnits = []struct {
	name string
	bits int64
}{{"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}

// ParseBandwidth reads a bandwidth: a whole number of kbit, Mbit or Gbit, a
// second, as in "500kbit". It returns bytes a second; "" is 0, for no bound.
func ParseBandwidth(text string) (bytes int64, err error) {
	if text == "" {
		return 0, nil
	}
	for _, unit := range bandwidthUnits {
		digits, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		if err != nil || n == 0 {
			break
		}
		if bits := int64(n) * unit.bits; bits >= 8e3 {
			return bits / 8, nil
		}
		return 0, fmt.Errorf("%q is less than 8kbit", text)
	}
	return 0, fmt.Errorf("%q is not a whole number and kbit, Mbit or Gbit (a second), as in 500kbit or 2Mbit", text)
}

// Limit returns the bound on what is shipped, or nil if there is none.
func (c *Config) Limit() (*rate.Limiter, error) {
	bytes, err := ParseBandwidth(c.Bandwidth)
	if err != nil || bytes == 0 {
		return nil, err
	}
	// A tenth of a second at once, so that a link that is shared stays usable, and
	// no more pieces than needed.
	burst := min(max(bytes/10, 1<<10), 64<<10)
	return rate.NewLimiter(rate.Limit(bytes), int(burst)), nil
}
