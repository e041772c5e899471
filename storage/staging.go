package storage

import "slices"

// staging holds commits that are valid but whose parents, or whose
// predecessors in their log, are not visible yet. It is kept in memory: what
// is lost with the process is pulled again.
type staging struct {
	logs  map[LogID][]Record // in sequence, from the one after the log's tip
	count int
	bytes int
}

func (st *staging) init() { st.logs = make(map[LogID][]Record) }

// stagedSize is what a record takes in memory, as estimated.
func stagedSize(r Record) int {
	return len(r.Content) + len(r.Message) + len(r.Path) + len(Hash{})*len(r.Parents) + 1024
}

// push adds r to what waits in its log or branch.
func (st *staging) push(id LogID, r Record) error {
	if st.count >= maxStaged || st.bytes+stagedSize(r) > maxStagedBytes {
		return ErrStaging
	}
	st.logs[id] = append(st.logs[id], r)
	st.count++
	st.bytes += stagedSize(r)
	return nil
}

func (st *staging) pop(id LogID) {
	waiting := st.logs[id]
	st.count--
	st.bytes -= stagedSize(waiting[0])
	if len(waiting) == 1 {
		delete(st.logs, id)
	} else {
		st.logs[id] = waiting[1:]
	}
}

// ids returns the logs that wait, in order.
func (st *staging) ids() []LogID {
	ids := make([]LogID, 0, len(st.logs))
	for id := range st.logs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, LogID.Compare)
	return ids
}
