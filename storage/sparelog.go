package storage

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spareLogs gives Pebble write-ahead logs whose blocks have been written once.
// A sync of a file that grows also writes the file system's own records; a
// sync of written blocks writes only the data and takes about half the time.
// Pebble uses its old logs again for that reason, but a new process has none
// and its first logs are short. One spare is made at a time, in the
// background, until Pebble has enough of full length to turn round.
type spareLogs struct {
	fs   vfs.FS
	path string
	stop chan struct{}
	used chan struct{} // told when the spare has been taken
	done sync.WaitGroup
	held atomic.Int64 // nothing is written before, in nanoseconds of Unix

	mu    sync.Mutex
	ready bool
}

const (
	spareName  = "spare-log" // in the database's directory, where Pebble passes it by
	spareSize  = 4 << 20
	spareCount = 4
	// A block is written every sparePause: saves wait for the same disk.
	spareBlock = 128 << 10
	sparePause = 10 * time.Millisecond
	// While many commits arrive at once nobody waits for the sync of one, and to make
	// a spare takes 10 ms of a core: it waits until there were none for spareHold.
	spareHold = 2 * time.Second
	spareFrom = 32 // commits in one Receive
)

// hold puts off making a spare.
func (l *spareLogs) hold() { l.held.Store(time.Now().Add(spareHold).UnixNano()) }

// start begins to make spares at path, until close. It writes over what an
// earlier process left there.
func (l *spareLogs) start(fs vfs.FS, path string) {
	l.fs, l.path = fs, path
	l.stop, l.used = make(chan struct{}), make(chan struct{}, 1)
	l.done.Go(func() {
		for range spareCount {
			if !l.make() {
				return
			}
			l.mu.Lock()
			l.ready = true
			l.mu.Unlock()
			select {
			case <-l.stop:
				return
			case <-l.used:
			}
		}
	})
}

func (l *spareLogs) close() {
	if l.stop != nil {
		close(l.stop)
		l.done.Wait()
		l.stop = nil
	}
}

// make writes one spare and reports whether it is there. A failure is nobody's
// loss: logs then are new files.
func (l *spareLogs) make() (ok bool) {
	f, err := l.fs.Create(l.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	defer func() {
		if f.Close() != nil || !ok {
			l.fs.Remove(l.path)
			ok = false
		}
	}()
	pause := time.NewTicker(sparePause)
	defer pause.Stop()
	zeros := make([]byte, spareBlock)
	for at := 0; at < spareSize; {
		select {
		case <-l.stop:
			return false
		case now := <-pause.C:
			if now.UnixNano() < l.held.Load() {
				continue
			}
		}
		at += len(zeros)
		if _, err := f.Write(zeros); err != nil {
			return false
		}
		if f.SyncData() != nil {
			return false
		}
	}
	return f.Sync() == nil
}

// take turns the spare into the log of this name; nil when there is none.
func (l *spareLogs) take(name string, category vfs.DiskWriteCategory) vfs.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready {
		return nil
	}
	l.ready = false
	f, err := l.fs.ReuseForWrite(l.path, name, category)
	if err != nil {
		return nil // nor is another spare made: this one may have got its new name
	}
	l.used <- struct{}{} // only now: the next spare takes the old name
	return f
}
