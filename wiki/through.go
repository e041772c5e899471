package wiki

import (
	"context"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// Through asks other nodes for the heads of a path, while this node still copies
// what they have: the first so many records are the heads, the rest what those
// follow. from names who answered. An error, or no heads: there is nothing there,
// or nobody to ask.
type Through func(ctx context.Context, path string) (heads int, records []storage.Record, from string, err error)

// lookup reads a page, through another node if it is not here yet. from is "" for
// what is here.
func (h *Handler) lookup(ctx context.Context, name page.Name) (p *page.Page, from string, err error) {
	p, err = h.pages.Page(name)
	if err != nil || len(p.Heads) > 0 || h.through == nil {
		return p, "", err
	}
	heads, records, from, err := h.through(ctx, name.Path())
	if err != nil || heads == 0 {
		return p, "", nil
	}
	lent, err := page.Through(name, heads, records)
	if err != nil {
		h.log.Debug("read a page through a neighbor", "page", name, "node", from, "err", err)
		return p, "", nil
	}
	return lent, from, nil
}
