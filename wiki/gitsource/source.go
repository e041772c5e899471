package gitsource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// Source is an open repository or bundle.
type Source struct {
	db      database
	branch  string // the full name of the reference
	tip     plumbing.Hash
	shallow map[plumbing.Hash]bool
	closers []io.Closer
}

// ErrNoHistory: what was named is neither a git repository nor a bundle.
var ErrNoHistory = errors.New("neither a git repository nor a git bundle")

// Open opens a repository (bare or with a work tree) or a bundle at path, at
// the given branch or other reference. Without one it is the one that HEAD
// names, else main, else master, else the only one there is.
func Open(path, branch string) (*Source, error) {
	s := &Source{}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	if info.IsDir() {
		err = s.openRepository(path, branch)
	} else {
		err = s.openBundle(path, branch)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

// Close closes the files.
func (s *Source) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *Source) openBundle(path, branch string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, f)
	r := bufio.NewReaderSize(f, maxBundleLine)
	if start, _ := r.Peek(len(bundleV2)); !IsBundle(start) {
		return ErrNoHistory
	}
	h, err := readBundle(r)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - h.size
	s.db.packs = []*packFile{{name: "its pack", at: io.NewSectionReader(f, h.size, size), size: size}}
	return s.choose(branch, h.refs)
}

// choose finds the reference among those of a bundle.
func (s *Source) choose(branch string, refs map[string]plumbing.Hash) error {
	for _, name := range candidates(branch) {
		if tip, found := refs[name]; found {
			s.branch, s.tip = name, tip
			return nil
		}
	}
	names := make([]string, 0, len(refs))
	for name := range refs {
		names = append(names, name)
	}
	if branch == "" && len(names) == 1 {
		s.branch, s.tip = names[0], refs[names[0]]
		return nil
	}
	return noBranch(branch, names)
}

func noBranch(branch string, names []string) error {
	slices.Sort(names)
	more := ""
	if len(names) > 20 {
		names, more = names[:20], ", …"
	}
	what := "it has no HEAD, no main and no master"
	if branch != "" {
		what = fmt.Sprintf("it has no branch %q", branch)
	}
	return fmt.Errorf("%s. Choose one by --branch: %s%s", what, strings.Join(names, ", "), more)
}

// candidates are the references that a branch may mean, in this order.
func candidates(branch string) []string {
	if branch == "" {
		return []string{"HEAD", "refs/heads/main", "refs/heads/master"}
	}
	return []string{branch, "refs/heads/" + branch, "refs/tags/" + branch, "refs/remotes/" + branch, "refs/" + branch}
}

// IsRepository reports whether a folder is a git repository, bare or with a
// work tree.
func IsRepository(path string) bool {
	_, _, err := gitFolders(path)
	return err == nil
}

// gitFolders finds the folder with HEAD and the one with objects and branches,
// which differ in a linked work tree.
func gitFolders(path string) (own, common string, err error) {
	own = path
	inner := filepath.Join(path, ".git")
	if info, err := os.Lstat(inner); err == nil {
		own = inner
		if !info.IsDir() {
			target, err := smallFile(inner)
			if err != nil {
				return "", "", err
			}
			target, ok := strings.CutPrefix(target, "gitdir: ")
			if !ok {
				return "", "", ErrNoHistory
			}
			own = under(path, target)
		}
	}
	common = own
	if target, err := smallFile(filepath.Join(own, "commondir")); err == nil {
		common = under(own, target)
	}
	for _, f := range []string{filepath.Join(own, "HEAD"), filepath.Join(common, "objects")} {
		if _, err := os.Stat(f); err != nil {
			return "", "", ErrNoHistory
		}
	}
	return own, common, nil
}

func under(folder, target string) string {
	if filepath.IsAbs(target) {
		return target
	}
	return filepath.Join(folder, target)
}

// smallFile reads a file of one line.
func smallFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBundleLine))
	return strings.TrimRight(string(text), "\r\n"), err
}

func (s *Source) openRepository(path, branch string) error {
	own, common, err := gitFolders(path)
	if err != nil {
		return err
	}
	if err := checkConfig(common); err != nil {
		return err
	}
	if err := s.readShallow(common); err != nil {
		return err
	}
	if err := s.addObjects(filepath.Join(common, "objects"), 0); err != nil {
		return err
	}
	shared, head := dotgit.New(osfs.New(common)), dotgit.New(osfs.New(own))
	for _, name := range candidates(branch) {
		from := shared
		if name == "HEAD" {
			from = head
		}
		for range 10 { // HEAD names a branch, which may name another
			ref, err := from.Ref(plumbing.ReferenceName(name))
			if err != nil {
				break
			}
			if ref.Type() == plumbing.HashReference {
				s.branch, s.tip = ref.Name().String(), ref.Hash()
				return nil
			}
			name, from = ref.Target().String(), shared
		}
	}
	refs, err := shared.Refs()
	if err != nil {
		return fmt.Errorf("list branches: %w", err)
	}
	var names []string
	for _, r := range refs {
		names = append(names, r.Name().Short())
	}
	return noBranch(branch, names)
}

// checkConfig refuses repositories whose format is another one.
func checkConfig(folder string) error {
	f, err := os.Open(filepath.Join(folder, "config"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	c := config.New()
	if err := config.NewDecoder(io.LimitReader(f, 1<<20)).Decode(c); err != nil {
		return fmt.Errorf("read its config: %w", err)
	}
	extensions := c.Section("extensions")
	if format := extensions.Option("objectformat"); format != "" && !strings.EqualFold(format, "sha1") {
		return fmt.Errorf("its commits are named by %s; only SHA-1 can be read", format)
	}
	if format := extensions.Option("refstorage"); format != "" && !strings.EqualFold(format, "files") {
		return fmt.Errorf("its branches are kept as %s, which can't be read. Import a bundle of it: git bundle create FILE --all", format)
	}
	return nil
}

// readShallow notes at which commits a shallow clone ends.
func (s *Source) readShallow(folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, "shallow"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.shallow = make(map[plumbing.Hash]bool)
	for line := range bytes.Lines(text) {
		s.shallow[plumbing.NewHash(string(bytes.TrimSpace(line)))] = true
	}
	return nil
}

// maxAlternates is how many folders of objects may hang together.
const maxAlternates = 16

func (s *Source) addObjects(folder string, depth int) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, root)
	s.db.loose = append(s.db.loose, looseFolder{root, folder})
	if len(s.db.loose) > maxAlternates || depth > 5 {
		return fmt.Errorf("more than %d folders of objects (objects/info/alternates)", maxAlternates)
	}
	packs, err := filepath.Glob(filepath.Join(folder, "pack", "pack-*.pack"))
	if err != nil {
		return err
	}
	slices.Sort(packs)
	for _, name := range packs {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, f)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		s.db.packs = append(s.db.packs, &packFile{name: filepath.Base(name), at: f, size: info.Size()})
		if len(s.db.packs) > 1<<15 {
			return fmt.Errorf("over %d packs. Run git gc in it first", 1<<15)
		}
	}
	text, err := os.ReadFile(filepath.Join(folder, "info", "alternates"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.addObjects(under(folder, line), depth+1); err != nil {
			return fmt.Errorf("objects of %s: %w", line, err)
		}
	}
	return nil
}
