//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// planted is a made-up secret that the seeder has put into the lab.
type planted struct {
	Canary, Kind, Namespace, Name, Field string
	// Forms are what there is of it to look for, in plain text and in base64.
	Forms []string
	// Packed says that it is in none of these forms there.
	Packed bool
}

func readPlanted(t *testing.T, file string) (list []planted) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(list) < 40 {
		t.Errorf("there are %d canaries, want 40 or more", len(list))
	}
	return list
}

func (p planted) in(text []byte) bool {
	return slices.ContainsFunc(p.Forms, func(form string) bool { return bytes.Contains(text, []byte(form)) })
}

func (p planted) String() string {
	return fmt.Sprintf("%s %s/%s: %s", p.Kind, p.Namespace, p.Name, p.Field)
}

// checkPlanted holds that each made-up secret is where the seeder says it is: else
// finding none elsewhere would mean nothing.
func checkPlanted(t *testing.T, list []planted, objects []byte) {
	t.Helper()
	packed := 0
	for _, p := range list {
		if found := p.in(objects); found == p.Packed {
			t.Errorf("the canary of %s is found: %v, want %v", p, found, !p.Packed)
		}
		if p.Packed {
			packed++
		}
	}
	t.Logf("%d canaries, %d of them compressed", len(list), packed)
}

// lookForPlanted looks for what a seeder planted, as it says in a file, in all that
// an agent and the centre have written. It stops both of them, and returns the
// warehouse, some of whose tables must have masks. The objects of the lab must have
// what was planted.
func lookForPlanted(t *testing.T, file string, objects []byte, a *aggregator, g *agent, masks ...string) driver.Conn {
	t.Helper()
	list := readPlanted(t, file)
	checkPlanted(t, list, objects)
	in := func(text []byte) (found []string) {
		for _, p := range list {
			if p.in(text) {
				found = append(found, p.String())
			}
		}
		return found
	}
	clean := func(place string, text []byte) {
		t.Helper()
		if found := in(text); found != nil {
			t.Errorf("%s: found the canaries of %q", place, found)
		}
	}
	for _, asset := range a.assets("--full", "--state", "active,disconnected,deleted") {
		clean("the API, "+asset.GetUid(), []byte(asset.String()))
	}
	g.stop()
	a.stop()
	spooled, err := g.command("spool", "export")
	if err != nil {
		t.Fatal(err)
	}
	clean("the spool", []byte(spooled))
	lastSeen(t, g, clean)
	eachFile(t, a.dir, clean)
	eachFile(t, g.dir, clean)
	for _, p := range []*process{g.process, a.process} {
		log, err := os.ReadFile(p.logFile)
		if err != nil {
			t.Fatal(err)
		}
		clean("the log of the "+p.name, log)
	}
	db := openWarehouse(a)
	searchWarehouse(t, db, in, masks...)
	return db
}

// objectsOf encodes what a lab's API gives.
func objectsOf[T any](t *testing.T, truth map[string]T) []byte {
	t.Helper()
	var everything bytes.Buffer
	for _, object := range truth {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		everything.Write(raw)
	}
	return everything.Bytes()
}
