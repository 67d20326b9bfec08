package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Proxy returns the proxy that leads to an address (host:port), or nil where none
// is needed. A nil Proxy returns none.
type Proxy func(address string) (*url.URL, error)

// FixedProxy leads to every address through one proxy.
func FixedProxy(u *url.URL) Proxy {
	return func(string) (*url.URL, error) { return u, nil }
}

// ProxyFromEnvironment goes by HTTPS_PROXY and NO_PROXY as they are now.
func ProxyFromEnvironment() Proxy {
	choose := httpproxy.FromEnvironment().ProxyFunc()
	return func(address string) (*url.URL, error) {
		u, err := choose(&url.URL{Scheme: "https", Host: address})
		if err != nil {
			// The error of a bad address has the address with its password in it.
			return nil, errors.New("the proxy that HTTPS_PROXY names is not an address of the form http://HOST:PORT")
		}
		return u, nil
	}
}

// For returns the proxy for an address, or nil.
func (p Proxy) For(address string) (*url.URL, error) {
	if p == nil {
		return nil, nil
	}
	return p(address)
}

// CheckProxy checks the address of a proxy.
func CheckProxy(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the proxy must begin with http:// or https://, not %q", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the proxy has no host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return errors.New("the proxy must be a scheme, a host and a port, and no more")
	}
	return nil
}

// maxProxyAnswer bounds the header of a proxy's answer.
const maxProxyAnswer = 64 << 10

// DialThrough opens a TCP connection to an address (host:port), by CONNECT through
// a proxy where there is one. Its errors never have the proxy's credentials.
func DialThrough(ctx context.Context, address string, proxy Proxy) (net.Conn, error) {
	u, err := proxy.For(address)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return dial(ctx, address)
	}
	if err := CheckProxy(u); err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	at := net.JoinHostPort(u.Hostname(), port)
	conn, err := dial(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("reaching the proxy %s: %w", at, err)
	}
	// What is read or written fails when ctx ends.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := connect(ctx, conn, u, address)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		conn.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ErrNoAnswer
		}
		return nil, fmt.Errorf("through the proxy %s: %w", at, err)
	}
	return tunnel, nil
}

// Places are the places (host:port) that an address stands for over TCP, in the
// resolver's order, each of which may be another server. A proxy resolves names
// itself, so behind one it is the address.
func Places(ctx context.Context, address string, proxy Proxy) ([]string, error) {
	through, err := proxy.For(address)
	if err != nil || through != nil {
		return []string{address}, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var places []string
	for _, ip := range ips {
		places = append(places, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return places, nil
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Control: keepUnsentLow}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = ErrNoAnswer
	}
	return conn, err
}

// connect asks a proxy for a tunnel to an address.
func connect(ctx context.Context, conn net.Conn, u *url.URL, address string) (net.Conn, error) {
	if u.Scheme == "https" {
		c := tls.Client(conn, &tls.Config{ServerName: u.Hostname()})
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = c
	}
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if u.User != nil {
		password, _ := u.User.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	response, err := finalAnswer(r)
	if err != nil {
		return nil, fmt.Errorf("it gives no answer of HTTP: %w", err)
	}
	switch {
	case response.StatusCode == http.StatusProxyAuthRequired && u.User == nil:
		return nil, errors.New("it wants a user and a password (407): give it proxy_credentials_file")
	case response.StatusCode == http.StatusProxyAuthRequired:
		return nil, errors.New("it does not accept the user and password that are configured (407)")
	case response.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("it does not allow connections to %s (403): its rules must be changed", address)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, fmt.Errorf("it cannot connect to %s: %.100q", address, response.Status)
	case r.Buffered() > 0:
		// The other side of the tunnel speaks only when spoken to.
		return nil, errors.New("it said more than its answer")
	}
	return conn, nil
}

// finalAnswer reads the answer to a CONNECT. Any 2xx is a tunnel, and any number of
// 1xx may come before (RFC 9110, 9.3.6 and 15.2). Everything behind its header is the
// tunnel's.
func finalAnswer(r *bufio.Reader) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, nil
		}
	}
}
