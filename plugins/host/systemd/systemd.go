// Package systemd speaks with the service manager over D-Bus: which services there are, what is known of
// each, and what changes.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/reeve-cloud/reeve/plugins/host/tree"
)

// The names by which systemd is reached on D-Bus.
const (
	Name             = "org.freedesktop.systemd1"
	Path             = dbus.ObjectPath("/org/freedesktop/systemd1")
	ManagerInterface = "org.freedesktop.systemd1.Manager"
	UnitPathPrefix   = "/org/freedesktop/systemd1/unit/"
	propertiesGet    = "org.freedesktop.DBus.Properties.GetAll"
)

// callLimit is how long systemd may take for one answer.
const callLimit = 25 * time.Second

// Conn is a connection to the service manager.
//
// It speaks D-Bus by itself and not through go-systemd, which polls where it
// should listen, does not tell that a unit is gone, and does not say when the
// connection broke. The library's own goroutines end when it is closed.
type Conn struct {
	conn    *dbus.Conn
	manager dbus.BusObject
	// Direct says that there is no bus in between.
	Direct bool
}

// Booted is sd_booted(3) of the machine whose files these are.
func Booted(t tree.Tree) (bool, error) {
	_, err := os.Stat(t.Path("run/systemd/system"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for systemd: %w", err)
	}
	return true, nil
}

// Dial connects over the system bus, or for root without one directly.
func Dial(ctx context.Context, t tree.Tree, opts ...dbus.ConnOption) (*Conn, error) {
	s, err := dialBus(ctx, t.Path("run/dbus/system_bus_socket"), false, opts...)
	if err == nil {
		return s, nil
	}
	if os.Geteuid() == 0 {
		direct, directErr := dialBus(ctx, t.Path("run/systemd/private"), true, opts...)
		if directErr == nil {
			return direct, nil
		}
		err = errors.Join(err, directErr)
	}
	return nil, fmt.Errorf("connect to systemd: %w", err)
}

func dialBus(ctx context.Context, socket string, direct bool, opts ...dbus.ConnOption) (*Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	conn, err := dbus.DialUnix(raw.(*net.UnixConn), append(opts, dbus.WithContext(ctx))...)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	// The greeting does not know of contexts.
	_ = raw.SetDeadline(time.Now().Add(callLimit))
	err = conn.Auth(nil)
	if err == nil && direct {
		err = nudge(ctx, conn)
	} else if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet %s: %w", socket, err)
	}
	_ = raw.SetDeadline(time.Time{})
	return &Conn{conn: conn, manager: conn.Object(Name, Path), Direct: direct}, nil
}

// nudge waits until systemd answers on a direct connection. If it happens to
// read the end of the greeting and our first message at once, it forgets about
// the message until more arrives: so more is sent until something comes back.
func nudge(ctx context.Context, conn *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	const most = 10
	answers := make(chan *dbus.Call, most)
	wait := 10 * time.Millisecond
	for range most {
		conn.Object(Name, Path).GoWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0, answers)
		timer := time.NewTimer(wait)
		select {
		case call := <-answers:
			timer.Stop()
			return call.Err
		case <-timer.C:
			wait *= 2
		}
	}
	return errors.New("systemd does not answer")
}

// Close ends the connection. That it is at its end anyway is no error.
func (s *Conn) Close() { s.conn.Close() }

// Context ends with the connection.
func (s *Conn) Context() context.Context { return s.conn.Context() }

// Version is that of systemd, in its own words.
func (s *Conn) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var v dbus.Variant
	err := s.manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, ManagerInterface, "Version").Store(&v)
	if err != nil {
		return "", fmt.Errorf("ask systemd for its version: %w", err)
	}
	version, _ := v.Value().(string)
	return version, nil
}

// Unit is what systemd lists of each unit, in the order of the call.
type Unit struct {
	Name        string
	Description string
	LoadState   string
	ActiveState string
	SubState    string
	Followed    string
	Path        dbus.ObjectPath
	JobID       uint32
	JobType     string
	JobPath     dbus.ObjectPath
}

// Services lists the loaded units of type service. A unit that others only
// mention, and that has no file, is not one.
func (s *Conn) Services(ctx context.Context) ([]Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var all []Unit
	err := s.manager.CallWithContext(ctx, ManagerInterface+".ListUnitsByPatterns", 0, []string{}, []string{"*.service"}).Store(&all)
	if hasName(err, "org.freedesktop.DBus.Error.UnknownMethod") { // before systemd 230
		err = s.manager.CallWithContext(ctx, ManagerInterface+".ListUnits", 0).Store(&all)
	}
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	services := all[:0]
	for _, u := range all {
		if strings.HasSuffix(u.Name, ".service") && u.LoadState != "not-found" {
			services = append(services, u)
		}
	}
	return services, nil
}

// ErrUnitGone means that a unit was unloaded since it was listed.
var ErrUnitGone = errors.New("no such unit")

// Properties asks for all that systemd knows of a unit. An interface without a
// name means all of the unit's interfaces.
func (s *Conn) Properties(ctx context.Context, path dbus.ObjectPath) (map[string]dbus.Variant, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var props map[string]dbus.Variant
	err := s.conn.Object(Name, path).CallWithContext(ctx, propertiesGet, 0, "").Store(&props)
	if hasName(err, "org.freedesktop.DBus.Error.UnknownObject") || hasName(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return nil, ErrUnitGone
	}
	return props, err
}

// Subscribe asks for the signals of units that come, go and change.
func (s *Conn) Subscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if !s.Direct { // without a bus, there is nothing to choose
		for _, match := range [][]dbus.MatchOption{
			{dbus.WithMatchSender(Name), dbus.WithMatchInterface(ManagerInterface)},
			{dbus.WithMatchSender(Name), dbus.WithMatchInterface("org.freedesktop.DBus.Properties"),
				dbus.WithMatchPathNamespace(dbus.ObjectPath(strings.TrimSuffix(UnitPathPrefix, "/")))},
		} {
			if err := s.conn.AddMatchSignalContext(ctx, match...); err != nil {
				return fmt.Errorf("subscribe to units: %w", err)
			}
		}
	}
	if err := s.manager.CallWithContext(ctx, ManagerInterface+".Subscribe", 0).Err; err != nil {
		return fmt.Errorf("subscribe to units: %w", err)
	}
	return nil
}

func hasName(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}
