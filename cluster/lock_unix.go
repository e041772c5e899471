//go:build unix

package cluster

import (
	"os"
	"syscall"
)

// lockFile waits until no other process holds the file's lock; it ends when f
// is closed.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
