//go:build planted_ack_not_sent

package planted

// Now is the mistake of this build.
const Now = AckNotSent
