// Package layouts has the layouts of what OpenStack's services list: a file for
// each asset type, named after it, and one for those that have none.
package layouts

import (
	"embed"
	"encoding/json"
	"strings"
	"sync"

	"github.com/reeve-cloud/reeve/pkg/layout"
)

//go:embed *.json
var files embed.FS

const (
	prefix  = "openstack."
	generic = "generic"
)

// known are the files by name, without what is there for people only.
var known = sync.OnceValue(func() map[string]json.RawMessage {
	all, err := layout.Files(files)
	if err != nil {
		panic(err) // they are part of the program, and tested
	}
	return all
})

// For returns the layout of an asset type.
func For(typeName string) json.RawMessage {
	if l, ok := known()[strings.TrimPrefix(typeName, prefix)]; ok {
		return l
	}
	return known()[generic]
}
