//go:build planted_believe_death

package planted

// Now is the mistake of this build.
const Now = BelieveDeath
