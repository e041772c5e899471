package mesh

import (
	"fmt"
	"testing"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// BenchmarkSave is what one own save costs the core: notices out to all
// neighbors, and their acknowledgements in.
func BenchmarkSave(b *testing.B) {
	for _, neighbors := range []int{1, 2, 49} {
		b.Run(fmt.Sprint(neighbors), func(b *testing.B) {
			l := newLab(b, 1)
			var ids []storage.NodeID
			for i := range neighbors {
				ids = append(ids, l.meet(byte(i+2), fmt.Sprint("e", i+2)))
			}
			l.settle(ids...)
			var entries []Entry
			for i := range b.N {
				entries = append(entries, entryOf(commitOf(idOf(1), uint64(i+1)), true))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				l.now = l.now.Add(200_000)
				l.core.Appended(l.now, entries[i])
				l.core.Take(&l.out)
				if len(l.out.Send) != neighbors {
					b.Fatalf("%d frames", len(l.out.Send))
				}
				for _, s := range l.out.Send {
					f, _ := decodeFrame(s.Frame)
					ack := (&frame{ack: f.number}).append(nil)
					l.core.Receive(l.now, s.Peer, ack)
				}
			}
		})
	}
}

// BenchmarkReceive is what one notice from a neighbor costs until the pull is
// out and what was pulled is appended (without checking a real signature).
func BenchmarkReceive(b *testing.B) {
	l := newLab(b, 1)
	a := l.meet(2, "a")
	l.settle(a)
	var frames [][]byte
	var entries []Entry
	for i := range b.N {
		ev := commitOf(a, uint64(i+1))
		f := frame{number: uint64(i + 10), items: []item{&eventItem{event: ev, exclude: events.Exclusion{Form: events.Everybody}}}}
		frames = append(frames, f.append(nil))
		entries = append(entries, entryOf(ev, false))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		l.now = l.now.Add(2_000_000)
		l.core.Receive(l.now, a, frames[i])
		l.core.Take(&l.out)
		for _, s := range l.out.Send { // the test's neighbor acknowledges heartbeats
			if f, _ := decodeFrame(s.Frame); f.number != 0 {
				l.core.Receive(l.now, a, (&frame{ack: f.number}).append(nil))
			}
		}
		if len(l.out.Pull) != 1 {
			b.Fatalf("%d pulls at %d, drops %v", len(l.out.Pull), i, l.core.Drops())
		}
		id := l.out.Pull[0].ID
		l.core.Appended(l.now, entries[i])
		l.core.PullDone(l.now, id, 400, 100_000)
		l.core.Take(&l.out)
	}
}

// BenchmarkTick is an idle tick with 49 neighbors.
func BenchmarkTick(b *testing.B) {
	l := newLab(b, 1)
	for i := range 49 {
		l.meet(byte(i+2), fmt.Sprint("e", i+2))
	}
	b.ReportAllocs()
	for b.Loop() {
		l.core.Tick(l.now)
		l.core.Take(&l.out)
	}
}
