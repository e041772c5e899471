//go:build planted_stalled_pull_kept

package planted

// Now is the mistake of this build.
const Now = StalledPullKept
