package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
)

// TestOddElements: one element of a list that cannot be read costs itself, and
// nothing is taken for gone because of it.
func TestOddElements(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["network"] = "/neutron"
	e.on("/neutron/v2.0/quotas", 200, object{"quotas": []object{}})
	e.on("/neutron/v2.0/networks", 200, object{"networks": things(nil, "a", "b", "c")})
	c := e.collector("network/networks")
	s.sweep(c)
	for _, odd := range []string{`null`, `7`, `"b"`, `[]`, `{}`, `{"id": null, "name": "b"}`, `{"id": {}}`, `{"id": []}`} {
		e.on("/neutron/v2.0/networks", 200, fmt.Sprintf(`{"networks": [{"id": "a", "name": "changed by %d"}, %s, {"id": "c"}]}`, len(odd), odd))
		if _, errs := s.sweep(c); len(errs) > 0 {
			t.Errorf("%s: %v", odd, errs)
		}
		out := s.of("west/network/networks")
		if o, _ := out.Get("a"); out.UIDs() != "a b c" || o.Name != fmt.Sprintf("changed by %d", len(odd)) {
			t.Errorf("%s: there is %q; a is %q", odd, out.UIDs(), o.Name)
		}
	}
	if got := fmt.Sprint(s.told("west/network/networks")); got != "[odd kept]" {
		t.Errorf("told was %s", got)
	}
	e.on("/neutron/v2.0/networks", 200, object{"networks": things(nil, "a", "c")})
	if s.sweep(c); s.state() != "west/network/networks: a c deleted b" {
		t.Error(s.state())
	}
}

// TestTwinServices: C07: two services of one name are one asset, and no news.
func TestTwinServices(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"] = "/nova/v2.1"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	twin := func(id, state string) object {
		return object{"id": id, "binary": "nova-conductor", "host": "ctl1", "state": state, "status": "enabled"}
	}
	c := e.collector("compute/services")
	for i := range 4 {
		list := []object{twin("1", "up"), twin("2", "down")}
		if i%2 == 1 {
			slices.Reverse(list)
		}
		e.on("/nova/v2.1/os-services", 200, object{"services": list})
		if _, errs := s.sweep(c); len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	out := s.of("west/compute/services")
	if all := out.All(); len(all) != 1 || all[0].Status != "up" ||
		!strings.Contains(string(all[0].Document), `"twins":[{"id":"2","status":"down"}]`) || len(out.Events()) != 0 {
		t.Errorf("there is %+v; told was %+v", all, out.Events())
	}
}

// TestFlavorsByID: C17: older services name a flavor by its id.
func TestFlavorsByID(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"] = "/nova/v2.1"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.38", "min_version": "2.1"}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	list := []object{server("a"), server("b"), server("c")}
	for i, id := range []string{"f1", "f1", "deleted"} {
		list[i]["flavor"] = object{"id": id}
	}
	e.on("/nova/v2.1/servers/detail", 200, object{"servers": list})
	e.on("/nova/v2.1/flavors/detail", 200, object{"flavors": []object{{"id": "f1", "name": "small", "vcpus": "2", "ram": 512, "disk": 1}}})
	if _, errs := s.sweep(e.collector("compute/servers")); len(errs) > 0 {
		t.Fatal(errs)
	}
	o, _ := s.of("west/compute/servers").Get("b")
	flavor := plugin.Key{Type: "openstack.compute.Flavor", UID: "identity-1/west/flavor/small"}
	if !slices.ContainsFunc(o.Relations, func(r plugin.Relation) bool { return r.To == flavor }) ||
		!strings.Contains(string(o.Document), `"memory":536870912`) {
		t.Errorf("the relations are %+v; %s", o.Relations, o.Document)
	}
	n := 0
	for _, uri := range e.requests() {
		if strings.Contains(uri, "/flavors/detail") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the flavors were listed %d times", n)
	}
}

// TestFaultOfOne: Nova lists no reason for servers that never found a host, and tells it
// of one. What it does not tell of one is left out.
func TestFaultOfOne(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"] = "/nova/v2.1"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	list := []object{server("runs"), server("told"), server("homeless"), server("reset"), server("gone")}
	for _, broken := range list[1:] {
		broken["status"] = "ERROR"
	}
	list[1]["fault"] = object{"message": "the disk is full"}
	e.on("/nova/v2.1/servers/detail", 200, object{"servers": list})
	e.on("/nova/v2.1/servers/homeless", 200, object{"server": object{"id": "homeless", "fault": object{"message": "No valid host was found."}}})
	e.on("/nova/v2.1/servers/reset", 200, object{"server": object{"id": "reset"}})
	e.on("/nova/v2.1/servers/gone", 404, object{"itemNotFound": object{"code": 404, "message": "Instance gone could not be found."}})
	if _, errs := s.sweep(e.collector("compute/servers")); len(errs) > 0 {
		t.Fatal(errs)
	}
	for id, want := range map[string]string{"runs": "", "told": "the disk is full", "homeless": "No valid host was found.", "reset": "", "gone": ""} {
		o, ok := s.of("west/compute/servers").Get(id)
		var doc struct{ Derived struct{ Fault string } }
		if err := json.Unmarshal(o.Document, &doc); !ok || err != nil || doc.Derived.Fault != want {
			t.Errorf("%s: %q, want %q (%v, %v)", id, doc.Derived.Fault, want, ok, err)
		}
	}
	for _, uri := range e.requests() {
		if strings.Contains(uri, "/servers/runs") || strings.Contains(uri, "/servers/told") {
			t.Errorf("asked for %s, which there is no need for", uri)
		}
	}
}

// TestFaultsAreNotToBeHad: servers whose faults cannot be had now are listed all the same, with the
// faults of before, and a service that has too much to do is not asked for each of them.
func TestFaultsAreNotToBeHad(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"] = "/nova/v2.1"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	known := server("known")
	known["status"] = "ERROR"
	e.on("/nova/v2.1/servers/known", 200, object{"server": object{"id": "known", "fault": object{"message": "No valid host was found."}}})
	e.on("/nova/v2.1/servers/detail", 200, object{"servers": []object{known}})
	c := e.collector("compute/servers")
	s.sweep(c)
	list := []object{known}
	for n := range 20 {
		id := fmt.Sprint("new-", n)
		broken := server(id)
		broken["status"] = "ERROR"
		list = append(list, broken)
		e.on("/nova/v2.1/servers/"+id, 503, object{"error": object{"code": 503, "message": "Service Unavailable"}})
	}
	e.on("/nova/v2.1/servers/detail", 200, object{"servers": list})
	if _, errs := s.sweep(c); len(errs) > 0 {
		t.Fatal(errs)
	}
	if o, ok := s.of("west/compute/servers").Get("known"); !ok || !strings.Contains(string(o.Document), "No valid host") {
		t.Errorf("%v: %s", ok, o.Document)
	}
	if _, ok := s.of("west/compute/servers").Get("new-19"); !ok {
		t.Error("a server whose fault cannot be had is missing")
	}
	asked := make(map[string]bool)
	for _, uri := range e.requests() {
		if strings.Contains(uri, "/servers/new-") {
			asked[uri] = true
		}
	}
	if len(asked) > 1 {
		t.Errorf("%d servers were asked for their faults though there is no answer", len(asked))
	}
}

// TestOneServiceRefuses: C31: a service that takes no token is one source that
// fails, and not the credential.
func TestOneServiceRefuses(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["network"], e.catalog["image"] = "/neutron", "/glance"
	e.on("/neutron/v2.0/networks", 401, object{"error": object{"code": 401, "message": "The request you have made requires authentication."}})
	e.on("/glance/v2/images", 200, object{"images": things(nil, "i")})
	_, errs := s.sweep(e.collector("network/networks", "image/images"))
	var source *plugin.SourceError
	if err := errs["west/network/networks"]; len(errs) != 1 || !errors.As(err, &source) || source.Source != "network in west" ||
		strings.Contains(err.Error(), "the credential was refused") {
		t.Errorf("%v", errs)
	}
	if s.of("west/image/images").UIDs() != "i" {
		t.Error("there is no image")
	}
}

// TestExchangedCredentials: another clouds.yaml is read when it is there.
func TestExchangedCredentials(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["image"] = "/glance"
	e.on("/glance/v2/images", 200, object{"images": things(nil, "i")})
	c := e.collector("image/images")
	s.sweep(c)
	other := newEstate(t)
	other.catalog["image"] = "/glance"
	other.on("/glance/v2/images", 200, object{"images": things(nil, "i", "j")})
	write := func(url string) {
		t.Helper()
		if err := writeFile(c.opts.CloudsFile, fmt.Sprintf(cloudsYAML, url)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(c.opts.CloudsFile, "clouds: {test: "); err != nil {
		t.Fatal(err)
	}
	if _, errs := s.sweep(c); len(errs) > 0 {
		t.Errorf("half a file: %v", errs)
	}
	write(other.url)
	if _, errs := s.sweep(c); len(errs) > 0 || s.of("west/image/images").UIDs() != "i j" {
		t.Errorf("%v: %s", errs, s.state())
	}
}

// TestProxyInFrontOfNova: a proxy that says 404 to everything has no key pairs to
// delete.
func TestProxyInFrontOfNova(t *testing.T) {
	s := newScript(t)
	s.roles = []string{"member"}
	down := false
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if down {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(404)
			_, _ = w.Write([]byte("<html><h1>404 Not Found</h1>haproxy</html>"))
			return true
		}
		if !strings.HasSuffix(r.URL.Path, "/os-keypairs") {
			return false
		}
		list := []any{}
		if r.URL.Query().Get("marker") == "" {
			list = append(list, object{"keypair": object{"name": "k1", "fingerprint": "x", "type": "ssh"}})
		}
		reply(w, 200, object{"keypairs": list})
		return true
	}
	c, out := s.collector(""), plugintest.NewSink(t)
	c.opts.Include = []string{"compute/keypairs"}
	sc := scopes(t, c)[0]
	if err := c.Sweep(t.Context(), sc, out); err != nil || len(out.All()) != 1 {
		t.Fatal(out.UIDs(), err)
	}
	s.set(func() { down = true })
	if err := c.Sweep(t.Context(), sc, out); err == nil || len(out.All()) != 1 {
		t.Errorf("there is %q, %v", out.UIDs(), err)
	}
}

// TestNetworkRefuses: what Neutron does not tell is left out of what Nova lists.
func TestNetworkRefuses(t *testing.T) {
	e, s := newEstate(t), newSinks(t)
	e.catalog["compute"], e.catalog["network"] = "/nova/v2.1", "/neutron"
	e.on("/nova/v2.1/", 200, object{"version": object{"id": "v2.1", "version": "2.93", "min_version": "2.1"}})
	e.on("/nova/v2.1/servers", 200, object{"servers": []object{}})
	e.on("/nova/v2.1/servers/detail", 200, object{"servers": []object{server("s1")}})
	e.on("/neutron/v2.0/security-groups", 401,
		object{"error": object{"code": 401, "message": "The request you have made requires authentication."}})
	if _, errs := s.sweep(e.collector("compute/servers")); len(errs) > 0 || s.of("west/compute/servers").UIDs() != "s1" {
		t.Errorf("%v: %s", errs, s.state())
	}
}

// TestDeletedMarker: C29: Nova takes no deleted server for a marker, and the watch
// goes on behind it.
func TestDeletedMarker(t *testing.T) {
	s := newScript(t)
	s.fill(2)
	c, out := s.collector(`,"actions":false`), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	now := func() string { return time.Now().UTC().Format("2006-01-02T15:04:05Z") }
	s.set(func() {
		gone := server("gone")
		gone["status"], gone["updated"] = "DELETED", now()
		s.ended = append(s.ended, gone)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("marker") == "gone" {
				reply(w, 400, object{"badRequest": object{"code": 400, "message": "marker [gone] not found"}})
				return true
			}
			return false
		}
	})
	stop := watched(t, c, sc, out)
	out.Wait("the poll", func() error {
		if got := out.Deleted(); got != "gone" {
			return fmt.Errorf("deleted is %q", got)
		}
		return nil
	})
	s.set(func() {
		made := server("s002")
		made["updated"] = now()
		s.servers = append(s.servers, made)
	})
	out.WaitUIDs("s000 s001 s002")
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

// TestOddActions: what was done to one server, and cannot be told, holds up nothing.
func TestOddActions(t *testing.T) {
	s := newScript(t)
	s.fill(2)
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/s000/os-instance-actions") {
			reply(w, 400, object{"badRequest": object{"code": 400, "message": "no"}})
			return true
		}
		if strings.HasSuffix(r.URL.Path, "/s001/os-instance-actions") {
			_, _ = w.Write([]byte(`{"instanceActions": [null, {"action": 7}, {"action": "stop", "request_id": 1, "start_time": ` +
				`"2026-11-25T10:00:00", "user_id": null}]}`))
			return true
		}
		return false
	}
	c, out := s.collector(""), plugintest.NewSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	stop := watched(t, c, sc, out)
	s.set(func() {
		for _, o := range s.servers {
			o["updated"], o["name"] = time.Now().UTC().Format("2006-01-02T15:04:05Z"), "renamed"
		}
	})
	out.Wait("both", func() error {
		for _, o := range out.All() {
			if o.Name != "renamed" {
				return fmt.Errorf("%s is %s", o.UID, o.Name)
			}
		}
		return nil
	})
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	if !slices.ContainsFunc(out.Events(), func(e plugin.Event) bool { return e.Type == eventPrefix+"server.stop" }) {
		t.Errorf("the events are %+v", out.Events())
	}
}

// TestOddChange: a change of something that is known, and cannot be read, is told: the
// next sweep may be an hour away.
func TestOddChange(t *testing.T) {
	s := newScript(t)
	s.fill(2)
	c, out := s.collector(`,"actions":false`), plugintest.NewTolerantSink(t)
	sc := scope(t, c)
	if err := c.Sweep(t.Context(), sc, out); err != nil {
		t.Fatal(err)
	}
	watched(t, c, sc, out)
	s.set(func() {
		var deep any = "x"
		for range 200 {
			deep = object{"in": deep}
		}
		s.servers[0]["metadata"], s.servers[0]["updated"] = object{"k": deep}, time.Now().UTC().Format("2006-01-02T15:04:05Z")
	})
	told := 0
	out.Wait("it is told", func() error {
		if told += len(out.TakeUnread()) + len(out.TakeRefused()); told == 0 {
			return errors.New("nothing")
		}
		return nil
	})
	if out.UIDs() != "s000 s001" || out.Deleted() != "" {
		t.Errorf("there is %q", out.UIDs())
	}
}
