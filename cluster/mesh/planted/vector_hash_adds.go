//go:build planted_vector_hash_adds

package planted

// Now is the mistake of this build.
const Now = VectorHashAdds
