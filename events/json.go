package events

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/erwik/erwik/storage"
)

// jsonEvent is the form of an event that people and server-sent events see.
type jsonEvent struct {
	Type     string           `json:"type"`
	Origin   storage.NodeID   `json:"origin"`
	Args     json.RawMessage  `json:"args"`
	Exclude  []storage.NodeID `json:"exclude"`
	Checksum string           `json:"checksum"`
	Sig      string           `json:"sig,omitempty"`
}

type jsonCommit struct {
	Log      storage.LogID `json:"log"`
	Sequence uint64        `json:"sequence"`
	Checksum storage.Hash  `json:"checksum"`
	Page     string        `json:"page"`
}

type jsonRecord struct {
	ID          storage.NodeID `json:"id"`
	Name        string         `json:"name"`
	Addresses   []string       `json:"addresses"`
	Incarnation uint64         `json:"incarnation"`
	Version     string         `json:"version"`
	Sig         string         `json:"sig"`
}

type jsonDead struct {
	Node        storage.NodeID `json:"node"`
	By          storage.NodeID `json:"by"`
	Incarnation uint64         `json:"incarnation"`
	Removed     bool           `json:"removed,omitempty"`
}

// MarshalJSON writes the event with its full exclusion list. An event that was
// learned without its origin's signature (by repair) has no "sig".
func (e Event) MarshalJSON() ([]byte, error) {
	var args any
	switch e.Type {
	case TypeCommit:
		args = jsonCommit{e.Commit.Log, e.Commit.Sequence, e.Commit.Hash, e.Commit.Page}
	case TypeNewNeighbor:
		r := e.Neighbor
		args = jsonRecord{r.ID, r.Name, append([]string{}, r.Addresses...), r.Incarnation, r.Version, sigText(r.Sig)}
	case TypeDeadNeighbor:
		args = jsonDead{e.Dead.Node, e.Origin, e.Dead.Incarnation, e.Dead.Removed}
	default:
		return nil, fmt.Errorf("events: %s has no JSON form", e.Type)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("events: args of %s: %w", e.Type, err)
	}
	sum := e.Checksum()
	return json.Marshal(jsonEvent{Type: e.Type.String(), Origin: e.Origin, Args: raw,
		Exclude: append([]storage.NodeID{}, e.Exclude...), Checksum: hex.EncodeToString(sum[:]), Sig: sigText(e.Sig)})
}

// UnmarshalJSON reads what MarshalJSON wrote. It checks that the checksum is
// the event's, but no signature.
func (e *Event) UnmarshalJSON(text []byte) error {
	var j jsonEvent
	if err := json.Unmarshal(text, &j); err != nil {
		return fmt.Errorf("events: event: %w", err)
	}
	out := Event{Origin: j.Origin, Exclude: j.Exclude}
	var err error
	switch j.Type {
	case "commit":
		var c jsonCommit
		err = json.Unmarshal(j.Args, &c)
		out.Type, out.Commit = TypeCommit, Commit{c.Log, c.Sequence, c.Checksum, c.Page}
	case "new_neighbor":
		var r jsonRecord
		err = json.Unmarshal(j.Args, &r)
		out.Type = TypeNewNeighbor
		out.Neighbor = &Record{ID: r.ID, Name: r.Name, Addresses: r.Addresses, Incarnation: r.Incarnation, Version: r.Version}
		if err == nil {
			out.Neighbor.Sig, err = parseSig(r.Sig)
		}
	case "dead_neighbor":
		var d jsonDead
		err = json.Unmarshal(j.Args, &d)
		out.Type, out.Dead = TypeDeadNeighbor, Dead{d.Node, d.Incarnation, d.Removed}
	default:
		return fmt.Errorf("events: unknown event type %.40q", j.Type)
	}
	if err == nil {
		out.Sig, err = parseSig(j.Sig)
	}
	if err != nil {
		return fmt.Errorf("events: args of %s: %w", j.Type, err)
	}
	if sum := out.Checksum(); hex.EncodeToString(sum[:]) != j.Checksum {
		return fmt.Errorf("events: checksum %.40q is not the event's", j.Checksum)
	}
	*e = out
	return nil
}

func sigText(sig [SignatureSize]byte) string {
	if sig == ([SignatureSize]byte{}) {
		return ""
	}
	return base64.RawStdEncoding.EncodeToString(sig[:])
}

func parseSig(text string) (sig [SignatureSize]byte, err error) {
	if text == "" {
		return sig, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return sig, fmt.Errorf("signature: %w", err)
	}
	if len(raw) != len(sig) {
		return sig, ErrSignature
	}
	copy(sig[:], raw)
	return sig, nil
}

// Erlang is the event in the form of an Erlang term:
//
//	{event, commit, [{checksum, "…"}, {exclude, ["…"]}]}
//
// The checksum of a commit is the commit's hash, which is what a reader can ask
// for; of the other events it is the event's own, and the node that the event
// is about follows.
func (e Event) Erlang() string {
	b := []byte("{event, " + e.Type.String() + ", [{checksum, ")
	if e.Type == TypeCommit {
		b = strconv.AppendQuote(b, e.Commit.Hash.String())
	} else {
		sum := e.Checksum()
		b = strconv.AppendQuote(b, hex.EncodeToString(sum[:]))
	}
	b = append(b, "}, {exclude, ["...)
	for i := range e.Exclude {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendQuote(b, e.Exclude[i].String())
	}
	b = append(b, "]}"...)
	switch e.Type {
	case TypeNewNeighbor:
		b = append(b, ", {node, "+strconv.Quote(e.Neighbor.ID.String())+"}"...)
	case TypeDeadNeighbor:
		b = append(b, ", {node, "+strconv.Quote(e.Dead.Node.String())+"}"...)
	}
	return string(append(b, "]}"...))
}
