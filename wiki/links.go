package wiki

import (
	"path"
	"strings"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

// pageLinks resolves the links of one page for package markdown.
type pageLinks struct {
	pages *page.Service
	from  page.Name
}

// Resolve implements markdown.Links.
func (l *pageLinks) Resolve(target string, wiki bool) (string, bool) {
	if wiki {
		name, err := page.ParseName(target)
		return string(name), err == nil
	}
	target, ok := l.absolute(target)
	if !ok {
		return "", false
	}
	name, err := page.ParseName(target)
	if err == nil && l.pages.IsLive(name) {
		return string(name), true
	}
	bare, markdown := strings.CutSuffix(target, storage.PageSuffix)
	if markdown {
		name, err = page.ParseName(bare)
		return string(name), err == nil
	}
	// A file, such as a picture, is no page that somebody should write.
	if ext := path.Ext(target); len(ext) >= 3 && len(ext) <= 5 {
		return "", false
	}
	return string(name), err == nil
}

// Exists implements markdown.Links.
func (l *pageLinks) Exists(name string) bool { return isLive(l.pages, name) }

// isLive reports whether a page is there, or a file, whose name is then one below
// page.FilesFolder.
func isLive(pages *page.Service, name string) bool {
	if file, ok := strings.CutPrefix(name, page.FilesFolder); ok {
		return pages.FileLive(page.FileName(file))
	}
	return pages.IsLive(page.Name(name))
}

// File implements markdown.Links.
func (l *pageLinks) File(target string, wiki bool) (name string, image, ok bool) {
	raw, isAddress := strings.CutPrefix(target, filesPath)
	if !isAddress {
		if raw = target; !wiki {
			if raw, ok = l.absolute(target); !ok {
				return "", false, false
			}
		}
	}
	file, err := page.ParseFileName(raw)
	return file.Shown(), isImage(string(file)), err == nil
}

// absolute turns a path relative to the page's folder into one from the root;
// ok is false where it leaves the wiki or names the root.
func (l *pageLinks) absolute(target string) (string, bool) {
	if !strings.HasPrefix(target, "/") {
		target = "/" + l.from.Folder() + "/" + target
	}
	clean := strings.TrimPrefix(path.Clean(target), "/")
	return clean, clean != "" && clean != "."
}
