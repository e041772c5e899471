//go:build planted_vector_before_sync

package planted

// Now is the mistake of this build.
const Now = VectorBeforeSync
