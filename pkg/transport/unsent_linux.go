package transport

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent is how many bytes may wait in the kernel to be sent.
const maxUnsent = 16 << 10

// keepUnsentLow has a TCP socket take little more than what is on its way. Else a
// narrow way makes minutes of what the kernel has taken, and heartbeats wait behind
// it until the session counts as dead.
func keepUnsentLow(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// A kernel that cannot sends as it always did.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
}
