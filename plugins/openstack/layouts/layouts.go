// Package layouts has the layouts of what OpenStack's services list: a file for
// each asset type, named after it, and one for those that have none.
package layouts

import (
	"bytes"
	"embed"
	"encoding/json"
	"strings"
	"sync"
)

//go:embed *.json
var files embed.FS

const (
	prefix  = "openstack."
	generic = "generic"
)

// known are the files by name, without what is there for people only.
var known = sync.OnceValue(func() map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // it is part of the program
	}
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		var compact bytes.Buffer
		if err == nil {
			err = json.Compact(&compact, text)
		}
		if err != nil {
			panic(err) // it is part of the program, and tested
		}
		m[strings.TrimSuffix(e.Name(), ".json")] = compact.Bytes()
	}
	return m
})

// For returns the layout of an asset type.
func For(typeName string) json.RawMessage {
	if l, ok := known()[strings.TrimPrefix(typeName, prefix)]; ok {
		return l
	}
	return known()[generic]
}
