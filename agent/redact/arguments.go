package redact

import (
	"path"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/forms"
	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// commandLine returns which arguments are a secret, or have one in them: of those
// behind flags with the name of a secret, and of those of known programs.
func (d *redactor) commandLine(args []string) map[int]forms.Argument {
	masked := forms.Arguments(args)
	for n, arg := range args {
		if n+1 >= len(args) || len(arg) < 2 || arg[0] != '-' {
			continue
		}
		name, of, to := strings.TrimLeft(arg, "-"), "", n+1
		if names.IsName(name) && !switches(name) {
			of = name
		}
		// app -e DB_PASS X
		if (arg == "-e" || arg == "--env" || arg == "--set") && n+2 < len(args) && isVariable(args[to]) && !isContainers(args[0]) {
			of, to = args[to], n+2
		}
		if value, named := args[to], d.judge([]byte(of)); value != "" && value[0] != '-' && named.Has(value) {
			masked[to] = forms.Argument{By: named.Rule.String()}
		}
	}
	return masked
}

// switches reports whether the name of a flag says that no value follows.
func switches(name string) bool {
	first, _, _ := strings.Cut(name, "-")
	return slices.Contains([]string{"no", "skip", "disable", "ignore", "without", "allow", "use", "enable", "generate", "show", "rotate"},
		first)
}

// isVariable reports whether a text is the name of a variable of the environment
// as they are commonly written.
func isVariable(s string) bool {
	return s == strings.ToUpper(s) && names.IsName(s) && strings.Contains(s, "_")
}

func isContainers(program string) bool {
	return slices.Contains([]string{"docker", "podman", "nerdctl", "crictl"}, path.Base(program))
}
