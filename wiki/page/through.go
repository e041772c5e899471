package page

import "github.com/erwik/erwik/storage"

// Through is the page that commits held elsewhere make: the first so many are its
// heads, the rest are commits that those follow. Where heads can't be united
// because what they have in common did not come along, it is shown as a conflict.
func Through(name Name, heads int, records []storage.Record) (*Page, error) {
	g := make(lent, len(records))
	for _, r := range records {
		g[r.Hash] = r
	}
	var hashes []storage.Hash
	for _, r := range records[:min(heads, len(records))] {
		hashes = append(hashes, r.Hash)
	}
	v, err := ViewOf(g, hashes)
	if err != nil {
		return nil, err
	}
	return &Page{Name: name, View: v}, nil
}

// lent is a graph of commits that are not held here.
type lent map[storage.Hash]storage.Record

func (g lent) Commit(h storage.Hash) (*storage.Commit, error) {
	if r, ok := g[h]; ok {
		return r.Commit, nil
	}
	return nil, storage.ErrNotFound
}

func (g lent) Content(h storage.Hash) ([]byte, error) {
	if r, ok := g[h]; ok {
		return r.Content, nil
	}
	return nil, storage.ErrNotFound
}
