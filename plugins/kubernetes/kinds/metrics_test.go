package kinds

import (
	"strings"
	"testing"
	"time"

	"github.com/reeve-cloud/reeve/plugins/kubernetes/object"
)

func TestMetrics(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	const head = `{"metadata":{"name":"x","namespace":"a"},"timestamp":"2026-03-01T10:00:30Z","window":"15.3s",`
	for name, test := range map[string]struct {
		document string
		want     Sample
		err      string
	}{
		"pod": {
			document: head + `"containers":[{"name":"app","usage":{"cpu":"1250m","memory":"64Mi"}},{"name":"side","usage":{"cpu":"2500000n",` +
				`"memory":"1024Ki"}}]}`,
			want: Sample{At: at, CPU: 1.2525, Memory: 65 << 20},
		},
		"node":             {document: head + `"usage":{"cpu":"3","memory":"8Gi"}}`, want: Sample{At: at, CPU: 3, Memory: 8 << 30}},
		"idle":             {document: head + `"usage":{"cpu":"0","memory":"0"}}`, want: Sample{At: at}},
		"of one resource":  {document: head + `"containers":[{"name":"app","usage":{"memory":"1Ki"}}]}`, want: Sample{At: at, Memory: 1024}},
		"no time":          {document: `{"metadata":{"name":"x"},"usage":{"cpu":"3"}}`, err: "no timestamp"},
		"no containers":    {document: head + `"containers":[]}`, err: "no usage"},
		"below zero":       {document: head + `"usage":{"cpu":"-1"}}`, err: "below zero"},
		"not a quantity":   {document: head + `"usage":{"cpu":"many"}}`, err: "quantity"},
		"something else":   {document: head + `"usage":"much"}`, err: "not an object"},
		"an odd timestamp": {document: `{"metadata":{"name":"x"},"timestamp":"today","usage":{"cpu":"3"}}`, err: "today"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := object.Read(object.Kind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "PodMetrics", Resource: "pods", Namespaced: true},
				[]byte(test.document))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Metrics(o)
			switch {
			case test.err == "" && (err != nil || got != test.want):
				t.Errorf("%+v, %v, want %+v", got, err, test.want)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%v, want an error with %q", err, test.err)
			}
		})
	}
}
