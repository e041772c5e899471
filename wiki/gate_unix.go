//go:build unix

package wiki

import "syscall"

// readNow and writeNow do not wait: the sockets of package net never do.
func readNow(fd uintptr, b []byte) (int, error)  { return syscall.Read(int(fd), b) }
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }

func isAgain(err error) bool { return err == syscall.EAGAIN || err == syscall.EINTR }
