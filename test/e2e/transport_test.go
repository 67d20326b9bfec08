//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

const (
	// tcpAim is how soon an agent should be connected over TCP when UDP is blocked;
	// the test fails beyond tcpBound. What it took is printed.
	tcpAim, tcpBound = 5 * time.Second, 15 * time.Second
	// quicBound is how soon it should be back on QUIC when UDP works again.
	quicBound = time.Minute
)

// remoteSite is a network namespace for an agent, behind another one that is the
// site's firewall. It needs root.
type remoteSite struct {
	t               *testing.T
	agent, firewall string
	// centre is the test's own address on the way to the firewall, home the
	// agent's, and second one that it may get.
	centre, home, second string
	// inside is the agent's interface.
	inside string
}

func newRemoteSite(t *testing.T) *remoteSite {
	t.Helper()
	needRoot(t, "add network namespaces and firewall rules")
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s(8) is missing: install iproute2 and nftables", tool)
		}
	}
	id := fmt.Sprintf("rve%06x", rand.IntN(1<<24))
	// Addresses for benchmarks: nobody else's (RFC 2544).
	net := fmt.Sprintf("198.18.%d.", rand.IntN(256))
	s := &remoteSite{
		t: t, agent: id + "s", firewall: id + "f", inside: id + "d",
		centre: net + "1", home: net + "130", second: net + "131",
	}
	for _, ns := range []string{s.agent, s.firewall} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "delete", ns) })
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	outside, outsideFar, insideNear := id+"a", id+"b", id+"c"
	ip(t, "link", "add", outside, "type", "veth", "peer", "name", outsideFar, "netns", s.firewall)
	ip(t, "link", "add", insideNear, "netns", s.firewall, "type", "veth", "peer", "name", s.inside, "netns", s.agent)
	ip(t, "address", "add", s.centre+"/30", "dev", outside)
	ip(t, "link", "set", outside, "up")
	ip(t, "-n", s.firewall, "address", "add", net+"2/30", "dev", outsideFar)
	ip(t, "-n", s.firewall, "link", "set", outsideFar, "up")
	ip(t, "-n", s.firewall, "address", "add", net+"129/25", "dev", insideNear)
	ip(t, "-n", s.firewall, "link", "set", insideNear, "up")
	ip(t, "-n", s.agent, "address", "add", s.home+"/25", "dev", s.inside)
	ip(t, "-n", s.agent, "link", "set", s.inside, "up")
	ip(t, "-n", s.agent, "route", "add", "default", "via", net+"129")
	ip(t, "route", "add", net+"128/25", "via", net+"2")
	s.in(s.firewall, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	// With the first address of an interface gone, the second takes its place.
	s.in(s.agent, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries")
	s.in(s.firewall, "nft", "add table inet site; add chain inet site forward { type filter hook forward priority 0; policy accept; }")
	return s
}

// in runs a command in a namespace.
func (s *remoteSite) in(ns string, args ...string) {
	s.t.Helper()
	if out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("%v in %s: %v: %s", args, ns, err, out)
	}
}

// block has the firewall drop UDP without a word, both ways.
func (s *remoteSite) block() {
	s.t.Helper()
	s.in(s.firewall, "nft", "add rule inet site forward meta l4proto udp drop")
}

func (s *remoteSite) unblock() {
	s.t.Helper()
	s.in(s.firewall, "nft", "flush chain inet site forward")
}

// TestUDPBlocked has a firewall between agent and aggregator block UDP in the
// middle of a session and at the start of an agent, and let it through again. It
// changes the agent's address, too. All that changes meanwhile must arrive, once.
func TestUDPBlocked(t *testing.T) {
	net := newRemoteSite(t)
	t.Logf("seed %d (-seed repeats it)", *seed)
	tr := makeTruth(t, rand.New(rand.NewPCG(*seed, 3)), 4000, 50)

	a := prepareAggregator(t)
	port := a.address[strings.LastIndexByte(a.address, ':')+1:]
	a.address = net.centre + ":" + port
	a.env["REEVE_LISTEN"], a.env["REEVE_ADVERTISE"] = a.address, a.address
	a.start()
	a.login()

	dir := t.TempDir()
	journal := newScope(t, dir, "things")
	journal.tell()
	g := newAgent(t, "agent", dir)
	g.netns = net.agent
	g.env["REEVE_HEALTH_LISTEN"], g.health = "0.0.0.0:9464", net.home+":9464"
	g.join(a.joinToken())
	g.says(0, time.Minute, "session established", "transport=quic")

	// Something changes all the time.
	stop, told := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(50 * time.Millisecond); n < len(tr.entries); n++ {
			journal.tell(tr.entries[n])
			select {
			case <-tick.C:
				continue
			case <-stop:
			}
			n++
			break
		}
		told <- n
	}()
	// quieten ends that, and returns how many changes there were.
	quieten := sync.OnceValue(func() int {
		close(stop)
		return <-told
	})
	t.Cleanup(func() { quieten() })
	// arriving wants changes that come after now to arrive.
	arriving := func() {
		t.Helper()
		before, _ := g.acknowledged() // there is none before the first
		eventually(t, 30*time.Second, "changes arrive", func() error {
			n, err := g.acknowledged()
			if err == nil && n < before+20 {
				err = fmt.Errorf("record %d is the last, it was %d", n, before)
			}
			return err
		})
	}
	// connected waits for a session over a transport and says how long that took.
	connected := func(what, transport string, since time.Time, from int64, aim, bound time.Duration) {
		t.Helper()
		g.says(from, bound, "session established", "transport="+transport)
		took := time.Since(since)
		t.Logf("%-50s %5.1f s", what+", session over "+transport+":", took.Seconds())
		if took > aim {
			missed(t, what+", session over "+transport, took, aim)
		}
		arriving()
		eventually(t, 10*time.Second, "the centre knows what the session runs over", func() error {
			var list reevev1.ListAgentsResponse
			if err := a.read(&list, "get", "agents"); err != nil {
				return err
			}
			if agent := list.GetAgents()[0]; !agent.GetConnected() || agent.GetTransport() != transport {
				return fmt.Errorf("it has %v", agent)
			}
			return nil
		})
	}
	arriving()

	from, began := g.position(), time.Now()
	net.block()
	connected("UDP blocked in a session", "tcp", began, from, tcpAim, tcpBound)

	g.stop()
	from, began = g.position(), time.Now()
	g.start()
	connected("UDP blocked, agent started", "tcp", began, from, tcpAim, tcpBound)

	// While the session moves, the agent always has one.
	from, began = g.position(), time.Now()
	net.unblock()
	gaps, moved := 0, false
	for !moved && time.Since(began) < quicBound {
		if _, err := get("http://" + g.health + "/readyz"); err != nil {
			gaps++
			t.Logf("the agent is not ready: %v", err)
		}
		data, err := os.ReadFile(g.logFile)
		if err != nil {
			t.Fatal(err)
		}
		said := string(data[from:])
		moved = strings.Contains(said, "session established") && strings.Contains(said, "transport=quic")
		time.Sleep(5 * time.Millisecond)
	}
	connected("UDP works again", "quic", began, from, quicBound, time.Second)
	if gaps > 0 {
		t.Errorf("the agent had no session %d times while it moved", gaps)
	}

	// Another address, as from DHCP.
	from = g.position()
	ip(t, "-n", net.agent, "address", "add", net.second+"/25", "dev", net.inside)
	ip(t, "-n", net.agent, "address", "delete", net.home+"/25", "dev", net.inside)
	g.health = net.second + ":9464"
	arriving()
	data, err := os.ReadFile(g.logFile)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data[from:]), "session established") {
		t.Error("the session did not survive another address")
	}

	n := quieten()
	g.shipped(typeRecords+n, time.Minute)
	g.stop()
	a.stop()
	if n == len(tr.entries) {
		t.Error(errors.New("all changes were told before the end: make more"))
	}
	tr.lines = tr.lines[:n]
	compareVersions(t, tr, versions(t, openWarehouse(a), site))
}
