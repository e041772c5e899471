// Package link carries frames between neighbors over NATS.
//
// Every node embeds a nats-server that listens nowhere. A neighbor's TLS
// connection, whose key has been proven before it comes here, is spliced into
// that server ([Hub.Accept]); on the other end it is one nats.go connection
// ([Hub.Dial]). So there is one duplex connection per pair. NATS is a wire here,
// never a store: no JetStream, no routes, no listeners.
//
// It knows nothing of what is in a frame, does not acknowledge, does not pace
// and does not dial again: that is the business of package cluster/mesh.
//
// # Guarantees
//
//  1. A frame arrives whole and once, or not at all; frames of one link arrive
//     in order.
//  2. Who sent a frame is decided by the key that TLS proved: the splice writes
//     the neighbor's identity into NATS' CONNECT itself and the server lets it
//     publish to one subject and subscribe to one subject, both its own.
//  3. Down is told once for every Up, when a read or a write fails.
//  4. Send publishes a frame itself while nats.go takes frames within 10 ms; after
//     one slower frame it only queues them and never waits again. A link whose
//     queue of frames is full is closed.
//
// # Goroutines
//
// Each link has one goroutine that publishes what [Hub.Send] does not publish
// itself, because calls of nats.go can block for a minute on a slow link; an accepted link has two more that copy
// bytes. Close ends them all and waits, except for those stuck inside nats.go,
// whose connection is reset.
//
// # Formats
//
// Subjects: e.<t> from the dialer, t.<t> to it, where <t> is the first 13
// characters of the dialer's node id. A message's payload is one frame; an
// empty payload is the dialer's hello, after which the link is up on both ends.
package link
