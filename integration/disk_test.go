package integration

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDamagedDiskHeals kills one of three nodes, flips bytes in its newest log,
// table, manifest or in a chunk of a file, and starts it: with nobody's help it
// ends with what the others have, and keeps what was damaged.
func TestDamagedDiskHeals(t *testing.T) {
	all := mesh(t, "e1", "e2", "e3")
	victim := all[1]
	data := randomBytes(1<<20 + 1000)
	all[0].putFile("a.bin", data)
	victim.awaitFile("a.bin", data)
	for _, pattern := range []string{"*.log", "*.sst", "MANIFEST-*"} {
		save(t, all, 60)
		awaitEqual(t, all...)
		victim.kill()
		if pattern != "*.log" { // what was in the log becomes a table at a start
			victim.start().awaitReady()
			victim.kill()
		}
		flip(t, filepath.Join(victim.dir, "pebble", pattern))
		victim.start().awaitReady()
		t.Logf("%s: equal after %v", pattern, awaitEqual(t, all...))
	}
	if n := strings.Count(victim.log.String(), "the database was repaired"); n < 2 {
		t.Errorf("repaired %d times: %s", n, victim.log)
	}
	if text, _ := exec.Command(erwik, "doctor", "--node", "http://"+victim.address).CombinedOutput(); !strings.Contains(string(text), "damaged one is kept in") {
		t.Errorf("doctor does not tell of the repair: %s", text)
	}
	victim.kill()
	flip(t, filepath.Join(victim.dir, "chunks", "[0-9a-f][0-9a-f]", "*"))
	victim.start().awaitReady()
	victim.readAgain(t, "a.bin", data)
	if _, _, err := victim.put("Healed", "and takes saves\n"); err != nil {
		t.Error(err)
	}
	awaitEqual(t, all...)
	for _, pattern := range []string{"0*/pebble/*.sst", "0*/pebble/MANIFEST-*", "0*/report.txt", "chunks/*"} {
		if kept, err := filepath.Glob(filepath.Join(victim.dir, "damaged", pattern)); err != nil || len(kept) == 0 {
			t.Errorf("nothing like %s of what was damaged is kept: %v", pattern, err)
		}
	}
}

// TestDamagedWhileRunning flips bytes in all tables and in a chunk of a node that
// runs. Whoever reads there gets no wrong byte; the node starts anew by itself,
// in its process, and ends with what the others have.
func TestDamagedWhileRunning(t *testing.T) {
	all := mesh(t, "e1", "e2")
	victim := all[1]
	data := randomBytes(1<<20 + 1000)
	all[0].putFile("a.bin", data)
	victim.awaitFile("a.bin", data)
	texts := map[string]string{} // more than the caches hold
	for i := range 96 {
		name := fmt.Sprintf("Long-%d", i)
		texts[name] = hex.EncodeToString(randomBytes(200_000+i)) + "\n"
		all[0].mustPut(name, texts[name])
	}
	awaitEqual(t, all...)
	victim.stop()
	victim.start().awaitReady()
	awaitEqual(t, all...)
	process := victim.cmd.Process.Pid
	flipAll(t, filepath.Join(victim.dir, "pebble", "*.sst"))
	flip(t, filepath.Join(victim.dir, "chunks", "[0-9a-f][0-9a-f]", "*"))
	victim.readAgain(t, "a.bin", data)
	refused := 0
	for name, text := range texts {
		status, got, err := victim.do("GET", "/"+name+".md", nil, nil)
		if err != nil || status != http.StatusOK {
			refused++
		} else if string(got) != text {
			t.Fatalf("%s: %d bytes of %d are given that are not its own", name, len(got), len(text))
		}
	}
	eventually(t, "the node repairs its database", func() error {
		if !strings.Contains(victim.log.String(), "the database was repaired") {
			return fmt.Errorf("not yet; %d of %d pages were refused", refused, len(texts))
		}
		return nil
	})
	took := awaitEqual(t, all...)
	for name, text := range texts {
		eventually(t, name+" is read", func() error {
			status, got, err := victim.do("GET", "/"+name+".md", nil, nil)
			if err != nil || status != http.StatusOK || string(got) != text {
				return fmt.Errorf("status %d, %v, %d bytes of %d", status, err, len(got), len(text))
			}
			return nil
		})
	}
	select {
	case <-victim.ended:
		t.Error("the process has ended")
	default:
	}
	families, err := victim.families()
	if err != nil {
		t.Fatal(err)
	}
	if repaired, found := value(families, "erwik_repaired"); !found || repaired != 1 {
		t.Errorf("erwik_repaired is %v (%v) after a repair", repaired, found)
	}
	t.Logf("%d of %d pages refused before process %d repaired itself; equal %v after that", refused, len(texts), process, took)
}

// readAgain asks for a file of which a chunk is damaged until it is whole again.
func (n *node) readAgain(t *testing.T, name string, want []byte) {
	t.Helper()
	eventually(t, name+" is whole again", func() error {
		status, got, err := n.do("GET", "/-/files/"+name, nil, nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("status %d, %w", status, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes of %d, and they are not its own", name, len(got), len(want))
		}
		return nil
	})
}

// flipAll damages 64 bytes in every 16 KiB of all files of a pattern, in place.
func flipAll(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(1000); at+64 < info.Size(); at += 16 << 10 {
			if _, err := f.WriteAt(bytes.Repeat([]byte{0x55}, 64), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// flip damages 64 bytes in the middle of the newest file of a pattern that has
// any content.
func flip(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		if end < 150 {
			continue
		}
		for i := end / 2; i < end/2+64; i++ {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no %s has any content", pattern)
}
