package wiki

import (
	"net/http"
	"strconv"
	"time"
)

// The stream's pulse: how often a silent one shows that it lives, and how long
// a write may take before the reader counts as gone.
const (
	eventPulse   = 15 * time.Second
	eventTimeout = 30 * time.Second
)

// streamEvents serves GET /-/api/v1/events: server-sent events, each flushed
// as soon as it is there.
func (h *Handler) streamEvents(w http.ResponseWriter, r *http.Request) error {
	erlang := false
	switch format := r.URL.Query().Get("format"); format {
	case "erlang":
		erlang = true
	case "", "json":
	default:
		return badRequest("format", "there are json and erlang")
	}
	reader, ok := h.feed.subscribe()
	if !ok {
		return errTooManyReaders
	}
	defer h.feed.unsubscribe(reader)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	stream := eventStream{w: w, control: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		return nil
	}
	if !stream.send([]byte("retry: 2000\n: events follow\n\n")) {
		return nil
	}
	pulse := time.NewTicker(eventPulse)
	defer pulse.Stop()
	for {
		alive := true
		select {
		case e := <-reader.events:
			alive = stream.event(e, erlang, reader.dropped.Swap(0))
		case <-pulse.C:
			alive = stream.send([]byte(": alive\n\n"))
		case <-r.Context().Done():
			return nil
		case <-h.feed.done:
			return nil
		}
		if !alive {
			return nil
		}
	}
}

// eventStream writes to one reader.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
}

// event sends e; it reports whether the reader is still there.
func (s *eventStream) event(e Event, erlang bool, dropped uint64) bool {
	b := s.buffer[:0]
	if dropped > 0 {
		b = append(b, ": "...)
		b = strconv.AppendUint(b, dropped, 10)
		b = append(b, " events were dropped, because this reader is too slow\n\n"...)
	}
	b = append(append(b, "event: "...), e.Name()...)
	b = append(b, "\ndata: "...)
	if erlang {
		b = append(b, e.Erlang()...)
	} else {
		b = append(b, e.JSON()...)
	}
	b = append(b, "\n\n"...)
	s.buffer = b
	return s.send(b)
}

func (s *eventStream) send(b []byte) bool {
	// Not every writer has deadlines; without one a lost reader is noticed
	// when the connection breaks.
	_ = s.control.SetWriteDeadline(time.Now().Add(eventTimeout))
	if _, err := s.w.Write(b); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
