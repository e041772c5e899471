// Package merge compares and merges texts by lines.
//
// It knows nothing of pages or commits; package page decides what is merged
// over what. Lines are matched by the shortest way from one text to the other where
// that is up to a hundred lines long, else by patience diff, stretch by stretch.
//
// # Guarantees
//
//  1. [Three] and [Diff] are pure functions of the bytes they are given.
//  2. A merge is clean only where the two sides changed lines that neither
//     overlap nor touch, or made the same change; this is git's rule. Which
//     equal lines are matched with which may differ from git's choice on texts
//     that repeat lines, so a small, tested share of results differs from
//     `git merge-file`.
//  3. No line is lost: each line that a side added is in the merged text or in
//     a conflict, with [Result.WithMarkers] in both cases in one text.
//  4. Line endings are part of their line; a missing last newline is kept.
//
// All functions may be called concurrently.
package merge
