package kubernetes

import (
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/pkg/plugin/plugintest"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/layouts"
	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

func TestNoVolatileColumns(t *testing.T) {
	var types []plugin.Type
	for _, k := range []struct {
		name string
		kind object.Kind
	}{
		{"kubernetes.coordination.k8s.io.Lease", object.Kind{Group: "coordination.k8s.io", Resource: "leases"}},
		{"kubernetes.autoscaling.HorizontalPodAutoscaler", object.Kind{Group: "autoscaling", Resource: "horizontalpodautoscalers"}},
		{"kubernetes.core.Node", object.Kind{Group: "core", Resource: "nodes"}},
		{"kubernetes.core.Pod", object.Kind{Group: "core", Resource: "pods"}},
	} {
		o := &options{}
		_, shown := layouts.For(k.name)
		types = append(types, plugin.Type{Name: k.name, Layout: shown, Volatile: o.volatile(k.kind)})
	}
	if len(types[0].Volatile) <= len(types[3].Volatile) {
		t.Fatalf("leases have no volatile paths of their own: %q", types[0].Volatile)
	}
	plugintest.NoVolatileColumns(t, types)
}
