//go:build linux || darwin

package registry

import "syscall"

// freeSpace returns how many bytes the file system of dir has left.
func freeSpace(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
