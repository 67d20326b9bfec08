//go:build unix

package admission

import (
	"fmt"
	"syscall"
)

// Descriptors returns how many file descriptors this process may have open.
func Descriptors() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("asking how many files may be open: %w", err)
	}
	const most = 1 << 30 // "unlimited" fits into no int
	return int(min(limit.Cur, most)), nil
}
