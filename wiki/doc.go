// Package wiki is how people and programs reach the pages of one node: HTTP,
// JSON, HTML and server-sent events.
//
// What a page, an edit and a conflict are is decided in package page below it;
// what is durable, in package storage. The wiki does not know how a commit
// travels to other nodes: it asks a [Mesh], which package cmd hands to it, and
// publishes nothing itself unless the node is alone.
//
// Its rooms: page (names, views, edits), merge (three-way merge and diff by
// lines), markdown (text to safe HTML), web (HTML, CSS and JavaScript of the
// user interface), cache.
//
// # Guarantees
//
//  1. A 2xx answer to a save means that the edit is durable on this node.
//  2. A form that can't be saved is answered with a page that still holds its
//     text, whatever the status.
//  3. An answer never shows an older state than an earlier answer of this node
//     did: rendered pages are checked against the page's heads on each view.
//  4. Nothing is changed by a request from another site, by GET, or without
//     the edit token where one is set.
//  5. Every body, list, cache, buffer and number of readers has a bound; what
//     happens at the bound stands beside it.
//  6. A file is never whole in memory, neither on its way in nor out. What could
//     run in a browser is not shown by it; the rest is shown in a sandbox.
//  7. Below /-/api/ every error is a problem of RFC 9457 with a request id;
//     elsewhere it is a page with the same status.
//
// # Goroutines
//
// None is started. [Handler.ServeHTTP] may be called concurrently. The store
// calls the handler inside each save, which takes microseconds.
//
// # Formats
//
// In lists where pages and files stand together (recent, conflicts, events,
// commits, history) a file is called "-/files/" and its name, which no page can
// be; "/" before it is its address. Errors of PUT and DELETE below /-/files/ are
// problems of RFC 9457, as for whoever asks for JSON there.
//
// The paths and JSON fields are the outside contract of docs/DESIGN.md. Lists
// are {"items":[…],"next":cursor}; a cursor is opaque. An entity tag of JSON
// and raw text is a hash of the page's heads; of HTML, a hash of the bytes.
//
// Import takes one JSON object a line:
//
//	field    value
//	path     name of the page
//	text     its text; at most 1 MiB
//	deleted  true: this revision deletes the page
//	author   "name" or "name <address>"
//	time     RFC 3339; absent: now
//	summary  at most 16 KiB
//	source   40 or 64 hex digits that name the revision where it comes from;
//	         one that the page has already is skipped
//	parents  sources of the revisions that it follows, which come before it;
//	         absent: it follows whatever is there, and is skipped if that has
//	         the same text
//
// and gives, after each 256 lines and at the end, {"done","skipped","failed"},
// with the "failures" since the last one as {"line","path","detail"}. The last
// line has "final":true, and "digest", or "error" where the import ended early.
package wiki
