package notify

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// address is a transport_url.
type address struct {
	hosts []host
	vhost string
	tls   bool
}

type host struct {
	addr, user, password string
}

// errAddress does not say the URL, which has a password in it.
var errAddress = errors.New("it must be like rabbit://user:password@host:5672/vhost, with %40 for an @ in the password, %2F for a / and " +
	"so on")

// parseAddress reads a transport_url as oslo.messaging does, which net/url cannot:
// it may have several hosts, each with a user. A host without a user has that of
// the one before.
func parseAddress(text string) (address, error) {
	a, err := splitAddress(strings.TrimSpace(text))
	if err != nil {
		return address{}, fmt.Errorf("the URL of the message broker: %w", err)
	}
	return a, nil
}

func splitAddress(text string) (a address, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return a, errAddress
	}
	switch strings.ToLower(scheme) {
	case "amqp", "rabbit", "kombu+rabbit":
	case "amqps":
		a.tls = true
	default:
		return a, errors.New("it must begin with rabbit://, amqp:// or amqps://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, vhost, _ := strings.Cut(rest, "/")
	if strings.ContainsRune(vhost+query, '@') {
		return a, errAddress // what looks like hosts is the begin of a password
	}
	if a.vhost, err = url.PathUnescape(vhost); err != nil {
		return a, errAddress
	}
	if a.vhost == "" {
		a.vhost = "/"
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return a, errAddress
	}
	switch strings.ToLower(options.Get("ssl")) {
	case "1", "true", "yes", "on":
		a.tls = true
	}
	port := "5672"
	if a.tls {
		port = "5671"
	}
	var last host
	for part := range strings.SplitSeq(hosts, ",") {
		h := host{user: last.user, password: last.password}
		if i := strings.LastIndexByte(part, '@'); i >= 0 {
			user, password, _ := strings.Cut(part[:i], ":")
			var err1, err2 error
			h.user, err1 = url.PathUnescape(user)
			h.password, err2 = url.PathUnescape(password)
			if err1 != nil || err2 != nil {
				return a, errAddress
			}
			part = part[i+1:]
		}
		if h.addr, ok = withPort(part, port); !ok {
			return a, errAddress
		}
		a.hosts, last = append(a.hosts, h), h
	}
	return a, nil
}

// withPort adds a port to a host that has none.
func withPort(text, port string) (string, bool) {
	name := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		name, port = text[:i], text[i+1:]
	}
	if bare, ok := strings.CutPrefix(name, "["); ok {
		if bare, ok = strings.CutSuffix(bare, "]"); !ok || net.ParseIP(bare) == nil {
			return "", false
		}
		name = bare
	} else if strings.ContainsAny(name, ":[]@ ") {
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || name == "" {
		return "", false
	}
	return net.JoinHostPort(name, port), true
}
