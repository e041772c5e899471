//go:build planted_never_resent

package planted

// Now is the mistake of this build.
const Now = NeverResent
