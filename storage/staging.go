package storage

import "slices"

// staging holds commits that are valid but whose parents, or whose
// predecessors in their log, are not visible yet. It is kept in memory: what
// is lost with the process is pulled again.
type staging struct {
	logs  map[LogID][]Record // in sequence, from the one after the log's tip
	sizes map[LogID]int      // bytes of each
	count int
	bytes int
}

func (st *staging) init() { st.logs, st.sizes = make(map[LogID][]Record), make(map[LogID]int) }

// stagedSize is what a record takes in memory, as estimated.
func stagedSize(r Record) int {
	return len(r.Content) + len(r.Message) + len(r.Path) + len(Hash{})*len(r.Parents) + 1024
}

// push adds r to what waits in its log or branch.
func (st *staging) push(id LogID, r Record) error {
	size := stagedSize(r)
	if st.count >= maxStaged || st.bytes+size > maxStagedBytes || len(st.logs[id]) >= maxStagedLog || st.sizes[id]+size > maxStagedLogBytes {
		return ErrStaging
	}
	st.logs[id] = append(st.logs[id], r)
	st.count++
	st.bytes += size
	st.sizes[id] += size
	return nil
}

func (st *staging) pop(id LogID) {
	waiting := st.logs[id]
	st.count--
	size := stagedSize(waiting[0])
	st.bytes -= size
	st.sizes[id] -= size
	if len(waiting) == 1 {
		delete(st.logs, id)
		delete(st.sizes, id)
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
