package gitsource

import (
	"fmt"
	"time"

	"github.com/erwik/erwik/wiki/page"
)

// Revision is one revision of one page.
type Revision struct {
	Name    page.Name
	Text    []byte // do not modify
	Delete  bool
	Author  string // "name <address>"
	Time    time.Time
	Summary string
	Source  string   // hash of the git commit
	Parents []string // sources of the same page; empty for its first revision
	From    *Origin  // after a rename
}

// Origin names the revision of another page that a page was made from.
type Origin struct {
	Name   page.Name
	Source string
}

// Each calls fn with every revision, parents first.
func (p *Plan) Each(fn func(Revision) error) error {
	var at int32 = -1
	var out Revision
	for i := range p.revisions {
		r := &p.revisions[i]
		if r.commit != at {
			at = r.commit
			if err := p.commitOf(&out, at); err != nil {
				return fmt.Errorf("commit %s: %w", p.hash(at), err)
			}
		}
		out.Name, out.Text, out.Delete = p.files.all[r.file].name, nil, r.now == gone
		if !out.Delete {
			var err error
			if out.Text, err = p.source.db.read(r.now.blob()); err != nil {
				return fmt.Errorf("commit %s: %q: %w", p.hash(at), out.Name, err)
			}
		}
		parents := p.parentsOf(r)
		out.Parents = make([]string, len(parents))
		for k, n := range parents {
			out.Parents[k] = p.hash(p.last(n).commit).String()
		}
		out.From = nil
		if r.from != 0 {
			old := p.last(r.from)
			out.From = &Origin{p.files.all[old.file].name, p.hash(old.commit).String()}
		}
		if err := fn(out); err != nil {
			return err
		}
	}
	return nil
}

// commitOf fills in what all revisions of a commit share.
func (p *Plan) commitOf(out *Revision, i int32) error {
	raw, err := p.source.db.read(p.commits[i].object)
	if err != nil {
		return err
	}
	f, err := parseCommit(raw)
	if err != nil {
		return err
	}
	name, email, when := parseIdent(f.author)
	if when.IsZero() {
		when = time.Unix(min(max(p.commits[i].time, 1), maxSeconds), 0).UTC()
	}
	out.Author = cleanAuthor(decode([]byte(name), f.encoding), decode([]byte(email), f.encoding))
	out.Time, out.Source = when, p.hash(i).String()
	out.Summary = cleanMessage(decode(f.message, f.encoding))
	return nil
}
