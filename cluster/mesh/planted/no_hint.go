//go:build planted_no_hint

package planted

// Now is the mistake of this build.
const Now = NoHint
