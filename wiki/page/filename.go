package page

import (
	"strings"

	"github.com/erwik/erwik/storage"
)

// FileName is the name of a file (an attachment) in its one canonical form: the
// rules are those of page names, and it does not end in .md, which is how pages
// lie in git. Only [ParseFileName] and [FileOfPath] make one.
type FileName string

// FilesFolder is where files are among names of pages: "-/files/x.png" is the
// file x.png wherever pages and files stand in one list. No page can have such a
// name, and "/" before it makes the file's address.
const FilesFolder = "-/files/"

// ParseFileName checks the name of a file whose percent-encoding has been decoded
// once already, and brings it to NFC. Every refusal is a *[NameError].
func ParseFileName(raw string) (FileName, error) {
	name, err := ParseName(raw)
	if err != nil {
		if refused, ok := err.(*NameError); ok {
			refused.File = true
		}
		return "", err
	}
	if strings.HasSuffix(string(name), storage.PageSuffix) {
		return "", &NameError{Name: cut(raw, 80), Why: "it ends in .md, as pages do", Do: "save the text as a page, or give the file another ending", File: true}
	}
	return FileName(name), nil
}

// Path returns the git path of the file, which is its name.
func (n FileName) Path() string { return string(n) }

// Shown is the file's name where pages and files stand in one list.
func (n FileName) Shown() string { return FilesFolder + string(n) }

// Title is the last part of the name.
func (n FileName) Title() string { return Name(n).Title() }

// FileOfPath returns the name of the file at a git path; ok is false where the
// path is no file's, or is one that this node would not have made.
func FileOfPath(path string) (name FileName, ok bool) {
	if strings.HasPrefix(path, storage.SignerPrefix) {
		return "", false
	}
	name, err := ParseFileName(path)
	return name, err == nil && string(name) == path
}

// Disk returns the name under which an export writes the file, with "/" between
// folders. It is the inverse of [FileNameOfDisk].
func (n FileName) Disk() string { return mapSegments(string(n), unhideDot) }

// FileNameOfDisk returns the name of the file that a file of an imported folder
// becomes.
func FileNameOfDisk(file string) (FileName, error) { return ParseFileName(mapSegments(file, hideDot)) }

// ShownPath is what people and programs call a git path where pages and files
// stand in one list: a page's name, or a file's name below [FilesFolder]; ok is
// false where it is neither.
func ShownPath(path string) (shown string, ok bool) {
	if name, ok := NameOfPath(path); ok {
		return string(name), true
	}
	if name, ok := FileOfPath(path); ok {
		return name.Shown(), true
	}
	return path, false
}
