// Package events says what happened in the mesh, who is told of it, and who
// need not be told.
//
// An [Event] is a checksummed, signed notice: a commit was made, a node is new,
// a node is dead. It is a hint, never the thing itself: whoever hears of a
// commit pulls it and checks it there. The package holds the events' forms
// (compact on the wire, JSON and Erlang for people), the signed records of the
// routing table, the exclusion lists with their short forms, and the planner
// that decides whom a copy leaves open. It decides nothing about links, time or
// repair: that is package cluster/mesh. The wire itself is in the link files.
//
// # Guarantees
//
//  1. Decoders are bounded and canonical: decode(encode(x)) = x, and
//     encode(decode(b)) = b or b is refused. Nothing is left over.
//  2. A commit event with a page name of 20 bytes takes at most 300 bytes on
//     the wire, its signature and an exclusion list of up to 60 names included.
//  3. An exclusion list that is read wrongly (a tag that two nodes share, an
//     unknown pool hash) can only add a notice, never take one away.
//  4. [Graph.Plan] is a pure function: same graph, same set, same plan. Every
//     node of the set that a path leads to is reached by the copies' lists.
//  5. Every signature starts with its own domain tag and a version, so none can
//     be used for anything else.
//
// There are no goroutines here; values are not safe for concurrent change.
//
// # Event on the wire, version 1
//
//	size  field
//	1     version (1)
//	1     type: 1 commit, 2 new_neighbor, 3 dead_neighbor
//	..    args
//	64    signature of the origin
//	..    exclusion list (one copy's; not signed)
//
//	args of commit               args of new_neighbor     args of dead_neighbor
//	40  log: origin, nonce       32  origin               32  origin (by whom)
//	..  sequence, uvarint >= 1   ..  node record          32  whom
//	20  commit hash                                       ..  incarnation, uvarint
//	1   length of page, <= 64                             1   0, or 1: removed
//	..  page, UTF-8
//
// The signature is Ed25519 over "erwik event 1\x00", version, type, origin (32
// bytes), args without the leading 32 bytes of the origin. The checksum, which
// is recomputed and not sent, is the first 16 bytes of SHA-256 over the same
// without the version. A page name is cut at 64 bytes, at the start of a
// character, before it is signed.
//
// # Exclusion list on the wire
//
//	0                            nobody is excluded
//	1                            everybody is excluded
//	2, k uvarint, k x 2 bytes    everybody but those whose tag is listed;
//	                             tags strictly ascending, 1 <= k <= 1024
//	3, 8 bytes, n uvarint, bits  bit i, most significant first, excludes node i
//	                             of the sorted pool of n nodes with that hash
//
// The tag of a node under a checksum: with big-endian 64-bit words i0, i1 of the
// id and c0, c1 of the checksum, x = (i0^c0)*0x9E3779B97F4A7C15 +
// (i1^c1)*0xC2B2AE3D27D4EB4F, x = (x^x>>32)*0xD6E8FEB86659FD93, tag = x>>48.
// The pool hash is the first 8 bytes of SHA-256 over "erwik pool 1\x00" and the
// ids in ascending order.
//
// # Node record, version 1                   # Link record, version 1
//
//	1   version (1)                            1   version (1)
//	32  id                                     32  from
//	1+n name, <= 64 bytes                      32  to
//	1   number of addresses, <= 4              1   cost step, 0..63; 0x80 = down
//	1+n each address, <= 100 bytes             ..  incarnation of from, uvarint
//	..  incarnation, uvarint                   ..  counter, uvarint
//	1+n software version, <= 32 bytes          64  signature of from
//	64  signature of id
//
// Signed are "erwik node 1\x00" or "erwik link 1\x00" and the record without its
// signature. Of two records of one node the higher incarnation counts, of two
// of one link the higher (incarnation, counter).
//
// Testdata holds golden bytes of each format; a test that finds others is a
// format change, which needs a new version.
package events
