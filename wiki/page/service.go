package page

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/cache"
)

// Store is what the service needs of package storage; *storage.Store has it.
type Store interface {
	Graph
	FileStore
	Save(ctx context.Context, drafts ...storage.Draft) ([]*storage.Commit, error)
	Heads(path string) ([]storage.Head, error)
	History(path string, before uint64, limit int) ([]storage.Revision, error)
	Recent(before uint64, limit int) ([]storage.Revision, error)
	Paths(prefix, after string, limit int) ([]storage.PathHeads, error)
	NewestPaths(prefix string, before uint64, fn func(storage.PathHeads) (more bool)) (next uint64, err error)
	Forked(after string, limit int) ([]storage.PathHeads, error)
	Imported(source, path string) (storage.Hash, bool, error)
}

// Fetcher brings commits that are not here from other nodes.
type Fetcher interface {
	// Fetch returns when all wanted commits are visible here, when nobody
	// reachable has them, or when ctx ends.
	Fetch(ctx context.Context, wanted []storage.Hash) error
}

// Config says with what a Service works.
type Config struct {
	Store Store
	// Fetch asks other nodes for an unknown base. Nil: there are none.
	Fetch Fetcher
	// Starter returns the text of a page that is shown until its first
	// edit. Nil: there is none.
	Starter func(Name) (text []byte, ok bool)
	// Clock is the time of edits. Nil: time.Now.
	Clock func() time.Time
	// Logger gets what a person should know. Nil: nothing is logged.
	Logger *slog.Logger
}

// Service reads and edits the pages of one node. Its methods may be called
// concurrently. It starts no goroutine.
type Service struct {
	store   Store
	graph   *cachedGraph // of store
	fetch   Fetcher
	starter func(Name) ([]byte, bool)
	clock   func() time.Time
	log     *slog.Logger
	views   *cache.Cache[string, *View] // of pages with several heads
	uniting chan struct{}               // a place for each view of several heads that is made
	merging chan struct{}               // a place for each edit that is merged
}

// fetchTime is how long an edit waits for a base that only others have.
const fetchTime = 2 * time.Second

// Errors that callers tell apart with errors.Is.
var (
	// ErrNoPage: there is no such page, or it is deleted.
	ErrNoPage = errors.New("wiki: no such page")
	// ErrNoRevision: the page has no such revision here.
	ErrNoRevision = errors.New("wiki: no such revision of this page")
	// ErrUnknownBase: the edit was made on a revision that neither this node
	// nor a neighbor holds. Read the page again and redo the edit on it.
	ErrUnknownBase = errors.New("wiki: unknown base revision")
	// ErrPageExists: a page of the new name is there already.
	ErrPageExists = errors.New("wiki: a page of that name exists")
	// ErrInConflict: the page has an edit conflict, which has to be resolved
	// first.
	ErrInConflict = errors.New("wiki: the page has an unresolved edit conflict")
	// ErrBusy: the page was edited by others again and again while this
	// edit was merged. Nothing was saved; try again.
	ErrBusy = errors.New("wiki: the page is being edited too fast")
)

// NewService returns a service on cfg.Store.
func NewService(cfg Config) *Service {
	s := &Service{
		store: cfg.Store, graph: newCachedGraph(cfg.Store), fetch: cfg.Fetch, starter: cfg.Starter, clock: cfg.Clock,
		log:     cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		views:   cache.New[string, *View](viewCacheCost, nil),
		uniting: make(chan struct{}, maxUniting), merging: make(chan struct{}, maxMerging),
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.starter == nil {
		s.starter = func(Name) ([]byte, bool) { return nil, false }
	}
	return s
}

// Page is a page as readers see it.
type Page struct {
	Name Name
	*View
	// Starter: no commit exists, and the text comes with the program.
	Starter bool
	// File: this stands for a file in a list of conflicts; Name is its name
	// below [FilesFolder].
	File bool
}

// Path returns the git path.
func (p *Page) Path() string {
	if p.File {
		return strings.TrimPrefix(string(p.Name), FilesFolder)
	}
	return p.Name.Path()
}

// Page reads a page. A page that is missing is no error: it is not Live.
func (s *Service) Page(name Name) (*Page, error) {
	heads, err := s.store.Heads(name.Path())
	if err != nil {
		return nil, fmt.Errorf("read heads of %q: %w", name, err)
	}
	return s.PageAt(name, heads)
}

// PageAt reads a page at given heads, which need not be the current ones.
func (s *Service) PageAt(name Name, heads []storage.Head) (*Page, error) {
	if len(heads) == 0 {
		p := &Page{Name: name, View: &View{}}
		p.Text, p.Starter = s.starter(name)
		p.Live = p.Starter
		return p, nil
	}
	v, err := s.viewOf(hashes(heads))
	if err != nil {
		return nil, fmt.Errorf("read page %q: %w", name, err)
	}
	return &Page{Name: name, View: v}, nil
}

// viewOf is ViewOf with a cache for what is dear: several heads. Who makes such a
// view waits for a place.
func (s *Service) viewOf(heads []storage.Hash) (*View, error) {
	if len(heads) > 1 {
		if v, ok := s.views.Get(setKey(heads)); ok {
			return v, nil
		}
		s.uniting <- struct{}{}
		defer func() { <-s.uniting }()
	}
	return s.viewWithin(heads)
}

// viewWithin is viewOf for one who has a place, of whatever kind.
func (s *Service) viewWithin(heads []storage.Hash) (*View, error) {
	if len(heads) == 1 {
		return ViewOf(s.graph, heads)
	}
	key := setKey(heads)
	if v, ok := s.views.Get(key); ok {
		return v, nil
	}
	v, err := ViewOf(s.graph, heads)
	if err != nil {
		return nil, err
	}
	cost := 256 + len(heads)*64 + len(v.Text)
	for _, version := range v.Versions {
		cost += len(version.Text)
	}
	s.views.Put(key, v, cost)
	return v, nil
}

func setKey(heads []storage.Hash) string {
	key := make([]byte, 0, len(heads)*len(storage.Hash{}))
	for _, h := range heads {
		key = append(key, h[:]...)
	}
	return string(key)
}

func hashes(heads []storage.Head) []storage.Hash {
	out := make([]storage.Hash, len(heads))
	for i, h := range heads {
		out[i] = h.Hash
	}
	return out
}

// Holds reports whether a version of a page is here, live or deleted; it costs
// one look at its heads.
func (s *Service) Holds(name Name) bool {
	heads, err := s.store.Heads(name.Path())
	return err == nil && len(heads) > 0
}

// IsLive reports whether a page is there for readers; it costs one look at
// its heads. A starter page counts.
func (s *Service) IsLive(name Name) bool {
	heads, err := s.store.Heads(name.Path())
	if err != nil {
		return false
	}
	for _, h := range heads {
		if h.Kind == storage.KindPage {
			return true
		}
	}
	if len(heads) > 0 {
		return false
	}
	_, ok := s.starter(name)
	return ok
}
