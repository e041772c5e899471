//go:build planted_awaits_for_ever

package planted

// Now is the mistake of this build.
const Now = AwaitsForEver
