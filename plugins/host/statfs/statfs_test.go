package statfs

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumbersOfFilesystems: less than nothing is nothing.
func TestNumbersOfFilesystems(t *testing.T) {
	below := func(n int64) uint64 { return uint64(n) }
	for _, test := range []struct {
		name string
		sfs  unix.Statfs_t
		want Usage
	}{
		{"plain", unix.Statfs_t{Blocks: 10, Bfree: 4, Bavail: 3, Files: 8, Ffree: 5},
			Usage{Total: 40960, Used: 24576, Free: 16384, Available: 12288, Inodes: &Inodes{8, 3, 5}}},
		{"available below zero", unix.Statfs_t{Blocks: 10, Bfree: 1, Bavail: below(-217)}, Usage{Total: 40960, Used: 36864, Free: 4096}},
		{"free below zero", unix.Statfs_t{Blocks: 10, Bfree: below(-1), Bavail: below(-1)}, Usage{Total: 40960, Used: 40960}},
		{"all below zero", unix.Statfs_t{Blocks: below(-1), Bfree: below(-1), Bavail: below(-1), Files: below(-1), Ffree: below(-1)}, Usage{}},
		{"more free than there is", unix.Statfs_t{Blocks: 1, Bfree: 2, Files: 1, Ffree: 2},
			Usage{Total: 4096, Free: 8192, Inodes: &Inodes{1, 0, 2}}},
		{"more than fits", unix.Statfs_t{Blocks: math.MaxInt64, Bfree: math.MaxInt64}, Usage{Total: math.MaxUint64, Free: math.MaxUint64}},
	} {
		got := usageOf(&test.sfs, 4096)
		if (got.Inodes == nil) != (test.want.Inodes == nil) || got.Inodes != nil && *got.Inodes != *test.want.Inodes {
			t.Errorf("%s: inodes %+v", test.name, got.Inodes)
		}
		if got.Inodes, test.want.Inodes = nil, nil; got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
