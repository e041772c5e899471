package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// FileChunk is the size of every file chunk but a file's last one, in bytes.
const FileChunk = 1 << 20

// MaxFile is the largest file, in bytes. It is a maximum of the protocol: a
// manifest of more is inert.
const MaxFile = 64 << 20

// maxManifest bounds the text of a manifest, in bytes.
const maxManifest = 256 + MaxFile/FileChunk*(len("chunk \n")+2*sha256.Size)

// ChunkID names a file chunk: the SHA-256 of its bytes.
type ChunkID [sha256.Size]byte

// String returns 64 hex digits.
func (id ChunkID) String() string { return hex.EncodeToString(id[:]) }

// ParseChunkID reads what String wrote.
func ParseChunkID(text string) (id ChunkID, err error) {
	if len(text) != 2*len(id) || strings.ToLower(text) != text {
		return id, fmt.Errorf("%w: file chunk %.80q is not 64 lower-case hex digits", ErrInvalid, text)
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return id, fmt.Errorf("%w: file chunk %.80q: %w", ErrInvalid, text, err)
	}
	return id, nil
}

// Manifest is the content of a commit of kind file: what the file consists of.
// The chunks themselves are outside the log. Its text is a line each:
//
//	erwik file 1
//	size <bytes>
//	sha256 <64 hex>             of the whole file, as its saver says
//	chunk <64 hex>              for each FileChunk bytes, and for the rest
type Manifest struct {
	Size   int64
	SHA256 [sha256.Size]byte
	Chunks []ChunkID
}

const manifestHeader = "erwik file 1"

// Encode returns the one text of the manifest.
func (m *Manifest) Encode() []byte {
	b := make([]byte, 0, 128+len(m.Chunks)*(len("chunk \n")+2*sha256.Size))
	b = append(b, manifestHeader+"\nsize "...)
	b = strconv.AppendInt(b, m.Size, 10)
	b = append(b, "\nsha256 "...)
	b = append(hex.AppendEncode(b, m.SHA256[:]), '\n')
	for i := range m.Chunks {
		b = append(b, "chunk "...)
		b = append(hex.AppendEncode(b, m.Chunks[i][:]), '\n')
	}
	return b
}

// ChunkSize returns the length of the i-th chunk, in bytes.
func (m *Manifest) ChunkSize(i int) int {
	return int(min(FileChunk, m.Size-int64(i)*FileChunk))
}

// ParseManifest reads the text of a manifest. Only the text that Encode writes
// is accepted, with as many chunks as the size asks for; where there is one
// chunk or none, the SHA-256 must be that of all the bytes.
func ParseManifest(text []byte) (*Manifest, error) {
	refuse := func(why string) (*Manifest, error) {
		return nil, fmt.Errorf("%w: manifest of a file: %s", ErrInvalid, why)
	}
	if len(text) > maxManifest {
		return refuse(fmt.Sprintf("%d bytes, at most %d", len(text), maxManifest))
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 4 || lines[0] != manifestHeader || lines[len(lines)-1] != "" {
		return refuse("not of version 1")
	}
	m := &Manifest{}
	size, found := strings.CutPrefix(lines[1], "size ")
	n, err := strconv.ParseUint(size, 10, 63)
	if !found || err != nil || n > MaxFile {
		return refuse(fmt.Sprintf("line %.60q names no size up to %d", lines[1], MaxFile))
	}
	m.Size = int64(n)
	sum, found := strings.CutPrefix(lines[2], "sha256 ")
	whole, err := ParseChunkID(sum)
	if !found || err != nil {
		return refuse("no SHA-256")
	}
	m.SHA256 = whole
	lines = lines[3 : len(lines)-1]
	if want := int((m.Size + FileChunk - 1) / FileChunk); len(lines) != want {
		return refuse(fmt.Sprintf("%d chunks, want %d", len(lines), want))
	}
	if len(lines) > 0 {
		m.Chunks = make([]ChunkID, len(lines))
	}
	for i, line := range lines {
		name, found := strings.CutPrefix(line, "chunk ")
		if m.Chunks[i], err = ParseChunkID(name); !found || err != nil {
			return refuse(fmt.Sprintf("line %.80q names no chunk", line))
		}
	}
	switch {
	case len(m.Chunks) == 0 && m.SHA256 != sha256.Sum256(nil), len(m.Chunks) == 1 && m.SHA256 != m.Chunks[0]:
		return refuse("the SHA-256 is not that of the chunks")
	case !bytes.Equal(m.Encode(), text):
		return refuse("not the one form of its fields")
	}
	return m, nil
}
