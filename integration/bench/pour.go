package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// pouring says what a generator of load shall do. It runs in a process of its own:
// one thread, one epoll, requests that are
// made before and only numbered anew, so that a request costs it little more than
// the two system calls.
type pouring struct {
	Address string
	Saves   bool          // else views of one page
	Clients int           // connections, all made before the time begins
	Rate    float64       // requests a second, whatever becomes of them (open loop); 0: each client asks as soon as it is answered
	Heed    bool          // closed loop: after a refusal a client waits for as long as Retry-After says
	Length  time.Duration //
}

// poured is what came of it. Times are in microseconds.
type poured struct {
	Good, Refused, Asked   float64 // a second
	Unsaid                 int     // requests of an open loop that found no free connection
	RefusedP50, RefusedP99 float64
	GoodP50, GoodP99       float64
	Silent                 int     // refusals without Retry-After
	Busy                   float64 // of the generator's core
	Memory                 int64   // of the server, anonymous, the most that was seen
}

const (
	settle      = 300 * time.Millisecond
	pourPages   = 20_000
	pourSaveFmt = "PUT /-/api/v1/pages/P-%05d HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)

// pour starts a generator and waits for what it says.
func (b *bench) pour(p *process, what pouring) (poured, error) {
	what.Address = p.address
	var result poured
	order, err := json.Marshal(what)
	if err != nil {
		return result, err
	}
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	cmd := exec.Command(self, "pour", string(order))
	cmd.Stderr = os.Stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	begin := cmd.Start
	if b.generatorCore >= 0 {
		begin = func() error { return onCore(b.generatorCore, cmd.Start) }
	}
	if err := begin(); err != nil {
		return result, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var memory int64
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-look.C:
			memory = max(memory, p.anonymous())
		}
	}
	if err != nil {
		return result, fmt.Errorf("generator: %w", err)
	}
	err = json.Unmarshal(out.Bytes(), &result)
	result.Memory = memory
	return result, err
}

// spring is one connection of a generator.
type spring struct {
	fd   int
	sent time.Time
	head []byte // an answer whose header is not whole
	left int    // bytes of the answer that are to come; -1: its header is
	code int
	wait int // seconds that Retry-After says
}

type pourer struct {
	pouring
	poll           int
	springs        []*spring // by file descriptor
	request        []byte
	number, text   []byte // parts of request: number of the page, of the save
	count          int
	rng            *rand.Rand
	free           []*spring    // in an open loop: idle, the last first
	later          [8][]*spring // by seconds: wait for Retry-After, sent is when it came
	good, bad      []uint32     // times
	silent, unsaid int
	buffer         [1 << 16]byte
	failed         error
}

// runPour is the process of a generator.
func runPour(order string) error {
	g := &pourer{rng: rand.New(rand.NewPCG(7, 7))}
	if err := json.Unmarshal([]byte(order), &g.pouring); err != nil {
		return err
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	if err := g.connect(); err != nil {
		return err
	}
	g.prepare()
	time.Sleep(settle) // the server has taken them all in
	result, err := g.run()
	if err != nil {
		return err
	}
	for _, s := range g.springs {
		if s != nil {
			syscall.Close(s.fd)
		}
	}
	time.Sleep(settle) // and let go of them
	return json.NewEncoder(os.Stdout).Encode(result)
}

func (g *pourer) connect() error {
	var err error
	if g.poll, err = syscall.EpollCreate1(0); err != nil {
		return err
	}
	target, err := socketAddress(g.Address)
	if err != nil {
		return err
	}
	for range g.Clients {
		fd, err := dialRaw(g.poll, target, nil)
		if err != nil {
			return err
		}
		s := &spring{fd: fd, left: -1}
		for len(g.springs) <= fd {
			g.springs = append(g.springs, nil)
		}
		g.springs[fd] = s
		g.free = append(g.free, s)
	}
	return nil
}

func socketAddress(address string) (*syscall.SockaddrInet4, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	return &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}, nil
}

// dialRaw connects, and lets the connection be waited for.
func dialRaw(poll int, to, from *syscall.SockaddrInet4) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if from != nil {
		err = syscall.Bind(fd, from)
	}
	if err == nil {
		err = syscall.Connect(fd, to)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
		err = syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &event)
	}
	if err != nil {
		syscall.Close(fd)
		return 0, err
	}
	return fd, nil
}

// prepare makes the one request whose numbers change.
func (g *pourer) prepare() {
	if !g.Saves {
		g.request = []byte("GET /P-00000 HTTP/1.1\r\nHost: bench\r\n\r\n")
		return
	}
	const mark = "0000000000"
	body, _ := json.Marshal(map[string]any{"text": mark + " " + prose(g.rng, 1500), "author": "bench", "base": []string{"current"}})
	g.request = append(fmt.Appendf(nil, pourSaveFmt, 0, len(body)), body...)
	at := bytes.Index(g.request, []byte("P-00000"))
	g.number = g.request[at+2 : at+7]
	at = bytes.Index(g.request, []byte(mark))
	g.text = g.request[at : at+len(mark)]
}

// digits writes n in decimal, filled with zeros.
func digits(to []byte, n int) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}

func (g *pourer) ask(s *spring, now time.Time) {
	if g.Saves {
		g.count++
		digits(g.number, g.rng.IntN(pourPages))
		digits(g.text, g.count+int(now.UnixNano()/1000%1e9))
	}
	s.sent = now
	n, err := syscall.Write(s.fd, g.request)
	if err != nil || n != len(g.request) { // the socket's buffer is empty, and larger
		g.failed = fmt.Errorf("%d of %d bytes sent: %w", n, len(g.request), err)
	}
}

func (g *pourer) run() (poured, error) {
	begin := time.Now()
	end := begin.Add(g.Length)
	due, every := begin, time.Duration(0)
	if g.Rate > 0 {
		every = time.Duration(float64(time.Second) / g.Rate)
	} else {
		for _, s := range g.free {
			g.ask(s, time.Now())
		}
		g.free = nil
	}
	asked := 0
	var events [256]syscall.EpollEvent
	for now := begin; now.Before(end) && g.failed == nil; now = time.Now() {
		for g.Rate > 0 && !due.After(now) {
			due = due.Add(every)
			asked++
			if len(g.free) == 0 {
				g.unsaid++
				continue
			}
			s := g.free[len(g.free)-1]
			g.free = g.free[:len(g.free)-1]
			g.ask(s, time.Now())
		}
		for seconds := range g.later {
			for len(g.later[seconds]) > 0 && now.Sub(g.later[seconds][0].sent) >= time.Duration(seconds)*time.Second {
				s := g.later[seconds][0]
				g.later[seconds] = g.later[seconds][1:]
				g.ask(s, now)
			}
		}
		n, err := syscall.EpollWait(g.poll, events[:], 1) // of an open loop a millisecond's requests go out together
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return poured{}, err
		}
		for i := range max(n, 0) {
			if s := g.springs[events[i].Fd]; g.heard(s) {
				g.next(s)
			}
		}
	}
	if g.failed != nil {
		return poured{}, g.failed
	}
	took := time.Since(begin).Seconds()
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	p := poured{Good: float64(len(g.good)) / took, Refused: float64(len(g.bad)) / took, Unsaid: g.unsaid, Silent: g.silent,
		Busy: float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9 / took}
	p.Asked = p.Good + p.Refused
	if g.Rate > 0 {
		p.Asked = float64(asked) / took
	}
	p.GoodP50, p.GoodP99 = quantiles(g.good)
	p.RefusedP50, p.RefusedP99 = quantiles(g.bad)
	return p, nil
}

func quantiles(times []uint32) (p50, p99 float64) {
	if slices.Sort(times); len(times) == 0 {
		return 0, 0
	}
	return float64(times[len(times)/2]), float64(times[len(times)*99/100])
}

// heard takes what has come of an answer; true: it is whole.
func (g *pourer) heard(s *spring) bool {
	n, err := syscall.Read(s.fd, g.buffer[:])
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	if err != nil || n == 0 {
		g.failed = fmt.Errorf("a connection ended: %d, %w", n, err)
		return false
	}
	in := g.buffer[:n]
	if s.left < 0 {
		if len(s.head) > 0 {
			s.head = append(s.head, in...)
			in = s.head
		}
		at := bytes.Index(in, []byte("\r\n\r\n"))
		if at < 0 {
			s.head = append(s.head[:0], in...)
			return false
		}
		length, err := 0, error(nil)
		s.code, err = strconv.Atoi(string(in[9:12]))
		if err == nil {
			length, err = strconv.Atoi(field(in[:at], "Content-Length: "))
		}
		if err != nil {
			g.failed = fmt.Errorf("answer %.300q: %w", in, err)
			return false
		}
		if s.wait, err = strconv.Atoi(field(in[:at], "Retry-After: ")); err != nil {
			s.wait = 0
		}
		if s.code/100 != 2 && s.code != 503 && s.code != 429 {
			g.failed = fmt.Errorf("answer %.300q", in)
		}
		s.left, in, s.head = length, in[at+4:], s.head[:0]
	}
	if s.left -= len(in); s.left > 0 {
		return false
	}
	if s.left < 0 {
		g.failed = errors.New("an answer is longer than it says")
	}
	s.left = -1
	return true
}

// field is the value of a field of a header, as erwik writes its name.
func field(head []byte, name string) string {
	at := bytes.Index(head, []byte(name))
	if at < 0 {
		return ""
	}
	value, _, _ := bytes.Cut(head[at+len(name):], []byte("\r"))
	return string(value)
}

// next counts an answer and lets the connection go on.
func (g *pourer) next(s *spring) {
	now := time.Now()
	took := uint32(now.Sub(s.sent).Microseconds())
	if s.code/100 == 2 {
		g.good = append(g.good, took)
	} else {
		g.bad = append(g.bad, took)
		if s.wait == 0 {
			g.silent++
		}
	}
	switch {
	case g.Rate > 0:
		g.free = append(g.free, s)
	case s.code/100 != 2 && g.Heed:
		s.sent = now
		s.wait = min(max(s.wait, 1), len(g.later)-1)
		g.later[s.wait] = append(g.later[s.wait], s)
	default:
		g.ask(s, now)
	}
}
