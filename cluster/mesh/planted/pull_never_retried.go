//go:build planted_pull_never_retried

package planted

// Now is the mistake of this build.
const Now = PullNeverRetried
