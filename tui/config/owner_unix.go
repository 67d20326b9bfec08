//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// hasOwners says whether files have an owner and permissions.
const hasOwners = true

func ownedByUser(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
