// Package mesh is the deterministic core of a node's place in the mesh: whom to
// tell of what, what is missing and from whom to pull it, how good the links
// are, who is in the mesh and who is dead.
//
// It is not the mesh itself: it has no clock, no goroutine, no I/O and no random
// numbers but those it is seeded with. A shell feeds it time, frames and
// commits, and does what it asks for (see [Outputs]). Commits are not verified
// here: storage does that when they are pulled; the core checks the signatures
// of events and records. So a simulator runs many nodes in one thread, and a
// seed replays exactly.
//
// # The shell's loop
//
//	c, _ := mesh.New(cfg)
//	c.Restore(now, found)              // once
//	c.SetSelf(now, self)               // once, and again when an address changes
//	for each input {                   // one goroutine owns the core
//		c.Receive / c.Appended / c.LinkUp / c.Tick / … (now, …)
//		c.Take(&out)
//		persist out.Persist, then send, pull, dial, close
//	}
//
// An input may be followed by others before Take. Nothing waits for a tick that
// matters to the speed of a save: Appended hands out notices and Receive hands
// out pulls in the same call.
//
// # Guarantees
//
//  1. Same config, same inputs, same outputs, byte for byte.
//  2. Every table, queue and cache is bounded (limits.go), and what does not fit
//     or does not verify is counted by neighbor and reason (see Drops).
//  3. The vector only says what Appended said: it never runs ahead of the disk.
//  4. A commit that any reachable node holds is asked for in the end, whatever
//     exclusion lists, lost frames or restarts did: vectors are compared when a
//     link comes up and in heartbeats.
//  5. At most one pull per log is open; a late notice is counted and pulls
//     nothing, but its exclusion list is honoured.
//  6. No node is dead here while a path of up links leads to it.
//  7. A link has at most one frame in flight that waits for an acknowledgement,
//     and at most one notice per log queued.
//
// # Calls
//
// All methods must be called from one goroutine at a time, accessors included.
// An accessor's result is the caller's.
//
// # Frames, version 1
//
//	1   version (1)
//	..  number, uvarint: 0 = no acknowledgement wanted
//	..  ack, uvarint: number of the frame of the other side that has arrived; 0 = none
//	..  items until the end, each a kind byte and a body
//
//	kind         body
//	1 summary    flags (1 answer wanted, 2 first of this link, 4 much is new in the table;
//	             the others must be 0),
//	             own incarnation uvarint, hashes of pool, table and vector (8 bytes each),
//	             own measure of the link's round trip in microseconds uvarint,
//	             n uvarint and n bytes: bitmap over the sorted pool of the nodes
//	             known to hold all that this vector says (n = 0: not told)
//	2 event      an event with this copy's exclusion list (package events)
//	3 origins    n uvarint, n x (6 bytes of node id, 6 bytes of its vector hash), ascending:
//	             "this is what I hold; tell me what you hold where it differs"
//	4 logs       32 origin, n uvarint >= 1, n x (nonce 8, branch 0, sequence uvarint,
//	             4 bytes of the tip's hash), nonces ascending: "I hold these"
//	5 holders    40 log, n uvarint >= 1, n x (6 bytes of node id, sequence uvarint):
//	             "these hold that log so far", the sender among them or not
//	7 node       node record (package events)
//	8 link       link record (package events)
//	10 links     set of link records (package events)
//	11 rows      n uvarint, n x (6 bytes of node id, 6 bytes of its table hash, lowest 2 bytes of
//	             its incarnation, uvarint highest counter of its link records, 0 = none), ascending:
//	             "this is my table; send me what is newer in yours"
//	9 content    n uvarint <= 1,024, n bytes: the commit of the first notice, on quick links
//
// The branch byte is 0; branches of logs that split are logs of their own. Hashes of the vector: a head's is
// the first 8 bytes of SHA-256 over "erwik head 1\x00", log, branch 0, sequence (8
// bytes), tip; a node's is the sum of its heads'; the whole vector's is the sum
// over nodes of the first 8 bytes of SHA-256 over "erwik heads 1\x00", id, sum.
// Hashes of the table are made likewise of "erwik row 1\x00" and a record's
// signed bytes, summed by subject, and "erwik rows 1\x00". Sums are modulo 2^64.
//
// Acknowledgement means that a frame was read, not that a commit is held; what
// a node holds it says in logs and holders items, which ride along.
//
// # How to test with it
//
// The simulator in the test files runs 1,000 seeds; a failing one prints the
// command that replays it:
//
//	ERWIK_SEED=17 go test -count=1 -run TestSeeds ./cluster/mesh   # at commit 1234abc
package mesh
