//go:build planted_log_id_reused

package planted

// Now is the mistake of this build.
const Now = LogIDReused
