//go:build planted_no_refutation

package planted

// Now is the mistake of this build.
const Now = NoRefutation
