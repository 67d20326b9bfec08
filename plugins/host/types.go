package host

import (
	"embed"
	"encoding/json"
	"fmt"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/escape"
)

// The asset types.
const (
	typeMachine     = "host.system.Machine"
	typeService     = "host.system.Service"
	typeBlockDevice = "host.storage.BlockDevice"
	typePartition   = "host.storage.Partition"
	typeFilesystem  = "host.storage.Filesystem"
	typeInterface   = "host.network.Interface"
	typeRoute       = "host.network.Route"
)

// The kinds of relations in use.
const (
	partOf      = "part_of"
	backedBy    = "backed_by"
	memberOf    = "member_of"
	connectedTo = "connected_to"
	uses        = "uses"
)

// layouts are named after their types.
//
//go:embed layouts/*.json
var layouts embed.FS

func types() []plugin.Type {
	list := []plugin.Type{
		{
			Name: typeMachine, Title: "Machine",
			// The boot time is derived from the wall clock, so it moves by a
			// second when that is corrected. The boot id tells a reboot.
			Volatile: []string{"boot.time", "memory.available", "memory.used", "swap.used", "load"},
		},
		{Name: typeBlockDevice, Title: "Block device"},
		{Name: typePartition, Title: "Partition"},
		{Name: typeFilesystem, Title: "Filesystem", Volatile: []string{"usage"}},
		{Name: typeInterface, Title: "Network interface", Volatile: []string{"statistics"}},
		{Name: typeRoute, Title: "Route"},
		{
			Name: typeService, Title: "Service",
			Volatile: []string{"main_pid", "memory.current", "cpu.time", "tasks.current"},
		},
	}
	for i := range list {
		text, err := layouts.ReadFile("layouts/" + list[i].Name + ".json")
		if err != nil {
			panic(err) // it is part of the program, and tested
		}
		list[i].Layout = text
	}
	return list
}

// kindOf is how a type is written inside a uid.
var kindOf = map[string]string{
	typeService:     "service",
	typeBlockDevice: "block-device",
	typePartition:   "partition",
	typeFilesystem:  "filesystem",
	typeInterface:   "interface",
	typeRoute:       "route",
}

// partKey names a part of a machine by the part's natural key.
func partKey(machine, typ, key string) plugin.Key {
	return plugin.Key{Type: typ, UID: machine + "/" + kindOf[typ] + "/" + escape.Natural(key)}
}

func machineKey(machine string) plugin.Key {
	return plugin.Key{Type: typeMachine, UID: machine}
}

func relate(kind string, to plugin.Key) plugin.Relation {
	return plugin.Relation{Kind: kind, To: to}
}

func encode(key plugin.Key, document any) (json.RawMessage, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", key.Type, key.UID, err)
	}
	return raw, nil
}
