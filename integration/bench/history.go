package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// history: a git history is imported on one node, then empty nodes join and
// get it, and beside each copy git clones the same history over HTTP.
func (b *bench) history() error {
	bundle, repository, err := b.historySource()
	if err != nil {
		return err
	}
	pa, err := newProxy()
	if err != nil {
		return err
	}
	defer pa.close()
	a, err := b.node("history-a", "--advertise", pa.address())
	if err != nil {
		return err
	}
	defer a.stop()
	pa.to(a.address)
	revisions, err := b.importHistory(a, bundle)
	if err != nil {
		return err
	}
	server, err := b.limitOf("git", filepath.Dir(repository))
	if err != nil {
		return err
	}
	defer server.stop()
	pg, err := newProxy()
	if err != nil {
		return err
	}
	defer pg.close()
	pg.to(server.address)
	var ours, gits []time.Duration
	var ourBytes, gitBytes []float64
	for i := range b.rounds {
		pa.reset()
		took, bytes, err := b.copyHistory(fmt.Sprintf("history-b%d", i), a, revisions, pa)
		if err != nil {
			return err
		}
		ours, ourBytes = append(ours, took), append(ourBytes, float64(bytes))
		pg.reset()
		clone := filepath.Join(b.dir, fmt.Sprintf("clone-%d.git", i))
		begin := time.Now()
		if err := run("git", "clone", "-q", "--bare", "http://"+pg.address()+"/"+filepath.Base(repository), clone); err != nil {
			return err
		}
		gits, gitBytes = append(gits, time.Since(begin)), append(gitBytes, float64(pg.count()))
		os.RemoveAll(clone)
	}
	fmt.Printf("first copy: %.2f s, %.2f MB; git clone --bare over HTTP: %.2f s, %.2f MB (medians of %d)\n",
		median(ours).Seconds(), median(ourBytes)/1e6, median(gits).Seconds(), median(gitBytes)/1e6, b.rounds)
	ratio := median(ours).Seconds() / median(gits).Seconds()
	if os.Getenv("ERWIK_CORPUS") == "" {
		// What is made up has small folders, which cost git a third of the time;
		// for erwik, which checks a signature for each revision, all are alike.
		fmt.Printf("first copy of a history, time of git clone's: %.3f (the bar is for tldr-pages)\n", ratio)
	} else {
		b.bar("first copy of a history, time of git clone's", ratio, 1, "", false)
	}
	b.bar("first copy of a history, bytes of git clone's", median(ourBytes)/median(gitBytes), 0.7, "", false)
	return b.historyDisk("history-b0", revisions)
}

// historySource returns a bundle and the repository that it is of.
func (b *bench) historySource() (bundle, repository string, err error) {
	repository = filepath.Join(b.dir, "git", "history.git")
	if corpus := os.Getenv("ERWIK_CORPUS"); corpus != "" {
		bundle = filepath.Join(corpus, "tldr-pages.bundle")
		return bundle, repository, run("git", "clone", "-q", "--bare", "-b", "main", bundle, repository)
	}
	fmt.Println("ERWIK_CORPUS is not set: the history is made up")
	if err := run("git", "init", "-q", "--bare", "-b", "main", repository); err != nil {
		return "", "", err
	}
	load := exec.Command("git", "-C", repository, "fast-import", "--quiet")
	load.Stdin = bytes.NewReader(madeUpHistory(13000, 7400))
	if out, err := load.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("fast-import: %w: %s", err, out)
	}
	bundle = filepath.Join(b.dir, "history.bundle")
	if err := run("git", "-C", repository, "repack", "-q", "-a", "-d", "-f"); err != nil {
		return "", "", err
	}
	return bundle, repository, run("git", "-C", repository, "bundle", "create", "-q", bundle, "main")
}

// madeUpHistory is a fast-import stream: commits that touch one to four pages.
func madeUpHistory(commits, pages int) []byte {
	var b bytes.Buffer
	rng := rand.New(rand.NewPCG(7, 7))
	texts := make([]string, pages)
	for i := range commits {
		at := 1400000000 + i*600
		fmt.Fprintf(&b, "commit refs/heads/main\nauthor A%d <a%d@example.org> %d +0000\ncommitter B <b@example.org> %d +0000\ndata 14\nsummary %06d\n", i%300, i%300, at, at, i)
		for range 1 + rng.IntN(4) {
			n := rng.IntN(pages)
			if texts[n] == "" {
				texts[n] = prose(rng, 400+rng.IntN(600))
			} else {
				cut := rng.IntN(len(texts[n]))
				texts[n] = texts[n][:cut] + prose(rng, 60) + texts[n][cut:]
			}
			fmt.Fprintf(&b, "M 100644 inline f%d/page-%d.md\ndata %d\n%s\n", n%11, n, len(texts[n]), texts[n])
		}
	}
	return b.Bytes()
}

// importHistory runs the import and watches the memory of both processes.
func (b *bench) importHistory(a *process, bundle string) (revisions int, err error) {
	cmd := exec.Command(b.erwik, "import", bundle, "--json", "--node", "http://"+a.address, "--data", filepath.Join(b.dir, "history-a"))
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	importer := &process{cmd: cmd}
	var most, mostNode int64
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-time.After(10 * time.Millisecond):
			most, mostNode = max(most, importer.anonymous()), max(mostNode, a.anonymous())
		}
	}
	if err != nil {
		return 0, fmt.Errorf("import: %w: %s", err, messages.String())
	}
	fmt.Print(messages.String())
	var got struct {
		Done    int
		Seconds float64
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return 0, err
	}
	fmt.Printf("import of %d revisions: %.2f s\n", got.Done, got.Seconds)
	b.bar("import of a history, revisions a second", float64(got.Done)/got.Seconds, 3000, "", true)
	b.bar("most anonymous memory of the importer", float64(most)/(1<<20), 200, "MiB", false)
	b.bar("most anonymous memory of its node", float64(mostNode)/(1<<20), 200, "MiB", false)
	return got.Done, nil
}

// copyHistory lets an empty node join and returns how long it took, from the
// start of its process, and how many bytes went both ways.
func (b *bench) copyHistory(name string, a *process, revisions int, pa *proxy) (time.Duration, int64, error) {
	pb, err := newProxy()
	if err != nil {
		return 0, 0, err
	}
	defer pb.close()
	begin := time.Now()
	z, err := b.node(name, "--advertise", pb.address(), "--join", pa.address())
	if err != nil {
		return 0, 0, err
	}
	defer z.stop()
	pb.to(z.address)
	if err := await(a, z, revisions, time.Minute); err != nil {
		return 0, 0, err
	}
	return time.Since(begin), pa.count() + pb.count(), nil
}

// historyDisk measures what a copy takes on the disk once the write-ahead log
// has been merged into tables, which a restart does.
func (b *bench) historyDisk(name string, revisions int) error {
	z, err := b.node(name)
	if err != nil {
		return err
	}
	z.stop()
	total := int64(0)
	err = filepath.WalkDir(filepath.Join(b.dir, name), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, infoErr := d.Info()
			if infoErr == nil {
				total += info.Size()
			}
			return infoErr
		}
		return err
	})
	if err != nil {
		return err
	}
	packs, err := filepath.Glob(filepath.Join(b.dir, "git", "history.git", "objects", "pack", "*"))
	if err != nil {
		return err
	}
	git := int64(0)
	for _, p := range packs {
		if strings.HasSuffix(p, ".pack") || strings.HasSuffix(p, ".idx") {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			git += info.Size()
		}
	}
	fmt.Printf("disk: %d bytes, git's pack and index %d\n", total, git)
	b.bar("disk for each revision of a history", float64(total)/float64(revisions), 600, "bytes", false)
	return nil
}
