package host

import (
	"errors"
	"regexp"
	"strings"
)

// machineIDPattern is that of machine-id(5).
var machineIDPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// errNoIdentity says how to give a machine an identity, since without one
// nothing of it can be told apart from another machine's.
var errNoIdentity = errors.New("this machine has no identity: /etc/machine-id, /var/lib/dbus/machine-id and the DMI product UUID " +
	"are all missing, unreadable or placeholders; run systemd-machine-id-setup, or in a container mount the machine's /etc/machine-id, " +
	"or set the option id")

// identify returns the machine's uid and where it comes from.
//
// It is read anew for each sweep: it costs one small file, and a machine that
// was cloned gets its own id while it runs.
func (c *collector) identify() (id, source string, err error) {
	if c.opts.ID != "" {
		return strings.ToLower(c.opts.ID), "option id", nil
	}
	if id, file := c.machineID(); id != "" {
		return id, file, nil
	}
	if id := strings.ToLower(c.dmi().System.UUID); id != "" {
		return id, "DMI product UUID", nil
	}
	return "", "", errNoIdentity
}

// machineID reads the machine id as kubelet does, so that both say the same.
func (c *collector) machineID() (id, file string) {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		// While a machine boots for the first time the file says so in words, and an
		// image may have been made with anything in it.
		id := strings.ReplaceAll(strings.ToLower(c.tree.text(file)), "-", "")
		if machineIDPattern.MatchString(id) && strings.Trim(id, id[:1]) != "" {
			return id, file
		}
	}
	return "", ""
}
