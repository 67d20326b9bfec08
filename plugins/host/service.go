package host

import (
	"math"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/reeve-cloud/reeve/pkg/plugin"
	"github.com/reeve-cloud/reeve/plugins/host/systemd"
)

// service is the document of a Service.
type service struct {
	Name          string    `json:"name"`
	Description   string    `json:"description,omitempty"`
	LoadState     string    `json:"load_state"`
	ActiveState   string    `json:"active_state"`
	SubState      string    `json:"sub_state"`
	UnitFileState string    `json:"unit_file_state,omitempty"`
	Type          string    `json:"type,omitempty"`
	FragmentPath  string    `json:"fragment_path,omitempty"`
	DropInPaths   []string  `json:"drop_in_paths,omitempty"`
	ExecStart     []command `json:"exec_start,omitempty"`
	// Environment has the names of variables, and no value: NAME=[redacted].
	Environment      []string `json:"environment,omitempty"`
	EnvironmentFiles []string `json:"environment_files,omitempty"`
	User             string   `json:"user,omitempty"`
	Group            string   `json:"group,omitempty"`
	WorkingDirectory string   `json:"working_directory,omitempty"`
	Slice            string   `json:"slice,omitempty"`
	Restart          string   `json:"restart,omitempty"`
	RestartCount     uint32   `json:"restart_count"`
	Result           string   `json:"result,omitempty"`
	MainPID          uint32   `json:"main_pid,omitempty"`
	Memory           quantity `json:"memory,omitzero"`
	CPU              cpuTime  `json:"cpu,omitzero"`
	Tasks            quantity `json:"tasks,omitzero"`
}

// command leaves out when it was run and how it ended.
type command struct {
	Path      string   `json:"path"`
	Arguments []string `json:"arguments,omitempty"`
}

type quantity struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type cpuTime struct {
	// Seconds of processor time used.
	Time float64 `json:"time,omitempty"`
}

func observeService(machine string, u systemd.Unit, props map[string]dbus.Variant) (plugin.Observation, error) {
	key := partKey(machine, typeService, u.Name)
	obs := plugin.Observation{
		Key: key, Name: u.Name, Status: u.ActiveState, Relations: []plugin.Relation{relate(partOf, machineKey(machine))},
	}
	if at := property[uint64](props, "StateChangeTimestamp"); at > 0 && at < math.MaxInt64 {
		obs.UpdatedAt = time.UnixMicro(int64(at)).UTC()
	}
	var err error
	obs.Document, err = encode(key, mapService(u, props))
	return obs, err
}

// mapService makes a document of what systemd says.
func mapService(u systemd.Unit, props map[string]dbus.Variant) service {
	return service{
		Name: u.Name, Description: u.Description, LoadState: u.LoadState, ActiveState: u.ActiveState, SubState: u.SubState,
		UnitFileState:    property[string](props, "UnitFileState"),
		Type:             property[string](props, "Type"),
		FragmentPath:     property[string](props, "FragmentPath"),
		DropInPaths:      property[[]string](props, "DropInPaths"),
		ExecStart:        commands(property[[][]any](props, "ExecStart")),
		Environment:      withoutValues(property[[]string](props, "Environment")),
		EnvironmentFiles: firstStrings(property[[][]any](props, "EnvironmentFiles")),
		User:             property[string](props, "User"),
		Group:            property[string](props, "Group"),
		WorkingDirectory: property[string](props, "WorkingDirectory"),
		Slice:            property[string](props, "Slice"),
		Restart:          property[string](props, "Restart"),
		RestartCount:     property[uint32](props, "NRestarts"),
		Result:           property[string](props, "Result"),
		MainPID:          property[uint32](props, "MainPID"),
		Memory:           quantity{Current: amount(props, "MemoryCurrent"), Limit: amount(props, "MemoryMax")},
		CPU:              cpuTime{Time: float64(amount(props, "CPUUsageNSec")) / 1e9},
		Tasks:            quantity{Current: amount(props, "TasksCurrent"), Limit: amount(props, "TasksMax")},
	}
}

// property is a property's value, or the zero value if systemd is too old or
// too new to have it in that type.
func property[T any](props map[string]dbus.Variant, name string) T {
	v, _ := props[name].Value().(T)
	return v
}

// amount is a number of which systemd writes the largest for none.
func amount(props map[string]dbus.Variant, name string) uint64 {
	if n := property[uint64](props, name); n != math.MaxUint64 {
		return n
	}
	return 0
}

// commands reads a(sasbttttuii): path, arguments, and then how the last run
// went.
func commands(list [][]any) []command {
	var all []command
	for _, fields := range list {
		if len(fields) < 2 {
			continue
		}
		path, _ := fields[0].(string)
		arguments, _ := fields[1].([]string)
		all = append(all, command{Path: path, Arguments: arguments})
	}
	return all
}

// withoutValues takes the values from NAME=VALUE: as in Kubernetes they do not
// leave the machine, for no name tells which of them is a secret. An empty one stays.
func withoutValues(environment []string) []string {
	var names []string
	for _, variable := range environment {
		if name, value, ok := strings.Cut(variable, "="); ok && value != "" {
			variable = name + "=[redacted]"
		}
		names = append(names, variable)
	}
	return names
}

// firstStrings reads a(sb).
func firstStrings(list [][]any) []string {
	var all []string
	for _, fields := range list {
		if len(fields) > 0 {
			if s, ok := fields[0].(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}
