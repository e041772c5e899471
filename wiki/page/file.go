package page

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/erwik/erwik/storage"
)

// FileStore is what the service needs of package storage for files.
type FileStore interface {
	Files(prefix, after string, limit int) ([]storage.PathHeads, error)
	Revision(h storage.Hash) (storage.Revision, error)
	MissingOf(arrival uint64) (bytes int64, err error)
}

// ErrNoFile: there is no such file, or it is deleted.
var ErrNoFile = errors.New("wiki: no such file")

// FileVersion is one revision of a file.
type FileVersion struct {
	storage.Revision
	Manifest *storage.Manifest // nil: it deletes the file
	Missing  int64             // bytes that are not here yet
}

// File is a file as readers see it. Files never merge: with several different
// heads it is in conflict, and the one with the smallest hash is shown.
type File struct {
	Name     FileName
	Heads    []storage.Hash // sorted
	Live     bool           // there is something to read
	Conflict bool
	Shown    *FileVersion   // nil if it is not Live
	Versions []*FileVersion // in a conflict: all heads that differ
}

// File reads what is known of a file. One that is missing is no error: it is not
// Live.
func (s *Service) File(name FileName) (*File, error) {
	heads, err := s.store.Heads(name.Path())
	if err != nil {
		return nil, fmt.Errorf("read heads of file %q: %w", name, err)
	}
	return s.fileAt(name, heads)
}

func (s *Service) fileAt(name FileName, heads []storage.Head) (*File, error) {
	f := &File{Name: name, Heads: hashes(heads)}
	var kinds []storage.Head // the first of each that differ
	for _, h := range heads {
		same := func(k storage.Head) bool { return k.Kind == h.Kind && k.Sum == h.Sum }
		if !slices.ContainsFunc(kinds, same) {
			kinds = append(kinds, h)
		}
		f.Live = f.Live || h.Kind == storage.KindFile
	}
	f.Conflict = f.Live && len(kinds) > 1
	for _, h := range kinds[:min(len(kinds), MaxShown)] {
		v, err := s.fileVersion(h.Hash)
		if err != nil {
			return nil, fmt.Errorf("read file %q: %w", name, err)
		}
		if f.Conflict {
			f.Versions = append(f.Versions, v)
		}
		if f.Shown == nil && v.Manifest != nil {
			f.Shown = v
		}
	}
	return f, nil
}

func (s *Service) fileVersion(h storage.Hash) (*FileVersion, error) {
	r, err := s.store.Revision(h)
	if err != nil {
		return nil, err
	}
	v := &FileVersion{Revision: r}
	if r.Kind != storage.KindFile {
		return v, nil
	}
	text, err := s.store.Content(h)
	if err != nil {
		return nil, err
	}
	if v.Manifest, err = storage.ParseManifest(text); err != nil {
		return nil, err
	}
	v.Missing, err = s.store.MissingOf(r.Arrival)
	return v, err
}

// FileRevision reads an old revision of a file.
func (s *Service) FileRevision(name FileName, h storage.Hash) (*FileVersion, error) {
	v, err := s.fileVersion(h)
	if errors.Is(err, storage.ErrNotFound) || err == nil && (v.Path != name.Path() || v.Muted) {
		return nil, fmt.Errorf("revision %s of file %q: %w", h, name, ErrNoRevision)
	}
	if err != nil {
		return nil, fmt.Errorf("read revision %s of file %q: %w", h, name, err)
	}
	return v, nil
}

// FileHistory lists the revisions of a file as History does those of a page.
func (s *Service) FileHistory(name FileName, before uint64, limit int) ([]storage.Revision, error) {
	revisions, err := s.store.History(name.Path(), before, bound(limit))
	if err != nil {
		return nil, fmt.Errorf("read history of file %q: %w", name, err)
	}
	return revisions, nil
}

// Files lists live files whose names begin with prefix, as Pages does pages.
func (s *Service) Files(prefix, after string, limit int) (files []*File, next string, err error) {
	limit = bound(limit)
	for looked := 0; looked < scanned; {
		batch, err := s.store.Files(prefix, after, limit+1)
		if err != nil {
			return nil, "", fmt.Errorf("list files: %w", err)
		}
		for _, p := range batch {
			name, ok := FileOfPath(p.Path)
			if !ok {
				after = p.Path
				continue
			}
			f, err := s.fileAt(name, p.Heads)
			if err != nil {
				return nil, "", err
			}
			if f.Live && len(files) == limit {
				return files, after, nil
			}
			if after = p.Path; f.Live {
				files = append(files, f)
			}
		}
		if len(batch) <= limit {
			return files, "", nil
		}
		looked += len(batch)
	}
	return files, after, nil
}

// FileLive reports whether a file is there for readers; it costs one look at its
// heads.
func (s *Service) FileLive(name FileName) bool {
	heads, err := s.store.Heads(name.Path())
	return err == nil && slices.ContainsFunc(heads, func(h storage.Head) bool { return h.Kind == storage.KindFile })
}

// FileEdit is what somebody asks to do to a file.
type FileEdit struct {
	Name FileName
	// Manifest is what the file shall be; its chunks are in the store. Nil
	// while they are not yet: see CheckFile.
	Manifest *storage.Manifest
	Delete   bool
	// Base, OnTop, Author and Summary are as in [Edit].
	Base    []storage.Hash
	OnTop   bool
	Author  string
	Summary string
}

// FileConflictError is a file that others have changed since.
type FileConflictError struct {
	Name    FileName
	Current *File
}

// Error says what to do.
func (e *FileConflictError) Error() string {
	what := "is there already"
	if e.Current.Conflict {
		what = "has several versions"
	}
	return fmt.Sprintf("file %q %s, and your upload was not made on what it is now: look at it, and send yours with its heads as base, or under another name", e.Name, what)
}

// CheckFile says what SaveFile would refuse, before the bytes of a file are read.
func (s *Service) CheckFile(ctx context.Context, e FileEdit) error {
	if err := e.check(); err != nil {
		return err
	}
	_, err := s.fileBase(ctx, &e)
	return err
}

func (e *FileEdit) check() error {
	plain := Edit{Author: e.Author, Summary: e.Summary, Delete: true}
	if err := plain.check(); err != nil {
		return err
	}
	e.Author, e.Summary = plain.Author, plain.Summary
	return nil
}

// SaveFile makes a new revision of a file, or its deletion, durable. One that
// changes nothing makes no commit.
//
// Errors: *[EditError], *[FileConflictError], [ErrUnknownBase], [ErrNoFile] (for
// a delete), [ErrBusy], and storage's.
func (s *Service) SaveFile(ctx context.Context, e FileEdit) (Saved, error) {
	if err := e.check(); err != nil {
		return Saved{}, err
	}
	for range maxTries {
		if err := ctx.Err(); err != nil {
			return Saved{}, fmt.Errorf("save file %q: %w", e.Name, err)
		}
		cur, err := s.fileBase(ctx, &e)
		if err != nil {
			return Saved{}, err
		}
		if !e.Delete && cur.shows(e.Manifest) {
			return Saved{Commit: cur.Shown.Commit, Heads: cur.Heads, Unchanged: true}, nil
		}
		d := storage.Draft{
			Kind: storage.KindFile, Path: e.Name.Path(), Parents: cur.Heads, IfHeads: cur.Heads, CheckHeads: true,
			Author: s.author(e.Author), Message: e.Summary,
		}
		var left []storage.Hash
		if len(d.Parents) > storage.MaxParents {
			d.Parents, left = d.Parents[:storage.MaxParents], slices.Clone(d.Parents[storage.MaxParents:])
		}
		if e.Delete {
			d.Kind = storage.KindDelete
		} else {
			d.Content = e.Manifest.Encode()
		}
		commits, err := s.store.Save(ctx, d)
		if errors.Is(err, storage.ErrHeadsMoved) {
			continue
		}
		if err != nil {
			return Saved{}, fmt.Errorf("save file %q: %w", e.Name, err)
		}
		heads := append(left, commits[0].Hash)
		slices.SortFunc(heads, storage.Hash.Compare)
		return Saved{Commit: commits[0], Heads: heads, Created: !cur.Live}, nil
	}
	return Saved{}, fmt.Errorf("save file %q: %w", e.Name, ErrBusy)
}

// shows reports whether readers see exactly this file.
func (f *File) shows(m *storage.Manifest) bool {
	return f.Live && !f.Conflict && m.Size == f.Shown.Manifest.Size && slices.Equal(m.Chunks, f.Shown.Manifest.Chunks)
}

// fileBase reads a file and compares it with what the edit was made on.
func (s *Service) fileBase(ctx context.Context, e *FileEdit) (*File, error) {
	cur, err := s.File(e.Name)
	if err != nil {
		return nil, err
	}
	switch {
	case e.Delete && !cur.Live:
		return nil, fmt.Errorf("delete file %q: %w", e.Name, ErrNoFile)
	case e.OnTop, !cur.Live && len(e.Base) == 0, sameSet(cur.Heads, e.Base):
		return cur, nil
	case !e.Delete && cur.Live && !cur.Conflict && (e.Manifest == nil || cur.shows(e.Manifest)):
		return cur, nil // nothing is changed; without a manifest nobody knows yet
	}
	asked, err := s.findFileBase(ctx, e)
	if err != nil {
		return nil, err
	}
	if asked {
		if cur, err = s.File(e.Name); err != nil {
			return nil, err
		}
		if sameSet(cur.Heads, e.Base) {
			return cur, nil
		}
	}
	return nil, &FileConflictError{Name: e.Name, Current: cur}
}

// findFileBase makes sure that e's base is here; asked says that other nodes
// were asked for it.
func (s *Service) findFileBase(ctx context.Context, e *FileEdit) (asked bool, err error) {
	for {
		missing, err := s.missingBase(e.Name.Path(), e.Base)
		if err != nil || len(missing) == 0 {
			return asked, err
		}
		if asked || s.fetch == nil {
			return asked, fmt.Errorf("save file %q on %s: %w", e.Name, missing[0], ErrUnknownBase)
		}
		asked = true
		wait, cancel := context.WithTimeout(ctx, fetchTime)
		if err := s.fetch.Fetch(wait, missing); err != nil {
			s.log.Debug("base not found at other nodes", "file", string(e.Name), "err", err)
		}
		cancel()
	}
}
