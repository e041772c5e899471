package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// folder is a folder that is to be imported.
type folder struct {
	root   *os.Root
	pages  []source // in the order of their names
	files  []string // that are no pages
	hidden leftOut
	links  leftOut // and whatever else is no regular file
}

// source is a file that becomes a page.
type source struct {
	name page.Name
	file string
}

// leftOut counts files that are not imported.
type leftOut struct {
	Reason   string   `json:"reason"`
	Files    int      `json:"files"`
	Examples []string `json:"examples"`
}

// maxExamples is how many files that are left out are named.
const maxExamples = 3

func (l *leftOut) add(file string) {
	l.Files++
	if len(l.Examples) < maxExamples {
		l.Examples = append(l.Examples, file)
	}
}

// refusal is a file that no page or file of the wiki can be made of.
type refusal struct {
	file string
	why  error
}

// Error names the file and says why.
func (r *refusal) Error() string { return fmt.Sprintf("%s: %v", r.file, r.why) }

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// openFolder lists what of a folder is to be imported. Who calls it closes its
// root.
func (a *app) openFolder(path string) (*folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("import: %w. SOURCE is a folder of Markdown files", err)
	}
	f := &folder{root: root, hidden: leftOut{Reason: "hidden"}, links: leftOut{Reason: "symbolic link or no regular file"}}
	bad := 0
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git": // a folder, or the file of a work tree
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			f.links.add(path)
			return nil
		case !strings.HasSuffix(path, storage.PageSuffix):
			if strings.HasPrefix(path, ".") || strings.Contains(path, "/.") {
				f.hidden.add(path)
			} else {
				f.files = append(f.files, path)
			}
			return nil
		}
		name, err := page.NameOfFile(path)
		if err != nil {
			fmt.Fprintf(a.stderr, "erwik: %s: %v\n", path, err)
			bad++
			return nil
		}
		f.pages = append(f.pages, source{name, path})
		return nil
	})
	switch {
	case err == nil && bad > 0:
		err = fmt.Errorf("%s can't be a page; rename what is named above, and import again", several(bad, "file"))
	case err == nil && len(f.pages)+len(f.files) == 0:
		err = fmt.Errorf("no .md file and no other in %s", path)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	sort.Slice(f.pages, func(i, j int) bool { return f.pages[i].name < f.pages[j].name })
	return f, nil
}

// leftOut says what of the folder is not imported, a line for each reason.
func (f *folder) leftOut() string {
	var b strings.Builder
	for _, l := range []leftOut{f.hidden, f.links} {
		if l.Files == 0 {
			continue
		}
		more := ""
		if l.Files > len(l.Examples) {
			more = ", …"
		}
		fmt.Fprintf(&b, "left out, %s: %s (%q%s)\n", l.Reason, several(l.Files, "file"), l.Examples, more)
	}
	return b.String()
}

// readPage reads the text of a page; a *refusal is one that no page may have.
func (f *folder) readPage(p source) ([]byte, error) {
	info, err := f.root.Stat(p.file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.file, err)
	}
	if info.Size() > page.MaxText {
		return nil, &refusal{p.file, fmt.Errorf("it has %d bytes; a page may have %d. Divide it into several", info.Size(), page.MaxText)}
	}
	text, err := f.root.ReadFile(p.file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", p.file, err)
	case !utf8.Valid(text):
		return nil, &refusal{p.file, errNotUTF8}
	case bytes.IndexByte(text, 0) >= 0:
		return nil, &refusal{p.file, errors.New("the text holds a NUL byte, which no page may")}
	}
	return text, nil
}

// openFile opens a file that is no page; a *refusal is one that the wiki does not
// take.
func (f *folder) openFile(path string) (file *os.File, target page.FileName, size int64, err error) {
	if target, err = page.FileNameOfDisk(path); err != nil {
		return nil, "", 0, &refusal{path, err}
	}
	if file, err = f.root.Open(path); err != nil {
		return nil, "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() > storage.MaxFile {
		err = &refusal{path, fmt.Errorf("it has %d bytes; a file may have %d", info.Size(), storage.MaxFile)}
	}
	if err != nil {
		return nil, "", 0, errors.Join(err, file.Close())
	}
	return file, target, info.Size(), nil
}

// tryFolder says what an import of the folder would do, and writes nothing.
func (a *app) tryFolder(f *folder) error {
	pages, files, refused := 0, 0, 0
	// tally counts what would be taken, and names what would not.
	tally := func(taken *int, err error) error {
		switch {
		case isRefusal(err):
			refused++
			fmt.Fprintf(a.stderr, "erwik: %v\n", err)
			return nil
		case err == nil:
			*taken++
		}
		return err
	}
	for _, p := range f.pages {
		_, err := f.readPage(p)
		if err = tally(&pages, err); err != nil {
			return err
		}
	}
	for _, path := range f.files {
		file, _, _, err := f.openFile(path)
		if err == nil {
			file.Close()
		}
		if err = tally(&files, err); err != nil {
			return err
		}
	}
	var err error
	if a.json {
		left := []leftOut{}
		for _, l := range []leftOut{f.hidden, f.links} {
			if l.Files > 0 {
				left = append(left, l)
			}
		}
		err = a.printJSON(map[string]any{"pages": pages, "files": files, "failed": refused, "left_out": left})
	} else {
		_, err = fmt.Fprintf(a.stdout, "%s, %s, %d would fail\n%snothing was written (--dry-run)\n",
			several(pages, "page"), several(files, "other file"), refused, f.leftOut())
	}
	if err == nil && refused > 0 {
		return silentError{fmt.Errorf("%d would fail", refused)}
	}
	return err
}
