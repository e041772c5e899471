package wiki

import "time"

// The limits of the wiki's front door. docs/OPERATING.md lists them, and a test
// compares the two.
const (
	// Of each class so many requests are served at once, and so many more wait;
	// one more is refused at once: 503, or 429 if its own address has the most.
	maxViews, maxViewsWaiting     = 64, 4096 // pages, files and lists that are cheap
	maxDear, maxDearWaiting       = 8, 256   // history, diff, lists of changes, preview
	maxSaves, maxSavesWaiting     = 256, 512 // edits, once their body is here
	maxUploads, maxUploadsWaiting = 8, 32    // files that are taken in
	maxWatch, maxWatchWaiting     = 16, 256  // status, doctor, metrics

	// A connection whose save was refused, or that saved last while a quarter of the
	// room or less is left, is looked at again after gatePace, at the
	// ticks of gateTick, for gateWork at most in a row; up to maxParked are. One that
	// says nothing in gateLooks looks is only waited for. A request of more than
	// maxGateRequest bytes is not refused at the gate but by the server.
	gatePace       = 18 * time.Millisecond
	gateWork       = 5 * time.Millisecond
	gateTick       = 1 * time.Millisecond
	gateLooks      = 8
	maxParked      = 8192
	maxGateRequest = 64 << 10
	// gateIdleTime is how long a refused connection may wait for its next request,
	// gateHeaderTime in what time that must have its header.
	gateIdleTime   = 2 * time.Minute
	gateHeaderTime = 5 * time.Second

	// maxShare is the share, in parts of a class's places and waiting room
	// together, that one address may have: a half.
	maxShare = 2

	// maxBodyMemory bounds the bytes of all bodies above smallBody whose answers
	// have not begun to be sent; one more is refused.
	maxBodyMemory = 128 << 20
	smallBody     = 16 << 10
	// maxAnswerMemory bounds the bytes of answers above largeAnswer that readers have
	// not taken yet, and clashCost times the texts of conflicts that are answered with;
	// while there is more, views are refused, and such a save is told that the node is busy.
	maxAnswerMemory = 128 << 20
	largeAnswer     = 64 << 10
	clashCost       = 4 // they are written as JSON or HTML, into a buffer that grows
	// maxLargeBodies is how many bodies above largeBody, or of unknown length, are
	// read at once; more wait, and give up with the client. Each may take
	// largeBodyTime, so that a client that sends nothing does not keep its place.
	maxLargeBodies = 8
	largeBody      = 256 << 10
	largeBodyTime  = 5 * time.Minute
	// uploadTime is how long one MiB of a file may take to arrive.
	uploadTime = 5 * time.Minute
	// A body must bring bodyProgress bytes in each bodyWindow; there is no limit
	// for the whole.
	bodyProgress = 64
	bodyWindow   = 10 * time.Second
	// skipTime is how long the rest of a body that nobody wants may take.
	skipTime = time.Second
	// retryMin and retryMax are between how many seconds later a refused client
	// is told to come again, at random.
	retryMin, retryMax = 1, 4
	// maxRenders is how many pages are rendered at once; more wait. A page that is
	// dear to render so leaves the processor to those that are not.
	maxRenders = 4
	// maxReaders is how many live readers of events a node serves; one more is
	// refused. feedBuffer is how many events wait for one; a reader that is slower
	// loses events, and is told how many.
	maxReaders = 1000
	feedBuffer = 1024
	// defaultCacheBytes bounds the cache of rendered pages.
	defaultCacheBytes = 32 << 20
)
