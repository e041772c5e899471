package wiki

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/web"
)

// meshEvents is how many of the last saves the page of the mesh tells of.
const meshEvents = 8

// slowCost is from which cost on a link is drawn as slow.
const slowCost = 500 // milliseconds

type meshNode struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Address string  `json:"address"`
	State   string  `json:"state"`
	RTT     float64 `json:"rtt_ms"`
	Via     string  `json:"via"`
}

type meshLink struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	State string  `json:"state"`
	Cost  float64 `json:"cost_ms"`
}

type meshNeighbor struct {
	ID        string  `json:"id"`
	State     string  `json:"state"`
	RTT       float64 `json:"rtt_ms"`
	Speed     int64   `json:"bytes_per_s"`
	Behind    uint64  `json:"behind_commits"`
	BehindFor float64 `json:"behind_s"`
}

type meshStory struct {
	Hops []struct {
		Node       string    `json:"node"`
		HeardFrom  string    `json:"heard_from"`
		PulledFrom string    `json:"pulled_from"`
		At         time.Time `json:"at"`
	} `json:"hops"`
	Discarded map[string]int `json:"discarded_notices"`
}

// facts reads what the mesh tells in the form in which programs get it.
func facts[T any](from any) (to T, err error) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, &to)
	}
	if err != nil {
		return to, fmt.Errorf("read what the mesh tells: %w", err)
	}
	return to, nil
}

// meshPage serves GET /-/mesh.
func (h *Handler) meshPage(w http.ResponseWriter, r *http.Request) error {
	show := &web.Mesh{Chrome: h.chrome("The mesh"), Self: h.nodeName}
	show.Chrome.Active, show.Chrome.NoIndex = "mesh", true
	digest := h.store.Stats().Digest
	show.Digest = hex.EncodeToString(digest[:6])
	if err := h.meshNodes(show); err != nil {
		return err
	}
	if err := h.meshLinks(show); err != nil {
		return err
	}
	if err := h.meshSaves(r, show); err != nil {
		return err
	}
	return answerPage(w, r, http.StatusOK, show, h.web.Mesh)
}

func (h *Handler) meshNodes(show *web.Mesh) error {
	list, err := h.mesh.Network("nodes")
	if err != nil {
		return err
	}
	nodes, err := facts[[]meshNode](list)
	if err != nil {
		return err
	}
	neighbors, err := facts[[]meshNeighbor](h.mesh.Neighbors())
	if err != nil {
		return err
	}
	for _, n := range nodes {
		row := web.MeshNode{Name: n.Name, Address: n.Address, State: n.State}
		if n.State == "self" || n.State == "alive" {
			show.Alive++
		}
		i := slices.IndexFunc(neighbors, func(m meshNeighbor) bool { return m.ID == n.ID })
		switch {
		case n.State == "self":
			row.Reached = "this node"
		case n.State != "alive":
			row.Reached = "no way leads there"
		case n.Via != "":
			row.Reached = "through " + n.Via
		default:
			row.Reached = "directly"
		}
		if i >= 0 && neighbors[i].State != "down" {
			if neighbors[i].State == "slow" {
				row.Reached += "; its link is slow"
			}
			row.Reached += ", round trip " + web.Took(neighbors[i].RTT)
			if speed := speedWords(neighbors[i].Speed); speed != "" {
				row.Reached += ", " + speed
			}
		}
		if i >= 0 {
			row.Behind = "nothing"
			if b := neighbors[i]; b.Behind > 0 {
				row.Behind = fmt.Sprintf("%d commits, since %s", b.Behind, web.Took(1000*b.BehindFor))
			}
		} else if n.State != "self" {
			row.Behind = "not known: no link"
		}
		show.Nodes = append(show.Nodes, row)
	}
	return nil
}

// speedWords is a speed as people read it; nothing while it is not known.
func speedWords(bytes int64) string {
	switch bits := float64(8 * bytes); {
	case bytes <= 0:
		return ""
	case bits < 1e6:
		return fmt.Sprintf("%.1f kbit/s", bits/1e3)
	default:
		return fmt.Sprintf("%.0f Mbit/s", bits/1e6)
	}
}

func (h *Handler) meshLinks(show *web.Mesh) error {
	list, err := h.mesh.Network("links")
	if err != nil {
		return err
	}
	links, err := facts[[]meshLink](list)
	if err != nil {
		return err
	}
	for _, l := range links {
		row := web.MeshLink{From: l.From, To: l.To, State: l.State, Class: l.State, Millis: l.Cost}
		if l.State != "down" {
			row.Cost = web.Took(l.Cost)
			if l.Cost >= slowCost {
				row.State, row.Class = "slow", "slow"
			}
		}
		show.Links = append(show.Links, row)
	}
	return nil
}

func (h *Handler) meshSaves(r *http.Request, show *web.Mesh) error {
	revisions, err := h.pages.Recent(0, meshEvents)
	if err != nil {
		return err
	}
	hashes := make([]storage.Hash, len(revisions))
	for i, c := range revisions {
		hashes[i] = c.Hash
	}
	stories, err := facts[[]meshStory](h.mesh.Stories(r.Context(), hashes))
	if err != nil {
		return err
	}
	for i, c := range revisions {
		e := web.MeshEvent{Revision: h.revision(c.Commit)}
		var saved time.Time
		for _, hop := range stories[i].Hops {
			if hop.PulledFrom == "" {
				saved = hop.At
			}
		}
		for _, hop := range stories[i].Hops {
			shown := web.MeshHop{Node: hop.Node, HeardFrom: hop.HeardFrom, PulledFrom: hop.PulledFrom, After: "a time that is not known here"}
			if took := hop.At.Sub(saved); !saved.IsZero() && took >= 0 {
				shown.After = web.Took(milliseconds(took))
			}
			e.Hops = append(e.Hops, shown)
		}
		var late []string
		for _, from := range slices.Sorted(maps.Keys(stories[i].Discarded)) {
			late = append(late, fmt.Sprintf("%d of %s", stories[i].Discarded[from], from))
		}
		e.Late = strings.Join(late, ", ")
		show.Events = append(show.Events, e)
	}
	return nil
}
