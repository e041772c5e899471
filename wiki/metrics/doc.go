// Package metrics counts what the wiki does and writes it, with what others
// hand over, in the text format of Prometheus.
//
// It is the one place that knows Prometheus' client library. Whoever else has
// something to tell gives a [Source], which is asked at each scrape.
//
// # Guarantees
//
//  1. Labels are of bounded variety: routes are templates, methods and codes are
//     those of HTTP, never names of pages or what a client chose.
//  2. Counting never blocks: it is an atomic addition.
//  3. A sample that a source gives twice, or under another kind than before,
//     spoils that sample and nothing else.
package metrics
