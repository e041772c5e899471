package storage

// The maxima of the protocol. They are constants, never settings: whether a
// commit may enter a log must not depend on who looks at it.
const (
	// MaxContent is the largest text of a page, in bytes.
	MaxContent = 1 << 20
	// MaxPath is the longest git path of a subject, in bytes: a page name of
	// 1,000 bytes and ".md".
	MaxPath = 1003
	// MaxParents is how many heads one edit may resolve.
	MaxParents = 1000
	// MaxMessage is the longest message of a commit, in bytes.
	MaxMessage = 16 << 10
	// MaxIdent is the longest name and the longest address of a person, in bytes.
	MaxIdent = 200
	// MaxKind is the longest name of a kind, in bytes.
	MaxKind = 16
	// MaxCommit bounds the git form of a commit, in bytes: all of the above
	// at once fits.
	MaxCommit = 96 << 10
	// MaxRecord bounds the log entry of a commit without its content.
	MaxRecord = 64 << 10
	// maxTime is the last second that a commit may name (the year 36812).
	maxTime = 1 << 40
)

// The limits of one node. What happens when one is reached stands beside it.
const (
	// maxStaged and maxStagedBytes bound the commits that wait for a parent.
	// A commit that finds the room full is dropped and counted; the next
	// pull brings it again.
	// One log, or one branch, may have the second two of it, so that it can't keep
	// the others out; its first commit always fits.
	maxStaged         = 8192
	maxStagedBytes    = 32 << 20
	maxStagedLog      = 2048
	maxStagedLogBytes = 8 << 20
	// headsCacheSize is the ring in which heads are remembered, some 150,000
	// paths; the oldest entry goes first. contentCacheCost bounds the texts
	// that are remembered, in bytes as estimated; the least recently used
	// goes first.
	headsCacheSize   = 12 << 20
	contentCacheCost = 16 << 20
	// blockCacheSize is what the database keeps of its tables, in bytes, beside
	// two full memtables, and until they are full in their room, too; the least
	// used goes first.
	blockCacheSize = 16 << 20
	// locatedCacheCount bounds how many commits' places are remembered.
	locatedCacheCount = 16384
	// maxBatchDrafts and maxBatchBytes bound one Save or Receive; more is
	// refused with ErrTooLarge.
	maxBatchDrafts = 4096
	maxBatchBytes  = 32 << 20
)
