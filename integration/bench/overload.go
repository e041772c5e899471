package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// flood is what many clients at once got.
type flood struct {
	good, refused float64 // a second
	p50, p99      time.Duration
	memory        int64 // the most that was seen, anonymous
}

// pour runs clients in a closed loop, all connected before the time begins. After
// a refusal they wait for pause, the least that Retry-After says, or 0: they
// hammer.
func (b *bench) pour(p *process, clients int, pause time.Duration, request func(client, i int, buf []byte) []byte) (flood, error) {
	var mu sync.Mutex
	var f flood
	var times []time.Duration
	var failed error
	good := 0
	conns := make([]*client, clients)
	for i := range conns {
		c, err := newClient(p.address)
		if err != nil {
			return f, err
		}
		defer c.conn.Close()
		conns[i] = c
	}
	begin := time.Now()
	end := begin.Add(2 * b.length)
	var wg sync.WaitGroup
	for n, c := range conns {
		wg.Go(func() {
			var own []time.Duration
			kept := 0
			var buf []byte
			for i := 0; time.Now().Before(end); i++ {
				buf = request(n, i, buf[:0])
				start := time.Now()
				status, err := c.do(buf)
				switch {
				case err != nil || status/100 != 2 && status != 503 && status != 429:
					mu.Lock()
					failed = fmt.Errorf("status %d: %.200s: %w", status, c.body, err)
					mu.Unlock()
					return
				case status/100 == 2:
					kept++
				default:
					own = append(own, time.Since(start))
					time.Sleep(pause)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			good += kept
			times = append(times, own...)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(50 * time.Millisecond):
			f.memory = max(f.memory, p.anonymous())
		}
	}
	took := time.Since(begin).Seconds()
	f.good, f.refused = float64(good)/took, float64(len(times))/took
	if slices.Sort(times); len(times) > 0 {
		f.p50, f.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return f, failed
}

// overload: ten times the clients that bring the most, and 5,000 who dribble.
func (b *bench) overload() error {
	a, err := b.node("overload")
	if err != nil {
		return err
	}
	defer a.stop()
	text := prose(rand.New(rand.NewPCG(7, 7)), 1500)
	const pages = 20_000 // the same for few clients and for many
	save := func(client, i int, buf []byte) []byte {
		return put(buf, fmt.Sprintf("P-%d", (client*7919+i*104729)%pages), client, i, text)
	}
	view := func(_, _ int, buf []byte) []byte { return append(buf, "GET /P-0 HTTP/1.1\r\nHost: bench\r\n\r\n"...) }
	const peakClients = 256
	for _, c := range []struct {
		name    string
		request func(client, i int, buf []byte) []byte
	}{{"saves", save}, {"views", view}} {
		peak, err := b.pour(a, peakClients, 0, c.request)
		if err != nil {
			return err
		}
		for _, pause := range []time.Duration{time.Second, 0} {
			over, err := b.pour(a, 10*peakClients, pause, c.request)
			if err != nil {
				return err
			}
			name := c.name + ", Retry-After heeded: "
			if pause == 0 {
				name = c.name + ", hammering: "
			}
			fmt.Printf("%s%.0f/s by %d clients; %.0f/s by %d, who are refused %.0f/s\n", name, peak.good, peakClients, over.good, 10*peakClients, over.refused)
			b.bar(name+"goodput of the peak", over.good/peak.good, 0.9, "", true)
			b.bar(name+"refused after, median", ms(over.p50), 50, "ms", false)
			b.bar(name+"refused after, 99th", ms(over.p99), 50, "ms", false)
			b.bar(name+"anonymous memory", float64(over.memory)/(1<<20), 512, "MiB", false)
		}
	}
	return b.dribble(a, view)
}

// dribble compares an honest visitor without and with 5,000 who send a byte now
// and then, from 100 addresses; a connection that is closed is made again.
func (b *bench) dribble(a *process, view func(client, i int, buf []byte) []byte) error {
	visit := func() (time.Duration, error) {
		r, err := load(a.address, 4, 3*b.length, func(client, i int, buf []byte) []byte {
			time.Sleep(5 * time.Millisecond) // people read
			return view(client, i, buf)
		})
		return r.p99, err
	}
	alone, err := visit()
	if err != nil {
		return err
	}
	var open atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 5000 {
		wg.Go(func() { dribbler(a.address, i, &open, stop) })
	}
	for end := time.Now().Add(30 * time.Second); open.Load() < 4500 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Printf("%d slow connections are open\n", open.Load())
	with, err := visit()
	memory := a.anonymous()
	close(stop)
	wg.Wait()
	if err != nil {
		return err
	}
	fmt.Printf("honest visitor, 99th percentile: %.3f ms alone, %.3f ms with them\n", ms(alone), ms(with))
	b.bar("99th percentile with 5,000 slow connections, of without", float64(with)/float64(alone), 1.5, "", false)
	b.bar("anonymous memory with them", float64(memory)/(1<<20), 512, "MiB", false)
	return nil
}

func dribbler(address string, i int, open *atomic.Int64, stop chan struct{}) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 3, 0, byte(1+i%100))}, Timeout: 10 * time.Second}
	for {
		if conn, err := d.Dial("tcp", address); err == nil {
			open.Add(1)
			head := "GET / HTTP/1.1\r\nHost: x\r\nX-A: "
			if i%2 == 1 {
				head = "PUT /-/api/v1/pages/S HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
			}
			_, err := conn.Write([]byte(head))
			gone := make(chan struct{})
			go func() {
				var b [512]byte
				for e := err; e == nil; _, e = conn.Read(b[:]) {
				}
				close(gone)
			}()
			tick := time.NewTicker(10 * time.Second)
			for alive := true; alive; {
				select {
				case <-tick.C:
					conn.Write([]byte("x"))
				case <-gone:
					alive = false
				case <-stop:
					alive = false
				}
			}
			tick.Stop()
			conn.Close()
			<-gone
			open.Add(-1)
		}
		select {
		case <-stop:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}
