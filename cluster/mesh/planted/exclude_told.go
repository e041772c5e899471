//go:build planted_exclude_told

package planted

// Now is the mistake of this build.
const Now = ExcludeTold
