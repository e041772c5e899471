package gitsource

import (
	"slices"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// The reasons for which something is left out.
const (
	skipOther   = "no Markdown file (.md)"
	skipName    = "no page may have its name"
	skipTwice   = "another file is the page of that name"
	skipLink    = "a symbolic link"
	skipModule  = "a submodule"
	skipText    = "a revision that is no UTF-8 text"
	skipLarge   = "a revision of over 1 MiB"
	maxExamples = 10
)

// Skip counts what is left out for one reason.
type Skip struct {
	Reason   string   `json:"reason"`
	Files    int      `json:"files"`
	Changes  int      `json:"changes"`  // of them in the history
	Examples []string `json:"examples"` // paths, a few
}

// file is one path of the repository.
type file struct {
	path string
	name page.Name // "" where it is no page
	skip string    // why not
}

// files numbers the paths that are or were in the repository.
type files struct {
	all    []file
	number map[string]int32
	pages  map[page.Name]int32
	skips  map[string]*skipped
}

type skipped struct {
	files    map[int32]bool
	changes  int
	examples []string
}

func newFiles() *files {
	return &files{number: make(map[string]int32), pages: make(map[page.Name]int32), skips: make(map[string]*skipped)}
}

// get returns the number of a path.
func (f *files) get(path []byte) int32 {
	if n, known := f.number[string(path)]; known {
		return n
	}
	n := int32(len(f.all))
	x := file{path: string(path)}
	if !strings.HasSuffix(x.path, storage.PageSuffix) {
		x.skip = skipOther
	} else if name, err := page.NameOfFile(x.path); err != nil {
		x.skip = skipName
	} else if _, twice := f.pages[name]; twice {
		x.skip = skipTwice
	} else {
		x.name = name
		f.pages[name] = n
	}
	f.all = append(f.all, x)
	f.number[x.path] = n
	return n
}

func (f *files) skip(n int32, reason string) {
	s := f.skips[reason]
	if s == nil {
		s = &skipped{files: make(map[int32]bool)}
		f.skips[reason] = s
	}
	s.changes++
	if !s.files[n] {
		s.files[n] = true
		if len(s.examples) < maxExamples {
			s.examples = append(s.examples, f.all[n].path)
		}
	}
}

func (f *files) report() []Skip {
	all := make([]Skip, 0, len(f.skips))
	for reason, s := range f.skips {
		all = append(all, Skip{reason, len(s.files), s.changes, s.examples})
	}
	slices.SortFunc(all, func(a, b Skip) int { return strings.Compare(a.Reason, b.Reason) })
	return all
}
