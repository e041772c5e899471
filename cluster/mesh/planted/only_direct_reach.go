//go:build planted_only_direct_reach

package planted

// Now is the mistake of this build.
const Now = OnlyDirectReach
