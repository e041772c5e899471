package main

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// overload: more load than fits. Server and generator have a core each, in all
// phases. The peak is the best that a closed loop of 8 to 512 clients gets; the
// clients of the peak are the fewest that come within 5 % of it.
func (b *bench) overload() error {
	defer b.cores()()
	a, err := b.node("overload")
	if err != nil {
		return err
	}
	defer a.stop()
	for _, saves := range []bool{true, false} {
		if err := b.tenfold(a, saves); err != nil {
			return err
		}
	}
	return b.dribble(a)
}

// cores gives servers the first core and generators the second; the function that
// it returns takes that back.
func (b *bench) cores() func() {
	b.loadCore = -1
	if runtime.NumCPU() < 2 {
		return func() {}
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || !all.IsSet(0) || !all.IsSet(1) {
		return func() {}
	}
	b.loadCore = 1
	return func() { b.loadCore = -1 }
}

func (b *bench) tenfold(a *process, saves bool) error {
	what := map[bool]string{true: "saves", false: "views"}[saves]
	var peak, clients = 0.0, 0
	tried := make(map[int]float64)
	for n := 8; n <= 512; n *= 2 {
		r, err := b.pour(a, pouring{Saves: saves, Clients: n, Length: b.length})
		if err != nil {
			return err
		}
		fmt.Printf("%s by %d clients: %.0f/s, p50 %.1f ms, p99 %.1f ms; generator's core %.2f\n", what, n, r.Good, r.GoodP50/1000, r.GoodP99/1000, r.Busy)
		if r.Refused > 0 {
			break
		}
		tried[n] = r.Good
		peak = max(peak, r.Good)
	}
	for n := 512; n >= 8; n /= 2 {
		if tried[n] >= 0.95*peak {
			clients = n
		}
	}
	for _, c := range []struct {
		name string
		do   pouring
	}{
		{fmt.Sprintf("%d clients, Retry-After heeded", 10*clients), pouring{Clients: 10 * clients, Heed: true}},
		{fmt.Sprintf("%d clients, hammering", 10*clients), pouring{Clients: 10 * clients}},
		{"2,560 clients, hammering", pouring{Clients: 2560}},
		{"twice the rate, open loop", pouring{Clients: 2560, Rate: 2 * peak}},
		{"ten times the rate, open loop", pouring{Clients: 2560, Rate: 10 * peak}},
	} {
		c.do.Saves, c.do.Length = saves, 3*b.length
		r, err := b.pour(a, c.do)
		if err != nil {
			return err
		}
		name := what + ", " + c.name + ": "
		fmt.Printf("%s%.0f/s asked, %.0f/s served (p50 %.1f, p99 %.1f ms), %.0f/s refused; %d found no connection; generator's core %.2f\n",
			name, r.Asked, r.Good, r.GoodP50/1000, r.GoodP99/1000, r.Refused, r.Unsaid, r.Busy)
		b.bar(name+"goodput of the peak", r.Good/peak, 0.9, "", true)
		b.bar(name+"refused after, median", r.RefusedP50/1000, 50, "ms", false)
		b.bar(name+"refused after, 99th", r.RefusedP99/1000, 50, "ms", false)
		b.bar(name+"refusals without Retry-After", float64(r.Silent), 0, "", false)
		b.bar(name+"anonymous memory", float64(r.Memory)/(1<<20), 512, "MiB", false)
	}
	return nil
}

// dribble compares an honest visitor without and with 5,000 who send a byte now
// and then, from 100 addresses; a connection that is closed is made again.
func (b *bench) dribble(a *process) error {
	view := func(_, _ int, buf []byte) []byte {
		return append(buf, "GET /P-00000 HTTP/1.1\r\nHost: bench\r\n\r\n"...)
	}
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
