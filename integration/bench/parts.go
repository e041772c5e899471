package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var words = strings.Fields("a wiki is pages that people write together each node keeps all of them and tells its neighbors what is new so that nothing is lost when one of them goes away for a while or for ever")

// prose makes text of about size bytes.
func prose(rng *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		if b.Len() > 0 && rng.IntN(40) == 0 {
			b.WriteString(".\n\n")
		}
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:size]
}

// put makes a PUT request for a page; the text differs at each call.
func put(buf []byte, page string, client, i int, text string) []byte {
	body, _ := json.Marshal(map[string]any{"text": fmt.Sprintf("%d %d %s", client, i, text), "author": "bench", "base": []string{"current"}})
	buf = fmt.Appendf(buf, "PUT /-/api/v1/pages/%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", page, len(body))
	return append(buf, body...)
}

// latency: from the first byte of a PUT on one node to the other's server-sent
// event, which it sends after its own sync; serial, 1,000 times.
func (b *bench) latency() error {
	a, err := b.node("latency-a")
	if err != nil {
		return err
	}
	defer a.stop()
	z, err := b.node("latency-b", "--join", a.address)
	if err != nil {
		return err
	}
	defer z.stop()
	stream, err := http.Get("http://" + z.address + "/-/api/v1/events")
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	c, err := newClient(a.address)
	if err != nil {
		return err
	}
	text := prose(rand.New(rand.NewPCG(1, 1)), 1500)
	var times, puts []time.Duration
	for i := range 1100 {
		request := put(nil, fmt.Sprintf("Page-%d", i%50), 0, i, text)
		begin := time.Now()
		answered := make(chan error, 1)
		go func() {
			status, err := c.do(request)
			if err == nil && status/100 != 2 {
				err = fmt.Errorf("status %d: %s", status, c.body)
			}
			puts = append(puts, time.Since(begin))
			answered <- err
		}()
		for {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return err
			}
			if bytes.HasPrefix(line, []byte("event: commit")) {
				break
			}
		}
		times = append(times, time.Since(begin))
		if err := <-answered; err != nil {
			return err
		}
	}
	times = times[100:] // the first ones warm up
	slices.Sort(times)
	slices.Sort(puts)
	fmt.Printf("save on A to event on B: PUT alone answers in %.3f ms (median)\n", ms(puts[len(puts)/2]))
	b.bar("save on A to event on B, median of 1,000", ms(times[500]), 0.8, "ms", false)
	b.bar("save on A to event on B, 99th percentile", ms(times[990]), 5, "ms", false)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// copy: a folder of 7,426 pages is imported on one node, then an empty one
// joins; digests and exported folders must be equal.
func (b *bench) copy() error {
	folder := filepath.Join(b.dir, "folder")
	if corpus := os.Getenv("ERWIK_CORPUS"); corpus != "" {
		if err := run("git", "clone", "-q", "-b", "main", filepath.Join(corpus, "tldr-pages.bundle"), folder); err != nil {
			return err
		}
		os.RemoveAll(filepath.Join(folder, ".git"))
	} else {
		fmt.Println("ERWIK_CORPUS is not set: the copy is of made-up pages")
		rng := rand.New(rand.NewPCG(2, 2))
		for i := range 7426 {
			dir := filepath.Join(folder, fmt.Sprint(i%11))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("page-%d.md", i)), []byte(prose(rng, 700)), 0o644); err != nil {
				return err
			}
		}
	}
	a, err := b.node("copy-a")
	if err != nil {
		return err
	}
	defer a.stop()
	begin := time.Now()
	if err := run(b.erwik, "import", folder, "--node", "http://"+a.address, "--data", filepath.Join(b.dir, "copy-a")); err != nil {
		return err
	}
	fmt.Printf("import of 7,426 pages: %.2f s\n", time.Since(begin).Seconds())
	begin = time.Now()
	z, err := b.node("copy-b", "--join", a.address)
	if err != nil {
		return err
	}
	defer z.stop()
	if err := await(a, z, 7426, time.Minute); err != nil {
		return err
	}
	fmt.Printf("first copy, from process start to equal digests: %.2f s\n", time.Since(begin).Seconds())
	b.bar("anonymous memory of the node that imported", float64(a.anonymous())/(1<<20), 200, "MiB", false)
	b.bar("anonymous memory of the node that joined", float64(z.anonymous())/(1<<20), 200, "MiB", false)
	out := filepath.Join(b.dir, "exported")
	begin = time.Now()
	if err := run(b.erwik, "export", out, "--node", "http://"+z.address); err != nil {
		return err
	}
	if err := run("diff", "-r", "-x", "LICENSE*", folder, out); err != nil {
		return err
	}
	fmt.Printf("export in %.2f s; the folder is equal byte for byte\n", time.Since(begin).Seconds())
	return nil
}

// alternate runs rounds of both sides in turn and returns the medians.
func (b *bench) alternate(ours, limit func() (result, error)) (r, l result, err error) {
	var rates, limits []float64
	var p50, p99, l50, l99 []time.Duration
	for range b.rounds {
		x, err := ours()
		if err != nil {
			return r, l, fmt.Errorf("erwik: %w", err)
		}
		y, err := limit()
		if err != nil {
			return r, l, fmt.Errorf("limit: %w", err)
		}
		rates, limits = append(rates, x.rate), append(limits, y.rate)
		p50, p99 = append(p50, x.p50), append(p99, x.p99)
		l50, l99 = append(l50, y.p50), append(l99, y.p99)
	}
	return result{median(rates), median(p50), median(p99)}, result{median(limits), median(l50), median(l99)}, nil
}

func (b *bench) saves() error {
	a, err := b.node("saves")
	if err != nil {
		return err
	}
	defer a.stop()
	l, err := b.limit("save")
	if err != nil {
		return err
	}
	defer l.stop()
	text := prose(rand.New(rand.NewPCG(3, 3)), 1500)
	request := func(client, i int, buf []byte) []byte {
		return put(buf, fmt.Sprintf("P-%d-%d", client, i%8), client, i, text)
	}
	for _, c := range []struct {
		clients int
		bar     float64
	}{{1, 0.6}, {32, 0.5}, {128, 0.5}} {
		clients, bar := c.clients, c.bar
		r, limit, err := b.alternate(
			func() (result, error) { return load(a.address, clients, b.length, request) },
			func() (result, error) { return load(l.address, clients, b.length, request) })
		if err != nil {
			return err
		}
		fmt.Printf("%3d clients: %6.0f saves/s (p50 %.2f ms, p99 %.2f ms); limit %6.0f/s (p50 %.2f ms, p99 %.2f ms)\n",
			clients, r.rate, ms(r.p50), ms(r.p99), limit.rate, ms(limit.p50), ms(limit.p99))
		b.bar(fmt.Sprintf("saves a second of the limit's, %d clients", clients), r.rate/limit.rate, bar, "", true)
	}
	return nil
}

func (b *bench) views() error {
	a, err := b.node("views")
	if err != nil {
		return err
	}
	defer a.stop()
	rng := rand.New(rand.NewPCG(4, 4))
	var page []byte
	for size := 8000; len(page) < 12<<10; size += 500 { // until the page has 12 KB of HTML
		c, err := newClient(a.address)
		if err != nil {
			return err
		}
		if _, err := c.do(put(nil, "Hot", 0, size, prose(rng, size))); err != nil {
			return err
		}
		if _, err := c.do([]byte("GET /Hot HTTP/1.1\r\nHost: bench\r\n\r\n")); err != nil {
			return err
		}
		page = slices.Clone(c.body)
		c.conn.Close()
	}
	if err := os.WriteFile(filepath.Join(b.dir, "page.html"), page, 0o644); err != nil {
		return err
	}
	l, err := b.limit("view")
	if err != nil {
		return err
	}
	defer l.stop()
	request := func(_, _ int, buf []byte) []byte { return append(buf, "GET /Hot HTTP/1.1\r\nHost: bench\r\n\r\n"...) }
	r, limit, err := b.alternate(
		func() (result, error) { return load(a.address, 64, b.length, request) },
		func() (result, error) { return load(l.address, 64, b.length, request) })
	if err != nil {
		return err
	}
	fmt.Printf("hot page of %d bytes, 64 connections: %.0f views/s; limit %.0f/s\n", len(page), r.rate, limit.rate)
	b.bar("page views a second of the limit's", r.rate/limit.rate, 0.75, "", true)
	return nil
}

// size: saves and views must cost at 100,000 pages what they cost at 1,000.
func (b *bench) size() error {
	small, err := b.filled("small", 1000)
	if err != nil {
		return err
	}
	defer small.stop()
	large, err := b.filled("large", 100000)
	if err != nil {
		return err
	}
	defer large.stop()
	text := prose(rand.New(rand.NewPCG(5, 5)), 1500)
	save := func(pages int) func(client, i int, buf []byte) []byte {
		return func(client, i int, buf []byte) []byte {
			return put(buf, fmt.Sprintf("f%d/page-%d", (client*7919+i*104729)%pages%100, (client*7919+i*104729)%pages), client, i, text)
		}
	}
	view := func(_, _ int, buf []byte) []byte {
		return append(buf, "GET /f1/page-1 HTTP/1.1\r\nHost: bench\r\n\r\n"...)
	}
	for _, clients := range []int{1, 32, 128} {
		r, l, err := b.alternate(
			func() (result, error) { return load(large.address, clients, b.length, save(100000)) },
			func() (result, error) { return load(small.address, clients, b.length, save(1000)) })
		if err != nil {
			return err
		}
		fmt.Printf("%3d clients: %.0f saves/s at 100,000 pages, %.0f at 1,000\n", clients, r.rate, l.rate)
		b.bar(fmt.Sprintf("saves at 100,000 pages of those at 1,000, %d clients", clients), r.rate/l.rate, 0.8, "", true)
	}
	r, l, err := b.alternate(
		func() (result, error) { return load(large.address, 64, b.length, view) },
		func() (result, error) { return load(small.address, 64, b.length, view) })
	if err != nil {
		return err
	}
	fmt.Printf("hot page views, 64 connections: %.0f/s at 100,000 pages, %.0f at 1,000\n", r.rate, l.rate)
	b.bar("views at 100,000 pages of those at 1,000", r.rate/l.rate, 0.8, "", true)
	return nil
}

// filled starts a node and imports made-up pages.
func (b *bench) filled(name string, pages int) (*process, error) {
	p, err := b.node(name)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(b.dir, name+"-pages")
	rng := rand.New(rand.NewPCG(6, 6))
	for i := range pages {
		dir := filepath.Join(folder, fmt.Sprintf("f%d", i%100))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("page-%d.md", i)), []byte(prose(rng, 700)), 0o644); err != nil {
			return nil, err
		}
	}
	return p, run(b.erwik, "import", folder, "--node", "http://"+p.address, "--data", filepath.Join(b.dir, name))
}
