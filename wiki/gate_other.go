//go:build !unix

package wiki

import "errors"

// Without calls that do not wait nobody stays parked: the server's goroutine
// reads and refuses.
func readNow(uintptr, []byte) (int, error)  { return 0, errors.ErrUnsupported }
func writeNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func isAgain(error) bool { return false }
