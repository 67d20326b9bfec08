package host

import (
	"context"
	"fmt"
	"os"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
)

// Verify implements [plugin.Collector]: it reads each source once.
func (c *collector) Verify(ctx context.Context) ([]plugin.Check, error) {
	id, source, err := c.identify()
	checks := []plugin.Check{{Subject: "machine id", Err: err}}
	if err == nil {
		checks[0].Detail = fmt.Sprintf("%s (%s)", id, source)
	}
	for _, check := range []struct {
		subject string
		run     func(context.Context) (string, error)
	}{
		{"system", c.verifySystem},
		{"block devices", c.verifyBlock},
		{"mounts", c.verifyMounts},
		{"netlink", c.verifyNetwork},
		{"systemd", c.verifySystemd},
	} {
		detail, err := check.run(ctx)
		checks = append(checks, plugin.Check{Subject: check.subject, Err: err, Detail: detail})
	}
	return checks, ctx.Err()
}

func (c *collector) verifySystem(ctx context.Context) (string, error) {
	obs, err := c.observeMachine(ctx, "verify")
	if err != nil {
		return "", err
	}
	detail := obs.Name + ", " + c.operatingSystem().Description
	if os.Geteuid() != 0 {
		detail += " (not root: serial numbers are left out)"
	}
	return detail, nil
}

func (c *collector) verifyBlock(context.Context) (string, error) {
	devices, odd, err := c.listBlock()
	return fmt.Sprintf("%d devices and partitions", len(devices)) + unreadable(odd), err
}

func (c *collector) verifyMounts(context.Context) (string, error) {
	mounts, odd, err := c.listMounts()
	return fmt.Sprintf("%d filesystems", len(mounts)) + unreadable(odd), err
}

// unreadable says how much of a listing cannot be read.
func unreadable(odd []unread) string {
	if len(odd) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more cannot be read: %v", len(odd), odd[0].why)
}

func (c *collector) verifyNetwork(ctx context.Context) (string, error) {
	n, err := c.listNetwork(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d interfaces, %d routes", len(n.links), len(n.routes)), nil
}

func (c *collector) verifySystemd(ctx context.Context) (string, error) {
	booted, err := systemd.Booted(c.tree)
	if err != nil {
		return "", err
	}
	if !booted {
		return "this machine does not run systemd: services are not collected", nil
	}
	conn, err := systemd.Dial(ctx, c.tree)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	version, err := conn.Version(ctx)
	return "systemd " + version, err
}
