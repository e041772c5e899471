package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// erwik is the binary under test; TestMain builds it once. ERWIK_BINARY names
// one that is there already, as for a profile or an older version.
var erwik string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if erwik = os.Getenv("ERWIK_BINARY"); erwik != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "erwik-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	erwik = filepath.Join(dir, "erwik")
	build := exec.Command("go", "build", "-o", erwik, "../cmd/erwik")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build erwik: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
