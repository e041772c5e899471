package integration

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"
)

// TestLongPageOverSlowLink: a page that takes far longer than a pull may stand
// still arrives at a node whose only link becomes one of 2,000 bit/s, and arrives
// once: the link, whose acknowledgements wait behind the page, lives on.
func TestLongPageOverSlowLink(t *testing.T) {
	t.Parallel() // it waits for a slow link most of the time
	w := newNetwork(t, "e1", "e2")
	e1 := w.node("e1").start().awaitReady()
	e2 := w.node("e2", "--join", w.ip("e1")+":8000").start().awaitReady()
	e1.mustPut("First", hex.EncodeToString(randomBytes(17_000))) // too long to go along with its notice: from now on there is a connection for pulls
	awaitEqual(t, e1, e2)
	w.throttle("e1", "e2", "2kbit")
	text := hex.EncodeToString(randomBytes(17_000)) + "\n" // packs to half of it: 68 s
	before := w.traffic("e1")
	begin := time.Now()
	e1.mustPut("Long", text)
	within(t, 6*time.Minute, "equal digests", func() error { // asking for the page would bring it another way
		if one, two := e1.mustStatus(), e2.mustStatus(); one.Digest != two.Digest {
			return fmt.Errorf("e2 has %d commits of %d", two.Commits, one.Commits)
		}
		return nil
	})
	took := time.Since(begin).Round(time.Second)
	if p, err := e2.page("Long"); err != nil || p.Text != text {
		t.Errorf("e2 shows %d bytes of %d, %v", len(p.Text), len(text), err)
	}
	bytes := w.traffic("e1") - before
	if bytes > 34_000 {
		t.Errorf("%d bytes of IP for a page that packs to 17,000: it came twice", bytes)
	}
	t.Logf("a page of %d bytes came after %v, in %d bytes of IP", len(text), took, bytes)
}
