package wiki

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

const (
	// firstChunkTime is how long a reader waits for the first chunk of a file
	// that is not here yet, nextChunkTime for each further one.
	firstChunkTime = 10 * time.Second
	nextChunkTime  = 60 * time.Second
)

// fileContent reads a file, and brings what is missing from other nodes. It
// implements io.ReadSeeker.
type fileContent struct {
	ctx     context.Context
	h       *Handler
	v       *page.FileVersion
	at      int64
	index   int // of the open chunk
	chunk   *storage.Chunk
	started bool
}

func (h *Handler) openFile(ctx context.Context, v *page.FileVersion) *fileContent {
	return &fileContent{ctx: ctx, h: h, v: v, index: -1}
}

// Close lets go of the chunk that is open.
func (c *fileContent) Close() {
	if c.chunk != nil {
		// Nothing was written.
		_ = c.chunk.Close()
		c.chunk = nil
	}
}

// Seek implements io.Seeker.
func (c *fileContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.v.Manifest.Size
	}
	if offset < 0 {
		return 0, errors.New("wiki: seek before the start of a file")
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (c *fileContent) Read(b []byte) (int, error) {
	if c.at >= c.v.Manifest.Size {
		return 0, io.EOF
	}
	index := int(c.at / storage.FileChunk)
	if err := c.open(index); err != nil {
		return 0, err
	}
	from := c.at - int64(index)*storage.FileChunk
	n, err := c.chunk.ReadAt(b[:min(int64(len(b)), c.chunk.Size-from)], from)
	c.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// open opens a chunk of the file, from another node if it is not here.
func (c *fileContent) open(index int) error {
	if c.chunk != nil && c.index == index {
		return nil
	}
	c.Close()
	id, size := c.v.Manifest.Chunks[index], c.v.Manifest.ChunkSize(index)
	chunk, err := c.h.store.OpenChunk(id)
	if errors.Is(err, storage.ErrNotFound) {
		if err := c.bring(storage.MissingChunk{ID: id, Size: size, Arrival: c.v.Arrival, Index: index}); err != nil {
			return err
		}
		chunk, err = c.h.store.OpenChunk(id)
	}
	if err != nil {
		return err
	}
	c.started, c.chunk, c.index = true, chunk, index
	if chunk.Size != int64(size) {
		return fmt.Errorf("%w: chunk %d of file %.100q has %d bytes, not %d", storage.ErrCorrupt, index, c.v.Path, chunk.Size, size)
	}
	return nil
}

func (c *fileContent) bring(m storage.MissingChunk) error {
	if _, err := c.h.store.Recheck(c.v.Hash); err != nil {
		return err
	}
	most := nextChunkTime
	if !c.started {
		most = firstChunkTime
	}
	ctx, cancel := context.WithTimeout(c.ctx, most)
	defer cancel()
	if err := c.h.mesh.FetchChunk(ctx, m); err != nil && c.ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errFileAbsent, err)
	}
	return c.ctx.Err()
}

// rangeStart is where the first range that a request asks for begins.
func rangeStart(r *http.Request, size int64) int64 {
	text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok {
		return 0
	}
	text, _, _ = strings.Cut(text, ",")
	first, last, _ := strings.Cut(strings.TrimSpace(text), "-")
	if first == "" { // the last so many bytes
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil {
			return 0
		}
		return max(0, size-n)
	}
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil || n < 0 || n >= size {
		return 0
	}
	return n
}
