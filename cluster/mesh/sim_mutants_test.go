package mesh

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/erwik/erwik/cluster/mesh/planted"
)

var mutant = flag.String("mutant", "", "plant only mistakes whose tag contains this")

var mutantSeeds = flag.Int("mutant-seeds", 250, "number of simulation seeds that look for each planted mistake")

// scenes are the tests beside the seeds that may find a mistake.
const scenes = "^Test(Reopen|LateNotice|LatestWins|ForkIsDug|PassedOnce|StalledPull|UnknownNodesAreOpen|HintsGoOn|Uniform|Triangle|LimboHoldsAPool)$"

// found is how a planted mistake was noticed.
type found struct {
	tag, by     string
	built, took time.Duration
}

// plantedTags reads the tags of all mistakes from the files that set them.
func plantedTags(t *testing.T) (tags []string) {
	files, err := filepath.Glob("planted/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if tag, ok := strings.CutPrefix(line, "//go:build "); ok && !strings.HasPrefix(tag, "!") && strings.Contains(tag, *mutant) {
			if tag != "planted_"+strings.TrimSuffix(filepath.Base(f), ".go") {
				t.Errorf("%s has the tag %s", f, tag)
			}
			tags = append(tags, tag)
		}
	}
	return tags
}

// TestPlantedBugs is the test of the tests: each mistake is built into the core,
// and must be found by the same scenes, seeds and checks that pass without it.
func TestPlantedBugs(t *testing.T) {
	if planted.Now != planted.None {
		t.Fatal("a mistake is planted in this build already")
	}
	tags := plantedTags(t)
	if *mutant == "" && len(tags) < 20 {
		t.Fatalf("%d mistakes: this test looks in the wrong place", len(tags))
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	results := make([]found, len(tags))
	work := make(chan int, len(tags))
	for i := range tags {
		work <- i
	}
	close(work)
	done := make(chan error, 2)
	for range 2 {
		go func() {
			for i := range work {
				r, err := hunt(ctx, dir, tags[i])
				if results[i] = r; r.by != "" {
					t.Logf("%-32s built %4.1fs, found in %5.2fs by %s", strings.TrimPrefix(r.tag, "planted_"), r.built.Seconds(), r.took.Seconds(), r.by)
				}
				if err != nil {
					done <- fmt.Errorf("%s: %w", tags[i], err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	caught, total := 0, time.Duration(0)
	for _, r := range results {
		if r.by == "" {
			t.Errorf("%s: not found by the scenes nor by %d seeds", r.tag, *mutantSeeds)
		} else {
			caught++
		}
		total += r.built + r.took
	}
	t.Logf("%d of %d found (%d %%), %.0fs of work", caught, len(tags), 100*caught/max(len(tags), 1), total.Seconds())
}

var (
	bySeed  = regexp.MustCompile(`seed \d+: .*`)
	byScene = regexp.MustCompile(`--- FAIL: \S+`)
)

// hunt builds one mistake and lets the scenes look for it, then the seeds.
func hunt(ctx context.Context, dir, tag string) (found, error) {
	binary := filepath.Join(dir, tag)
	start := time.Now()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-tags", tag, "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return found{tag: tag}, fmt.Errorf("build: %w: %s", err, out)
	}
	r := found{tag: tag, built: time.Since(start)}
	start = time.Now()
	for _, args := range [][]string{
		{"-test.run", scenes},
		{"-test.run", "^TestSeeds$", "-seeds", fmt.Sprint(*mutantSeeds)},
	} {
		out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
		r.took = time.Since(start)
		if err != nil {
			if r.by = bySeed.FindString(string(out)); r.by == "" {
				r.by = byScene.FindString(string(out))
			}
			break
		}
	}
	return r, os.Remove(binary)
}
