package wiki

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/erwik/erwik/wiki/metrics"
	"github.com/erwik/erwik/wiki/page"
)

// maxImportLine is the longest line of an import, in bytes.
const maxImportLine = maxJSONBody

// importLine is one revision in the stream of POST import.
type importLine struct {
	Path    string    `json:"path"`
	Text    string    `json:"text"`
	Deleted bool      `json:"deleted"`
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
	Summary string    `json:"summary"`
	Parents []string  `json:"parents"`
	Source  string    `json:"source"`
	From    *struct {
		Path   string `json:"path"`
		Source string `json:"source"`
	} `json:"from"`
}

// importProgress is one line of the answer.
type importProgress struct {
	Done     int             `json:"done"`
	Skipped  int             `json:"skipped"`
	Failed   int             `json:"failed"`
	Failures []importFailure `json:"failures,omitempty"`
	Final    bool            `json:"final,omitempty"`
	Digest   string          `json:"digest,omitempty"`
	Error    string          `json:"error,omitempty"`
}

type importFailure struct {
	Line   int       `json:"line"`
	Path   page.Name `json:"path"`
	Detail string    `json:"detail"`
}

// apiImport saves a stream of revisions, and tells of its progress while it
// reads.
func (h *Handler) apiImport(w http.ResponseWriter, r *http.Request) error {
	if !h.guard.isOperator(r) {
		return errNotOperator
	}
	control := http.NewResponseController(w)
	// Only HTTP/1.1 needs to be told that reading and writing go together.
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	freeBody(r) // the operator's own; the source may be slow to read
	im := h.pages.NewImporter()
	defer func() { h.metrics.Commits(metrics.OriginImport, im.Tally.Done) }()
	encoder := json.NewEncoder(w)
	told := 0
	tell := func(p importProgress) error {
		p.Done, p.Skipped, p.Failed = im.Tally.Done, im.Tally.Skipped, im.Tally.Failed
		for _, f := range im.TakeFailures() {
			p.Failures = append(p.Failures, importFailure{f.Line, f.Name, f.Err.Error()})
		}
		if err := encoder.Encode(p); err != nil {
			return err
		}
		return control.Flush()
	}
	lines := bufio.NewReaderSize(r.Body, 64<<10)
	var readErr error
	for number := 1; readErr == nil; number++ {
		var line []byte
		if line, readErr = readLine(lines); errors.Is(readErr, errBodyTooLarge) {
			im.Fail(number, "", readErr)
			readErr = nil
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := h.importOne(r, im, number, line); err != nil {
			return h.endImport(tell, err)
		}
		if sum := im.Tally.Done + im.Tally.Skipped + im.Tally.Failed; sum >= told+256 {
			told = sum
			if err := tell(importProgress{}); err != nil {
				return nil // the client is gone; it will resume
			}
		}
	}
	if !errors.Is(readErr, io.EOF) {
		return h.endImport(tell, readErr)
	}
	if err := im.Flush(r.Context()); err != nil {
		return h.endImport(tell, err)
	}
	digest := h.store.Stats().Digest
	return endOfStream(tell(importProgress{Final: true, Digest: hex.EncodeToString(digest[:])}))
}

// endImport tells the client, in the stream that has begun, why it ends early.
func (h *Handler) endImport(tell func(importProgress) error, err error) error {
	h.log.Warn("import ended early", "err", err)
	return endOfStream(tell(importProgress{Final: true, Error: problemOf(err).Detail}))
}

// endOfStream drops the error of a write to a client that is gone: the status
// was sent long ago.
func endOfStream(error) error { return nil }

// importOne imports one line.
func (h *Handler) importOne(r *http.Request, im *page.Importer, number int, line []byte) error {
	var in importLine
	if err := parseJSON(line, &in); err != nil {
		im.Fail(number, "", err)
		return nil
	}
	name, err := page.ParseName(in.Path)
	if err != nil {
		im.Fail(number, "", err)
		return nil
	}
	record := page.Record{
		Name: name, Text: []byte(in.Text), Delete: in.Deleted, Author: in.Author, Time: in.Time,
		Summary: in.Summary, Source: in.Source, Parents: in.Parents,
	}
	if in.From != nil {
		from, err := page.ParseName(in.From.Path)
		if err != nil {
			im.Fail(number, name, err)
			return nil
		}
		record.From = &page.Origin{Name: from, Source: in.From.Source}
	}
	return im.Add(r.Context(), number, record)
}

// readLine reads up to and including the next newline. A line that is too long
// is read to its end but not kept.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxImportLine {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && err == nil:
			return nil, errBodyTooLarge
		}
		return line, err
	}
}
