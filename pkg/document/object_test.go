package document_test

import (
	stdjson "encoding/json"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/reeve-cloud/reeve/pkg/document"
)

func TestObject(t *testing.T) {
	for _, test := range []struct {
		object document.Object
		want   string
	}{
		{document.Object{{Name: "b", Value: 1}, {Name: "a", Value: document.Object{{Name: "x", Value: 0.25}}},
			{Name: "c", Value: []string{"x"}}}, `{"b":1,"a":{"x":0.25},"c":["x"]}`},
		{nil, `{}`},
	} {
		for name, marshal := range map[string]func() ([]byte, error){
			"json":          func() ([]byte, error) { return json.Marshal(test.object) },
			"encoding/json": func() ([]byte, error) { return stdjson.Marshal(test.object) },
		} {
			if got, err := marshal(); err != nil || string(got) != test.want {
				t.Errorf("%s: %s, %v, want %s", name, got, err, test.want)
			}
		}
	}
}
