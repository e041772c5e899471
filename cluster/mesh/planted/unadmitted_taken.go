//go:build planted_unadmitted_taken

package planted

// Now is the mistake of this build.
const Now = UnadmittedTaken
