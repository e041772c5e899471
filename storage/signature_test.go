package storage

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// awkwardPoints are encodings about which implementations of Ed25519 differ:
// the points of small order in all their spellings, and y of p and above
// (after "Taming the many EdDSAs", Chalkias, Garillot and Nikolaenko, 2020).
var awkwardPoints = []string{
	"0100000000000000000000000000000000000000000000000000000000000000", // the neutral point
	"0100000000000000000000000000000000000000000000000000000000000080", // the same, x = -0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p+1
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0000000000000000000000000000000000000000000000000000000000000000", // order 4
	"0000000000000000000000000000000000000000000000000000000000000080",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0200000000000000000000000000000000000000000000000000000000000000", // not on the curve
	"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p+3
}

// awkwardScalars are 0, 1, the order of the group less one, the order, one
// more than it, and all bits.
var awkwardScalars = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
	"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
	"eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// agreement compares SignedBy, and a checker, with the standard library.
type agreement struct {
	*testing.T
	checker
	tabled int // signatures that were checked with a table
}

// agrees fails where they differ, and returns what they say.
func (a *agreement) agrees(key, message, signature []byte) bool {
	a.Helper()
	want := ed25519.Verify(key, message, signature)
	id, sig := NodeID(key), (*[ed25519.SignatureSize]byte)(signature)
	if got := SignedBy(id, message, sig); got != want {
		a.Fatalf("SignedBy says %v, crypto/ed25519 %v: key %x, message %x, signature %x", got, want, key, message, signature)
	}
	if got := a.signedBy(id, message, sig); got != want {
		a.Fatalf("the checker says %v, crypto/ed25519 %v: key %x, message %x, signature %x", got, want, key, message, signature)
	}
	if at := a.keys[id]; at != nil && at.Value.(*checkedKey).table != nil {
		a.tabled++
	}
	if a.used.Len() != len(a.keys) || len(a.keys) > keysKept {
		a.Fatalf("%d keys in a list of %d, at most %d", len(a.keys), a.used.Len(), keysKept)
	}
	return want
}

// TestSignedByLikeStandardLibrary: each node says the same about each
// signature, whichever implementation it was built with.
func TestSignedByLikeStandardLibrary(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	a := &agreement{T: t}
	var points, scalars [][]byte
	for _, p := range awkwardPoints {
		b, _ := hex.DecodeString(p)
		points = append(points, b)
	}
	for _, s := range awkwardScalars {
		b, _ := hex.DecodeString(s)
		scalars = append(scalars, b)
	}
	accepted, refused := 0, 0
	count := func(ok bool) {
		if ok {
			accepted++
		} else {
			refused++
		}
	}
	// Keys and R of small order: with S = 0 some messages pass.
	for _, key := range points {
		for _, r := range points {
			for _, s := range scalars {
				for range 16 {
					count(a.agrees(key, bytesOf(8), bytes.Join([][]byte{r, s}, nil)))
				}
			}
		}
	}
	if accepted < 100 || refused < 1000 {
		t.Fatalf("of the awkward signatures %d were accepted and %d refused: they try nothing", accepted, refused)
	}
	// Honest signatures, and the same with one bit changed, with R or the key
	// awkward, and with S beyond the order.
	accepted, refused = 0, 0
	for range 300 {
		private := ed25519.NewKeyFromSeed(bytesOf(32))
		key, message := []byte(private.Public().(ed25519.PublicKey)), bytesOf(int(random.Uint64()%300)+1)
		signature := ed25519.Sign(private, message)
		count(a.agrees(key, message, signature))
		for _, changed := range [][]byte{key, message, signature} {
			i := random.Uint64() % uint64(len(changed)*8)
			changed[i/8] ^= 1 << (i % 8)
			count(a.agrees(key, message, signature))
			changed[i/8] ^= 1 << (i % 8)
		}
		for _, p := range points {
			count(a.agrees(p, message, signature))
			count(a.agrees(key, message, append(bytes.Clone(p), signature[32:]...)))
		}
		for _, s := range scalars {
			count(a.agrees(key, message, append(bytes.Clone(signature[:32]), s...)))
		}
		carry, over := 0, bytes.Clone(signature)
		order, _ := hex.DecodeString(awkwardScalars[3])
		for i := range order { // S + L, which is the same scalar in another spelling
			carry += int(over[32+i]) + int(order[i])
			over[32+i] = byte(carry)
			carry >>= 8
		}
		count(a.agrees(key, message, over))
		count(a.agrees(bytesOf(32), message, bytesOf(64)))
	}
	if accepted < 300 || refused < 300*40 || a.tabled < 300*40 {
		t.Fatalf("%d accepted, %d refused, %d with a table", accepted, refused, a.tabled)
	}
}

func BenchmarkSignedBy(b *testing.B) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	key, message := private.Public().(ed25519.PublicKey), make([]byte, 200)
	sig := [ed25519.SignatureSize]byte(ed25519.Sign(private, message))
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if !SignedBy(NodeID(key), message, &sig) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("often", func(b *testing.B) {
		var c checker
		for b.Loop() {
			if !c.signedBy(NodeID(key), message, &sig) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("standard", func(b *testing.B) {
		for b.Loop() {
			if !ed25519.Verify(key, message, sig[:]) {
				b.Fatal("refused")
			}
		}
	})
}

// TestSignedByMixedKeys: keys and R with a part of small order. Whether a signature by
// such a key passes depends on the message; who checks many at once, or with the
// cofactor, accepts others than who checks one.
func TestSignedByMixedKeys(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	scalarOf := func() *scalar.Scalar {
		var b [64]byte
		_, _ = random.Read(b[:])
		s, err := scalar.NewFromBytesModOrderWide(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	order8, _ := hex.DecodeString(awkwardPoints[10])
	compressed, err := curve.NewCompressedEdwardsYFromBytes(order8)
	if err != nil {
		t.Fatal(err)
	}
	var torsion [8]curve.EdwardsPoint // the group of small order
	torsion[0].Identity()
	if _, err := torsion[1].SetCompressedY(compressed); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 8; i++ {
		torsion[i].Add(&torsion[i-1], &torsion[1])
	}
	// encode spells s times the base point, moved by a point of small order.
	encode := func(s *scalar.Scalar, by int) []byte {
		var p curve.EdwardsPoint
		var out curve.CompressedEdwardsY
		p.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
		out.SetEdwardsPoint(p.Add(&p, &torsion[by]))
		return out[:]
	}
	a := &agreement{T: t}
	accepted, refused := 0, 0
	for range 30 {
		secret := scalarOf()
		for i := range torsion {
			key := encode(secret, i)
			for j := range 2 * len(torsion) {
				nonce, message := scalarOf(), []byte{byte(random.Uint64())}
				r := encode(nonce, j%len(torsion))
				sum := sha512.Sum512(bytes.Join([][]byte{r, key, message}, nil))
				k, err := scalar.NewFromBytesModOrderWide(sum[:])
				if err != nil {
					t.Fatal(err)
				}
				var s scalar.Scalar
				var spelled [32]byte
				s.Add(s.Mul(k, secret), nonce)
				if err := s.ToBytes(spelled[:]); err != nil {
					t.Fatal(err)
				}
				if a.agrees(key, message, append(r, spelled[:]...)) {
					accepted++
				} else {
					refused++
				}
			}
		}
	}
	if accepted < 100 || refused < 1000 || a.tabled < 1000 {
		t.Fatalf("%d accepted, %d refused, %d with a table", accepted, refused, a.tabled)
	}
}
