package host

import (
	"errors"
	"strings"
)

// errNoIdentity says how to give a machine an identity, since without one
// nothing of it can be told apart from another machine's.
var errNoIdentity = errors.New("this machine has no identity: /etc/machine-id, /var/lib/dbus/machine-id and the DMI product UUID " +
	"are all missing or unreadable; run systemd-machine-id-setup, or in a container mount the machine's /etc/machine-id, " +
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
		id := strings.ToLower(c.tree.text(file))
		// While a machine boots for the first time the file says so in words.
		if id != "" && id != "uninitialized" && idPattern.MatchString(id) {
			return id, file
		}
	}
	return "", ""
}
