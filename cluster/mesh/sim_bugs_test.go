package mesh

import "testing"

// TestPlantedBugs is the test of the tests: each bug must be found by the same
// seeds and checks that pass without it.
func TestPlantedBugs(t *testing.T) {
	quiet := func(w *world, s *swarm) {
		*s = swarm{nodes: s.nodes, shape: s.shape, slowLinks: s.slowLinks, saves: 2 * s.saves, safety: s.safety,
			quiet: true, wander: true, burst: 6}
	}
	faulty := func(w *world, s *swarm) { s.quiet, s.crashes, s.partitions = false, true, true }
	tests := []struct {
		name  string
		plant func(w *world, s *swarm)
	}{
		{"a copy excludes everybody who is told", func(w *world, s *swarm) { quiet(w, s); w.bugs.excludeTold = true }},
		{"what was found by comparing is not passed on", func(w *world, s *swarm) { quiet(w, s); w.bugs.noHint = true }},
		{"a short answer is taken for all there is", func(w *world, s *swarm) { quiet(w, s); w.bugs.shortIsAll = true }},
		{"a list speaks of nodes that its sender did not know", func(w *world, s *swarm) { quiet(w, s); w.bugs.trustLists = true }},
		{"an older record wins", func(w *world, s *swarm) { faulty(w, s); w.bugs.staleRecordWins = true }},
		{"a death is believed", func(w *world, s *swarm) { faulty(w, s); w.bugs.believeDeath = true }},
		{"the vector runs ahead of the disk", func(w *world, s *swarm) { faulty(w, s); w.simBugs.appendedBeforeSync = true }},
		{"a log goes on after a backup is restored", func(w *world, s *swarm) { faulty(w, s); s.backups = true; w.simBugs.sameNonce = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(3000) {
				if w := runSeed(seed, test.plant); w.failure != "" {
					t.Logf("found by seed %d: %s", seed, w.failure)
					return
				}
			}
			t.Error("not found by 3,000 seeds")
		})
	}
	scenes := []struct {
		name string
		fine func(t testing.TB, planted bugs) bool
		bug  bugs
	}{
		{"a known checksum stops the list", lateList, bugs{knownStopsList: true}},
		{"latest wins keeps the union of exclusions", latestWins, bugs{keepUnion: true}},
		{"what comes while a link opens is not told on it", reopens, bugs{noReopen: true}},
	}
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			if !s.fine(t, bugs{}) || s.fine(t, s.bug) {
				t.Error("not found")
			}
		})
	}
}
