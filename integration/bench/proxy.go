package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// proxy passes TCP connections on and counts their bytes, both ways.
type proxy struct {
	listener net.Listener
	target   chan string // holds it once it is known
	total    atomic.Int64
	mu       sync.Mutex
	open     map[net.Conn]bool
}

func newProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: make(chan string, 1), open: make(map[net.Conn]bool)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p, nil
}

func (p *proxy) address() string   { return p.listener.Addr().String() }
func (p *proxy) to(address string) { p.target <- address }
func (p *proxy) count() int64      { return p.total.Load() }
func (p *proxy) reset()            { p.total.Store(0) }

func (p *proxy) pass(near net.Conn) {
	defer near.Close()
	address := <-p.target
	p.target <- address
	far, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	p.open[near], p.open[far] = true, true
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			io.Copy(pair[0], io.TeeReader(pair[1], p))
			pair[0].(*net.TCPConn).CloseWrite()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
	p.mu.Lock()
	delete(p.open, near)
	delete(p.open, far)
	p.mu.Unlock()
}

// Write counts.
func (p *proxy) Write(b []byte) (int, error) {
	p.total.Add(int64(len(b)))
	return len(b), nil
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
}
