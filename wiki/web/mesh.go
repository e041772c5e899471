package web

import (
	"fmt"
	"io"
	"math"
)

// Mesh is what a node sees of the mesh.
type Mesh struct {
	Chrome *Chrome
	Self   string
	Alive  int
	Digest string
	Nodes  []MeshNode
	Links  []MeshLink // both directions of each
	Events []MeshEvent

	MoreLinks     int // that are not listed
	Edges         []MeshEdge
	Dots          []MeshDot
	Width, Height int
	Radius        int
}

// MeshNode is one row of the list of nodes.
type MeshNode struct {
	Name, Address, State string
	Reached              string // how, in what time and how fast
	Behind               string
}

// MeshLink is one direction of a link.
type MeshLink struct {
	From, To, State, Class string
	Cost                   string
	Millis                 float64
}

// MeshEvent is a save and how it came to the nodes.
type MeshEvent struct {
	Revision
	Hops []MeshHop
	Late string
}

// MeshHop is one node's part in a save.
type MeshHop struct{ Node, HeardFrom, PulledFrom, After string }

// MeshEdge is a link in the picture.
type MeshEdge struct {
	Class, Title   string
	X1, Y1, X2, Y2 int
	Label          *MeshLabel
}

// MeshLabel is the cost of a link, written beside it.
type MeshLabel struct {
	Text string
	x, y int
}

// MeshDot is a node in the picture.
type MeshDot struct {
	Class, Title, Name string
	X, Y, TextY        int
}

// X is where a label stands.
func (*Mesh) X(l *MeshLabel) int { return l.x }

// Y is where a label stands.
func (*Mesh) Y(l *MeshLabel) int { return l.y }

// Mesh writes the picture of the mesh with its lists.
func (w *Writer) Mesh(out io.Writer, m *Mesh) error {
	m.draw()
	if m.MoreLinks = len(m.Links) - maxMeshLinks; m.MoreLinks > 0 {
		m.Links = m.Links[:maxMeshLinks]
	} else {
		m.MoreLinks = 0
	}
	return w.write(out, "mesh", m.Chrome, m)
}

const (
	maxMeshLinks  = 60
	maxMeshLabels = 15 // links; beyond, numbers would hide the picture
)

// crop moves the picture to the upper left corner and cuts it there.
func (m *Mesh) crop(at map[string][2]int) {
	left, top, right, bottom := m.Width, m.Height, 0, 0
	for _, d := range m.Dots {
		left, right = min(left, d.X), max(right, d.X)
		top, bottom = min(top, d.Y), max(bottom, d.Y)
	}
	margin := 3 * m.Radius / 2
	left, top = left-2*margin, top-margin // names are wider than high
	m.Width, m.Height = right+2*margin-left, bottom+margin-top
	for i := range m.Dots {
		d := &m.Dots[i]
		d.X, d.Y, d.TextY = d.X-left, d.Y-top, d.TextY-top
		at[d.Name] = [2]int{d.X, d.Y}
	}
}

// draw puts the nodes on a circle, clockwise from the top.
func (m *Mesh) draw() {
	m.Width, m.Height, m.Radius = 480, 320, 22
	radius := 118.0
	if len(m.Nodes) > 8 {
		m.Width, m.Height, m.Radius = 640, 600, 16
		radius = 255
	}
	cx, cy := float64(m.Width)/2, float64(m.Height)/2
	at := make(map[string][2]int, len(m.Nodes))
	for i, n := range m.Nodes {
		angle := 2*math.Pi*float64(i)/float64(len(m.Nodes)) - math.Pi/2
		x, y := int(cx+1.35*radius*math.Cos(angle)), int(cy+radius*math.Sin(angle))
		if len(m.Nodes) > 8 {
			x = int(cx + radius*math.Cos(angle))
		}
		at[n.Name] = [2]int{x, y}
		m.Dots = append(m.Dots, MeshDot{Class: n.State, Title: n.Name + ": " + n.State, Name: n.Name, X: x, Y: y, TextY: y + 5})
	}
	m.crop(at)
	back := make(map[[2]string]MeshLink, len(m.Links))
	for _, l := range m.Links {
		back[[2]string{l.From, l.To}] = l
	}
	for _, l := range m.Links {
		other, both := back[[2]string{l.To, l.From}]
		if both && l.From > l.To {
			continue // drawn with its other direction
		}
		a, foundA := at[l.From]
		b, foundB := at[l.To]
		if !foundA || !foundB {
			continue
		}
		class, cost := l.Class, l.Millis
		if both && other.Millis > cost {
			cost = other.Millis
		}
		if both && (other.Class == "slow" || other.Class == "down") && class != "down" {
			class = other.Class
		}
		e := MeshEdge{Class: class, X1: a[0], Y1: a[1], X2: b[0], Y2: b[1],
			Title: fmt.Sprintf("%s to %s: %s, %s", l.From, l.To, l.State, l.Cost)}
		if len(m.Links) <= 2*maxMeshLabels && class != "down" {
			e.Label = &MeshLabel{Took(cost), (a[0] + b[0]) / 2, (a[1]+b[1])/2 - 6}
		}
		m.Edges = append(m.Edges, e)
	}
}
