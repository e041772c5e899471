// Package storage answers one question: what is durable on this disk, in what
// bytes?
//
// It keeps signed page commits, the logs they stand in, who may sign, and the
// heads of each path, in one Pebble database. It does not merge, does not know
// what a page may be named, and talks to no other node. It is the landlord of
// Pebble and of git's object formats.
//
// # Guarantees
//
//  1. When [Store.Save] returns nil, the commits are on the disk: one synced
//     batch holds commit, log entry, heads, vector and totals, all or none.
//     Saves that run at the same time share a sync.
//
//  2. A sequence is never used twice: a log's name has 64 random bits drawn
//     at the first save of each process, so a restored backup or a cloned disk
//     writes another log.
//
//  3. Only what the owner of a log signed enters it: bytes that do not
//     re-encode to themselves, a foreign signature, a gap or a wrong
//     predecessor are refused. This depends on constants alone, never on
//     settings, so all nodes decide alike.
//
//  4. A commit counts (heads, totals, vector, watchers) only when all its
//     parents do. Until then it is staged: bounded, in memory, pulled again
//     after a restart.
//
//  5. The vector never says more than what is durable and can be read.
//
//  6. Equal sets of commits give equal heads and equal digests, in whatever
//     order they came.
//
//  7. A file that was saved here has all its chunks on the disk. Chunks that no
//     commit came to name are removed; those that a received commit names and
//     that are not here are counted and listed until they come. A chunk is given
//     out only if its bytes are what its name says.
//
//  8. A ban hides what the banned node signed after it, on every node that holds
//     the same commits, in whatever order they came; nothing is removed by it.
//
//  9. After a failed write nothing more is acknowledged until a restart.
//     While the disk is nearly full saves get [ErrDiskFull] and reads go on.
//
//  10. A damaged database is repaired when it is opened: what can be read is taken
//     over and shown, what is gone is asked of neighbors, and the damaged files
//     are kept. Nothing is given out that its owner did not sign.
//
// Not promised: that acknowledged saves that no neighbor has survive damage to
// the disk. The high-water mark then raises [Stats].Regressed.
//
// # Goroutines
//
// An open store has one of its own, the scrub, which reads everything again about
// once a day and in at most 5 % of a core; Pebble has some. Close ends them. All
// methods may be called concurrently; Close waits for calls under way.
// Functions given to [Store.Watch] run one at a time inside the save or receive
// that they tell of.
//
// # Formats
//
// Every format has a version and golden bytes in testdata.
//
// A commit is a git commit whose tree holds exactly one file at its path (a
// delete has the empty tree). Headers, in this order and no others:
//
//	tree <hash>
//	parent <hash>                          none or more, strictly ascending
//	author <name> <address> <seconds> <zone>      the person, as claimed
//	committer <node> <node@host> <seconds> +0000  the node
//	erwik 1 <kind> <generation>            kind: page, file, delete, admit, ban, …; 1 + highest parent's
//	erwik-log <log> <sequence> <hash>      hash of the log's commit before, or 40 zeros
//	erwik-page <path>                      git path, all but A-Za-z0-9-._~/ as %XX
//	erwik-sha256 <64 hex>                  of "erwik content 1" 00 kind 00 path 00 content
//	erwik-from <path> <hash>               only after a rename
//	erwik-source <40 or 64 hex>            only after an import
//	gpgsig <SSH signature>                 namespace git, SHA-512, Ed25519, 70 columns
//
// A log is named <node id>.<16 hex>; the node id is the base32 of the key. An
// admission is a commit of kind admit at .erwik/signers/<node id> with the text
// "erwik signer 1", a line feed, "name", the quoted name, a line feed, and, if
// the one who admits joined through the other, "joined" and a line feed.
//
// A ban is a commit of kind ban at .erwik/bans/<node id> with the text "erwik ban
// 1", a line feed, "name", the quoted name, a line feed, and for each log of the banned node that it leaves something of,
// in the order of the bytes of their lines, "log <16 hex> <sequence> <commit>"
// and a line feed: the log's random part and its last commit that counts. A log
// that forks may be named once for each branch. Which bans count, and what does
// not count by them, is a function of the commits that are held: see verdict.go.
//
// A log entry is the same commit in binary, without what follows from other
// bytes. Numbers are uvarints (LEB128, shortest form), strings have a uvarint
// length before them:
//
//	1      version (1)
//	1      flags: 1 renamed, 2 imported
//	..     kind · generation · 40 log (32 key, 8 random, big endian) · sequence
//	20     hash before it in the log
//	..     number of parents, 20 each
//	..     author: name, address, seconds, zone minutes (zigzag) · committer likewise
//	..     path · if renamed: path, 20 hash · if imported: hash as bytes · message
//	64     signature
//
// The data directory holds "format" (a text that names the format), "node.key"
// (header, seed in hex, checksum; a line each), "mark", "lock" (empty, locked while
// the store is open), "pebble" and "chunks"; "pool" (see pool.go), "repair" while a
// repair is wanted or under way (see repair.go), and "damaged", in which repairs
// keep what was damaged, in a numbered folder each, and chunks in a folder "chunks".
// The content of a commit of kind file
// is the text that [Manifest] describes; the chunks it names are files
// chunks/<2 hex>/<64 hex>, synced before the commit's batch. chunks/new holds
// uploads, chunks/part what is being fetched. Keys of the database; all numbers big endian:
//
//	00 'c'                               → totals: version, arrival, pages, files, commits, digest
//	00 's'                               → how far the scrub has come, see below
//	00 'r' node(32)                      → nothing; after a repair: admit it if it is not
//	01 path 00 'c' arrival(8)            → log entry
//	01 path 00 't' arrival(8)            → content, if there is any
//	02 hash(20)                          → arrival(8), flags (1: inert, 2: hidden by a ban), path
//	03 log number(4) sequence(8)         → hash(20), arrival(8)
//	04 log(40) zeros(20)                 → log number(4), sequence(8), tip(20)
//	04 log(40) first commit(20)          → a branch: log number, sequence, tip, start(8), closed(1)
//	05 path                              → heads: 20 hash, kind, generation, arrival, 8 of the SHA-256; sorted by hash
//	06 arrival(8)                        → hash(20), flags (1: inert, 2: hidden by a ban), path
//	07 import source 00 path             → hash(20)
//	08 path                              → nothing; the path has several heads
//	0a sponsor(32) node(32)              → hash(20) of the admission, 1 if the sponsor joined through the node
//	0b name                              → what other packages keep here
//	0c arrival(8) index(2)               → chunk(32), size(4): a chunk of that file that is not here
//	0d chunk(32) arrival(8) index(2)     → nothing; the same by chunk
//	0e chunk(32)                         → nothing; it is here and no commit names it yet
//	0f path                              → nothing; a file that has heads
//	10 log(40) sequence(8) hash(20)      → arrival(8): visible, behind a gap of its log
//	11 hash(20)                          → nothing; a parent of a visible commit, not here
//	12 hash(20)                          → nothing; a ban
//	00 'j'                               → nothing; what follows from a ban is not noted yet
//
// arrival numbers commits in the order in which they came to this node.
//
// The scrub's place: version (1), start of the round(8), next arrival(8; 0: the
// index is being read), next chunk of its file(4), commits, bytes and damages of
// this round(8 each), end, commits, bytes and damages of the last one(8 each; end
// 0: none), next key of the index. Times are Unix seconds.
//
// "mark" has two slots of 128 bytes, written in turn: version (1), turn(8),
// log(40), sequence(8), hash(20), zeros, CRC-32C of all before it.
//
// "pebble/manifest-mark" says how long the manifest was when it was synced last.
// It has two slots of 32 bytes, written in turn: version (1), turn(8), number of
// the manifest(8), its length(8), zeros, CRC-32C of all before it.
//
// The digest is the sum modulo 2^256, over all paths of pages and files, of the
// SHA-256 of "erwik digest 1" 00 path 00 and the sorted heads' hashes.
package storage
