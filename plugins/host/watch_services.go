package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
)

// sweepServices lists systemd's services. Where there certainly is no systemd,
// there certainly are none.
func (c *collector) sweepServices(ctx context.Context, machine string, out plugin.Sink) error {
	booted, err := systemd.Booted(c.tree)
	if err != nil {
		return err
	}
	if !booted {
		return commit(ctx, out, nil)
	}
	s, err := systemd.Dial(ctx, c.tree)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = sweepUnits(ctx, s, machine, out)
	return err
}

// sweep lists all services and returns their names.
func sweepUnits(ctx context.Context, s *systemd.Conn, machine string, out plugin.Sink) (map[string]bool, error) {
	units, err := s.Services(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(units))
	all := make([]plugin.Observation, 0, len(units))
	var odd []unread
	for _, u := range units {
		obs, err := readService(ctx, s, machine, u)
		switch {
		case errors.Is(err, systemd.ErrUnitGone):
			continue
		case ofUnit(err):
			odd = append(odd, unread{key: partKey(machine, typeService, u.Name), why: err})
		case err != nil:
			return nil, err
		default:
			all = append(all, obs)
		}
		names[u.Name] = true
	}
	return names, commit(ctx, out, all, odd...)
}

// ofUnit reports whether an error is systemd's answer to what was asked of one unit.
func ofUnit(err error) bool {
	var answer dbus.Error
	return errors.As(err, &answer)
}

func readService(ctx context.Context, s *systemd.Conn, machine string, u systemd.Unit) (plugin.Observation, error) {
	props, err := s.Properties(ctx, u.Path)
	if err != nil {
		return plugin.Observation{}, fmt.Errorf("read unit %s: %w", u.Name, err)
	}
	return observeService(machine, u, props)
}

// watchServices sweeps, and then asks anew only for the services of which
// systemd says that they changed: to read all properties of a unit costs the
// service manager a millisecond.
func (c *collector) watchServices(ctx context.Context, machine string, out plugin.Sink) error {
	changed := newUnitChanges()
	s, err := systemd.Dial(ctx, c.tree, dbus.WithSignalHandler(changed))
	if err != nil {
		return err
	}
	defer s.Close()
	// Before the first listing, so that no change falls between the two.
	if err := s.Subscribe(ctx); err != nil {
		return err
	}
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	stop := context.AfterFunc(s.Context(), func() {
		if parent.Err() == nil { // otherwise it was closed from here
			cancel(errors.New("systemd closed the connection"))
		}
	})
	defer stop()

	known, err := sweepUnits(ctx, s, machine, out)
	if err != nil {
		return because(ctx, err)
	}
	pace := newBurst()
	for {
		if err := pace.wait(ctx, changed.pending); err != nil {
			return because(ctx, err)
		}
		pace.begin()
		dirty, everything := changed.take()
		if everything {
			known, err = sweepUnits(ctx, s, machine, out)
		} else {
			err = updateServices(ctx, s, machine, out, known, dirty)
		}
		if err != nil {
			return because(ctx, err)
		}
		pace.end()
	}
}

// update applies what changed, and keeps known up to date.
func updateServices(ctx context.Context, s *systemd.Conn, machine string, out plugin.Sink, known map[string]bool, dirty map[string]bool) error {
	units, err := s.Services(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(units))
	var facts []plugin.Fact
	for _, u := range units {
		listed[u.Name] = true
		if known[u.Name] && !dirty[string(u.Path)] {
			continue
		}
		obs, err := readService(ctx, s, machine, u)
		if errors.Is(err, systemd.ErrUnitGone) {
			delete(listed, u.Name)
			continue
		}
		if ofUnit(err) {
			facts = append(facts, plugin.Fact{Unread: &plugin.Unread{Key: partKey(machine, typeService, u.Name), Why: err.Error()}})
			continue
		}
		if err != nil {
			return err
		}
		facts = append(facts, plugin.Fact{Upsert: &obs})
	}
	for name := range known {
		if !listed[name] {
			key := partKey(machine, typeService, name)
			facts = append(facts, plugin.Fact{Delete: &key})
		}
	}
	if len(facts) > 0 {
		if err := out.Apply(ctx, "", facts...); err != nil {
			return err
		}
	}
	clear(known)
	for name := range listed {
		known[name] = true
	}
	return nil
}

// unitChanges gathers from systemd's signals which services to ask for.
type unitChanges struct {
	pending chan struct{}

	mu         sync.Mutex
	dirty      map[string]bool // by object path
	everything bool
}

func newUnitChanges() *unitChanges {
	return &unitChanges{pending: make(chan struct{}, 1), dirty: map[string]bool{}}
}

// DeliverSignal implements [dbus.SignalHandler]. It is called by the reader of
// the connection, so it must not block.
func (c *unitChanges) DeliverSignal(iface, name string, signal *dbus.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case iface == "org.freedesktop.DBus.Properties" && name == "PropertiesChanged":
		if !isServicePath(string(signal.Path)) {
			return
		}
		c.dirty[string(signal.Path)] = true
	case iface == systemd.ManagerInterface && (name == "UnitNew" || name == "UnitRemoved"):
		if len(signal.Body) == 0 {
			return
		}
		if unit, ok := signal.Body[0].(string); !ok || !strings.HasSuffix(unit, ".service") {
			return
		}
	case iface == systemd.ManagerInterface && name == "UnitFilesChanged":
		c.everything = true
	case iface == systemd.ManagerInterface && name == "Reloading":
		// It comes with true when a reload begins, and with false at its end.
		if begins, ok := append(signal.Body, true)[0].(bool); ok && begins {
			return
		}
		c.everything = true
	default:
		return
	}
	poke(c.pending)
}

// isServicePath says that a unit's object path is that of a service: a dot is
// written as _2e.
func isServicePath(path string) bool {
	return strings.HasPrefix(path, systemd.UnitPathPrefix) && strings.HasSuffix(path, "_2eservice")
}

// take returns the object paths that changed since it was last called, or that
// everything may have.
func (c *unitChanges) take() (dirty map[string]bool, everything bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dirty, everything = c.dirty, c.everything
	c.dirty, c.everything = map[string]bool{}, false
	return dirty, everything
}
