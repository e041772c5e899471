// Package gitsource reads a git repository or a git bundle and says which page
// revisions its history amounts to.
//
// It changes nothing and talks to nobody: what it finds is handed out, oldest
// first, to be sent to a node. No git program is needed.
//
// # The idea
//
// A git commit that touches k pages is k revisions, each with the author, the
// time and the message of the commit. What a page's revision follows are the
// revisions that its page had in the commit's parents. A merge makes a revision
// of a page only where it joins two that do not follow one another, or where
// its text is none of theirs. So the history of a page is that of
//
//	git log --full-history --simplify-merges -- FILE
//
// with the same parents. Which revisions a commit makes depends on the commit
// and its ancestors alone: a history that has grown is imported again without
// anything being made twice or otherwise.
//
// A page that appears in the commit in which another one goes, with the same
// text or with most of it, was renamed.
//
// # Guarantees
//
//  1. Objects are found by the SHA-1 that is computed of what was read, never
//     by what an index says. A missing or damaged object is an error.
//  2. Lengths are checked before memory is taken. Memory grows with the number
//     of objects (some 50 bytes each) and of revisions (some 40), not with the
//     size of the texts; texts and trees share a cache of fixed size.
//  3. What can't be a page (a file that is not Markdown, a name that no page may
//     have, a text that is too large or no UTF-8, a link, a submodule) is left
//     out, counted by reason, and does not disturb what comes after it.
//
// # Goroutines
//
// [Source.Plan] computes on all cores and has ended them when it returns. A
// [Source] and a [Plan] are used by one goroutine at a time.
//
// # Formats
//
// Bundles of version 2 and 3 that hold their whole history; packs of version 2
// and 3; loose objects; alternates; SHA-1 only. Packs are read where they lie.
package gitsource
