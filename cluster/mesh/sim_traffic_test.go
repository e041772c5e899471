package mesh

import (
	"github.com/erwik/erwik/events"
)

// traffic tells the bytes of saves from those of links, tables and heartbeats.
// In a large mesh the others never rest, so that what a save costs is not the
// difference between a time with saves and one without.
type traffic struct {
	saves, rest float64
	frames      int64 // bytes of all frames
	numbered    map[*wirePair]*[2]numberedFrame
}

// numberedFrame is the last frame of one direction that wanted an acknowledgement.
type numberedFrame struct {
	number uint64
	share  float64 // of it that was about saves
}

// count takes a frame as it is sent. What it carries shares its head; a mere
// acknowledgement counts as what it acknowledges.
func (t *traffic) count(w *world, from, to *simNode, b []byte) {
	f, err := decodeFrame(b)
	if err != nil {
		w.fail("%s sends a frame that does not decode: %v", from.name, err)
		return
	}
	p := w.pair(from, to)
	d := p.dir(from)
	if t.numbered[p] == nil {
		t.numbered[p] = &[2]numberedFrame{}
	}
	saves, all := 0, 0
	for _, it := range f.items {
		size := len(it.append(nil))
		all += size
		if ofSave(it) {
			saves += size
		}
	}
	share := 0.0
	if all > 0 {
		share = float64(saves) / float64(all)
	} else if acked := t.numbered[p][1-d]; acked.number == f.ack {
		share = acked.share
	}
	if f.number != 0 {
		t.numbered[p][d] = numberedFrame{f.number, share}
	}
	size := int64(len(b) + frameOverhead + tcpAck)
	t.frames += size
	t.saves += share * float64(size)
	t.rest += (1 - share) * float64(size)
}

// ofSave reports whether an item tells of commits, or who holds them.
func ofSave(it item) bool {
	switch it := it.(type) {
	case *eventItem:
		return it.event.Type == events.TypeCommit
	case *holdersItem, *originsItem, *logsItem, *contentItem:
		return true
	}
	return false
}
