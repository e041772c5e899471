//go:build planted_pull_from_start

package planted

// Now is the mistake of this build.
const Now = PullFromStart
