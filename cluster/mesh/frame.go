package mesh

import (
	"encoding/binary"
	"fmt"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/events/wire"
	"github.com/erwik/erwik/storage"
)

const frameVersion = 1

// Kinds of item. Numbers are those of the wire and only ever added; 6 was one.
const (
	kindSummary = 1
	kindEvent   = 2
	kindOrigins = 3
	kindLogs    = 4
	kindHolders = 5
	kindNode    = 7
	kindLink    = 8
	kindContent = 9
	kindLinks   = 10
	kindRows    = 11
)

// prefix is the short form of a node id in lists: its first bytes.
type prefix [6]byte

func prefixOf(id storage.NodeID) prefix { return prefix(id[:6]) }

// digest is the short form of a hash in lists.
type digest [6]byte

func digestOf(sum uint64) (d digest) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], sum)
	copy(d[:], b[:])
	return d
}

// frame is one message between neighbors; see the package comment.
type frame struct {
	number, ack uint64
	items       []item
}

// item is one part of a frame.
type item interface {
	// append adds kind and body.
	append(dst []byte) []byte
}

const (
	summaryAnswer = 1 // an answer is wanted
	summaryFirst  = 2 // first of this link
	summaryTable  = 4 // much is new in the table: compare soon
)

type summaryItem struct {
	flags               byte
	incarnation         uint64
	pool, table, vector uint64
	rtt                 uint64 // microseconds
	holders             []byte
}

type eventItem struct {
	event   events.Event
	exclude events.Exclusion
}

type prefixDigest struct {
	id  prefix
	sum digest
}

type originsItem struct{ list []prefixDigest }

// rowDigest is a row of the table in short: with what its node has said last,
// so that the answer need not repeat what came before.
type rowDigest struct {
	prefixDigest
	incarnation uint16 // its lowest bits
	counter     uint64 // highest of its link records; 0 = none
}

type rowsItem struct{ list []rowDigest }

type logHead struct {
	nonce    uint64
	sequence uint64
	tip      [4]byte
}

type logsItem struct {
	origin storage.NodeID
	heads  []logHead
}

type holder struct {
	id       prefix
	sequence uint64
}

type holdersItem struct {
	log  storage.LogID
	list []holder
}

type nodeItem struct{ record *events.Record }

type linkItem struct{ record *events.LinkRecord }

type linksItem struct{ set *events.LinkSet }

// contentItem is the commit of the frame's first notice, in the form of a pull's
// data. The core passes it by; the shell takes it for the answer of the pull that
// the notice leads to.
type contentItem struct{ body []byte }

func (c *contentItem) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, kindContent), uint64(len(c.body)))
	return append(dst, c.body...)
}

// AppendContent returns a frame with a commit appended to it, at most
// MaxCarried long.
func AppendContent(frame, body []byte) []byte {
	return (&contentItem{body}).append(append(make([]byte, 0, len(frame)+len(body)+3), frame...))
}

func (f *frame) append(dst []byte) []byte {
	dst = appendFrameHead(dst, f.number, f.ack)
	for _, it := range f.items {
		dst = it.append(dst)
	}
	return dst
}

func appendFrameHead(dst []byte, number, ack uint64) []byte {
	dst = append(dst, frameVersion)
	dst = binary.AppendUvarint(dst, number)
	return binary.AppendUvarint(dst, ack)
}

func (s *summaryItem) append(dst []byte) []byte {
	dst = append(dst, kindSummary, s.flags)
	dst = binary.AppendUvarint(dst, s.incarnation)
	dst = binary.BigEndian.AppendUint64(dst, s.pool)
	dst = binary.BigEndian.AppendUint64(dst, s.table)
	dst = binary.BigEndian.AppendUint64(dst, s.vector)
	dst = binary.AppendUvarint(dst, s.rtt)
	dst = binary.AppendUvarint(dst, uint64(len(s.holders)))
	return append(dst, s.holders...)
}

func (e *eventItem) append(dst []byte) []byte {
	return e.event.Append(append(dst, kindEvent), &e.exclude)
}

func appendList(dst []byte, kind byte, list []prefixDigest) []byte {
	dst = binary.AppendUvarint(append(dst, kind), uint64(len(list)))
	for i := range list {
		dst = append(dst, list[i].id[:]...)
		dst = append(dst, list[i].sum[:]...)
	}
	return dst
}

func (o *originsItem) append(dst []byte) []byte { return appendList(dst, kindOrigins, o.list) }

func (r *rowsItem) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, kindRows), uint64(len(r.list)))
	for i := range r.list {
		row := &r.list[i]
		dst = append(dst, row.id[:]...)
		dst = append(dst, row.sum[:]...)
		dst = binary.BigEndian.AppendUint16(dst, row.incarnation)
		dst = binary.AppendUvarint(dst, row.counter)
	}
	return dst
}

func (l *logsItem) append(dst []byte) []byte {
	dst = append(dst, kindLogs)
	dst = append(dst, l.origin[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(l.heads)))
	for i := range l.heads {
		h := &l.heads[i]
		dst = binary.BigEndian.AppendUint64(dst, h.nonce)
		dst = append(dst, 0)
		dst = binary.AppendUvarint(dst, h.sequence)
		dst = append(dst, h.tip[:]...)
	}
	return dst
}

func (h *holdersItem) append(dst []byte) []byte {
	dst = append(dst, kindHolders)
	dst, _ = h.log.AppendBinary(dst)
	dst = binary.AppendUvarint(dst, uint64(len(h.list)))
	for i := range h.list {
		dst = append(dst, h.list[i].id[:]...)
		dst = binary.AppendUvarint(dst, h.list[i].sequence)
	}
	return dst
}

func (n *nodeItem) append(dst []byte) []byte { return n.record.Append(append(dst, kindNode)) }

func (l *linkItem) append(dst []byte) []byte { return l.record.Append(append(dst, kindLink)) }

func (l *linksItem) append(dst []byte) []byte { return l.set.Append(append(dst, kindLinks)) }

// decodeFrame reads a whole frame or refuses it.
func decodeFrame(b []byte) (frame, error) {
	if len(b) > MaxFrame {
		return frame{}, fmt.Errorf("mesh: frame of %d bytes: %w", len(b), wire.ErrTooLong)
	}
	r := wire.NewReader(b)
	var f frame
	if r.Byte() != frameVersion {
		r.Fail(wire.ErrVersion)
	}
	f.number = r.Uvarint()
	f.ack = r.Uvarint()
	for r.Err() == nil && r.Len() > 0 {
		f.items = append(f.items, readItem(&r))
	}
	if err := r.Done(); err != nil {
		return frame{}, fmt.Errorf("mesh: decode frame: %w", err)
	}
	return f, nil
}

// FirstCommit returns the commit event with which a frame begins, and the
// commit itself if the frame carries it. Nothing is
// checked: it is for those who want to prepare.
func FirstCommit(b []byte) (told events.Commit, carried []byte, ok bool) {
	r := wire.NewReader(b[:min(len(b), MaxFrame)])
	if r.Byte() != frameVersion {
		return told, nil, false
	}
	r.Uvarint()
	r.Uvarint()
	if r.Len() == 0 || r.Byte() != kindEvent {
		return told, nil, false
	}
	e, _ := events.ReadEvent(&r)
	if r.Err() != nil || e.Type != events.TypeCommit {
		return told, nil, false
	}
	for r.Err() == nil && r.Len() > 0 {
		if it, is := readItem(&r).(*contentItem); is {
			carried = it.body
		}
	}
	return e.Commit, carried, r.Err() == nil
}

func readItem(r *wire.Reader) item {
	switch r.Byte() {
	case kindSummary:
		s := &summaryItem{flags: r.Byte()}
		if s.flags&^(summaryAnswer|summaryFirst|summaryTable) != 0 {
			r.Fail(wire.ErrValue)
		}
		s.incarnation = r.Uvarint()
		s.pool, s.table, s.vector = r.Uint64(), r.Uint64(), r.Uint64()
		s.rtt = r.Uvarint()
		s.holders = append(s.holders, r.Bytes(r.Count(MaxNodes/8, 1))...)
		return s
	case kindEvent:
		e := &eventItem{}
		e.event, e.exclude = events.ReadEvent(r)
		return e
	case kindOrigins:
		return &originsItem{readList(r)}
	case kindLogs:
		return readLogs(r)
	case kindHolders:
		return readHolders(r)
	case kindRows:
		return readRows(r)
	case kindNode:
		return &nodeItem{events.ReadRecord(r)}
	case kindContent:
		return &contentItem{r.Bytes(r.Count(MaxCarried, 1))}
	case kindLink:
		return &linkItem{events.ReadLinkRecord(r)}
	case kindLinks:
		return &linksItem{events.ReadLinkSet(r)}
	}
	r.Fail(wire.ErrValue)
	return nil
}

func readList(r *wire.Reader) []prefixDigest {
	list := make([]prefixDigest, r.Count(MaxFrame/12, 12))
	for i := range list {
		r.Copy(list[i].id[:])
		r.Copy(list[i].sum[:])
		if i > 0 && string(list[i].id[:]) <= string(list[i-1].id[:]) {
			r.Fail(wire.ErrCanonical)
		}
	}
	return list
}

func readRows(r *wire.Reader) item {
	it := &rowsItem{make([]rowDigest, r.Count(MaxNodes, 15))}
	for i := range it.list {
		row := &it.list[i]
		r.Copy(row.id[:])
		r.Copy(row.sum[:])
		row.incarnation = uint16(r.Byte())<<8 | uint16(r.Byte())
		row.counter = r.Uvarint()
		if i > 0 && string(row.id[:]) <= string(it.list[i-1].id[:]) {
			r.Fail(wire.ErrCanonical)
		}
	}
	return it
}

func readLogs(r *wire.Reader) item {
	l := &logsItem{}
	r.Copy(l.origin[:])
	l.heads = make([]logHead, r.Count(MaxFrame/14, 14))
	for i := range l.heads {
		h := &l.heads[i]
		h.nonce = r.Uint64()
		if r.Byte() != 0 {
			r.Fail(wire.ErrValue)
		}
		h.sequence = r.Uvarint()
		r.Copy(h.tip[:])
		if h.sequence == 0 || i > 0 && h.nonce <= l.heads[i-1].nonce {
			r.Fail(wire.ErrCanonical)
		}
	}
	if len(l.heads) == 0 {
		r.Fail(wire.ErrCanonical)
	}
	return l
}

func readHolders(r *wire.Reader) item {
	h := &holdersItem{}
	if b := r.Bytes(storage.LogIDSize); b != nil {
		h.log = storage.LogIDFromBytes(b)
	}
	h.list = make([]holder, r.Count(MaxNodes, 7))
	for i := range h.list {
		r.Copy(h.list[i].id[:])
		h.list[i].sequence = r.Uvarint()
	}
	if len(h.list) == 0 {
		r.Fail(wire.ErrCanonical)
	}
	return h
}
