package storage

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	formatName = "format"
	lockName   = "lock"
	formatText = "erwik data directory, format 1\n"
	keyName    = "node.key"
	keyHeader  = "erwik node key 1"
)

// checkFormat reads or writes the file that says which format the directory
// has. A newer one is refused and nothing is changed.
func checkFormat(fs vfs.FS, dir string) (fresh bool, err error) {
	path := filepath.Join(dir, formatName)
	b, err := readSmall(fs, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case string(b) == formatText:
		return false, nil
	case strings.HasPrefix(string(b), "erwik data directory, format "):
		return false, fmt.Errorf("%w: %s says %q; this erwik reads format 1. Use a newer erwik. Nothing was changed", ErrFormat, path, strings.TrimSpace(string(b)))
	}
	return false, fmt.Errorf("%w: %s: not a data directory of erwik", ErrCorrupt, path)
}

// readSmall reads a file of at most 4 KiB.
func readSmall(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4097))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > 4096 {
		return nil, fmt.Errorf("%w: %s is larger than 4096 bytes", ErrCorrupt, path)
	}
	return b, nil
}

// writeSmall makes a file that is whole or not there, synced, readable by its
// owner only.
func writeSmall(fs vfs.FS, dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if fs == vfs.Default {
		err = os.Chmod(path+".new", 0o600)
	}
	if err == nil {
		_, err = f.Write(append([]byte(nil), content...))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(fs, dir)
}

// makeDir makes dir and its parents and makes their names durable as far as
// this process may.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	dir = filepath.Clean(dir)
	if err := syncDir(fs, filepath.Dir(dir)); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); parent != filepath.Dir(parent); parent = filepath.Dir(parent) {
		if syncDir(fs, filepath.Dir(parent)) != nil {
			break // not ours to sync
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// loadKey reads the node's key, or makes one for a new directory: header,
// seed in hex, and the first 8 bytes of the seed's SHA-256, a line each.
func loadKey(fs vfs.FS, dir string, fresh bool, random io.Reader) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyName)
	b, err := readSmall(fs, path)
	if errors.Is(err, os.ErrNotExist) && !fresh {
		return nil, fmt.Errorf("%w: %s is missing. Restore it, or start with a new data directory", ErrCorrupt, path)
	}
	if errors.Is(err, os.ErrNotExist) {
		if random == nil {
			random = rand.Reader
		}
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, fmt.Errorf("draw a node key: %w", err)
		}
		if err := writeSmall(fs, dir, keyName, keyFile(seed)); err != nil {
			return nil, err
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) == 4 {
		seed, err := hex.DecodeString(lines[1])
		if err == nil && len(seed) == ed25519.SeedSize && string(keyFile(seed)) == string(b) {
			return ed25519.NewKeyFromSeed(seed), nil
		}
	}
	return nil, fmt.Errorf("%w: %s does not hold a node key with a matching checksum. Restore it, or start with a new data directory", ErrCorrupt, path)
}

func keyFile(seed []byte) []byte {
	sum := sha256.Sum256(seed)
	return fmt.Appendf(nil, "%s\n%x\n%x\n", keyHeader, seed, sum[:8])
}

// ReadNodeID returns the id of the node whose data directory dir is, which may
// be in use.
func ReadNodeID(dir string) (id NodeID, err error) {
	if _, err := vfs.Default.Stat(filepath.Join(dir, keyName)); err != nil {
		return id, fmt.Errorf("no node in data directory %s: %w", dir, err)
	}
	key, err := loadKey(vfs.Default, dir, false, nil)
	if err != nil {
		return id, err
	}
	copy(id[:], key.Public().(ed25519.PublicKey))
	return id, nil
}
