package cluster

import (
	"encoding/json"
	"sync"

	"github.com/erwik/erwik/events"
)

// Item is one event as local readers get it. Its texts are made once, by the
// first reader that asks.
type Item struct {
	event  events.Event
	json   func() []byte
	erlang func() []byte
}

// Name is the event's type.
func (i *Item) Name() string { return i.event.Type.String() }

// JSON returns the event as one line of JSON.
func (i *Item) JSON() []byte { return i.json() }

// Erlang returns the event as an Erlang term.
func (i *Item) Erlang() []byte { return i.erlang() }

func newItem(e events.Event) *Item {
	i := &Item{event: e}
	i.json = sync.OnceValue(func() []byte {
		text, err := json.Marshal(i.event)
		if err != nil {
			text, _ = json.Marshal(map[string]string{"error": err.Error()})
		}
		return text
	})
	i.erlang = sync.OnceValue(func() []byte { return []byte(i.event.Erlang()) })
	return i
}
