package cluster

import "time"

// The limits of the port. docs/OPERATING.md lists them, and a test compares the
// two. Those of the core are in cluster/mesh/limits.go.
const (
	// firstByteTime is how long a connection may say nothing.
	firstByteTime = 5 * time.Second
	// maxSilent bounds connections that have not said anything yet; for one more
	// the one that has been silent longest is closed.
	maxSilent = 4096
	// maxConnections bounds all connections that are not the mesh's; one more is
	// closed, or told 503.
	maxConnections = 12_000
	// DefaultConnectionsFrom is how many connections one address may have that are
	// not the mesh's, unless a setting says otherwise; one more is told 429. Of
	// IPv6 a network of 64 bits counts as one address.
	DefaultConnectionsFrom = 64
	// maxHandshakes bounds TLS handshakes under way; one more is closed.
	maxHandshakes = 512
	// maxHandshakesFrom bounds those of one address, so that one machine
	// can't keep all others out; maxHandshakesTrusted those of a trusted one.
	maxHandshakesFrom    = 32
	maxHandshakesTrusted = 128
	// admissionWait is how long the handshake of a node that is not admitted here
	// waits for the news that it is, before it is closed.
	admissionWait = 10 * time.Second
	// maxRefusals bounds how many connections are being told why they are closed;
	// one more is closed without a word. refusalTime is how long that may take.
	maxRefusals = 64
	refusalTime = time.Second
	// maxPullConns bounds the connections of one neighbor for pulls and files; one
	// more is closed. maxServed bounds the requests of one neighbor, over all of
	// them, that are answered at once; one more is refused with an end frame.
	maxPullConns = 8
	maxServed    = 16
	// maxServedEach is how many requests of one neighbor are answered in one
	// second; the connection is not read until the next one.
	maxServedEach = 4000
	// maxInboxFrom bounds the frames of one neighbor that wait for the core; one
	// more is dropped, and its sender sends it again.
	maxInboxFrom = 256
	// writeProgress is in what time a reader must take something of an answer, and
	// sendBuffer how much the kernel holds for him.
	writeProgress = 5 * time.Minute
	sendBuffer    = 64 << 10
)
