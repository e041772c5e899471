package web

import "io"

// FileRow is a revision of a file in a list.
type FileRow struct {
	Revision
	Name     string
	Size     string // for people; empty where it deletes the file
	Missing  string // how much is not here yet, or empty
	Conflict bool
}

// FileForm is the form for an upload.
type FileForm struct {
	Action    string
	Path      string // what is suggested
	Fixed     bool   // the address says which file
	Base      string // hashes, separated by blanks
	NeedToken bool
	Most      string // how large a file may be
}

// Files is the list of files.
type Files struct {
	Chrome     *Chrome
	Items      []FileRow
	Prefix     string
	NextURL    string
	Form       FileForm
	Missing    string // the file that was asked for and is not there; then no list is shown
	HistoryURL string // of that file, if it was deleted
}

// Files writes the list of files.
func (w *Writer) Files(out io.Writer, p *Files) error { return w.write(out, "files", p.Chrome, p) }

// File is what is known of one file.
type File struct {
	Chrome   *Chrome
	Name     string
	URL      string
	Live     bool
	Image    bool
	Versions int // that differ, in a conflict; else 0
	Items    []FileRow
	NextURL  string
	Form     FileForm
}

// File writes what is known of one file.
func (w *Writer) File(out io.Writer, p *File) error { return w.write(out, "file", p.Chrome, p) }
