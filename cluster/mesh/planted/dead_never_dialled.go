//go:build planted_dead_never_dialled

package planted

// Now is the mistake of this build.
const Now = DeadNeverDialled
