package cluster

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpMoved reads from the kernel how many bytes of a connection have been received
// and acknowledged, and whether some of what was written are still on their way.
func tcpMoved(conn *net.TCPConn) (moved uint64, waiting bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			moved, waiting = info.Bytes_acked+info.Bytes_received, info.Unacked > 0 || info.Notsent_bytes > 0
		}
	})
	return moved, waiting
}
