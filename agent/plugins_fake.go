//go:build fakecollector

package main

import "github.com/reeve-cloud/reeve/plugins/fake"

// Tests build an agent that has the fake collector too.
func init() { plugins = append(plugins, fake.Plugin{}) }
