package gitsource

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
)

// looseFolder is an "objects" folder with files of one object each.
type looseFolder struct {
	root *os.Root
	name string
}

// listLoose notes the loose objects of one folder; each is read once, since
// only its content says what it is.
func (d *database) listLoose(ctx context.Context, number int) error {
	folder := d.loose[number]
	buckets, err := fs.ReadDir(folder.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	h := newHasher()
	for _, bucket := range buckets {
		if _, err := hex.DecodeString(bucket.Name()); err != nil || len(bucket.Name()) != 2 || !bucket.IsDir() {
			continue
		}
		files, err := fs.ReadDir(folder.root.FS(), bucket.Name())
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		for _, file := range files {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			name := bucket.Name() + file.Name()
			if len(name) != 40 || !plumbing.IsHash(name) {
				continue
			}
			if len(d.objects) >= maxObjects {
				return fmt.Errorf("%s: over %d objects", folder.name, maxObjects)
			}
			o := object{base: looseBase, offset: int64(number), hash: plumbing.NewHash(name)}
			content, kind, err := d.openLoose(&o)
			switch {
			case errors.Is(err, errTooLarge):
				o.kind, o.size = kind, maxObject+1
			case err != nil:
				return err
			default:
				want := o.hash
				if o.complete(h, kind, content); o.hash != want {
					return fmt.Errorf("%s: object %s is damaged", folder.name, want)
				}
			}
			d.objects = append(d.objects, o)
		}
	}
	return nil
}

var errTooLarge = errors.New("too large to be read")

func (d *database) openLoose(o *object) ([]byte, plumbing.ObjectType, error) {
	folder := d.loose[o.offset]
	name := o.hash.String()
	fault := func(err error) ([]byte, plumbing.ObjectType, error) {
		return nil, 0, fmt.Errorf("%s: object %s: %w", folder.name, name, err)
	}
	f, err := folder.root.Open(filepath.Join(name[:2], name[2:]))
	if err != nil {
		return fault(err)
	}
	defer f.Close()
	r, err := objfile.NewReader(f)
	if err != nil {
		return fault(err)
	}
	defer r.Close()
	kind, size, err := r.Header()
	if err != nil {
		return fault(err)
	}
	if size > maxObject {
		return nil, kind, errTooLarge
	}
	content, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(content)) != size {
		err = fmt.Errorf("it has not the %d bytes that it names", size)
	}
	if err != nil {
		return fault(err)
	}
	return content, kind, nil
}

func (d *database) readLoose(o *object) ([]byte, error) {
	content, _, err := d.openLoose(o)
	return content, err
}
