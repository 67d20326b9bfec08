//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
)

// vethAim is what a change should take to the centre, on a machine that has nothing
// else to do; the test fails beyond vethBound. What it took is printed.
const vethAim, vethBound = 2 * time.Second, 10 * time.Second

// ip runs ip(8), which needs root for what is done with it here.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// needRoot passes over a test that cannot be had without root.
func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("only root can %s", why)
	}
}

// addVeth adds a pair of interfaces for the time of the test, and returns their
// names.
func addVeth(t *testing.T) (name, peer string) {
	t.Helper()
	id := rand.IntN(1 << 24)
	name, peer = fmt.Sprintf("rve%06xa", id), fmt.Sprintf("rve%06xb", id)
	ip(t, "link", "add", name, "type", "veth", "peer", "name", peer)
	t.Cleanup(func() {
		// It is gone if the test got that far.
		_ = exec.Command("ip", "link", "delete", name).Run()
	})
	return name, peer
}

// TestVeth follows the life of an interface: it comes, changes and goes.
func TestVeth(t *testing.T) {
	needRoot(t, "add an interface")
	a := newAggregator(t)
	newAgent(t, "agent", "").join(a.joinToken())
	awaitTypes(a, "host.network.Interface")

	began := time.Now()
	name, peer := addVeth(t)
	var uid string
	eventually(t, vethBound, "the interface is listed", func() error {
		for u, asset := range a.assets("--type", "host.network.Interface") {
			if asset.GetName() == name {
				uid = u
				return nil
			}
		}
		return errors.New("it is not")
	})
	seen := func(what string, took time.Duration) {
		t.Helper()
		t.Logf("%-8s seen at the centre after   %4d ms", what+":", took.Milliseconds())
		if took > vethAim {
			missed(t, "interface "+what+", seen at the centre", took, vethAim)
		}
	}
	seen("added", time.Since(began))

	// The relation to the peer comes by itself.
	var answer reevev1.GetAssetResponse
	if err := a.read(&answer, "get", "asset", uid); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(answer.GetRelations(), func(r *reevev1.Relation) bool {
		return r.GetKind() == "connected_to" &&
			r.GetFromUid() == uid
	}) {
		t.Errorf("%s is not connected_to %s: its relations are %v", name, peer, answer.GetRelations())
	}

	// changed makes a change and waits for the version with the path and value.
	changed := func(what, path string, value any, arguments ...string) {
		t.Helper()
		before := a.changes(uid)
		began := time.Now()
		ip(t, arguments...)
		eventually(t, vethBound, what+" is seen at the centre", func() error {
			asset, err := a.asset(uid)
			if err != nil {
				return err
			}
			if got := asset.GetDocument().AsMap()[path]; got != value {
				return fmt.Errorf("%s is %v", path, got)
			}
			return nil
		})
		seen(what, time.Since(began))
		after := a.changes(uid)
		newer := after[:len(after)-len(before)]
		if !slices.ContainsFunc(newer, func(c *reevev1.Change) bool {
			return c.GetOperation() == reevev1.Change_OPERATION_UPDATED && slices.Contains(c.GetChangedPaths(), path)
		}) {
			t.Errorf("none of the versions since names %s as changed: %v", path, newer)
		}
	}
	changed("up", "admin_state", "up", "link", "set", name, "up")
	changed("mtu", "mtu", 1400.0, "link", "set", name, "mtu", "1400")
	changed("alias", "alias", "reeve was here", "link", "set", name, "alias", "reeve was here")

	began = time.Now()
	ip(t, "link", "delete", name)
	eventually(t, vethBound, "the interface is deleted", func() error {
		asset, err := a.asset(uid)
		if err == nil && asset.GetState() != reevev1.State_STATE_DELETED {
			err = fmt.Errorf("it is in state %s", asset.GetState())
		}
		return err
	})
	seen("deleted", time.Since(began))

	if asset := a.assets()[uid]; asset != nil {
		t.Errorf("the deleted interface is listed among what exists: %v", asset)
	}
	asset := a.assets("--state", "deleted")[uid]
	if asset == nil {
		t.Fatal("the deleted interface is not listed among the deleted")
	}
	if since := asset.GetDeleteTime().AsTime(); since.Before(began.Add(-time.Second)) || since.After(time.Now().Add(time.Second)) {
		t.Errorf("it was deleted at %s, but is said to have been at %s", began, since)
	}
	history := a.changes(uid, "--full")
	first, last := history[len(history)-1], history[0]
	if first.GetOperation() != reevev1.Change_OPERATION_CREATED || last.GetOperation() != reevev1.Change_OPERATION_DELETED ||
		len(history) < 5 {
		t.Errorf("the history is not one from created to deleted: %v", history)
	}
	if got := last.GetDocument().AsMap()["alias"]; got != "reeve was here" {
		t.Errorf("the last state is not kept with the deletion: the alias is %v", got)
	}
}
