package session_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/hlc"
	"github.com/reeve-cloud/reeve/plugins/fake"
	"github.com/reeve-cloud/reeve/test/centre"
	"github.com/reeve-cloud/reeve/tui/cli"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// TestUntakenIsShown: what cannot be taken of a scope, by the agent or at the centre, is
// shown with the scope, until it can be taken or is gone; and the rest arrives.
func TestUntakenIsShown(t *testing.T) {
	c := centre.New(t)
	a := newWholeAgent(t, c)
	keys := make(map[string]int)
	for i := range 40_000 {
		keys[fmt.Sprintf("k%d", i)] = i
	}
	wide, err := json.Marshal(map[string]any{"spec": keys})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := json.Marshal(map[string]any{"lines": strings.SplitAfter(strings.Repeat("many words in a line\n", 66_000), "\n")})
	if err != nil {
		t.Fatal(err)
	}
	nested := func(n int) string { return strings.Repeat(`{"in":`, n) + "1" + strings.Repeat("}", n) }
	list := func(unread []string, documents map[string]string) {
		t.Helper()
		l := fake.Listing{SweepEvery: "100ms", Unread: unread}
		for uid, doc := range documents {
			l.Assets = append(l.Assets, fake.Asset{UID: uid, Document: json.RawMessage(doc)})
		}
		data, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		a.write("s", data)
	}
	is := func(what string, assets, untaken int64, why string) {
		t.Helper()
		centre.WaitFor(t, what, func() bool {
			s := scopes(t, c)["f/s"]
			return s.GetAssets() == assets && s.GetUntaken() == untaken && strings.Contains(s.GetUntakenReason(), why) &&
				(s.GetUntakenTime() == nil) == (untaken == 0)
		})
	}
	documents := map[string]string{"sound": `{}`, "1.4-MB": string(lines), "40000-keys": string(wide), "deep": nested(140), "deeper": nested(1000)}
	list(nil, documents)
	a.start()
	is("two are too deep", 3, 2, "nested deeper")
	if there := estateOf(t, c); !there["1.4-MB"] || !there["40000-keys"] {
		t.Errorf("there is %v", there)
	}
	list([]string{"", ""}, documents)
	is("and two cannot be read", 3, 4, "")
	documents["deep"] = nested(100)
	delete(documents, "deeper")
	list(nil, documents)
	is("it is mended", 4, 0, "")

	// A version that the warehouse does not take, and then one that it does.
	now := hlc.FromTime(time.Now())
	origin := warehouse.Origin{Site: "west", AgentID: a.id.Agent.ID, SpoolID: "s", Seq: 1}
	letter := func(uid string, version hlc.Stamp) warehouse.DeadLetter {
		return warehouse.DeadLetter{Origin: origin, Class: "assets", Records: 1, Reason: "the warehouse refuses it", Scope: "f/s",
			Type: fake.TypeThing, UID: uid, Version: uint64(version)}
	}
	if err := c.Store.Write(t.Context(), &warehouse.Group{ID: uuid.New(), ReceivedAt: time.Now().UTC(), DeadLetters: []warehouse.DeadLetter{
		letter("sound", now), letter("sound", now), letter("never", now), letter("deep", 1), {Origin: origin, Class: "assets", Records: 9,
			Reason: "a whole batch"},
	}}); err != nil {
		t.Fatal(err)
	}
	is("two are dead letters", 4, 2, "the warehouse refuses it")
	token := filepath.Join(t.TempDir(), "config.yaml")
	var out, errs bytes.Buffer
	system := verb.System{Stdin: strings.NewReader(c.AdminToken()), Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Now: time.Now,
		Getenv: func(name string) string {
			if name == "REEVE_CONFIG" {
				return token
			}
			return os.Getenv(name)
		}}
	for _, args := range [][]string{{"login", c.Address, "--ca-hash", c.CA.Pin().String()}, {"get", "scopes", "-o", "wide"}} {
		if code := cli.Run(t.Context(), args, system); code != 0 {
			t.Fatalf("%q exits with %d: %s", args, code, errs.String())
		}
	}
	if shown := out.String(); !strings.Contains(shown, "UNTAKEN") || !strings.Contains(shown, "the warehouse refuses it") {
		t.Errorf("it is shown:\n%s", shown)
	}
	documents["sound"] = `{"again":true}`
	documents["never"] = `{}`
	list(nil, documents)
	is("they were taken", 5, 0, "")
}
