package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/erwik/erwik/storage"
)

func goldenKey(n byte) (ed25519.PrivateKey, storage.NodeID) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return key, storage.NodeID(key.Public().(ed25519.PublicKey))
}

// goldenFile compares got with testdata/name; ERWIK_GOLDEN=write makes the file
// anew.
func goldenFile(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	text := []byte(hex.EncodeToString(got) + "\n")
	if os.Getenv("ERWIK_GOLDEN") == "write" {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s: the format has changed\n got %s\nwant %s", name, text, want)
	}
}

// TestGoldenBytes pins the wire form of each event and of the records.
func TestGoldenBytes(t *testing.T) {
	key, origin := goldenKey(1)
	_, other := goldenKey(2)
	record := &Record{ID: origin, Name: "e1", Addresses: []string{"e1:8000", "[::1]:8000"}, Incarnation: 1763690000123, Version: "0.1.0"}
	record.Sign(key)
	goldenFile(t, "record.hex", record.Append(nil))

	goldenFile(t, "linkset.hex", sampleSet(t).Append(nil))

	log := storage.LogID{Node: origin, Nonce: 0x0123456789abcdef}
	commit := NewCommit(log, 42, storage.Hash{1, 2, 3}, "MyPantsAreMelting")
	neighbor := NewNeighbor(origin, record)
	dead := NewDead(origin, Dead{Node: other, Incarnation: 7, Removed: true})
	for name, e := range map[string]Event{"commit": commit, "new_neighbor": neighbor, "dead_neighbor": dead} {
		e.Sign(key)
		wire := e.Append(nil, &Exclusion{})
		goldenFile(t, "event-"+name+".hex", wire)
		back, _, err := DecodeEvent(wire)
		if err != nil || back.Verify() != nil || back.Checksum() != e.Checksum() {
			t.Errorf("%s: %v, verify %v", name, err, back.Verify())
		}
		if name == "commit" && len(wire) > 300 {
			t.Errorf("a commit event takes %d bytes", len(wire))
		}
	}
}
