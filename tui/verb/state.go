package verb

import (
	"strings"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/nearest"
	"github.com/reeve-cloud/reeve/tui/output"
)

// StateNames are the states as a user gives them.
var StateNames = []string{"active", "disconnected", "deleted"}

// ParseStates reads states as a user gives them.
func ParseStates(names []string) ([]reevev1.State, error) {
	var states []reevev1.State
	for _, name := range names {
		state, ok := reevev1.State_value["STATE_"+strings.ToUpper(name)]
		if !ok || state == int32(reevev1.State_STATE_UNSPECIFIED) {
			return nil, Usagef("--state %q: must be active, disconnected or deleted%s", name, nearest.Hint(name, StateNames))
		}
		states = append(states, reevev1.State(state))
	}
	return states, nil
}

// StateName is a state as people read it.
func StateName(s reevev1.State) string { return strings.TrimPrefix(s.String(), "STATE_") }

// StateColor is the color of a state.
func StateColor(s reevev1.State) output.Color {
	switch s {
	case reevev1.State_STATE_ACTIVE:
		return output.Green
	case reevev1.State_STATE_DISCONNECTED:
		return output.Yellow
	case reevev1.State_STATE_DELETED:
		return output.Red
	default:
		return output.NoColor
	}
}
