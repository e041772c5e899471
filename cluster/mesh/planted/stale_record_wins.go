//go:build planted_stale_record_wins

package planted

// Now is the mistake of this build.
const Now = StaleRecordWins
