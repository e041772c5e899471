package wiki

import (
	"io"
	"net/http"
	"time"
)

// progressBody is the body of a request that must bring some bytes now and then:
// however slow, an honest client gets through, and one that only pretends does
// not.
type progressBody struct {
	io.ReadCloser
	control *http.ResponseController
	began   time.Time // of the window
	got     int       // in it
	until   time.Time // no byte is taken after this; zero: no such time
	free    bool      // no rule
	ended   bool      // all of it has come
}

// Read implements io.Reader. Not every connection has deadlines; the ones of a
// server do.
func (b *progressBody) Read(p []byte) (int, error) {
	if b.free {
		return b.ReadCloser.Read(p)
	}
	now := time.Now()
	if b.began.IsZero() || b.got >= bodyProgress && now.Sub(b.began) > bodyWindow/8 {
		b.began, b.got = now, 0
		end := now.Add(bodyWindow)
		if !b.until.IsZero() && b.until.Before(end) {
			end = b.until
		}
		_ = b.control.SetReadDeadline(end)
	}
	n, err := b.ReadCloser.Read(p)
	b.got += n
	switch {
	case err == io.EOF:
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{}) // the server reads on, to notice when the client goes
	case err != nil:
		_ = b.control.SetReadDeadline(now) // the server does not wait for the rest either
	}
	return n, err
}

// watchBody puts the rule of progress on a request's body.
func watchBody(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	r.Body = &progressBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	return r
}

// leaveBody gives the server a moment to skip what nobody has read of a body.
func leaveBody(r *http.Request) {
	if b, ok := r.Body.(*progressBody); ok && !b.ended {
		_ = b.control.SetReadDeadline(time.Now().Add(skipTime))
	}
}

// limitBody lets no byte of the body in after the given time; freeBody takes the
// rule of progress away.
func limitBody(r *http.Request, until time.Time) {
	if b, ok := r.Body.(*progressBody); ok {
		b.until, b.began = until, time.Time{}
	}
}

func freeBody(r *http.Request) {
	if b, ok := r.Body.(*progressBody); ok {
		b.free = true
	}
}
