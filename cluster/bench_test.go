package cluster

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/erwik/erwik/storage"
)

// BenchmarkPull saves a thousand pages at one node and waits until the other one
// has pulled them, over a real link.
func BenchmarkPull(b *testing.B) {
	const batch = 1000
	one := start(b, "e1")
	two := start(b, "e2", one.address())
	eventually(b, "e2 is there", func() error { return sameDigest(one, two) })
	arrived := make(chan int, batch)
	defer two.cfg.Store.Watch(func(commits []storage.Committed) { arrived <- len(commits) })()
	rng := rand.New(rand.NewPCG(1, 1))
	made := 0
	waited := time.Duration(0)
	for b.Loop() {
		drafts := make([]storage.Draft, batch)
		for i := range drafts {
			text := make([]byte, 150)
			for j := range text {
				text[j] = byte(rng.Uint32())
			}
			drafts[i] = storage.Draft{Kind: storage.KindPage, Path: fmt.Sprintf("Folder/P%d.md", made), Content: []byte(hex.EncodeToString(text)), Author: storage.Ident{Name: "Ann"}}
			made++
		}
		if _, err := one.cfg.Store.Save(b.Context(), drafts...); err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		for left := batch; left > 0; {
			left -= <-arrived
		}
		waited += time.Since(begin)
	}
	b.ReportMetric(float64(waited.Microseconds())/float64(made), "µs/commit")
}
