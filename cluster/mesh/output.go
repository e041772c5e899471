package mesh

import (
	"time"

	"github.com/erwik/erwik/events"
	"github.com/erwik/erwik/storage"
)

// Outputs is what the shell must do, gathered since the last Take. Persist comes
// first: what it holds must be durable before a Send leaves. The rest may be
// done in any order, each link's frames in theirs.
type Outputs struct {
	Persist []Persist
	Send    []Send
	Pull    []Pull
	Dig     []Dig
	Share   []Share
	Cancel  []uint64 // pulls by id: stop, and call neither PullDone nor PullFailed (either is ignored)
	Dial    []Dial
	Close   []Close
	Events  []events.Event // for local readers, each event once; needs Watch
	Alarms  []Alarm
}

// Take moves the gathered outputs into o, whose slices' memory is used again.
// Frames in o.Send stay valid for good.
func (c *Core) Take(o *Outputs) {
	*o, c.out = c.out, *o
	c.out.reset()
}

func (o *Outputs) reset() {
	clear(o.Persist)
	clear(o.Send)
	clear(o.Pull)
	clear(o.Dig)
	clear(o.Events)
	clear(o.Alarms)
	*o = Outputs{Persist: o.Persist[:0], Send: o.Send[:0], Pull: o.Pull[:0], Dig: o.Dig[:0], Share: o.Share[:0], Cancel: o.Cancel[:0],
		Dial: o.Dial[:0], Close: o.Close[:0], Events: o.Events[:0], Alarms: o.Alarms[:0]}
}

// Empty reports whether there is nothing to do.
func (o *Outputs) Empty() bool {
	return len(o.Persist)+len(o.Send)+len(o.Pull)+len(o.Dig)+len(o.Share)+len(o.Cancel)+len(o.Dial)+len(o.Close)+len(o.Events)+len(o.Alarms) == 0
}

// Dig asks the shell to pull earlier parts of a log from a neighbor, further
// and further back, until the store finds where the neighbor's commits and
// those held here part.
type Dig struct {
	From storage.NodeID
	Log  storage.LogID
}

// Persist is one value to keep; nil means delete. Keys are text, at most 64
// bytes; values are at most 1 KiB. A later value replaces an earlier one.
//
//	self            own incarnation, 8 bytes big endian
//	node/<id>       node record
//	gone/<id>       tombstone: the dead_neighbor event that removed the node
type Persist struct {
	Key   string
	Value []byte
}

// Send is one frame for a neighbor. Frame numbers pace it: the shell may hold
// at most a few frames of a link and hands each over once, in order, whole or
// not at all. It need not tell whether a frame arrived.
type Send struct {
	Peer  storage.NodeID
	Frame []byte
	// Carry names the commit of the frame's first notice, if its sender may
	// append the commit itself by [AppendContent]: the link is quick and the
	// neighbor lacks just that one. Zero: it may not.
	Carry Range
	// Carried is that commit's hash.
	Carried storage.Hash
}

// Range asks for the commits of Log after After. Upto is what the source is
// known to hold; a source that holds more may go on beyond it.
type Range struct {
	Log         storage.LogID
	After, Upto uint64
}

// Pull asks the shell to fetch commits from one neighbor over the pull
// connection. The shell answers with Appended as they become visible and with
// PullDone or PullFailed at the end.
type Pull struct {
	ID     uint64 // never used twice in one life of the core
	From   storage.NodeID
	Ranges []Range // at most MaxRanges, one per log
	// Big says that it is one range that is worth sharing out: other neighbors
	// that hold all of it are named by Share, now or later.
	Big bool
}

// Share names another source for an open pull that is Big.
type Share struct {
	ID   uint64
	Also storage.NodeID
}

// Dial asks the shell to connect to a node that has no link, by its addresses
// in turn. The answer is LinkUp or DialFailed. One dial per node is out at once.
type Dial struct {
	Node      storage.NodeID
	Addresses []string
}

// Close asks the shell to drop the connection to a neighbor at once (linger 0).
// For the core the link is down already.
type Close struct {
	Peer   storage.NodeID
	Reason string
}

// AlarmKind says what a person should know of.
type AlarmKind string

// The alarms.
const (
	// AlarmLostSaves: a neighbor holds more of this node's own log than this
	// node. It is a restored backup or a lost disk; what is missing is pulled
	// back.
	AlarmLostSaves AlarmKind = "lost_saves"
	// AlarmFork: two different commits for one place in a log were announced.
	AlarmFork AlarmKind = "fork"
	// AlarmTwin: another process speaks with this node's key.
	AlarmTwin AlarmKind = "twin"
	// AlarmFull: a limit of limits.go was met; Text names it.
	AlarmFull AlarmKind = "full"
	// AlarmState: persisted state did not decode.
	AlarmState AlarmKind = "state"
	// AlarmBanned: a node was banned.
	AlarmBanned AlarmKind = "banned"
	// AlarmHostile: a neighbor goes on doing what no honest node does, or too much
	// of what it may.
	AlarmHostile AlarmKind = "hostile"
	// AlarmDead: a node was declared dead. AlarmAlive: it is back.
	AlarmDead  AlarmKind = "dead"
	AlarmAlive AlarmKind = "alive"
)

// Alarm is one line for the log and the metrics. Each is raised once per cause.
type Alarm struct {
	Kind AlarmKind
	Node storage.NodeID // whom it is about
	Log  storage.LogID  // if it is about a log
	Text string
}

// Drop is a reason for which something from a neighbor was not used.
type Drop string

// The reasons.
const (
	DropNoLink     Drop = "no_link"    // frame for a link that is not up
	DropFrame      Drop = "frame"      // frame that does not decode, or is too long
	DropSignature  Drop = "signature"  // wrong signature of an event or record
	DropUnadmitted Drop = "unadmitted" // of a node that is no signer
	DropForeignLog Drop = "log"        // unknown or wrong log
	DropStale      Drop = "stale"      // an older record, incarnation or tombstone
	DropFork       Drop = "fork"       // another commit in a place that is taken
	DropFlood      Drop = "flood"      // more of a neighbor in one second than its quota
	DropFlap       Drop = "flap"       // more words of a node on its links in one second than MaxWords
	DropBanned     Drop = "banned"     // a word of a banned node
	DropPull       Drop = "pull"       // a pull connection that breaks limits or form; the shell tells
	DropCommit     Drop = "commit"     // a commit that nobody signed so; the shell tells
	DropFull       Drop = "full"       // a table is full
	DropLate       Drop = "late"       // a notice of a commit that is held: counted, its list honoured
	DropState      Drop = "state"      // persisted state that does not decode
	DropGap        Drop = "gap"        // an Appended entry that does not follow its log
)

// DropKey is a neighbor and a reason; the zero NodeID means this node.
type DropKey struct {
	Peer   storage.NodeID
	Reason Drop
}

// NodeState is the state of a node as this one sees it.
type NodeState string

// The states of a node: it is this one; a path of up links leads to it; none
// does; none did for so long that it counts as dead (it is dialled on).
const (
	StateSelf        NodeState = "self"
	StateAlive       NodeState = "alive"
	StateUnreachable NodeState = "unreachable"
	StateDead        NodeState = "dead"
)

// NodeInfo is an item of network/nodes.
type NodeInfo struct {
	ID      storage.NodeID `json:"id"`
	Name    string         `json:"name"` // "e1", or "e1~abcd" where two nodes have the name
	Address string         `json:"address"`
	State   NodeState      `json:"state"`
	Version string         `json:"version"`
	RTT     float64        `json:"rtt_ms"` // of the own link; 0 without one
	Via     string         `json:"via"`    // name of the first hop; "" for self, unreachable and own links
}

// LinkInfoRow is an item of network/links: one direction of one link, as From
// measures it.
type LinkInfoRow struct {
	From  string  `json:"from"` // names
	To    string  `json:"to"`
	State string  `json:"state"` // "up", "down", or "half": only this end says up
	Cost  float64 `json:"cost_ms"`
	Age   float64 `json:"age_s"` // since this node heard it; a cost that stays near is not told again
	Via   string  `json:"via"`   // the neighbor that told it; "" for an own link
}

// RouteInfo is an item of network/routes: the way by which notices reach a node.
type RouteInfo struct {
	To    string   `json:"to"` // names
	Via   string   `json:"via"`
	Path  []string `json:"path"` // from the first hop to the node itself
	Cost  float64  `json:"cost_ms"`
	State string   `json:"state"` // as in nodes
	Age   float64  `json:"age_s"` // of the oldest word on which the path rests
}

// GraphInfo is network/graph: what a picture needs.
type GraphInfo struct {
	Nodes []NodeInfo    `json:"nodes"`
	Links []LinkInfoRow `json:"links"`
}

// NeighborInfo is an item of status.neighbors.
type NeighborInfo struct {
	ID     storage.NodeID `json:"id"`
	Name   string         `json:"name"`
	State  string         `json:"state"` // "up", "slow" or "down"
	RTT    float64        `json:"rtt_ms"`
	Speed  int64          `json:"bytes_per_s"` // as pulls measured it; 0 = not yet
	Behind uint64         `json:"behind_commits"`
	// BehindFor is for how long it has lacked something that is held here.
	BehindFor float64 `json:"behind_s"`
}

// Story is what became of one commit on this node.
type Story struct {
	HeardFrom  string // name; "" if it was made here or found by comparing
	PulledFrom string // name; "" if it was made here
	At         Time   // when it became visible here
	// Discarded counts the notices of it that came too late, by the name of
	// the neighbor they came from.
	Discarded map[string]int
}

// Counters are totals since the start.
type Counters struct {
	NoticesSent, NoticesReceived uint64 // copies of commit events
	FramesSent, BytesSent        uint64
	Pulls, PullsFailed           uint64
	Hedges, HedgesWon            uint64 // pulls asked of a second source; those in which it was the quicker one
	Superseded                   uint64 // queued notices that a newer one of their log replaced
	Resent                       uint64 // frames sent once more
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
