//go:build planted_forward_before_verify

package planted

// Now is the mistake of this build.
const Now = ForwardBeforeVerify
