//go:build planted_signature_not_checked

package planted

// Now is the mistake of this build.
const Now = SignatureNotChecked
