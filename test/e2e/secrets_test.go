//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/reeve-cloud/reeve/agent/lastseen"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
	"github.com/reeve-cloud/reeve/plugins/fake"
)

// canaries are made-up secrets, each of which tells where it was planted.
type canaries struct {
	prefix string
	where  []string
}

func (c *canaries) plant(where string) string {
	c.where = append(c.where, where)
	return fmt.Sprintf("%s%02dx", c.prefix, len(c.where)-1)
}

// in returns where the canaries were planted that are found in a text.
func (c *canaries) in(text []byte) []string {
	var found []string
	for i, where := range c.where {
		if bytes.Contains(text, fmt.Appendf(nil, "%s%02dx", c.prefix, i)) {
			found = append(found, where)
		}
	}
	if found == nil && bytes.Contains(text, []byte(c.prefix)) {
		found = []string{"a part of one"}
	}
	return found
}

// TestSecrets plants secrets in what is observed and looks for them in all that
// the programs write.
//
// It does not look at the packets, which are encrypted. What an agent ships are
// the batches of its spool, byte for byte (docs/spool.md), and nothing else that
// was observed; so the decoded spool is what is on the wire.
func TestSecrets(t *testing.T) {
	c := &canaries{prefix: fmt.Sprintf("Cnry%08x", rand.Uint32())}
	a := newAggregator(t)
	dir := t.TempDir()
	things := newScope(t, dir, "things")
	g := newAgent(t, "agent", dir)
	writeFile(t, g.config, fmt.Sprintf("collectors:\n- plugin: host\n- plugin: fake\n  options: {directory: %q}\n", dir))

	// In facts of this machine.
	var iface, mountpoint string
	if os.Geteuid() == 0 {
		iface, mountpoint = plantInHost(t, c)
	} else {
		t.Log("without root nothing is planted in facts of this machine")
	}

	// In documents, by the name of the key and by the form of the value.
	leaky := thing("leaky", map[string]any{
		"db_password": c.plant("secret key"),
		"auth": map[string]any{"apiToken": c.plant("secret key in camel case"),
			"deep": map[string]any{"secret": []any{c.plant("below a secret key")}}},
		"env":         []any{map[string]any{"name": "DB_PASSWORD", "value": c.plant("env variable")}},
		"environment": []any{"SESSION_SECRET=" + c.plant("KEY=VALUE")},
		"command":     "/bin/server --token " + c.plant("flag") + " --verbose",
		"url":         "postgres://user:" + c.plant("password in a URL") + "@db/x",
		"header":      "Authorization: Bearer " + c.plant("bearer token"),
		"pem":         "-----BEGIN PRIVATE KEY-----\n" + c.plant("private key") + "\n-----END PRIVATE KEY-----\n",
		"jwt":         "eyJhbGciOiJIUzI1NiJ9." + c.plant("JSON Web Token") + ".c2lnbmF0dXJl",
		"user_data":   c.plant("user data"),
	})
	leaky.Name = "thing password=" + c.plant("name")
	leaky.Status = "failed: secret=" + c.plant("status")
	leaky.Labels = map[string]string{"api-key": c.plant("label by its key"), "note": "passwd=" + c.plant("label by its form")}
	ended := thing("ended", map[string]any{"password": c.plant("deleted asset")})
	things.tell(upsert(leaky), upsert(thing("plain", map[string]any{"text": "nothing secret"})), upsert(ended), fake.Entry{Delete: "ended"})
	event := newScope(t, dir, "events")
	event.tell(fake.Entry{Event: fakeEvent(c)})
	failing := newScope(t, dir, "failing")
	failing.list(fake.Listing{Error: "GET https://admin:" + c.plant("error of a collector") + "@api/: 401"})

	token := a.joinToken()
	g.join(token)
	eventually(t, 30*time.Second, "all has arrived", func() error {
		for _, uid := range []string{"leaky", "plain", "ended"} {
			if _, err := a.asset(uid); err != nil {
				return err
			}
		}
		found := countTypes(a.assets())
		if iface != "" && (found["host.network.Interface"] == 0 || found["host.storage.Filesystem"] == 0) {
			return fmt.Errorf("there are only %v", found)
		}
		if n, err := g.metric(`reeve_agent_acknowledged_record{class="events"}`); err != nil || n < 2 {
			return fmt.Errorf("%v events are acknowledged (%v)", n, err) //nolint:errorlint // there may be none
		}
		return nil
	})
	// A change too, so that there is a version that came from a comparison.
	leaky.Status = "failed again: secret=" + c.plant("changed status")
	things.tell(upsert(leaky))
	eventually(t, 30*time.Second, "the change has arrived", func() error {
		if n := len(a.changes("leaky")); n != 2 {
			return fmt.Errorf("there are %d versions", n)
		}
		return nil
	})

	// What must be there is there, masked: else nothing of this proves anything.
	asset, err := a.asset("leaky")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "db_password", at(asset.GetDocument().AsMap(), "db_password"), "[redacted]")
	if iface != "" {
		checkMasked(t, a, iface, mountpoint)
	}

	admin, err := os.ReadFile(filepath.Join(a.dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	g.stop()
	a.stop()

	places := 0
	clean := func(place string, text []byte) {
		t.Helper()
		places++
		if found := c.in(text); found != nil {
			t.Errorf("%s: found the %q", place, found)
		}
	}
	spooled, err := g.command("spool", "export")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(spooled, "[redacted]") || !strings.Contains(spooled, "nothing secret") {
		t.Error("the exported spool has not what was observed")
	}
	clean("the spool", []byte(spooled))
	if n := lastSeen(t, g, clean); n < 2 {
		t.Errorf("last seen has %d assets", n)
	}
	for _, root := range []string{g.dir, a.dir} {
		eachFile(t, root, clean)
	}
	for _, p := range []*process{g.process, a.process} {
		log, err := os.ReadFile(p.logFile)
		if err != nil {
			t.Fatal(err)
		}
		clean("the log of the "+p.name, log)
		for what, secret := range map[string]string{"join token": token, "admin's token": strings.TrimSpace(string(admin))} {
			if bytes.Contains(log, []byte(secret)) {
				t.Errorf("the log of the %s has the %s in it", p.name, what)
			}
		}
	}
	tables := searchWarehouse(t, openWarehouse(a), c.in, "asset", "asset_version", "event")
	t.Logf("%d canaries, looked for in %d files and documents and in the tables %v", len(c.where), places, tables)
}

// plantInHost adds an interface and a mount with secrets in them.
func plantInHost(t *testing.T, c *canaries) (iface, mountpoint string) {
	t.Helper()
	iface, _ = addVeth(t)
	ip(t, "link", "set", iface, "alias", "password="+c.plant("alias of an interface"))
	mountpoint = t.TempDir()
	source := "https://reader:" + c.plant("source of a mount") + "@files.example.org/share"
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", source, mountpoint).CombinedOutput(); err != nil {
		t.Logf("nothing is planted in a mount: %v: %s", err, out)
		return iface, ""
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mountpoint).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return iface, mountpoint
}

func checkMasked(t *testing.T, a *aggregator, iface, mountpoint string) {
	t.Helper()
	seen := 0
	for _, asset := range a.assets("--full") {
		doc := asset.GetDocument().AsMap()
		switch asset.GetName() {
		case iface:
			seen++
			same(t, "alias", doc["alias"], "password=[redacted]")
		case mountpoint:
			seen++
			same(t, "device", doc["device"], "https://reader:[redacted]@files.example.org/share")
		}
	}
	want := 2
	if mountpoint == "" {
		want = 1
	}
	if seen != want {
		t.Errorf("%d of the %d facts with a secret in them have arrived", seen, want)
	}
}

// lastSeen looks through what an agent last saw, decoded.
func lastSeen(t *testing.T, g *agent, clean func(string, []byte)) (assets int) {
	t.Helper()
	seen, err := lastseen.Open(filepath.Join(g.dir, "last-seen"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(seen.Assets(func(v *wirev1.AssetVersion) error {
		assets++
		rest, err := protojson.Marshal(v)
		clean("last seen, "+v.GetUid(), slices.Concat(v.GetDocument(), rest))
		return err
	}), seen.Close()); err != nil {
		t.Fatal(err)
	}
	return assets
}

// eachFile looks through the files of a program as they are.
func eachFile(t *testing.T, root string, clean func(string, []byte)) {
	t.Helper()
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(filepath.Dir(root), path)
		clean(name, data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// searchWarehouse looks through every column of every row of every table. Some of
// them must have a masked secret.
func searchWarehouse(t *testing.T, db driver.Conn, in func([]byte) []string, masks ...string) []string {
	t.Helper()
	var tables []struct {
		Name string `ch:"name"`
	}
	if err := db.Select(t.Context(), &tables, "SELECT name FROM system.tables WHERE database = 'reeve' ORDER BY name"); err != nil {
		t.Fatal(err)
	}
	var summary []string
	for _, table := range tables {
		var rows []struct {
			Row string `ch:"row"`
		}
		if err := db.Select(t.Context(), &rows, fmt.Sprintf("SELECT formatRow('JSONEachRow', *) AS row FROM reeve.`%s`",
			table.Name)); err != nil {
			t.Fatalf("table %s: %v", table.Name, err)
		}
		masked := 0
		for _, row := range rows {
			if found := in([]byte(row.Row)); found != nil {
				t.Errorf("table %s: found the %q in %.300s", table.Name, found, row.Row)
			}
			if strings.Contains(row.Row, "[redacted]") {
				masked++
			}
		}
		if masked == 0 && slices.Contains(masks, table.Name) {
			t.Errorf("table %s has no row with a masked secret in it", table.Name)
		}
		summary = append(summary, fmt.Sprintf("%s (%d rows, %d masked)", table.Name, len(rows), masked))
	}
	return summary
}
