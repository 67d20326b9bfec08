//go:build fakecollector

package main

import "github.com/reeve-cloud/reeve/plugins/fake"

// Tests build an agent that has the fake collector too, and a clock that they set.
func init() {
	plugins = append(plugins, fake.Plugin{})
	wallClock = fake.Clock
}
