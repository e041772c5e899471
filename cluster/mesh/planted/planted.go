// Package planted holds mistakes that can be built into the core on purpose, to
// see that its simulator finds them: the test of the tests. Each has a build tag
// of its own; at most one is given at a time:
//
//	go test -tags planted_stale_record_wins -run TestSeeds ./cluster/mesh
//
// Without a tag Now is None, a constant, and nothing of any of them is compiled.
// `make mutants` builds each, and prints what found it and how soon.
package planted

// Bug is one mistake.
type Bug int

// The mistakes. The tag of each is planted_ and its name with underscores.
const (
	None                 Bug = iota
	ExcludeTold              // a copy excludes everybody who is told
	ForwardBeforeVerify      // a notice is passed on before the commit is pulled, verified and stored
	VectorBeforeSync         // the vector counts commits that are not synced (in the simulated store)
	LogIDReused              // a log goes on after a backup is put back (in the simulated store)
	StaleRecordWins          // an older record replaces a newer one
	KnownStopsList           // a known checksum stops the list
	KeepUnion                // latest wins keeps names that either list excludes
	NoHint                   // what was found by comparing is not passed on
	ShortIsAll               // a short answer to a pull is taken for all there is
	TrustLists               // a list is believed about nodes that its sender did not know
	BelieveDeath             // a node is dead because somebody says so
	NoReopen                 // what comes while a link opens is not told on it
	AckNotSent               // a frame with words on links is not acknowledged
	NeverResent              // a frame whose acknowledgement is lost waits for ever
	QueueWithoutCap          // notices of any number of logs wait on one link
	SignatureNotChecked      // records and events are believed unsigned
	OneSidedCost             // a link is up because one of its ends says so
	DeadNeverDialled         // a dead node is not dialled again
	TombstoneIgnored         // a removed node comes back by an old record
	PullFromStart            // a pull asks for what is held, too
	PullNeverRetried         // a pull that failed is not tried again
	NoRefutation             // a node does not answer that somebody knows a younger record of it
	VectorHashAdds           // the hash of the vector keeps the heads that it has left behind
	LinkOrderIgnored         // an older word on a link replaces a newer one
	ForkNotDug               // the other side of a fork is not asked for (in the simulated shell, too)
	PassedForgotten          // a name is passed on with each copy of an event
	OnlyDirectReach          // a node without a link to this one counts as out of reach
	IncarnationForgotten     // a start does not remember its last incarnation
	LimboWithoutCap          // what waits for an admission is not bounded
	StalledPullKept          // a pull that stands still is never given up
	UnadmittedTaken          // the record of a node that nobody admitted is taken
	AwaitsForEver            // a relay that should tell is waited for without end
	StaleTree                // a change of the table does not change the ways that notices go
)
