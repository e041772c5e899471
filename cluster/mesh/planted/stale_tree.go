//go:build planted_stale_tree

package planted

// Now is the mistake of this build.
const Now = StaleTree
