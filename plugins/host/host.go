// Package host observes the Linux machine that it runs on: the machine itself,
// its block devices, partitions and filesystems, its network interfaces and
// routes, and its systemd services.
//
// It reads what the kernel and systemd publish (procfs, sysfs, the udev
// database, rtnetlink, D-Bus) and runs no other program. It does not need root:
// what only root may read, such as a serial number, is then left out.
//
// The machine's uid is its machine-id(5), so that it meets what a Kubernetes
// node says of itself. Everything else on the machine has the uid
// <machine>/<kind>/<natural key>.
package host

import (
	"github.com/vishvananda/netns"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// Plugin is the host plugin.
var Plugin plugin.Plugin = hostPlugin{}

type hostPlugin struct{}

// Describe implements [plugin.Plugin].
func (hostPlugin) Describe() plugin.Description {
	return plugin.Description{
		Name:      "host",
		Summary:   "This Linux machine: system, storage, network and systemd services.",
		Stability: plugin.Beta,
		Types:     types(),
		Options:   optionsSchema,
	}
}

// New implements [plugin.Plugin].
func (hostPlugin) New(cfg plugin.Config) (plugin.Collector, error) {
	opts, err := parseOptions(cfg.Options)
	if err != nil {
		return nil, err
	}
	if err := rejectCredentials(cfg.Credentials); err != nil {
		return nil, err
	}
	return newCollector(cfg.Logger, opts, netns.None()), nil
}
