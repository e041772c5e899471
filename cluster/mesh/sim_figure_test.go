package mesh

import (
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var redraw = flag.Bool("scale-redraw", false, "draw docs/scale.svg anew from the table in docs/SCALE.md")

// The figure of docs/SCALE.md: one panel for each unit, both axes logarithmic.
// Its colours are readable on light and on dark ground.

// curve is one column of the table, drawn over the first.
type curve struct {
	column, label, colour string
	dashed                bool
}

// panel has curves of one unit.
type panel struct {
	title    string
	decimals int // of the numbers on the curves
	curves   []curve
}

const (
	blue, orange, grey = "#3b82f6", "#d97706", "#808691"

	panelWidth, panelHeight          = 300, 300
	panelLeft, panelTop, panelBottom = 58, 52, 44
	panelRight                       = 26
)

var scalePanels = []panel{
	{"Notices a save", 0, []curve{{"notices a save", "notices", blue, false}, {"pulls a save", "pulls", orange, true}}},
	{"Bytes a node and save", 0, []curve{{"bytes a node", "bytes", blue, false}}},
	{"Time to the last node, ms", 1, []curve{{"to the last node", "time", blue, false}, {"optimum", "optimum", orange, true}}},
}

// readTable reads columns of numbers from the first table of Markdown in text.
// Units behind the numbers are left out.
func readTable(text string) (map[string][]float64, error) {
	columns := map[string][]float64{}
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if names != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case names == nil:
			names = cells
		case len(cells) != len(names):
			return nil, fmt.Errorf("row of %d cells under %d names: %s", len(cells), len(names), line)
		case strings.HasPrefix(cells[0], "--"):
		default:
			for i, cell := range cells {
				number, _, _ := strings.Cut(strings.ReplaceAll(cell, ",", ""), " ")
				v, err := strconv.ParseFloat(number, 64)
				if err != nil || v <= 0 {
					return nil, fmt.Errorf("%q under %q is no number above 0", cell, names[i])
				}
				columns[names[i]] = append(columns[names[i]], v)
			}
		}
	}
	return columns, nil
}

// thousands writes a number as people read it.
func thousands(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if decimals > 0 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// logAxis brings values between lo and hi to places between from and to.
func logAxis(lo, hi, from, to float64) func(float64) float64 {
	return func(v float64) float64 { return from + (to-from)*math.Log(v/lo)/math.Log(hi/lo) }
}

// ticks are the numbers 1, 2 and 5 of each decade around lo and hi, with room for
// what is written there.
func ticks(lo, hi float64) []float64 {
	var all []float64
	for decade := math.Floor(math.Log10(lo)) - 1; decade <= math.Log10(hi)+1; decade++ {
		for _, m := range []float64{1, 2, 5} {
			all = append(all, m*math.Pow(10, decade))
		}
	}
	first, last := 0, len(all)-1
	for all[first+1] <= lo/1.2 {
		first++
	}
	for all[last-1] >= 1.1*hi {
		last--
	}
	return all[first : last+1]
}

// drawScale draws the table that TestScale writes as an SVG.
func drawScale(table string) (string, error) {
	columns, err := readTable(table)
	if err != nil {
		return "", err
	}
	sizes := columns["nodes"]
	if len(sizes) < 2 {
		return "", fmt.Errorf("a curve over %d sizes", len(sizes))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="11" fill="%s">`+"\n",
		panelWidth*len(scalePanels), panelHeight, panelWidth*len(scalePanels), panelHeight, grey)
	b.WriteString("<title>What a save costs as the mesh grows</title>\n")
	for i, p := range scalePanels {
		fmt.Fprintf(&b, `<g transform="translate(%d 0)">`+"\n", i*panelWidth)
		if err := p.draw(&b, sizes, columns); err != nil {
			return "", err
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String(), nil
}

func (p *panel) draw(b *strings.Builder, sizes []float64, columns map[string][]float64) error {
	var all []float64
	for _, c := range p.curves {
		if len(columns[c.column]) != len(sizes) {
			return fmt.Errorf("no column %q", c.column)
		}
		all = append(all, columns[c.column]...)
	}
	marks := ticks(slices.Min(all), slices.Max(all))
	right, bottom := float64(panelWidth-panelRight), float64(panelHeight-panelBottom)
	x := logAxis(slices.Min(sizes), slices.Max(sizes), panelLeft+26, right-14)
	y := logAxis(marks[0], marks[len(marks)-1], bottom, panelTop)
	fmt.Fprintf(b, `<text x="%d" y="18" font-size="13" font-weight="600">%s</text>`+"\n", panelLeft, p.title)
	decade := slices.IndexFunc(marks, func(m float64) bool { return math.Abs(math.Log10(m)-math.Round(math.Log10(m))) < 1e-9 }) // then each third
	for i, m := range marks {
		fmt.Fprintf(b, `<path d="M%d %.1fH%.0f" stroke="%s" stroke-opacity="0.25"/>`+"\n", panelLeft, y(m), right, grey)
		if len(marks) <= 7 || i%3 == decade%3 {
			fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", panelLeft-6, y(m)+4, thousands(m, 0))
		}
	}
	for _, s := range sizes {
		fmt.Fprintf(b, `<path d="M%.1f %.0fv4" stroke="%s"/><text x="%.1f" y="%.0f" text-anchor="middle">%s</text>`+"\n", x(s), bottom, grey, x(s), bottom+17, thousands(s, 0))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.0f" text-anchor="middle">nodes</text>`+"\n", (panelLeft+right)/2, bottom+34)
	for i, c := range p.curves {
		dash := ""
		if c.dashed {
			dash = ` stroke-dasharray="5 4"`
		}
		at := float64(panelLeft + 92*i)
		fmt.Fprintf(b, `<path d="M%.0f 33h20" stroke="%s" stroke-width="2"%s/><text x="%.0f" y="37">%s</text>`+"\n", at, c.colour, dash, at+26, c.label)
		var line strings.Builder
		for k, v := range columns[c.column] {
			fmt.Fprintf(&line, "%c%.1f %.1f", "LM"[b2i(k == 0)], x(sizes[k]), y(v))
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", line.String(), c.colour, dash)
		for k, v := range columns[c.column] {
			dx, dy, anchor := 5.0, -8.0, "end"
			if c.dashed {
				dx, dy, anchor = -4, 15, "start"
			}
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="%s" font-size="10" fill="%s">%s</text>`+"\n",
				x(sizes[k]), y(v), c.colour, x(sizes[k])+dx, y(v)+dy, anchor, c.colour, thousands(v, p.decimals))
		}
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestScaleFigure: the figure in docs is drawn from the table in docs, and every
// number of the curves is in it.
func TestScaleFigure(t *testing.T) {
	const page, file = "../../docs/SCALE.md", "../../docs/scale.svg"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want, err := drawScale(string(text))
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	if *redraw {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table in %s says: go test ./cluster/mesh -run TestScaleFigure -scale-redraw", file, page)
	}
	for d := xml.NewDecoder(strings.NewReader(want)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	columns, err := readTable(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range scalePanels {
		for _, c := range p.curves {
			for _, v := range columns[c.column] {
				if !strings.Contains(want, ">"+thousands(v, p.decimals)+"</text>") {
					t.Errorf("%s of %v is not in the figure", c.column, v)
				}
			}
		}
	}
	if !strings.Contains(string(text), "](scale.svg)") {
		t.Errorf("%s does not show the figure", page)
	}
}
