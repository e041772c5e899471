// Package markdown turns the text of a page into HTML that is safe to show.
//
// The language is CommonMark with GitHub's tables, strikethrough, autolinks
// and task lists, with footnotes, and with wikilinks: [[Page]], [[Page|label]],
// [[Page#heading]], [[#heading]]. Raw HTML is allowed as far as it is
// harmless.
//
// # Guarantees
//
//  1. What [Renderer.Render] returns holds no script, no handler, no style, no
//     frame, no form, no comment, and only links with the schemes http, https,
//     mailto or none. It has passed an allow-list after all rendering.
//  2. It holds no id with a colon except those of footnotes, so a page can't
//     pass its parts for those of the user interface around it, whose ids
//     begin with "ui:".
//  3. Images are never loaded from other sites; a link stands in their place.
//  4. The same text with the same answers of Exists gives the same bytes.
//
// A [Renderer] may be used concurrently; it starts no goroutine.
package markdown
