//go:build planted_no_reopen

package planted

// Now is the mistake of this build.
const Now = NoReopen
