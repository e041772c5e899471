// Package page decides what a page is, what an edit does to it, and what a
// conflict is.
//
// It knows nothing of HTTP or HTML (package wiki does) and nothing of other
// nodes beyond asking a [Fetcher] for a revision it lacks. What is durable is
// package storage's business.
//
// # The idea
//
// A page is a graph of commits. Its heads are the commits that no other
// follows. What readers see, the [View], is computed from the set of heads
// alone and never written down, so nodes that hold the same commits show the
// same page whatever order the commits came in. An edit names the heads its
// author saw; where these are no longer the heads, the edit is merged.
//
// # Guarantees
//
//  1. [ViewOf] is a pure function of the set of heads: no clock, no node, no
//     order of arrival has a part in it.
//  2. No text is lost: what a head holds is in the view's text, by a clean
//     merge, or among the versions of a conflict. A merge that is not clean
//     in every step is not shown in part.
//  3. When [Service.Save] returns nil the edit is durable here. When it
//     returns an error other than ctx's or storage's, nothing was saved.
//  4. An edit that clashes comes back whole in its [ConflictError].
//  5. Files are never merged: with several different heads a file is in conflict
//     until somebody uploads or deletes it on top of all.
//  6. A page with one head costs one look at that commit, however long its
//     history and however large the wiki.
//
// # Goroutines
//
// None is started. A [Service] may be used concurrently.
//
// # Formats
//
// The git path of page "docs/Install" is "docs/Install.md"; [Name] holds the
// rules for names, [Name.File] and [NameOfFile] map them to the files of an
// exported or imported folder: a leading dot of a segment is %2E in a page's
// name, and a segment that looks so already gets one more "25". The git path of a
// file is its name, which does not end in .md; [FileName] holds its rules.
package page
