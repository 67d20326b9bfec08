package api

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/identity"
)

// resolveTimeout is how long names of addresses may take to resolve.
const resolveTimeout = 2 * time.Second

// doubts returns what speaks against addresses by which agents are to reach the
// aggregator. A name that does not resolve here may do so elsewhere.
func doubts(ctx context.Context, addresses []string) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	for _, address := range addresses {
		if doubt := identity.Doubt(address); doubt != "" {
			warnings = append(warnings, fmt.Sprintf("agents on other machines may not reach %s: %s", address, doubt))
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil || net.ParseIP(host) != nil {
			continue
		}
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			warnings = append(warnings, fmt.Sprintf("agents may not reach %s: the aggregator's machine cannot resolve the name", address))
		}
	}
	return warnings
}

// suggestion names this machine's own addresses, with the port that is listened on.
func (s *Server) suggestion() string {
	at, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var own []string
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && len(own) < 4 {
			own = append(own, net.JoinHostPort(n.IP.String(), fmt.Sprint(at.Port)))
		}
	}
	if len(own) == 0 {
		return ""
	}
	return "; this machine's own: " + strings.Join(own, ", ")
}
