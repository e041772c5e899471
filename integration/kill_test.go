package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func contains(text []byte, part string) bool { return bytes.Contains(text, []byte(part)) }

// TestKillNine kills nodes of a mesh at random moments under load, over and
// over. No save that was acknowledged may be missing anywhere afterwards.
// ERWIK_KILLS sets how often.
func TestKillNine(t *testing.T) {
	cycles := 200
	if v, err := strconv.Atoi(os.Getenv("ERWIK_KILLS")); err == nil {
		cycles = v
	}
	all := mesh(t, "e1", "e2", "e3")
	for i, n := range all {
		n.args = []string{"--join", all[(i+1)%3].address}
	}
	rng := rand.New(rand.NewPCG(uint64(cycles), 9))
	var mu sync.Mutex
	acked := make(map[string]string) // commit by page: each page is saved once
	var alive [3]atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range all {
		alive[i].Store(true)
	}
	for worker := range 6 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := all[(worker+i)%3]
				if !alive[(worker+i)%3].Load() {
					continue
				}
				page := fmt.Sprintf("K-%d-%d", worker, i)
				s, _, err := n.put(page, fmt.Sprintf("text %d\n", i))
				if err == nil {
					mu.Lock()
					acked[page] = s.Commit
					mu.Unlock()
				}
			}
		})
	}
	for cycle := range cycles {
		victims := []int{rng.IntN(3)}
		if cycle%10 == 9 {
			victims = []int{0, 1, 2} // a power failure
		}
		<-time.After(time.Duration(20+rng.IntN(180)) * time.Millisecond) // the moment of the kill
		for _, v := range victims {
			alive[v].Store(false)
			all[v].kill()
		}
		for _, v := range victims {
			all[v].start()
			alive[v].Store(true)
		}
	}
	close(stop)
	wg.Wait()
	for _, n := range all {
		n.awaitReady()
	}
	took := awaitEqual(t, all...)
	t.Logf("%d kills, %d acknowledged saves; equal digests %v after the last", cycles, len(acked), took.Round(time.Millisecond))
	if len(acked) < cycles {
		t.Errorf("only %d saves were acknowledged: was there any load?", len(acked))
	}
	begin := time.Now()
	for _, n := range all {
		wg.Go(func() {
			for page, commit := range acked {
				p, err := n.page(page)
				if err != nil || len(p.Heads) != 1 || p.Heads[0] != commit {
					t.Errorf("%s: acknowledged save %s of %s: %+v, %v", n.name, commit, page, p, err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("each was looked up on each node, in %v", time.Since(begin).Round(time.Second))
}
