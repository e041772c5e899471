//go:build planted_short_is_all

package planted

// Now is the mistake of this build.
const Now = ShortIsAll
