package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A repair of the database has three steps, of which each begins when the one
// before is durable: the file "repair" says that one is wanted; it says that the
// new database is built; the old one is moved to damaged/<number>, the new one
// to its place, and the file is removed. A crash at any moment leaves one of
// these, and the next start goes on there.
const (
	repairName   = "repair"
	repairHeader = "erwik repair 1"
	repairWanted = "wanted"
	repairBuilt  = "built"
	damagedName  = "damaged"
	reportName   = "report.txt"
	maxReason    = 2000 // bytes
)

// repair is the text of that file: header, phase, folder, why; a line each.
type repair struct{ phase, folder, reason string }

func (r repair) encode() []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n%.*q\n", repairHeader, r.phase, r.folder, maxReason, r.reason)
}

// parseRepair takes what it can't read for a repair that is wanted.
func parseRepair(b []byte) repair {
	lines := strings.Split(string(b), "\n")
	if len(lines) != 5 || lines[0] != repairHeader || lines[1] != repairWanted && lines[1] != repairBuilt {
		return repair{phase: repairWanted, reason: "the note of a repair is damaged"}
	}
	if _, err := strconv.ParseUint(lines[2], 10, 31); err != nil && lines[1] == repairBuilt {
		return repair{phase: repairWanted, reason: "the note of a repair is damaged"}
	}
	reason, err := strconv.Unquote(lines[3])
	if err != nil {
		reason = lines[3]
	}
	return repair{lines[1], lines[2], reason}
}

func (s *Store) writeRepair(r repair) error {
	return writeSmall(s.fs, s.cfg.Dir, repairName, r.encode())
}

// finishRepair goes on with a repair that was asked for or cut short.
func (s *Store) finishRepair() error {
	b, err := readSmall(s.fs, filepath.Join(s.cfg.Dir, repairName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	r := parseRepair(b)
	if r.phase == repairBuilt {
		return s.swap(r.folder, r.reason, nil)
	}
	return s.salvage(r.reason)
}

// nextAside returns the name of the next folder in damaged.
func (s *Store) nextAside() (string, error) {
	dir := filepath.Join(s.cfg.Dir, damagedName)
	names, err := s.fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("list %s: %w", dir, err)
	}
	last := uint64(0)
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 31); err == nil {
			last = max(last, n)
		}
	}
	return fmt.Sprintf("%04d", last+1), nil
}

// swap moves the old database aside and the new one to its place.
func (s *Store) swap(folder, reason string, found *salvaged) error {
	dir := s.cfg.Dir
	aside := filepath.Join(dir, damagedName, folder)
	target, built := filepath.Join(dir, databaseName), filepath.Join(dir, builtName)
	if err := makeDir(s.fs, aside); err != nil {
		return err
	}
	if _, err := s.fs.Stat(built); err == nil {
		if found != nil {
			text := reason + "\n" + strings.Join(found.damaged, "\n") + "\n"
			if err := writeSmall(s.fs, aside, reportName, []byte(text)); err != nil {
				return err
			}
		}
		if _, err := s.fs.Stat(target); err == nil {
			kept := filepath.Join(aside, databaseName)
			for n := 2; ; n++ { // never over one that is kept
				if _, err := s.fs.Stat(kept); err != nil {
					break
				}
				kept = filepath.Join(aside, fmt.Sprintf("%s-%d", databaseName, n))
			}
			if err := s.fs.Rename(target, kept); err != nil {
				return fmt.Errorf("move the damaged database aside: %w", err)
			}
			if err := errors.Join(syncDir(s.fs, aside), syncDir(s.fs, dir)); err != nil {
				return err
			}
		}
		if err := s.fs.Rename(built, target); err != nil {
			return fmt.Errorf("move the repaired database to its place: %w", err)
		}
		if err := syncDir(s.fs, dir); err != nil {
			return err
		}
	}
	if err := s.fs.RemoveAll(filepath.Join(dir, sortName)); err != nil {
		return fmt.Errorf("remove what a repair has left: %w", err)
	}
	if err := s.fs.Remove(filepath.Join(dir, repairName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the note of a repair: %w", err)
	}
	return syncDir(s.fs, dir)
}

// isDamage reports whether an error of opening says that files of the database
// are not what they were, and not that the disk is full or not ours.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO) || errors.Is(err, errNoTables)
}

// isStrange reports whether an error of Pebble's Open is about what lies on the
// disk, though it is not marked so: a table of another size, a manifest that
// makes no sense. What the machine refuses is not, nor is a newer format.
func isStrange(err error) bool {
	for _, machine := range []error{os.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, ErrClosed} {
		if errors.Is(err, machine) {
			return false
		}
	}
	return !strings.Contains(err.Error(), "format major version")
}

// repairFormat moves aside a file "format" that is no format's, where a whole
// key says that the directory is a node's; the file is then made anew.
func (s *Store) repairFormat() error {
	if _, err := loadKey(s.fs, s.cfg.Dir, false, nil); err != nil {
		return err
	}
	folder, err := s.nextAside()
	if err != nil {
		return err
	}
	aside := filepath.Join(s.cfg.Dir, damagedName, folder)
	if err := makeDir(s.fs, aside); err != nil {
		return err
	}
	s.log.Error("the file format is damaged; it is made anew", "kept", aside)
	if err := s.fs.Rename(filepath.Join(s.cfg.Dir, formatName), filepath.Join(aside, formatName)); err != nil {
		return fmt.Errorf("move the damaged file format aside: %w", err)
	}
	return errors.Join(syncDir(s.fs, aside), syncDir(s.fs, s.cfg.Dir))
}
