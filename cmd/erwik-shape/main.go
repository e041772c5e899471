//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const (
	lookEvery   = 250 * time.Millisecond
	leaveEvery  = 100 * time.Millisecond
	leaveTime   = 2 * time.Second // a node that is told to stop has mostly stopped by then
	returnTime  = 7 * time.Second // the engine kills after 10 s
	resolveTime = 2 * time.Second
	rateMin     = 400       // bits a second; a packet then takes 30 s
	rateMax     = 1_000_000 // beyond, one packet of burst would not do
)

// settings are what the command line says.
type settings struct {
	to    string
	rate  uint64
	lock  string
	check bool
}

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stderr)) }

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return exitUsage // the flags have said it
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if s.check {
		if err := checkShaped(); err != nil {
			fmt.Fprintf(stderr, "erwik-shape: %v\n", err)
			return exitFailed
		}
		return exitOK
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := keep(ctx, s, log); err != nil {
		log.Error("ends", "err", err)
		return exitFailed
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("erwik-shape", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, "erwik-shape limits what this network namespace sends to one host.\n"+
			"  erwik-shape --to e3 --rate 2000 --lock /data/lock\n  erwik-shape --check\n")
		f.PrintDefaults()
	}
	f.StringVar(&s.to, "to", "", "name or IPv4 address of the host")
	f.Uint64Var(&s.rate, "rate", 2000, "bits a second")
	f.StringVar(&s.lock, "lock", "", "the file \"lock\" in the node's data directory; tells that the node runs")
	f.BoolVar(&s.check, "check", false, "exit status 0 if a limit is in place, else 1")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("%q: there are no arguments, only flags", f.Arg(0))
	case s.check:
	case s.to == "":
		err = errors.New("--to is missing: the host that is to be reached slowly")
	case s.rate < rateMin || s.rate > rateMax:
		err = fmt.Errorf("--rate %d: give from %d to %d bits a second", s.rate, rateMin, rateMax)
	}
	if err != nil {
		fmt.Fprintf(stderr, "erwik-shape: %v\n", err)
	}
	return s, err
}

var (
	errLeftBehind = errors.New("the node has a new network namespace; started again, this program is in it")
	errNoNetwork  = errors.New("this network namespace has no interface any more, and without --lock nothing tells when the node is back")
)

// keep keeps the limit in place until ctx ends, or until the node has gone to
// another namespace and runs there.
func keep(ctx context.Context, s settings, log *slog.Logger) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var to []netip.Addr
	left := false // the node has left this namespace
	looks := 0    // in a row at which it had, and ran
	for {
		alive, err := attached()
		switch {
		case err != nil:
			log.Error("look at the interfaces", "err", err)
		case alive:
			left, looks = false, 0
			if found := resolve(ctx, s.to); len(found) > 0 { // a host that is down has no name: the last address stays
				to = found
			}
			if changed, err := shape(to, s.rate); err != nil {
				log.Error("limit", "to", s.to, "err", err)
			} else if changed {
				log.Info("limit", "to", s.to, "addresses", to, "bits_per_s", s.rate)
			}
		case s.lock == "":
			return errNoNetwork
		case !left:
			left = true
			log.Info("the node has left this network namespace; waits until it runs again")
		case !held(s.lock, log):
			looks = 0
		default:
			if looks++; looks == 3 { // a node that can't start is not there the third time
				return errLeftBehind
			}
		}
		select {
		case <-ctx.Done():
			leave(s.lock, log)
			return lift()
		case <-look.C:
		}
	}
}

// leave waits until it is plain that the node was not told to stop too, or until
// it runs again. Who restarts all containers at once stops this program and its
// node together, and the engine refuses to start the one while the other is
// down. Where the namespace is dead already there is nothing to wait for.
func leave(lock string, log *slog.Logger) {
	if alive, err := attached(); err != nil || !alive || lock == "" {
		return
	}
	look := time.NewTicker(leaveEvery)
	defer look.Stop()
	stays, returns := time.After(leaveTime), time.After(leaveTime+returnTime)
	for {
		select {
		case <-look.C:
			if alive, err := attached(); err != nil || !alive {
				stays = nil
				if held(lock, log) {
					return
				}
			}
		case <-stays:
			return
		case <-returns:
			return
		}
	}
}

// resolve returns the IPv4 addresses of host in order; none if it has none now.
func resolve(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}

// held reports whether a process holds the lock on a file; it takes none.
func held(path string, log *slog.Logger) bool {
	f, err := os.Open(path)
	if err != nil {
		log.Error("look whether the node runs", "err", err)
		return false
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		log.Error("look whether the node runs", "file", path, "err", err)
		return false
	}
	return lock.Type != syscall.F_UNLCK
}
