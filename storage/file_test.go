package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// randomBytes are the same for the same seed.
func randomBytes(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func fileDraft(path string, u *Upload, parents ...Hash) Draft {
	return Draft{Kind: KindFile, Path: path, Content: u.Manifest().Encode(), Parents: parents, Author: Ident{Name: "Ann"}}
}

// upload brings the chunks of a file into the store and returns the draft of
// its commit.
func upload(t testing.TB, s *Store, path, data string, parents ...Hash) Draft {
	t.Helper()
	u, err := s.ReadFile(t.Context(), strings.NewReader(data), MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	return fileDraft(path, u, parents...)
}

// readAll reads a whole file by its manifest.
func readAll(t testing.TB, s *Store, h Hash) []byte {
	t.Helper()
	text, err := s.Content(h)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, id := range m.Chunks {
		c, err := s.OpenChunk(id)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size))
		if err = errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func TestManifestGolden(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "a")
	u, err := s.ReadFile(t.Context(), bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), (FileChunk+512)/16)), MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.txt", u.Manifest().Encode())
	r := goldenFile()
	golden(t, "commit-file.txt", r.Encode())
	golden(t, "entry-file.hex", []byte(hex.EncodeToString(r.AppendEntry(nil))+"\n"))
	if err := r.Verify(r.Content); err != nil {
		t.Errorf("verify: %v", err)
	}
}

// goldenFile is a commit of kind file.
func goldenFile() Record {
	key := testKey(1)
	m := Manifest{Size: 5, SHA256: ChunkID{1, 2, 3}, Chunks: []ChunkID{{1, 2, 3}}}
	c := &Commit{
		Kind: KindFile, Generation: 1, Log: LogID{Node: keyID(key), Nonce: 1}, Sequence: 1, Path: "img/net.png",
		Author:    Ident{Name: "Ann", Email: "ann@example.org", Time: 1763690000, Zone: 60},
		Committer: Ident{Name: "e1", Email: "e1@host", Time: 1763690001},
	}
	r := Record{c, m.Encode()}
	r.finish(r.Content)
	r.sign(key, &scratch{})
	return r
}

func TestManifestsAreStrict(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, good := range []string{
		"erwik file 1\nsize 0\nsha256 " + empty + "\n",
		"erwik file 1\nsize 5\nsha256 " + sum + "\nchunk " + sum + "\n",
		"erwik file 1\nsize 1048577\nsha256 " + empty + "\nchunk " + sum + "\nchunk " + sum + "\n",
		"erwik file 1\nsize 67108864\nsha256 " + empty + strings.Repeat("\nchunk "+sum, 64) + "\n",
	} {
		m, err := ParseManifest([]byte(good))
		if err != nil || string(m.Encode()) != good {
			t.Errorf("%.60q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "erwik file 2\nsize 0\nsha256 " + empty + "\n", "erwik file 1\nsize 0\nsha256 " + sum + "\n",
		"erwik file 1\nsize 0\nsha256 " + empty, "erwik file 1\nsize 00\nsha256 " + empty + "\n",
		"erwik file 1\nsize +0\nsha256 " + empty + "\n", "erwik file 1\nsize -1\nsha256 " + empty + "\n",
		"erwik file 1\r\nsize 0\nsha256 " + empty + "\n", "erwik file 1\nsize 0\nsha256 " + strings.ToUpper(empty) + "\n",
		"erwik file 1\nsize 0\nsha256 " + empty + "\nchunk " + sum + "\n",
		"erwik file 1\nsize 5\nsha256 " + empty + "\nchunk " + sum + "\n",
		"erwik file 1\nsize 5\nsha256 " + sum + "\n",
		"erwik file 1\nsize 5\nsha256 " + sum + "\nchunk " + sum + "\n\n",
		"erwik file 1\nsize 1048577\nsha256 " + sum + "\nchunk " + sum + "\n",
		"erwik file 1\nsize 67108865\nsha256 " + empty + strings.Repeat("\nchunk "+sum, 65) + "\n",
		"erwik file 1\nsize 18446744073709551616\nsha256 " + empty + "\n",
		"erwik file 1\nsize 5\nsha256 " + sum + "\nchunk ../../../../etc/passwd\n",
		strings.Repeat("x", 1<<20),
	} {
		if m, err := ParseManifest([]byte(bad)); err == nil {
			t.Errorf("%.80q is read as %+v", bad, m)
		}
	}
}

func FuzzManifest(f *testing.F) {
	sum := strings.Repeat("ab", 32)
	f.Add("erwik file 1\nsize 5\nsha256 " + sum + "\nchunk " + sum + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseManifest([]byte(text))
		if err == nil && string(m.Encode()) != text {
			t.Errorf("%q reads as %+v", text, m)
		}
	})
}

func TestFileIsSavedAndRead(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "a")
	data := randomBytes(1, 2*FileChunk+777)
	first := mustSave(t, s, upload(t, s, "img/net.png", string(data)))[0]
	if got := readAll(t, s, first.Hash); !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, wrote %d", len(got), len(data))
	}
	if st := s.Stats(); st.Files != 1 || st.Pages != 0 || st.Lacking != 0 {
		t.Errorf("%+v", st)
	}
	// Its first chunk again, and the last byte changed: one chunk is new.
	before := countChunks(t, s)
	data[len(data)-1] ^= 1
	second := mustSave(t, s, upload(t, s, "img/net.png", string(data), first.Hash))[0]
	if now := countChunks(t, s); now != before+1 {
		t.Errorf("%d chunks, %d before", now, before)
	}
	if got := readAll(t, s, second.Hash); !bytes.Equal(got, data) {
		t.Error("the second revision reads differently")
	}
	mustSave(t, s, page("Page.md", "x"))
	if files, err := s.Files("img/", "", 10); err != nil || len(files) != 1 || files[0].Path != "img/net.png" || files[0].Heads[0].Hash != second.Hash {
		t.Errorf("files: %+v, %v", files, err)
	}
	empty := mustSave(t, s, upload(t, s, "empty", ""))[0]
	if got := readAll(t, s, empty.Hash); len(got) != 0 {
		t.Errorf("an empty file reads as %d bytes", len(got))
	}
	checkWhole(t, s, "after saves")
}

func countChunks(t testing.TB, s *Store) (n int) {
	for _, dir := range chunkDirs(t, s) {
		names, err := s.fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		n += len(names)
	}
	return n
}

// TestUploadsLeaveNothing: what is cut, too long, given up, or without room.
func TestUploadsLeaveNothing(t *testing.T) {
	disk := &smallDisk{vfs.NewMem(), 40 << 20}
	s := openTest(t, disk, "a")
	long := randomBytes(2, 2*FileChunk)
	if _, err := s.ReadFile(t.Context(), bytes.NewReader(long), int64(len(long)-1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too long: %v", err)
	}
	cut := io.MultiReader(bytes.NewReader(long), iotestErr{io.ErrUnexpectedEOF})
	if _, err := s.ReadFile(t.Context(), cut, MaxFile); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ReadFile(ctx, bytes.NewReader(long), MaxFile); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	u, err := s.ReadFile(t.Context(), bytes.NewReader(long), MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	if countChunks(t, s) != 2 {
		t.Errorf("%d chunks", countChunks(t, s))
	}
	if err := u.Release(); err != nil {
		t.Fatal(err)
	}
	disk.free = 16 << 20
	if _, err := s.ReadFile(t.Context(), bytes.NewReader(long), MaxFile); !errors.Is(err, ErrDiskFull) {
		t.Errorf("without room: %v", err)
	}
	if n := countChunks(t, s); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	disk.free = 40 << 20
	if _, err := s.Save(t.Context(), fileDraft("x.bin", u)); !errors.Is(err, ErrMissingChunk) {
		t.Errorf("a file whose chunks are gone: %v", err)
	}
	mustSave(t, s, page("A.md", "goes on"))
	checkWhole(t, s, "after all that")
}

// iotestErr is a reader that fails.
type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

// TestFullDiskDuringUpload: the file system itself says that it is full.
func TestFullDiskDuringUpload(t *testing.T) {
	full := false
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full && op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, newName+"/") {
			return syscall.ENOSPC
		}
		return nil
	}))
	s := openTest(t, fs, "a")
	full = true
	if _, err := s.ReadFile(t.Context(), strings.NewReader("x"), MaxFile); !errors.Is(err, ErrDiskFull) {
		t.Errorf("got %v", err)
	}
	full = false
	mustSave(t, s, upload(t, s, "x.bin", "x"), page("A.md", "x"))
	checkWhole(t, s, "after a full disk")
}

// TestUploadsOfOneFile: of two uploads with one chunk, the one that is given up
// does not take it from the other, in whatever order.
func TestUploadsOfOneFile(t *testing.T) {
	for name, order := range map[string][2]int{"first given up": {0, 1}, "second given up": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, vfs.NewMem(), "a")
			var ups [2]*Upload
			for i := range ups {
				var err error
				if ups[i], err = s.ReadFile(t.Context(), strings.NewReader("the same"), MaxFile); err != nil {
					t.Fatal(err)
				}
			}
			if err := ups[order[0]].Release(); err != nil {
				t.Fatal(err)
			}
			c := mustSave(t, s, fileDraft("x", ups[order[1]]))[0]
			if err := ups[order[1]].Release(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, s, c.Hash); string(got) != "the same" {
				t.Errorf("read %q", got)
			}
			checkWhole(t, s, "at the end")
		})
	}
}

// TestFileArrivesLater: the commit comes first, its chunks after it, resumably;
// what is not what it should be is thrown away.
func TestFileArrivesLater(t *testing.T) {
	fs := vfs.NewMem()
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, fs, "b")
	if err := b.Admit(t.Context(), a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	data := randomBytes(3, FileChunk+500)
	c := mustSave(t, a, upload(t, a, "x.bin", string(data)))[0]
	mustReceive(t, b, records(t, a, nil))
	missing, err := b.MissingChunks(MissingChunk{}, 10)
	if err != nil || len(missing) != 2 || b.Stats().Lacking != 1 || missing[0].Size != FileChunk || missing[1].Size != 500 {
		t.Fatalf("missing: %+v, %v, %+v", missing, err, b.Stats())
	}
	if rest, err := b.MissingChunks(missing[0], 10); err != nil || len(rest) != 1 || rest[0] != missing[1] {
		t.Errorf("after the first: %+v, %v", rest, err)
	}
	id := missing[0].ID
	if err := b.AddPart(t.Context(), id, 0, data[:1000]); err != nil {
		t.Fatal(err)
	}
	if err := b.AddPart(t.Context(), id, 5000, data[:1000]); !errors.Is(err, ErrInvalid) {
		t.Errorf("a part that does not follow: %v", err)
	}
	if err := b.AddPart(t.Context(), id, 1000, make([]byte, FileChunk)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than a chunk: %v", err)
	}
	if err := b.LandPart(id); !errors.Is(err, ErrInvalid) || b.PartSize(id) != 0 {
		t.Errorf("wrong bytes: %v, %d are kept", err, b.PartSize(id))
	}
	if err := b.AddPart(t.Context(), id, 0, data[:70000]); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openTest(t, fs, "b")
	if got := b.PartSize(id); got != 70000 {
		t.Fatalf("%d bytes after a restart, want 70000", got)
	}
	if err := fetchMissing(b, a); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, c.Hash); !bytes.Equal(got, data) || b.Stats().Lacking != 0 {
		t.Errorf("read %d bytes, %+v", len(got), b.Stats())
	}
	checkWhole(t, b, "at the end")
}

// TestDamagedChunkIsMissing: a chunk with a flipped bit is never given out; the
// index learns that it is missing.
func TestDamagedChunkIsMissing(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, fs, "a")
	c := mustSave(t, s, upload(t, s, "x.bin", "some bytes"))[0]
	id := checkedManifest(t, s, c.Hash).Chunks[0]
	f, err := fs.OpenReadWrite(s.chunks.path(id), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("S"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, _, err := s.ReadPiece(id, 0, make([]byte, 10)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a neighbor gets it: %v", err)
	}
	if missing, err := s.Recheck(c.Hash); missing != 1 || err != nil || s.Stats().Lacking != 1 {
		t.Errorf("missing %d, %v, %+v", missing, err, s.Stats())
	}
	if missing, err := s.Recheck(c.Hash); missing != 1 || err != nil || s.Stats().Lacking != 1 {
		t.Errorf("again: missing %d, %v, %+v", missing, err, s.Stats())
	}
	mustSave(t, s, upload(t, s, "y.bin", "some bytes"))
	if got := readAll(t, s, c.Hash); string(got) != "some bytes" || s.Stats().Lacking != 0 {
		t.Errorf("after the bytes came again: %q, %+v", got, s.Stats())
	}
}

func checkedManifest(t testing.TB, s *Store, h Hash) *Manifest {
	t.Helper()
	text, err := s.Content(h)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMalformedManifestIsInert: it is kept and forwarded, and changes nothing.
func TestMalformedManifestIsInert(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	if err := b.Admit(t.Context(), a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, a, upload(t, a, "x.bin", "x"))
	r := records(t, a, nil)[0]
	odd := *r.Commit
	odd.finish([]byte("erwik file 1\nsize 9\n"))
	odd.sign(a.Key(), &scratch{})
	if got := mustReceive(t, b, []Record{{&odd, []byte("erwik file 1\nsize 9\n")}}); got.Accepted != 1 {
		t.Fatalf("received: %+v", got)
	}
	if _, err := b.Record(odd.Hash); err != nil {
		t.Errorf("it is not kept: %v", err)
	}
	heads, err := b.Heads("x.bin")
	if err != nil || len(heads) != 0 || b.Stats().Files != 0 || b.Stats().Lacking != 0 {
		t.Errorf("it counts: %+v, %v, %+v", heads, err, b.Stats())
	}
}

// TestPartsAreBounded: half fetched chunks do not fill the disk.
func TestPartsAreBounded(t *testing.T) {
	s := openTest(t, vfs.NewMem(), "a")
	for i := range 3 * maxParts {
		if err := s.AddPart(t.Context(), ChunkID{byte(i)}, 0, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.fs.List(s.chunks.dir + "/" + partName)
	if err != nil || len(names) != maxParts {
		t.Errorf("%d parts, %v", len(names), err)
	}
}

// TestManyMissing walks a long list of missing chunks in small steps.
func TestManyMissing(t *testing.T) {
	a, b := openTest(t, vfs.NewMem(), "a"), openTest(t, vfs.NewMem(), "b")
	if err := b.Admit(t.Context(), a.Node(), "a"); err != nil {
		t.Fatal(err)
	}
	data := string(randomBytes(5, 2*FileChunk+1))
	var want []string
	for i := range 7 {
		mustSave(t, a, upload(t, a, fmt.Sprintf("f%d", i), fmt.Sprint(i)+data))
	}
	mustReceive(t, b, records(t, a, nil))
	for i := 6; i >= 0; i-- {
		heads, _ := b.Heads(fmt.Sprintf("f%d", i))
		for _, id := range checkedManifest(t, b, heads[0].Hash).Chunks {
			want = append(want, id.String())
		}
	}
	var got []string
	for at := (MissingChunk{}); ; {
		step, err := b.MissingChunks(at, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(step) == 0 {
			break
		}
		for _, m := range step {
			got = append(got, m.ID.String())
		}
		at = step[len(step)-1]
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %d, want %d:\n%v\n%v", len(got), len(want), got, want)
	}
}
