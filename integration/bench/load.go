package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// result is one round of load: requests a second and their times.
type result struct {
	rate     float64
	p50, p99 time.Duration
}

// client is one keep-alive connection that speaks just enough HTTP/1.1.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte
}

func newClient(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}, nil
}

// do sends a whole request and reads the whole answer.
func (c *client) do(request []byte) (status int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, fmt.Errorf("answer begins %q", line)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, found := bytes.Cut(line, []byte(":")); found && bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("answer without a length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.in, c.body)
	return status, err
}

// load runs clients for the given time in a closed loop; request makes the
// i-th request of a client.
func load(address string, clients int, length time.Duration, request func(client, i int, buf []byte) []byte) (result, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	start := time.Now()
	for n := range clients {
		wg.Go(func() {
			times, err := one(address, n, end, request)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return result{}, failed
	}
	took := time.Since(start)
	slices.Sort(all)
	return result{float64(len(all)) / took.Seconds(), all[len(all)/2], all[len(all)*99/100]}, nil
}

func one(address string, n int, end time.Time, request func(client, i int, buf []byte) []byte) ([]time.Duration, error) {
	c, err := newClient(address)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	var times []time.Duration
	var buf []byte
	for i := 0; ; i++ {
		buf = request(n, i, buf[:0])
		begin := time.Now()
		if begin.After(end) {
			return times, nil
		}
		status, err := c.do(buf)
		if err != nil {
			return times, err
		}
		if status/100 != 2 {
			return times, fmt.Errorf("status %d: %.300s", status, c.body)
		}
		times = append(times, time.Since(begin))
	}
}

func median[T int | float64 | time.Duration](values []T) T {
	s := slices.Clone(values)
	slices.Sort(s)
	return s[len(s)/2]
}
