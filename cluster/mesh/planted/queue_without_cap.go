//go:build planted_queue_without_cap

package planted

// Now is the mistake of this build.
const Now = QueueWithoutCap
