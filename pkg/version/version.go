// Package version knows which build a program is.
package version

import (
	"runtime/debug"
)

// stamped is set by the linker: -X .../pkg/version.stamped=v1.2.3
var stamped string

// String returns the version the program was built as: the stamped one, else
// the module version, else "devel".
func String() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
