package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// fileSize is that of the attachments that are copied.
const fileSize = 50 << 20

// watcher follows the events of a node and says when each commit was told.
type watcher struct {
	lines *bufio.Reader
	body  io.Closer
}

func watch(p *process) (*watcher, error) {
	stream, err := http.Get("http://" + p.address + "/-/api/v1/events")
	if err != nil {
		return nil, err
	}
	return &watcher{bufio.NewReader(stream.Body), stream.Body}, nil
}

// commit reads up to the event of a page's commit.
func (w *watcher) commit(page string) error {
	mine := []byte(`"page":"` + page + `"`)
	for {
		line, err := w.lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("data: ")) && bytes.Contains(line, mine) {
			return nil
		}
	}
}

// edits saves pages on one node, one after the other, until stop says so, and
// returns how long each took until the other one told of it.
func edits(c *client, w *watcher, round int, text string, stop func(n int) bool) ([]time.Duration, error) {
	var times []time.Duration
	for i := 0; !stop(i); i++ {
		page := fmt.Sprintf("Page-%d", i%50)
		request := put(nil, page, round, i, text)
		begin := time.Now()
		answered := make(chan error, 1)
		go func() {
			status, err := c.do(request)
			if err == nil && status/100 != 2 {
				err = fmt.Errorf("status %d: %s", status, c.body)
			}
			answered <- err
		}()
		if err := w.commit(page); err != nil {
			return nil, errors.Join(err, <-answered)
		}
		times = append(times, time.Since(begin))
		if err := <-answered; err != nil {
			return nil, err
		}
	}
	return times, nil
}

// files: a save reaches the other node as fast as ever while an attachment of 50
// MiB is uploaded and copied. Rounds with and without one alternate, and their
// times are put together.
func (b *bench) files() error {
	a, err := b.node("files-a")
	if err != nil {
		return err
	}
	defer a.stop()
	z, err := b.node("files-b", "--join", a.address)
	if err != nil {
		return err
	}
	defer z.stop()
	w, err := watch(z)
	if err != nil {
		return err
	}
	defer w.body.Close()
	c, err := newClient(a.address)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(7, 7))
	text := prose(rng, 1500)
	data := make([]byte, fileSize)
	if _, err := edits(c, w, 0, text, func(n int) bool { return n == 300 }); err != nil { // warm up
		return err
	}
	var with, without []time.Duration
	var copied time.Duration
	for round := 1; round <= b.rounds; round++ {
		for i := range data {
			if i%64 == 0 {
				data[i] = byte(rng.Uint32())
			}
		}
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- copyFile(a, z, round, data) }()
		var failed error
		during, err := edits(c, w, 2*round, text, func(int) bool {
			select {
			case failed = <-done:
				return true
			default:
				return false
			}
		})
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		copied += time.Since(begin)
		with = append(with, during...)
		after, err := edits(c, w, 2*round+1, text, func(n int) bool { return n == len(during) })
		if err != nil {
			return err
		}
		without = append(without, after...)
	}
	slices.Sort(with)
	slices.Sort(without)
	at := func(times []time.Duration, percent int) float64 { return ms(times[len(times)*percent/100]) }
	fmt.Printf("%d attachments of 50 MiB, %.2f s each from the first byte of the upload to the last byte on the other node; %d saves meanwhile\n",
		b.rounds, copied.Seconds()/float64(b.rounds), len(with))
	fmt.Printf("save on A to event on B: median %.3f ms with, %.3f without; 99th percentile %.3f with, %.3f without; slowest %.3f with, %.3f without\n",
		at(with, 50), at(without, 50), at(with, 99), at(without, 99), ms(with[len(with)-1]), ms(without[len(without)-1]))
	b.bar("99th percentile of saves during a copy, of without", at(with, 99)/at(without, 99), 1.5, "", false)
	return nil
}

// copyFile uploads a file on one node and waits until the other has it whole.
func copyFile(a, z *process, round int, data []byte) error {
	request, err := http.NewRequest(http.MethodPut, fmt.Sprintf("http://%s/-/files/large-%d.bin", a.address, round), bytes.NewReader(data))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		text, err := io.ReadAll(response.Body)
		return errors.Join(fmt.Errorf("upload: %s: %s", response.Status, text), err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(fmt.Sprintf("http://%s/-/api/v1/files?prefix=large-%d.bin", z.address, round))
		if err != nil {
			return err
		}
		var list struct {
			Items []struct{ Size, Missing int64 }
		}
		err = errors.Join(json.NewDecoder(r.Body).Decode(&list), r.Body.Close())
		if err != nil {
			return err
		}
		if len(list.Items) == 1 && list.Items[0].Size == int64(len(data)) && list.Items[0].Missing == 0 {
			return nil
		}
	}
	return errors.New("the file has not come within a minute")
}
