package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peakClients is how many clients keep the server busy, each save within some 10
// ms. More of them may bring more: what all are held to is the most that any kind of
// load brought in the same round.
const peakClients = 64

// overload: more load than fits, with the server on one core and the generator on
// another. Rounds alternate between the peak and each kind of more, and the median
// counts. All pages are there before, since a store that grows gets slower by itself.
func (b *bench) overload() error {
	b.generatorCore = 1
	defer func() { b.generatorCore = -1 }()
	var a *process
	if err := onCore(0, func() (err error) { a, err = b.node("overload"); return err }); err != nil {
		return err
	}
	return b.overloaded(a)
}

// overloadShared is the same where both have all cores: the generator takes what it
// needs of them, which is printed.
func (b *bench) overloadShared() error {
	a, err := b.node("overload-shared")
	if err != nil {
		return err
	}
	return b.overloaded(a)
}

func (b *bench) overloaded(a *process) error {
	defer a.stop()
	if _, err := b.pour(a, pouring{Saves: true, Clients: 256, Length: 3 * b.length}); err != nil {
		return err
	}
	if err := b.tenfold(a, true); err != nil {
		return err
	}
	return b.tenfold(a, false)
}

func (b *bench) tenfold(a *process, saves bool) error {
	what := map[bool]string{true: "saves", false: "views"}[saves]
	kinds := []struct {
		name  string
		do    pouring
		times float64 // of the first kind's rate; 0: a closed loop
	}{
		{"as many as fit", pouring{Clients: peakClients}, 0},
		{"10 times the clients, Retry-After heeded", pouring{Clients: 10 * peakClients, Heed: true}, 0},
		{"10 times the clients, hammering", pouring{Clients: 10 * peakClients}, 0},
		{"40 times the clients, hammering", pouring{Clients: 40 * peakClients}, 0},
		{"twice the rate, open loop", pouring{Clients: 40 * peakClients}, 2},
		{"10 times the rate, open loop", pouring{Clients: 40 * peakClients}, 10},
	}
	if !saves { // of which none are refused
		kinds = kinds[:4]
	}
	results := make([][]poured, len(kinds))
	for range b.rounds {
		for i, k := range kinds {
			k.do.Saves, k.do.Length = saves, b.length
			if k.times > 0 {
				k.do.Rate = k.times * results[0][len(results[0])-1].Good
			}
			r, err := b.pour(a, k.do)
			if err != nil {
				return err
			}
			results[i] = append(results[i], r)
		}
	}
	of := func(i int, value func(poured) float64) float64 {
		var all []float64
		for _, r := range results[i] {
			all = append(all, value(r))
		}
		return median(all)
	}
	for i, k := range kinds {
		name := what + ", " + k.name + ": "
		fmt.Printf("%s%.0f/s asked, %.0f/s served (99th %.0f ms), %.0f/s refused; %.0f a round found no connection; the generator took %.2f cores\n", name,
			of(i, func(p poured) float64 { return p.Asked }), of(i, func(p poured) float64 { return p.Good }), of(i, func(p poured) float64 { return p.GoodP99 / 1000 }),
			of(i, func(p poured) float64 { return p.Refused }), of(i, func(p poured) float64 { return float64(p.Unsaid) }), of(i, func(p poured) float64 { return p.Busy }))
		if i == 0 {
			continue
		}
		var shares []float64
		silent, memory := 0, int64(0)
		for n, r := range results[i] {
			peak := 0.0
			for _, other := range results {
				peak = max(peak, other[n].Good)
			}
			shares = append(shares, r.Good/peak)
			silent, memory = silent+r.Silent, max(memory, r.Memory)
		}
		b.bar(name+"goodput of the peak", median(shares), 0.9, "", true)
		b.bar(name+"refused after, median", of(i, func(p poured) float64 { return p.RefusedP50 / 1000 }), 50, "ms", false)
		b.bar(name+"refused after, 99th", of(i, func(p poured) float64 { return p.RefusedP99 / 1000 }), 50, "ms", false)
		b.bar(name+"refusals without Retry-After", float64(silent), 0, "", false)
		b.bar(name+"anonymous memory", float64(memory)/(1<<20), 512, "MiB", false)
	}
	return nil
}

// onCore runs fn, and what it starts, on one core.
func onCore(core int, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		var one unix.CPUSet
		one.Set(core)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- fmt.Errorf("keep to core %d: %w", core, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

const dribblers = 5000

// dribble compares an honest visitor without and with 5,000 who send a byte now
// and then, from 100 addresses; a connection that is closed is made again. They are
// in a process of their own. What that process, and the kernel for it, take of the
// two cores is told apart by letting them dribble to another node too.
func (b *bench) dribble() error {
	a, err := b.node("visited")
	if err != nil {
		return err
	}
	defer a.stop()
	c, err := newClient(a.address)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if status, err := c.do(put(nil, "P-00000", 0, 0, prose(rand.New(rand.NewPCG(1, 1)), 1500))); err != nil || status/100 != 2 {
		return fmt.Errorf("status %d: %.200s: %w", status, c.body, err)
	}
	other, err := b.node("dribbled")
	if err != nil {
		return err
	}
	defer other.stop()
	visit := func() (time.Duration, error) {
		r, err := load(a.address, 4, 3*b.length, func(_, _ int, buf []byte) []byte {
			time.Sleep(5 * time.Millisecond) // people read
			return append(buf, "GET /P-00000 HTTP/1.1\r\nHost: bench\r\n\r\n"...)
		})
		return r.p99, err
	}
	var memory int64
	beside := func(p *process) (time.Duration, error) {
		stop, err := startDribblers(p.address)
		if err != nil {
			return 0, err
		}
		p99, err := visit()
		memory = max(memory, p.anonymous())
		stop()
		time.Sleep(settle)
		return p99, err
	}
	var alone, elsewhere, with, shares []time.Duration
	for range b.rounds {
		for _, c := range []struct {
			times *[]time.Duration
			visit func() (time.Duration, error)
		}{{&alone, visit}, {&elsewhere, func() (time.Duration, error) { return beside(other) }}, {&with, func() (time.Duration, error) { return beside(a) }}} {
			p99, err := c.visit()
			if err != nil {
				return err
			}
			*c.times = append(*c.times, p99)
		}
		shares = append(shares, with[len(with)-1]*1000/alone[len(alone)-1])
	}
	fmt.Printf("honest visitor, 99th percentile: %.3f ms alone, %.3f ms with %d slow connections to another node, %.3f ms with them here\n",
		ms(median(alone)), ms(median(elsewhere)), dribblers, ms(median(with)))
	b.bar("99th percentile with 5,000 slow connections, of without", float64(median(shares))/1000, 1.5, "", false)
	b.bar("the same, of with them at another node", float64(median(with))/float64(median(elsewhere)), 1.5, "", false)
	b.bar("anonymous memory with them", float64(memory)/(1<<20), 512, "MiB", false)
	return nil
}

// startDribblers waits until most are connected.
func startDribblers(address string) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "dribble", address)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { in.Close(); cmd.Wait() }
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("dribblers: %q: %w", line, err)
	}
	return stop, nil
}

// slowOne is one dribbler.
type slowOne struct {
	n    int
	fd   int       // -1: closed
	next time.Time // that something is to be done
}

// runDribble is the process of the dribblers. Half of them never end a header, half
// never a body. It ends when its input does.
func runDribble(address string) error {
	to, err := socketAddress(address)
	if err != nil {
		return err
	}
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(ended) }()
	heads := []string{"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", "PUT /-/api/v1/pages/S HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"}
	all := make([]slowOne, dribblers)
	byFD := make(map[int32]*slowOne)
	open, told := 0, false
	for i := range all {
		all[i] = slowOne{n: i, fd: -1}
	}
	begin := time.Now()
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		var events [256]syscall.EpollEvent
		n, _ := syscall.EpollWait(poll, events[:], 1)
		now := time.Now()
		for _, e := range events[:max(n, 0)] {
			s := byFD[e.Fd]
			var b [512]byte
			if n, err := syscall.Read(s.fd, b[:]); err == syscall.EAGAIN || n > 0 {
				continue
			}
			syscall.Close(s.fd)
			delete(byFD, e.Fd)
			open--
			s.fd, s.next = -1, now.Add(500*time.Millisecond)
		}
		done := 0
		for i := range all {
			s := &all[i]
			if s.next.After(now) {
				continue
			}
			if done++; done > 4 { // not in bursts: 5,000 clients would not act as one
				break
			}
			if s.fd < 0 {
				fd, err := dialRaw(poll, to, &syscall.SockaddrInet4{Addr: [4]byte{127, 3, 0, byte(1 + s.n%100)}})
				if err != nil {
					s.next = now.Add(500 * time.Millisecond)
					continue
				}
				s.fd = fd
				byFD[int32(fd)] = s
				open++
				syscall.Write(fd, []byte(heads[s.n%2]))
			} else {
				syscall.Write(s.fd, []byte("x"))
			}
			s.next = now.Add(10 * time.Second)
		}
		if !told && (open > dribblers*9/10 || time.Since(begin) > 30*time.Second) {
			told = true
			fmt.Println("open", open)
		}
	}
}
