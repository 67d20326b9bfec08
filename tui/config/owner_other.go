//go:build !unix

package config

import "io/fs"

// hasOwners says whether files have an owner and permissions.
const hasOwners = false

// ownedByUser cannot tell, so nothing is trusted.
func ownedByUser(fs.FileInfo) bool { return false }
