//go:build planted_fork_not_dug

package planted

// Now is the mistake of this build.
const Now = ForkNotDug
