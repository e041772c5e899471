package mesh

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// sampleFrame has one item of each kind.
func sampleFrame() frame {
	ev := commitOf(idOf(2), 42)
	link := &events.LinkRecord{From: idOf(1), To: idOf(2), Step: 4, Up: true, Incarnation: 9, Counter: 300}
	link.Sig = fakeSig(link.From, link.SignedBytes(nil))
	return frame{number: 300, ack: 7, items: []item{
		&summaryItem{flags: summaryAnswer | summaryFirst, incarnation: 1763690000123, pool: 1, table: 2, vector: 3, rtt: 250, holders: []byte{0xc0}},
		&eventItem{event: ev, exclude: events.Exclusion{Form: events.Everybody}},
		&originsItem{[]prefixDigest{{prefixOf(idOf(1)), digestOf(1 << 40)}, {prefixOf(idOf(2)), digestOf(1 << 50)}}},
		&logsItem{idOf(2), []logHead{{5, 42, [4]byte{1, 2, 3, 4}}, {6, 300, [4]byte{5}}}},
		&holdersItem{storage.LogID{Node: idOf(2), Nonce: 5}, []holder{{prefixOf(idOf(3)), 41}, {prefixOf(idOf(1)), 42}}},
		&rowsItem{[]rowDigest{{prefixDigest{prefixOf(idOf(1)), digestOf(1)}, 0x1234, 300}}},
		&nodeItem{recordOf(idOf(3), "e3", 8)},
		&linkItem{link},
		&linksItem{&events.LinkSet{From: idOf(1), Incarnation: 9, Counter: 301, Links: []events.LinkState{
			{To: events.ShortOf(idOf(2)), Step: 4, Up: true}, {To: events.ShortOf(idOf(3))}}}},
	}}
}

// TestGoldenFrame pins the wire form of frames; ERWIK_GOLDEN=write makes the
// file anew.
func TestGoldenFrame(t *testing.T) {
	f := sampleFrame()
	got := []byte(hex.EncodeToString(f.append(nil)) + "\n")
	file := filepath.Join("testdata", "frame.hex")
	if os.Getenv("ERWIK_GOLDEN") == "write" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format has changed\n got %s\nwant %s", got, want)
	}
	back, err := decodeFrame(f.append(nil))
	if err != nil || len(back.items) != len(f.items) || back.number != 300 || back.ack != 7 {
		t.Errorf("%+v, %v", back, err)
	}
}

func FuzzFrame(f *testing.F) {
	whole := sampleFrame()
	f.Add(whole.append(nil))
	for _, it := range whole.items {
		one := frame{number: 1, items: []item{it}}
		f.Add(one.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFrame(b)
		if err != nil {
			return
		}
		if again := got.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("not canonical:\n%x\n%x", b, again)
		}
	})
}

// FuzzCore feeds whatever decodes to a core that has neighbors.
func FuzzCore(f *testing.F) {
	whole := sampleFrame()
	f.Add(whole.append(nil), whole.append(nil))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		l := newLab(t, 1)
		a, c := l.meet(2, "a"), l.meet(3, "c")
		l.core.Receive(l.now, a, one)
		l.take()
		l.core.Receive(l.now, c, two)
		l.take()
		l.core.Tick(l.now.Add(TickEvery))
		l.take()
		for _, p := range l.pull {
			l.core.PullDone(l.now, p.ID, 10, 1000)
		}
		l.core.Nodes()
		l.core.Links()
		l.core.Neighbors()
	})
}
