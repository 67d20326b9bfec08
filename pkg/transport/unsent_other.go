//go:build !linux

package transport

import "syscall"

// keepUnsentLow does nothing here.
func keepUnsentLow(string, string, syscall.RawConn) error { return nil }
