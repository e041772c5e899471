package storage

import (
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkOpen opens and closes a store of 100,000 commits on the disk.
func BenchmarkOpen(b *testing.B) {
	const commits, batch = 100_000, 500
	dir := b.TempDir()
	s, err := Open(Config{Dir: dir, FS: vfs.Default, Name: "a"})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < commits; i += batch {
		drafts := make([]Draft, batch)
		for j := range drafts {
			drafts[j] = page(fmt.Sprintf("P%d.md", i+j), fmt.Sprintf("text %d of a page that is not long\n", i+j))
		}
		mustSave(b, s, drafts...)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(Config{Dir: dir, FS: vfs.Default, Name: "a"})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSave saves pages of 1 KiB on the disk, alone and with 32 savers.
func BenchmarkSave(b *testing.B) {
	for _, savers := range []int{1, 32} {
		b.Run(fmt.Sprintf("savers=%d", savers), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), FS: vfs.Default, Name: "a"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			text := hex.EncodeToString(randomBytes(1, 512))
			var n atomic.Int64
			b.SetParallelism(savers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Save(b.Context(), page(fmt.Sprintf("P%d.md", n.Add(1)), text)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkRecord reads records of a store that is larger than the block cache.
func BenchmarkRecord(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), FS: vfs.Default, Name: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var all []Hash
	for i := range 64 {
		drafts := make([]Draft, 100)
		for j := range drafts {
			drafts[j] = page(fmt.Sprintf("P%d.md", i*100+j), hex.EncodeToString(randomBytes(uint64(i*100+j), 4<<10)))
		}
		for _, c := range mustSave(b, s, drafts...) {
			all = append(all, c.Hash)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := s.Record(all[i*7919%len(all)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive takes commits of new pages as pulls bring them: some 300
// in a batch, by nodes that are met often.
func BenchmarkReceive(b *testing.B) {
	const batch = 300
	from, err := Open(Config{Dir: b.TempDir(), FS: vfs.Default, Name: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	to, err := Open(Config{Dir: b.TempDir(), FS: vfs.Default, Name: "b"})
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	if err := to.Admit(b.Context(), from.self, "a"); err != nil {
		b.Fatal(err)
	}
	text := hex.EncodeToString(randomBytes(1, 150))
	made, taken := 0, 0
	for b.Loop() {
		b.StopTimer()
		drafts := make([]Draft, batch)
		for i := range drafts {
			drafts[i] = page(fmt.Sprintf("Folder/P%d.md", made), text)
			made++
		}
		var records []Record
		for _, c := range mustSave(b, from, drafts...) {
			entry, err := ParseEntry(c.AppendEntry(nil))
			if err != nil {
				b.Fatal(err)
			}
			entry.Hash = c.Hash
			records = append(records, Record{entry, []byte(text)})
		}
		b.StartTimer()
		got, err := to.Receive(b.Context(), records)
		if err != nil || got.Accepted != batch {
			b.Fatalf("%+v, %v", got, err)
		}
		taken += got.Accepted
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(taken), "µs/commit")
}
