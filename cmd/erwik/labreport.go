package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/erwik/erwik/storage"
)

// labReport saves pages and tells what became of each.
type labReport struct {
	a     *app
	lab   *lab
	saves []labSave
	took  map[string][]time.Duration // node → time from the save to its copy
}

type labSave struct {
	Page   string       `json:"page"`
	Commit storage.Hash `json:"commit"`
	Saved  time.Time    `json:"saved"`
	Nodes  []labArrival `json:"nodes"`
}

// labArrival is one node's part in a save.
type labArrival struct {
	Node       string  `json:"node"`
	HeardFrom  string  `json:"heard_from,omitempty"`
	PulledFrom string  `json:"pulled_from,omitempty"`
	After      float64 `json:"ms"`
}

const (
	// labPatience is how long the next save waits for the last one.
	labPatience = 3 * time.Second
	// labLate bounds the wait for late notices at the end.
	labLate = 15 * time.Second
)

func (r *labReport) run(ctx context.Context, o *labOptions) error {
	r.took = make(map[string][]time.Duration)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for i := range o.saves {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		tick.Reset(o.every)
		from := r.lab.get(r.lab.names[0])
		if from == nil {
			return fmt.Errorf("%s, which saves the pages, has been killed", r.lab.names[0])
		}
		path := fmt.Sprintf("Scene-%d", i+1)
		begin := time.Now()
		h, err := from.save(ctx, r.lab.address(r.lab.names[0]), path, fmt.Sprintf("# Scene %d\n\nSaved on e1 at %s.\n", i+1, begin.UTC().Format(time.RFC3339)))
		if err != nil {
			return err
		}
		r.watch(ctx, labSave{Page: path, Commit: h, Saved: begin}, time.Since(begin))
	}
	r.sum(ctx)
	return nil
}

// watch waits until a save is on every node and prints its story.
func (r *labReport) watch(ctx context.Context, s labSave, answered time.Duration) {
	told := map[string]labArrival{}
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	var origin time.Time
	for end := time.Now().Add(labPatience); ; {
		running := r.lab.running()
		for _, name := range running {
			n := r.lab.get(name)
			if _, done := told[name]; done || n == nil {
				continue
			}
			story, found := n.story(s.Commit)
			if !found {
				continue
			}
			hop := story.Hops[0]
			if name == r.lab.names[0] {
				origin = hop.At
			}
			told[name] = labArrival{Node: name, HeardFrom: hop.HeardFrom, PulledFrom: hop.PulledFrom, After: float64(hop.At.Sub(origin).Microseconds()) / 1000}
		}
		if len(told) >= len(running) || time.Now().After(end) || ctx.Err() != nil {
			break
		}
		<-poll.C
	}
	for _, name := range r.lab.names[1:] {
		if t, found := told[name]; found {
			r.took[name] = append(r.took[name], time.Duration(t.After*float64(time.Millisecond)))
			s.Nodes = append(s.Nodes, t)
		}
	}
	r.saves = append(r.saves, s)
	if r.a.json {
		text, err := json.Marshal(s)
		if err == nil {
			fmt.Fprintf(r.a.stdout, "%s\n", text)
		}
		return
	}
	slices.SortStableFunc(s.Nodes, func(a, b labArrival) int { return int(1000 * (a.After - b.After)) })
	r.a.say("%-9s saved on %s, answered after %.1f ms\n", s.Page, r.lab.names[0], float64(answered.Microseconds())/1000)
	for _, t := range s.Nodes {
		r.a.say("          %s  %6.1f ms  told by %s, pulled from %s\n", t.Node, t.After, orDash(t.HeardFrom), orDash(t.PulledFrom))
	}
	for _, name := range r.lab.names[1:] {
		if _, found := told[name]; !found {
			r.a.say("          %s  not there after %s\n", name, labPatience)
		}
	}
}

// sum waits for late notices and prints the end of the story.
func (r *labReport) sum(ctx context.Context) {
	if len(r.saves) == 0 {
		return
	}
	discarded := func() (lines []string, total int) {
		for _, name := range r.lab.running() {
			from := map[string]int{}
			for _, s := range r.saves {
				story, _ := r.lab.get(name).story(s.Commit)
				for teller, times := range story.Discarded {
					from[teller] += times
					total += times
				}
			}
			tellers := make([]string, 0, len(from))
			for teller, times := range from {
				tellers = append(tellers, fmt.Sprintf("%d of %s", times, teller))
			}
			slices.Sort(tellers)
			if len(tellers) > 0 {
				lines = append(lines, fmt.Sprintf("%s discarded %s: it had these commits already", name, strings.Join(tellers, ", ")))
			}
		}
		return lines, total
	}
	slow := false
	for _, w := range r.lab.wires {
		slow = slow || w.speed() > 0 && !w.isCut()
	}
	if slow {
		r.a.say("\nlate notices on the slow link are still on their way …\n")
	}
	_, last := discarded()
	quiet := time.Now()
	for end := time.Now().Add(labLate); slow && time.Now().Before(end) && time.Since(quiet) < labLate/3 && ctx.Err() == nil; {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
		if _, now := discarded(); now != last {
			last, quiet = now, time.Now()
		}
	}
	lines, _ := discarded()
	r.a.say("\n%s on %s:\n", several(len(r.saves), "save"), r.lab.names[0])
	for _, name := range r.lab.names[1:] {
		took := r.took[name]
		mid := median(took)
		if len(took) == 0 {
			r.a.say("  %s has none of them\n", name)
			continue
		}
		r.a.say("  %s has %d, median %.1f ms, slowest %.1f ms\n", name, len(took), float64(mid.Microseconds())/1000, float64(took[len(took)-1].Microseconds())/1000)
	}
	for _, line := range lines {
		r.a.say("  %s\n", line)
	}
	digests := map[string][]string{}
	for _, name := range r.lab.running() {
		if n := r.lab.get(name); n != nil {
			d := n.store.Stats().Digest.String()
			digests[d] = append(digests[d], name)
		}
	}
	if len(digests) == 1 {
		for d := range digests {
			r.a.say("  all nodes have digest %s\n", d)
		}
	} else {
		r.a.say("  the nodes differ: %v\n", digests)
	}
}
