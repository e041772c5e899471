//go:build planted_incarnation_forgotten

package planted

// Now is the mistake of this build.
const Now = IncarnationForgotten
