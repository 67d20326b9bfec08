// Package openstack observes an OpenStack cloud: what its services list, as
// assets, and what happened to them, as events.
//
// Each listing of each service in each region is a scope. It is swept as a whole
// now and then, which is the truth; between two sweeps, listings that can be asked
// for what has changed are polled, and where the cloud's notifications can be read, they
// say when to look. No object is kept in memory: what was last seen of it lies with
// the agent.
//
// What an element passes through, each in a package of its own:
//
//	cloud    logs in, and lists
//	kinds    what there is to list, and what the elements mean; takes out
//	         what must not leave the site
//	notify   what the cloud says by itself
//	layouts  how consoles show them
//
// A credential may see all of a cloud or one project of it. What a listing covers
// is therefore part of its scope's name: a credential that is given less to see does
// not make the rest look deleted.
package openstack

import (
	"encoding/json"
	"fmt"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/openstack/kinds"
	"github.com/reeve-cloud/reeve/plugins/openstack/layouts"
)

// Plugin is the OpenStack plugin.
var Plugin plugin.Plugin = openstackPlugin{}

type openstackPlugin struct{}

// Describe implements [plugin.Plugin].
func (openstackPlugin) Describe() plugin.Description {
	d := plugin.Description{
		Name:        "openstack",
		Summary:     "An OpenStack cloud: servers, networks, volumes, images, load balancers, projects and what else its services list.",
		Stability:   plugin.Beta,
		Options:     optionsSchema,
		Credentials: credentialsSchema,
	}
	for _, k := range kinds.All() {
		d.Types = append(d.Types, plugin.Type{Name: k.Type, Title: k.Title, Layout: layouts.For(k.Type), Volatile: k.Volatile})
	}
	return d
}

// New implements [plugin.Plugin].
func (openstackPlugin) New(config plugin.Config) (plugin.Collector, error) {
	o := defaults()
	for _, part := range []struct {
		name string
		raw  json.RawMessage
		into any
	}{{"options", config.Options, &o}, {"credentials", config.Credentials, &o.secret}} {
		if len(part.raw) == 0 {
			continue
		}
		if err := json.Unmarshal(part.raw, part.into); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return newCollector(config.Logger, o), nil
}
