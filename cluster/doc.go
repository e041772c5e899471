// Package cluster makes one node a part of the mesh: it joins, holds links to
// neighbors, tells and hears of saves, and pulls what is missing.
//
// All decisions are made by the deterministic core in cluster/mesh; this
// package is the shell around it that has time, sockets and a disk. It knows
// nothing of wikis: a commit is what package storage says it is. It agrees on
// nothing either: saves never wait for other nodes.
//
// # Guarantees
//
//  1. On every connection both ends have proven their keys by TLS 1.3 before a
//     byte of NATS or of a pull is read, and an unknown key gets no further
//     than a join.
//  2. Nobody joins without a secret. It is never sent: both ends prove by an
//     HMAC over the TLS exporter that they hold it, the dialer first.
//  3. Commits from outside enter only through [storage.Store.Receive], which
//     verifies them.
//  4. A file chunk from outside is kept only if its bytes are what its name says.
//     It comes piece by piece and goes on where it was, also after a restart.
//     Pages go first: on a healthy link files have a connection of their own, on
//     a slow one a piece is on the way for a second or so.
//  5. What the core wants kept is durable before a frame that depends on it
//     leaves.
//
// # Goroutines
//
// One lock guards the core. Whoever has an input gives it to the core at once if
// it is free and nothing waits; else the input goes through a bounded inbox to
// the one goroutine that [Open] starts, which also lets time pass. Each dial, each join and each pull has a
// goroutine of its own, bounded by the core's limits; each pull connection has
// one that reads. Two fetch file chunks, one over healthy links and one over slow
// ones, a chunk at a time each. [Node.Close] ends them and waits.
//
// # Formats
//
// One port carries everything, told apart by the first byte and by ALPN:
// erwik-link (package events/link), erwik-pull, erwik-file, erwik-join; anything
// that is not TLS is HTTP. All integers are big endian.
//
// A frame on erwik-pull is a length (4 bytes, at most 2 MiB + 64 KiB), a type (1
// byte), the pull's number (8 bytes) and a body. Either end may ask.
//
//	1 request   flags (1: no deltas), then for each span: log (40), after, up to (8 each)
//	2 data      0 raw or 1 zstd, then records
//	3 end       0 complete or 1 failed, then a text
//	4 cancel    nothing; no more data is sent
//	5 locate    commit hashes (20 each, at most 64); answered by end, with spans
//	            (log 40, 0, sequence 8) instead of a text for those that are held
//	6 stories   commit hashes (20 each, at most 16); answered by end, with JSON: how each came to the
//	            neighbor, in the form of commits/{hash}
//	8 heads     git path; answered by end: 0, then nothing or: how many heads (1),
//	            0 raw or 1 zstd, records: the heads, then commits that they follow
//	7 piece     file chunk (32), offset (4), length (4, at most 256 KiB); answered
//	            by end: 0, size of the chunk (4), the bytes; or 2, it is not here
//
// Connections of erwik-file are the same with frame 7 alone. On slow links pieces
// are asked for over erwik-pull.
//
// A record is: commit hash (20), length of the log entry (uvarint), log entry,
// then the content: 0, length, bytes; or 1, index of a parent, length of the
// common start, length of the common end, length, the bytes between. Content is
// a delta against a parent that comes before it or that the asker has.
//
// On erwik-join each side sends one JSON object after a length (4 bytes, at
// most 1 MiB): {"version":1,"proof":…,"pool":[…]}, the node records in base64,
// the sender's first; the listener may answer {"error":…} instead. proof is
// HMAC-SHA-256, keyed with the secret, over "erwik join 1 dialer\x00" or "erwik
// join 1 listener\x00" and 32 bytes of TLS exporter "EXPORTER-erwik-join".
//
// A token is "erw1.<node id>.<26 characters of secret>".
package cluster
