// Package web turns what there is to show into HTML for people.
//
// It knows nothing of requests, storage or Markdown: package wiki hands it
// plain values, and it writes pages. All of the user interface's HTML, CSS and
// JavaScript is here.
//
// # Guarantees
//
//  1. Every value is escaped by html/template for where it stands, except
//     those of type template.HTML, which the caller has made safe.
//  2. No page holds an inline script or style, so the strictest content
//     security policy holds: see [Policy].
//  3. Every page works without JavaScript.
//  4. All ids of the user interface begin with "ui:"; no page text can have
//     such an id.
//
// A [Writer] may be used concurrently; it starts no goroutine.
package web
