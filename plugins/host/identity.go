package host

import (
	"errors"
	"fmt"
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

// identifyAs returns the machine's uid. It is read anew each time: it costs one small
// file, and a machine that was cloned gets its own id while it runs. Where it is not
// what it was when the agent began, the machine is another one, or its file cannot be read for now:
// what is known of the one is not to be taken for gone.
func (c *collector) identifyAs(local string) (string, error) {
	id, source, err := c.identify()
	if err == nil && local != "" && id != local {
		err = fmt.Errorf("this machine is %s now, by its %s, and was %s when the agent began: start the agent again if that is meant", id, source,
			local)
	}
	return id, err
}

// identify returns the machine's uid and where it comes from.
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
		id := strings.ReplaceAll(strings.ToLower(c.tree.Text(file)), "-", "")
		if machineIDPattern.MatchString(id) && strings.Trim(id, id[:1]) != "" {
			return id, file
		}
	}
	return "", ""
}
