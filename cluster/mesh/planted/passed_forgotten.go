//go:build planted_passed_forgotten

package planted

// Now is the mistake of this build.
const Now = PassedForgotten
