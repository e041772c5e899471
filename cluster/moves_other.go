//go:build !linux

package cluster

import "net"

// tcpMoved knows nothing here: a link that is full of a long answer ends, and comes back.
func tcpMoved(*net.TCPConn) (moved uint64, waiting bool) { return 0, false }
