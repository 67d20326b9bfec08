package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// removeProject deletes a project with all that is in it.
func removeProject(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: labtool delete-project NAME")
	}
	c, err := login(ctx, "", "", "")
	if err != nil {
		return err
	}
	projects, err := list(ctx, c.identity, "projects?name="+url.QueryEscape(args[0]))
	if err != nil {
		return err
	}
	if len(projects) == 0 {
		return fmt.Errorf("there is no project %s", args[0])
	}
	pid := id(projects[0])

	// gone deletes what a listing has until it has nothing, in whole pages.
	gone := func(sc *gophercloud.ServiceClient, listing, path, query string) error {
		var refused atomic.Pointer[error]
		for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
			all, err := list(ctx, sc, listing)
			if err != nil || len(all) == 0 {
				return err
			}
			err = each(ctx, 6, len(all), func(i int) error {
				if all[i]["project_id"] != nil && all[i]["project_id"] != pid {
					return nil
				}
				_, err := call(ctx, sc, "DELETE", path+"/"+id(all[i])+query, nil)
				if err != nil {
					refused.Store(&err)
				}
				if gophercloud.ResponseCodeIs(err, http.StatusNotFound) || errors.Is(err, errConflict) ||
					gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
					err = nil // it is going, or something else has to go first
				}
				return err
			})
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
		}
		if err := refused.Load(); err != nil {
			return fmt.Errorf("%s: something is always left: %w", listing, *err)
		}
		return fmt.Errorf("%s: something is always left", listing)
	}
	of := "project_id=" + pid
	if c.balance != nil {
		if err := gone(c.balance, "lbaas/loadbalancers?"+of, "lbaas/loadbalancers", "?cascade=true"); err != nil {
			return err
		}
	}
	if err := gone(c.compute, "servers?all_tenants=1&limit=200&"+of, "servers", ""); err != nil {
		return err
	}
	if c.volume != nil {
		for _, kind := range []string{"backups", "volume-transfers", "snapshots", "volumes", "groups"} {
			if err := gone(c.volume, kind+"/detail?all_tenants=1&limit=200&"+of, kind, ""); err != nil {
				return err
			}
		}
	}
	extensions, err := list(ctx, c.network, "extensions?fields=alias")
	if err != nil {
		return err
	}
	if err := gone(c.network, "floatingips?"+of, "floatingips", ""); err != nil {
		return err
	}
	if find(extensions, "alias", "trunk") != nil {
		if err := gone(c.network, "trunks?"+of, "trunks", ""); err != nil {
			return err
		}
	}
	routers, err := list(ctx, c.network, "routers?"+of)
	if err != nil {
		return err
	}
	for _, r := range routers {
		ports, err := list(ctx, c.network, "ports?device_owner=network:router_interface&device_id="+id(r))
		if err != nil {
			return err
		}
		for _, p := range ports {
			if _, err := call(ctx, c.network, "PUT", "routers/"+id(r)+"/remove_router_interface", obj{"port_id": id(p)}); err != nil {
				return err
			}
		}
	}
	for _, kind := range []string{"routers", "ports", "networks", "subnetpools", "security-groups"} {
		query := "?" + of
		if kind == "security-groups" {
			// The default one goes with the project, and comes back when looked for.
			groups, err := list(ctx, c.network, kind+query)
			if err != nil {
				return err
			}
			for range 2 { // those that others refer to go second
				for _, g := range groups {
					if err := again(ctx, c.network, "DELETE", kind+"/"+id(g), nil); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
						return err
					}
				}
			}
			continue
		}
		if err := gone(c.network, kind+query, kind, ""); err != nil {
			return err
		}
	}
	if err := gone(c.image, "images?owner="+pid, "images", ""); err != nil {
		return err
	}
	users, err := list(ctx, c.identity, "users?name="+url.QueryEscape(args[0]+"-ops"))
	if err != nil {
		return err
	}
	for _, u := range users {
		if _, err := call(ctx, c.identity, "DELETE", "users/"+id(u), nil); err != nil {
			return err
		}
	}
	_, err = call(ctx, c.identity, "DELETE", "projects/"+pid, nil)
	return err
}
