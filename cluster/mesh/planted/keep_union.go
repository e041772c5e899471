//go:build planted_keep_union

package planted

// Now is the mistake of this build.
const Now = KeepUnion
