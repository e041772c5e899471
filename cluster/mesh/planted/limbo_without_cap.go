//go:build planted_limbo_without_cap

package planted

// Now is the mistake of this build.
const Now = LimboWithoutCap
