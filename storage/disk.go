package storage

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskGuard refuses saves while so little room is left that Pebble, which
// exits when a write fails, might run out of it.
type diskGuard struct {
	fs    vfs.FS
	dir   string
	total uint64
	mu    struct {
		sync.Mutex
		checked time.Time
		since   uint64 // bytes taken since the check
		full    bool
	}
}

const (
	diskCheckEvery = time.Second
	diskCheckBytes = 1 << 20
)

func (d *diskGuard) init(fs vfs.FS, dir string) {
	d.fs, d.dir = fs, dir
	if u, err := fs.GetDiskUsage(dir); err == nil {
		d.total = u.TotalBytes
	}
}

// reserve is how much stays free: min(256 MiB, max(16 MiB, 5 %)).
func (d *diskGuard) reserve() uint64 {
	return min(256<<20, max(16<<20, d.total/20))
}

// roomy reports whether the disk is known to have room for spare logs.
func (d *diskGuard) roomy() bool { return d.total >= 1<<30 }

// memTableSize keeps what Pebble may write at once well below the reserve.
func (d *diskGuard) memTableSize() uint64 {
	if d.total != 0 && d.total < 1<<30 {
		return 1 << 20
	}
	return 32 << 20
}

// take asks for room for n bytes; it looks at the disk once a second or once a
// MiB, and before n bytes that are more than that.
func (d *diskGuard) take(now time.Time, n int) error {
	if d.total == 0 {
		return nil // the file system does not say
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.since += uint64(n)
	age, fits := now.Sub(d.mu.checked), true
	if age < 0 || age >= diskCheckEvery || d.mu.since >= diskCheckBytes {
		u, err := d.fs.GetDiskUsage(d.dir)
		if err == nil {
			d.mu.full = u.AvailBytes < d.reserve()
			fits = u.AvailBytes >= d.reserve()+uint64(n)
		}
		d.mu.checked, d.mu.since = now, 0
	}
	if d.mu.full || !fits {
		return ErrDiskFull
	}
	return nil
}

// DiskFull reports whether saves are refused for want of room.
func (s *Store) DiskFull() bool { return s.disk.take(s.cfg.Clock(), 0) != nil }

// Disk is the room of the file system that holds the store, in bytes.
type Disk struct {
	Free, Size uint64
	Reserve    uint64 // below this, saves are refused
}

// Disk looks at the file system; zeros where it does not say.
func (s *Store) Disk() Disk {
	u, err := s.disk.fs.GetDiskUsage(s.disk.dir)
	if err != nil {
		return Disk{}
	}
	return Disk{Free: u.AvailBytes, Size: u.TotalBytes, Reserve: s.disk.reserve()}
}

// Failed is what ended all writing, nil while the store takes saves.
func (s *Store) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.failed
}
