package storage

import "errors"

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no visible commit, path or import source of that name is here.
	ErrNotFound = errors.New("storage: not found")
	// ErrHeadsMoved: the path has other heads than the draft saw. Read them,
	// merge, and save again.
	ErrHeadsMoved = errors.New("storage: heads have moved")
	// ErrUnknownParent: a draft names a parent that is not a visible commit
	// of its path.
	ErrUnknownParent = errors.New("storage: unknown parent")
	// ErrMissingChunk: a draft of a file names a chunk that is not here.
	ErrMissingChunk = errors.New("storage: a chunk of the file is not here")
	// ErrTooLarge: a draft or a batch is over a maximum of the protocol.
	ErrTooLarge = errors.New("storage: over the maximum")
	// ErrInvalid: bytes or fields break a rule of the format.
	ErrInvalid = errors.New("storage: invalid")
	// ErrDiskFull: so little room is left that saves are refused. Reads go
	// on, and saves resume by themselves when there is room again.
	ErrDiskFull = errors.New("storage: disk nearly full")
	// ErrPoisoned: a write failed, so nothing that follows can be trusted to
	// be durable. The outcome of the failed save is unknown. Only a restart
	// clears it.
	ErrPoisoned = errors.New("storage: a write has failed; restart the node")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("storage: closed")
	// ErrCorrupt: a file of the data directory is damaged; the text names it.
	ErrCorrupt = errors.New("storage: damaged file")
	// ErrLocked: another process uses the data directory.
	ErrLocked = errors.New("storage: in use by another process")
	// ErrFormat: the data directory was written by a newer erwik.
	ErrFormat = errors.New("storage: unsupported data format")
	// ErrBanned: the node was banned.
	ErrBanned = errors.New("storage: the node was banned")
	// ErrStaging: staging is full; pull the commit again later.
	ErrStaging = errors.New("storage: staging is full")
)
