package mesh

import (
	"time"

	"github.com/erwik/erwik/events"
)

// Every table, queue and cache of the core has its limit here, with what
// happens when it is full. Nothing else bounds the core's memory.
const (
	// MaxNodes in the pool. More: the record is dropped (DropFull) and an alarm raised.
	// As many that are not admitted yet are noted as known to who told of them in a
	// join; more: all of those notes are forgotten.
	MaxNodes = events.MaxPool
	// MaxLogs in the vector. More: the log is not pulled, and an alarm raised.
	MaxLogs = 1 << 16
	// MaxEvents that the core remembers with whom it told. More: the oldest is
	// forgotten; if a copy of it comes again, its list is honoured again. As many
	// wait with names that may have to be told; more: those of the oldest are told at once.
	MaxEvents = 4096
	// MaxOwed is how many events wait for the first way to a node that has just come to
	// the pool. More: the oldest are not told; comparing brings them.
	MaxOwed = 256
	// MaxStories is how many commits have a story. More: the oldest is forgotten.
	MaxStories = 10_000
	// MaxLimbo is how many events and records of nodes not admitted (yet) are
	// kept, a set of many links counting as several, some 1 KiB each. More: of the
	// neighbor with the most there the oldest is dropped (DropUnadmitted), the
	// records of nodes last.
	MaxLimbo = 4096
	// MaxTombstones of removed nodes. More: the oldest is forgotten.
	MaxTombstones = 1024

	// MaxFrame is the largest frame that is read (DropFrame beyond).
	MaxFrame = 32 << 10
	// MaxCarried is how long a commit may be that goes along with its notice.
	MaxCarried = 1 << 10
	// HealthyFrame is the most that is put into one frame on a healthy link.
	HealthyFrame = 4 << 10
	// SlowFrame is the most that is put into one frame on a slow link; one item
	// is always sent, however long it is.
	SlowFrame = 300
	// MaxQueueLogs is how many commit notices wait on one link, one per log.
	// More: the oldest is dropped, and the vector hash is sent instead ("compare
	// with me"), which makes the neighbor find what it lacks.
	MaxQueueLogs = 1024
	// MaxQueueItems bounds each of the other kinds of item waiting on one link
	// (events of nodes, holders, records, repair jobs). More: the newest is
	// dropped; the table's digest heals it.
	MaxQueueItems = 8192

	// MaxPulls open at once, MaxPullsPeer from one neighbor (1 if it is slow).
	// More: the log waits until one is done.
	MaxPulls     = 32
	MaxPullsPeer = 4
	// SplitFrom is how many commits of one log are worth sharing out among
	// several sources, of which there are at most MaxSources.
	SplitFrom  = 4096
	MaxSources = 4
	// MaxRanges in one pull.
	MaxRanges = 64

	// MaxChecks is how many signatures of one neighbor are checked in one second,
	// MaxFrames, MaxBytes and MaxItems how much of it is read. More is dropped
	// (DropFlood), a frame without an acknowledgement, so that its sender waits;
	// the vectors tell of it later. Whoever goes on is named (AlarmHostile).
	MaxChecks = 4000
	MaxFrames = 20_000
	MaxBytes  = 8 << 20
	MaxItems  = 40_000
	// MaxWords is how many words of one node on its links are taken in one second,
	// a set counting as one. More is dropped (DropFlap); tables are compared later.
	MaxWords = 50
)

// maxSkips is how many heartbeats with another table pass while the own one changes,
// and with another vector while commits come.
const maxSkips = 4

// offers is to how many neighbors a table that has settled is named at once.
const offers = 3

// leftOpen is in how many copies of an event a node is left open that has just come to
// the pool, and to which no way has led yet.
const leftOpen = 3

// Times of the core. The shell calls Tick every TickEvery.
const (
	TickEvery = 50 * time.Millisecond

	heartbeatHealthy   = 15 * time.Second
	heartbeatEach      = 400 * time.Millisecond // for each node of the pool, where that is more
	heartbeatMost      = 30 * time.Second
	heartbeatYoung     = 2 * time.Second       // the first ones of a link, which measure it
	heartbeatYoungEach = 80 * time.Millisecond // for each node of the pool, where that is more, up to twice as long
	heartbeatsYoung    = 3
	heartbeatSlow      = 60 * time.Second
	heartbeatNew       = 15 * time.Second // the first ones after a link became slow
	heartbeatsNew      = 8
	heartbeatBytes     = 400 // of IP traffic that one heartbeat and its answer take

	slowFrom   = 500 * time.Millisecond // a link is slow from here
	verySlow   = 4 * slowFrom           // so slow that others pass on what a node says of itself
	healthyTo  = 250 * time.Millisecond // and healthy again below
	ackHealthy = 3 * time.Second        // without acknowledgement: send once more, then give up
	ackSlow    = 30 * time.Second
	lateFrom   = time.Second     // an acknowledgement is late: do other connections move?
	movesHold  = 2 * TickEvery   // how long Moves counts
	movesMost  = 5 * time.Minute // after which a link ends without acknowledgement, whatever moves

	deadHealthy = 3 * time.Second
	deadSlow    = 60 * time.Second
	quickFor    = 30 * time.Second // a node to which a quick path led so lately is not on a slow link

	announceEvery = time.Second      // per link, for up and down; doubles while it flaps
	announceMax   = 10 * time.Second // where the doubling ends
	costEvery     = 5 * time.Second  // per link, for costs

	dialOther  = 10 * time.Second // after which the higher id dials too
	dialMin    = 500 * time.Millisecond
	dialMax    = 30 * time.Second
	dialExpiry = 3 * time.Minute // a dial that nobody answered for

	// connectTime is what the first pull from a neighbor takes longer, beside two
	// round trips: its connection is made for it.
	connectTime = 5 * time.Millisecond
	pullHealthy = 5 * time.Second // without progress: try the next best
	// leastProgress is how many bytes of a healthy link count as progress, unless
	// they bring a commit: who sends less in pullHealthy is left for another source.
	leastProgress = 4 << 10
	dribbleFrom   = 30 * time.Second // a pull that is older must have brought that much for each pullHealthy
	pullSlow      = 60 * time.Second
	pullBackoff   = 30 * time.Second // longest wait after failures

	pullStale    = 30 * time.Second       // what a pull measured fades after so long
	joinEach     = 10 * time.Millisecond  // for each node of the pool: see Core.joinWait
	joinMost     = 500 * time.Millisecond // where that ends
	lately       = 2 * time.Minute        // so old may an event be that a node that has just come is told of as a matter of course
	costNear     = 2 * time.Millisecond   // a cost that is off by less is not told
	costEach     = time.Second            // for each node of the pool: the time between two tellings of own costs
	spaceEach    = 40 * time.Millisecond  // for each node of the pool: the time between two tellings of own links that come up one after the other
	spaceMost    = 2 * time.Second        // where that ends: less than deadHealthy, or a link that comes back is told too late
	tellEach     = 200 * time.Millisecond // for each node of the pool: the time between two comparisons of tables that are not pressing
	settleEach   = 50 * time.Millisecond  // for each node of the pool: a row that changed so lately is on its way to the others
	ownEvery     = 250 * time.Millisecond // own links that come up or change their cost are told of together, once in so long
	limboEvery   = time.Second            // how often sets that wait in limbo are looked at again
	limboFor     = 10 * time.Minute       // how long at most
	ownQuiet     = 400 * time.Millisecond // or when no more have come up for so long
	recordsEvery = 150 * time.Millisecond // changed links of others wait so long to be passed on together
	recordsEach  = 20 * time.Millisecond  // for each own link: how long they wait if they make no node reachable
	tableQuiet   = 300 * time.Millisecond // no change of the table for so long: a differing hash means something
	drilledFor   = 20 * time.Second       // tables that differ as they did are not compared again for so long; then what was on its way would be here
	tableSure    = 2 * time.Second        // no change for so long: it means that something is missing
	carryHold    = 20 * time.Millisecond  // how long an acknowledgement waits for a carried commit to be stored
	digEvery     = 5 * time.Second        // for one log: a neighbor is asked where it forks
	quietFor     = 2 * time.Second        // no commit for so long: a differing vector hash means something
	quietAfter   = 250 * time.Millisecond // the same after a pull of many commits
	sessionFor   = 5 * time.Second        // one comparison on a healthy link
	hiccupFor    = 2 * time.Second        // a link that became slow less than heartbeatNew ago keeps its pulls for so long at least
	laterEach    = 2 * time.Millisecond   // for each node of the pool: between two questions whether vectors that differed still do, once no more commits come
	laterMost    = 3 * quietFor           // a comparison of vectors waits for commits to come no longer
	sessionEach  = time.Second            // between two comparisons of vectors while commits are being pulled
	sessionSlow  = 90 * time.Second       // one comparison on a slow link
	heldFor      = 5 * time.Second        // words on links that open or close no way are told so much later while much is pulled
	bulkFrom     = 128                    // commits, or twice the nodes known where that is more: a pull of so many is much
	caughtUp     = 500 * time.Millisecond // no pull for so long: what there was has come
	caughtEach   = 40 * time.Millisecond  // for each node of the pool, where that is more
	caughtMost   = 2 * time.Second        // where that ends
	freshAfter   = 3 * time.Second        // no way to a node for so long: a link to it brings news
	newcomerFor  = 10 * time.Second       // others may not know a node yet for so long
	holdersEvery = TickEvery              // how long what we hold waits for company on a healthy link
	holdersEach  = 10 * time.Millisecond  // for each node of the pool, where that is more
	hintEvery    = 200 * time.Millisecond // between two hints to one neighbor while much is pulled
	holdersSlow  = 5 * time.Second
	sentFor      = 5 * time.Minute  // a record that went over a slow link is not repeated for so long
	gateFor      = 20 * time.Second // on a slow link, how long a notice may hold back the next while the neighbor pulls
)
