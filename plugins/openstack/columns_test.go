package openstack

import (
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
)

func TestNoVolatileColumns(t *testing.T) {
	plugintest.NoVolatileColumns(t, Plugin.Describe().Types)
}
