package wiki

import (
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// fileTypes are the types that a browser may show by itself, by the ending of
// the name. It is never written. With nosniff a browser takes the bytes for
// nothing else, so a wrong ending shows a broken image and runs nothing.
var fileTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
	".avif": "image/avif", ".bmp": "image/bmp", ".ico": "image/x-icon", ".svg": "image/svg+xml",
	".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".wav": "audio/wav",
	".flac": "audio/flac", ".m4a": "audio/mp4",
	".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime",
	".pdf": "application/pdf",
	".txt": textType, ".text": textType, ".log": textType, ".csv": textType, ".tsv": textType, ".json": textType,
	".diff": textType, ".patch": textType, ".yaml": textType, ".yml": textType, ".toml": textType, ".ini": textType,
}

const (
	textType    = "text/plain; charset=utf-8"
	unknownType = "application/octet-stream"
)

// isImage reports whether a file of that name can be shown by an image element.
func isImage(name string) bool {
	return strings.HasPrefix(fileTypes[strings.ToLower(path.Ext(name))], "image/")
}

// typeOf says as what a file is sent, and whether a browser may show it by
// itself. The beginning of the file counts where the name says nothing; what
// could hold a program is never shown.
func typeOf(name string, head []byte) (contentType string, inline bool) {
	known, ok := fileTypes[strings.ToLower(path.Ext(name))]
	switch {
	case known == "image/svg+xml":
		return known, false // in an image element it is harmless, as a page it is a program
	case ok && known != textType:
		return known, true
	}
	sniffed := http.DetectContentType(head)
	kind, _, _ := strings.Cut(sniffed, "/")
	switch {
	case sniffed == textType && validText(head), ok && validText(head):
		return textType, true
	case !ok && (kind == "image" || kind == "audio" || kind == "video" || sniffed == "application/pdf"):
		return sniffed, true
	}
	return unknownType, false
}

// validText reports whether the beginning of a file is UTF-8 without control
// characters that no text has; a character that is cut at its end does not
// count.
func validText(head []byte) bool {
	for cut := 0; cut < utf8.UTFMax && cut <= len(head); cut++ {
		if text := head[:len(head)-cut]; utf8.Valid(text) {
			return strings.IndexFunc(string(text), func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' }) < 0
		}
	}
	return false
}

// The policies under which files are shown: they load nothing and run nothing,
// and are of no origin. Browsers show no PDF in a sandbox.
const (
	filePolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; frame-ancestors 'self'; sandbox"
	pdfPolicy  = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'"
)
