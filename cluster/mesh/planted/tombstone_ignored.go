//go:build planted_tombstone_ignored

package planted

// Now is the mistake of this build.
const Now = TombstoneIgnored
