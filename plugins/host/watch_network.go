package host

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// watchNetwork lists the network again whenever the kernel announces a change.
// The announcements only say when to look: which of them belong together, and
// which were lost, need not be known.
func (c *collector) watchNetwork(ctx context.Context, machine string, out plugin.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Before the first listing, so that no change falls between the two.
	sub, err := subscribe(c.ns)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(sub.read(c.capped.Load, func() {
			c.log.Debug("the kernel dropped announcements of network changes: listing anew")
		}))
	}()
	defer func() {
		sub.close()
		<-done
	}()
	pace := newBurst()
	for {
		pace.begin()
		if err := c.sweepNetwork(ctx, machine, out); err != nil {
			return because(ctx, err)
		}
		pace.end()
		if err := pace.wait(ctx, sub.changes); err != nil {
			return because(ctx, err)
		}
	}
}

// because prefers the cause for which a context ended to the fact that it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// subscription is a socket on which the kernel announces network changes. It is
// the library's socket with a reader of our own: the library's readers end with
// an overflow, cannot be waited for, and use 64 KiB for each message.
type subscription struct {
	file    *os.File
	changes chan struct{}
	filter  changeFilter
}

// receiveBuffer is what the kernel may keep for us before it drops something.
const receiveBuffer = 2 << 20

func subscribe(ns netns.NsHandle) (*subscription, error) {
	socket, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	defer socket.Close()
	// Beyond the system's limit only with CAP_NET_ADMIN; less room only means
	// an overflow, and with that a listing, sooner.
	if socket.SetReceiveBufferSize(receiveBuffer, true) != nil {
		_ = socket.SetReceiveBufferSize(receiveBuffer, false)
	}
	fd, err := unix.FcntlInt(uintptr(socket.GetFd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("subscribe to network changes: %w", err)
	}
	return &subscription{
		file: os.NewFile(uintptr(fd), "netlink"), changes: make(chan struct{}, 1), filter: newChangeFilter(),
	}, nil
}

func (s *subscription) close() { s.file.Close() }

// read notes changes until the socket is closed or fails.
func (s *subscription) read(capped func() bool, overflow func()) error {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("receive network changes: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		switch {
		case err != nil:
			return fmt.Errorf("receive network changes: %w", err)
		case failed == unix.EINTR:
			continue
		case failed == unix.ENOBUFS:
			// The socket goes on, but what it dropped is unknown.
			overflow()
			s.filter.forget()
			poke(s.changes)
			continue
		case failed != nil:
			return fmt.Errorf("receive network changes: %w", failed)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != nl.PidKernel {
			continue
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			poke(s.changes) // look rather than guess
			continue
		}
		for _, m := range messages {
			if s.filter.matters(m, capped()) {
				poke(s.changes)
			}
		}
	}
}

// changeFilter tells announcements of a change from those where only a counter
// or a lifetime moved, by the hash of what else they said the last time.
type changeFilter struct {
	seed  maphash.Seed
	links map[int32]uint64
	addrs map[uint64]uint64
}

func newChangeFilter() changeFilter {
	f := changeFilter{seed: maphash.MakeSeed()}
	f.forget()
	return f
}

func (f *changeFilter) forget() {
	f.links, f.addrs = map[int32]uint64{}, map[uint64]uint64{}
}

func (f *changeFilter) matters(m syscall.NetlinkMessage, capped bool) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.linkMatters(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return f.addrMatters(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return routeMatters(m, capped)
	}
	return false
}

// The attributes of a link that tick. The address families' own part repeats
// counters of IPv6.
var linkTicks = map[uint16]bool{
	unix.IFLA_STATS: true, unix.IFLA_STATS64: true, unix.IFLA_AF_SPEC: true, unix.IFLA_PROTINFO: true,
	unix.IFLA_WIRELESS: true, unix.IFLA_EVENT: true,
}

func (f *changeFilter) linkMatters(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return true
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	if info.Family != unix.AF_UNSPEC {
		return false // a bridge port's own announcement; the link's comes too
	}
	if m.Header.Type == unix.RTM_DELLINK {
		delete(f.links, info.Index)
		return true
	}
	// The last field is a mask of which flags changed, not a fact.
	sum, ok := f.hash(m.Data[:unix.SizeofIfInfomsg-4], m.Data[unix.SizeofIfInfomsg:], linkTicks)
	if last, known := f.links[info.Index]; ok && known && last == sum {
		return false
	}
	f.links[info.Index] = sum
	return true
}

var (
	addrTicks = map[uint16]bool{unix.IFA_CACHEINFO: true}
	notAddr   = map[uint16]bool{unix.IFA_CACHEINFO: true, unix.IFA_FLAGS: true, unix.IFA_LABEL: true, unix.IFA_BROADCAST: true}
)

func (f *changeFilter) addrMatters(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofIfAddrmsg {
		return true
	}
	head, attrs := m.Data[:unix.SizeofIfAddrmsg], m.Data[unix.SizeofIfAddrmsg:]
	// The header without flags and scope, and the addresses, say which it is.
	which := [6]byte{head[0], head[1], head[4], head[5], head[6], head[7]}
	id, ok := f.hash(which[:], attrs, notAddr)
	if !ok || m.Header.Type == unix.RTM_DELADDR {
		delete(f.addrs, id)
		return true
	}
	sum, _ := f.hash(head, attrs, addrTicks)
	if last, known := f.addrs[id]; known && last == sum {
		return false
	}
	f.addrs[id] = sum
	return true
}

// routeMatters goes by the header alone: it has to keep up with a BGP router.
func routeMatters(m syscall.NetlinkMessage, capped bool) bool {
	if len(m.Data) < unix.SizeofRtMsg {
		return true
	}
	r := nl.DeserializeRtMsg(m.Data)
	return r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST && r.Flags&unix.RTM_F_CLONED == 0 &&
		(!capped || configured(int(r.Protocol)))
}

// hash sums up a message without the attributes to skip. Not ok means that it
// could not be read.
func (f *changeFilter) hash(head, attrs []byte, skip map[uint16]bool) (uint64, bool) {
	var h maphash.Hash
	h.SetSeed(f.seed)
	h.Write(head)
	for len(attrs) >= unix.SizeofRtAttr {
		length := int(nl.NativeEndian().Uint16(attrs))
		if length < unix.SizeofRtAttr || length > len(attrs) {
			return 0, false
		}
		if !skip[nl.NativeEndian().Uint16(attrs[2:])&^unix.NLA_F_NESTED] {
			h.Write(attrs[:length])
		}
		attrs = attrs[min((length+3)&^3, len(attrs)):]
	}
	return h.Sum64(), true
}
