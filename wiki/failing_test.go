package wiki_test

import (
	"context"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki"
)

// failing is a store that refuses every save.
type failing struct {
	wiki.Store
	err error
}

func (f failing) Save(context.Context, ...storage.Draft) ([]*storage.Commit, error) {
	return nil, f.err
}
