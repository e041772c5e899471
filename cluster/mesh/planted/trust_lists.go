//go:build planted_trust_lists

package planted

// Now is the mistake of this build.
const Now = TrustLists
