package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
)

// shared is what all projects use.
type shared struct {
	flavors, images []string
	public          string
	roles           map[string]string
}

// A public key that belongs to nobody: the private half was never kept.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f lab"

func seedShared(ctx context.Context, c *cloud) (*shared, error) {
	s := &shared{roles: map[string]string{}}
	roles, err := list(ctx, c.identity, "roles")
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		s.roles[r["name"].(string)] = id(r)
	}
	if err := seedFlavors(ctx, c, s); err != nil {
		return nil, err
	}
	if err := seedAggregates(ctx, c); err != nil {
		return nil, err
	}
	if err := seedImages(ctx, c, s); err != nil {
		return nil, err
	}
	s.public, err = ensure(ctx, c.network, "networks", "network", "public", obj{
		"router:external": true, "shared": false,
		"provider:network_type": "flat", "provider:physical_network": "physnet1"})
	if err != nil {
		return nil, err
	}
	_, err = ensure(ctx, c.network, "subnets", "subnet", "public-v4", obj{"network_id": s.public,
		"ip_version": 4, "cidr": "198.18.0.0/16", "enable_dhcp": false})
	return s, err
}

func seedFlavors(ctx context.Context, c *cloud, s *shared) error {
	for _, f := range []struct {
		name             string
		cpus, ram, disk  int
		class, perfLevel string
		private          bool
	}{
		{"m1.small", 1, 2048, 20, "general", "standard", false},
		{"m1.medium", 2, 4096, 40, "general", "standard", false},
		{"c1.large", 4, 8192, 40, "compute", "high", false},
		{"r1.medium", 2, 16384, 40, "memory", "standard", false},
		{"m1.xlarge", 8, 16384, 160, "general", "standard", false},
		{"g1.private", 8, 32768, 80, "gpu", "high", true},
	} {
		_, err := call(ctx, c.compute, "POST", "flavors", obj{"flavor": obj{"id": "lab-" + f.name,
			"name": f.name, "vcpus": f.cpus, "ram": f.ram, "disk": f.disk, "description": f.class + " purpose",
			"os-flavor-access:is_public": !f.private}})
		if errors.Is(err, errConflict) {
			err = nil
		} else if err == nil {
			_, err = call(ctx, c.compute, "POST", "flavors/lab-"+f.name+"/os-extra_specs",
				obj{"extra_specs": obj{"quota:class": f.class, "lab:performance": f.perfLevel}})
		}
		if err != nil {
			return err
		}
		if !f.private {
			s.flavors = append(s.flavors, "lab-"+f.name)
		}
	}
	return nil
}

// seedAggregates makes two aggregates, one of which is an availability zone. They
// have to be there before the servers are: hosts with servers change no zone.
func seedAggregates(ctx context.Context, c *cloud) error {
	services, err := list(ctx, c.compute, "os-services?binary=nova-compute")
	if err != nil {
		return err
	}
	var hosts []string
	for _, s := range services {
		hosts = append(hosts, s["host"].(string))
	}
	if len(hosts) == 0 {
		return errors.New("there is no nova-compute")
	}
	have, err := list(ctx, c.compute, "os-aggregates")
	if err != nil {
		return err
	}
	for _, a := range []struct {
		name, zone string
		hosts      []string
		metadata   obj
	}{
		{"fast-disk", "", hosts, obj{"ssd": "true", "rack": "r1"}},
		{"zone-b", "zone-b", hosts[len(hosts)-1:], obj{"floor": "2", "owner": "infra"}},
	} {
		if find(have, "name", a.name) != nil {
			continue
		}
		body := obj{"name": a.name}
		if a.zone != "" {
			body["availability_zone"] = a.zone
		}
		made, err := call(ctx, c.compute, "POST", "os-aggregates", obj{"aggregate": body})
		if err != nil {
			return err
		}
		action := fmt.Sprintf("os-aggregates/%v/action", made["id"])
		for _, host := range a.hosts {
			if err := again(ctx, c.compute, "POST", action, obj{"add_host": obj{"host": host}}); err != nil {
				return err
			}
		}
		if _, err := call(ctx, c.compute, "POST", action, obj{"set_metadata": obj{"metadata": a.metadata}}); err != nil {
			return err
		}
	}
	return nil
}

func find(all []obj, field, value string) obj {
	for _, o := range all {
		if o[field] == value {
			return o
		}
	}
	return nil
}

func seedImages(ctx context.Context, c *cloud, s *shared) error {
	for _, im := range []struct{ name, distro, version, visibility string }{
		{"debian-12", "debian", "12", "public"},
		{"ubuntu-22.04", "ubuntu", "22.04", "public"},
		{"windows-2022", "windows", "2022", "public"},
		{"golden-shared", "debian", "12", "shared"},
		{"appliance-community", "arch", "2022", "community"},
		{"build-private", "debian", "13", "private"},
	} {
		image, err := ensure(ctx, c.image, "images", "", im.name, obj{"visibility": im.visibility,
			"disk_format": "raw", "container_format": "bare", "min_disk": 5, "min_ram": 512,
			"os_distro": im.distro, "os_version": im.version, "hw_disk_bus": "virtio",
			"tags": []string{"golden"}})
		if err != nil {
			return err
		}
		if err := upload(ctx, c, image); err != nil {
			return err
		}
		if im.visibility == "public" {
			s.images = append(s.images, image)
		}
	}
	// One that nothing was ever uploaded to.
	_, err := ensure(ctx, c.image, "images", "", "never-uploaded", obj{"visibility": "private",
		"disk_format": "qcow2", "container_format": "bare", "os_hidden": true})
	return err
}

// upload gives an image its data, unless it has it.
func upload(ctx context.Context, c *cloud, image string) error {
	got, err := call(ctx, c.image, "GET", "images/"+image, nil)
	if err != nil || got["status"] != "queued" {
		return err
	}
	_, err = c.image.Request(ctx, "PUT", c.image.ServiceURL("images", image, "file"), &gophercloud.RequestOpts{
		RawBody:     bytes.NewReader(make([]byte, 1<<20)),
		MoreHeaders: map[string]string{"Content-Type": "application/octet-stream"},
		OkCodes:     []int{http.StatusNoContent},
	})
	return err
}
