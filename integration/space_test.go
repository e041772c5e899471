package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// network is a set of network namespaces, one for each host, on one bridge in
// a namespace of its own. Nothing in it reaches any other network.
type network struct {
	t      testing.TB
	prefix string
	hosts  []string
}

// newNetwork makes the namespaces; host i has the address 10.79.0.<i+1>.
func newNetwork(t testing.TB, hosts ...string) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and needs root: sudo make test")
	}
	w := &network{t: t, prefix: fmt.Sprintf("erwik%d-%s-", os.Getpid(), strings.ToLower(t.Name()[4:min(len(t.Name()), 10)])), hosts: hosts}
	sw := w.space("sw")
	t.Cleanup(func() {
		for _, h := range append(hosts, "sw") {
			exec.Command("ip", "netns", "del", w.space(h)).Run()
		}
	})
	w.sh("ip netns add %s", sw)
	w.sh("ip -n %s link add br0 type bridge", sw)
	w.sh("ip -n %s link set br0 up", sw)
	for i, h := range hosts {
		s := w.space(h)
		w.sh("ip netns add %s", s)
		w.sh("ip -n %s link set lo up", s)
		w.sh("ip -n %s link add e0 type veth peer name p%d netns %s", s, i, sw)
		w.sh("ip -n %s link set p%d master br0 up", sw, i)
		w.sh("ip -n %s addr add %s/24 dev e0", s, w.ip(h))
		w.sh("ip -n %s link set dev e0 gso_max_segs 1", s)
		w.sh("ip -n %s link set e0 up", s)
	}
	return w
}

func (w *network) space(host string) string { return w.prefix + host }

func (w *network) ip(host string) string {
	for i, h := range w.hosts {
		if h == host {
			return fmt.Sprintf("10.79.0.%d", i+1)
		}
	}
	w.t.Fatalf("no host %s", host)
	return ""
}

// sh runs one command line.
func (w *network) sh(format string, args ...any) string {
	w.t.Helper()
	line := fmt.Sprintf(format, args...)
	fields := strings.Fields(line)
	out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// throttle limits what a and b send each other; nothing else is slowed. The
// queue is long, since TCP takes a local drop for a broken route.
func (w *network) throttle(a, b, rate string) {
	w.t.Helper()
	for _, p := range [][2]string{{a, b}, {b, a}} {
		in := func(format string, args ...any) {
			w.sh("ip netns exec %s tc "+format, append([]any{w.space(p[0])}, args...)...)
		}
		in("qdisc add dev e0 root handle 1: htb default 10")
		in("class add dev e0 parent 1: classid 1:10 htb rate 10gbit quantum 60000")
		in("class add dev e0 parent 1: classid 1:20 htb rate %s ceil %s burst 1540 cburst 1540 quantum 1540", rate, rate)
		in("qdisc add dev e0 parent 1:20 handle 20: bfifo limit 256k")
		in("filter add dev e0 parent 1: protocol ip prio 1 u32 match ip dst %s/32 flowid 1:20", w.ip(p[1]))
	}
}

// mend takes the limit between a and b away.
func (w *network) mend(a, b string) {
	w.t.Helper()
	for _, h := range []string{a, b} {
		w.sh("ip netns exec %s tc qdisc del dev e0 root", w.space(h))
	}
}

// cut drops all packets between a and b, in both directions; heal undoes it.
func (w *network) cut(a, b string) {
	w.t.Helper()
	for _, p := range [][2]string{{a, b}, {b, a}} {
		in := func(format string, args ...any) {
			w.sh("ip netns exec %s nft "+format, append([]any{w.space(p[0])}, args...)...)
		}
		in("add table ip cut_%s_%s", a, b)
		in("add chain ip cut_%s_%s in { type filter hook input priority 0 ; }", a, b)
		in("add rule ip cut_%s_%s in ip saddr %s drop", a, b, w.ip(p[1]))
	}
}

func (w *network) heal(a, b string) {
	w.t.Helper()
	for _, h := range []string{a, b} {
		w.sh("ip netns exec %s nft delete table ip cut_%s_%s", w.space(h), a, b)
	}
}

// queued returns how many bytes wait in the throttled queue of a host.
func (w *network) queued(host string) int {
	w.t.Helper()
	out := w.sh("ip netns exec %s tc -s qdisc show dev e0", w.space(host))
	_, out, _ = strings.Cut(out, "bfifo")
	_, out, found := strings.Cut(out, "backlog ")
	bytes := 0
	text, _, _ := strings.Cut(out, "b ")
	fmt.Sscanf(text, "%d", &bytes)
	if strings.HasSuffix(text, "K") {
		bytes *= 1024
	}
	if !found {
		w.t.Fatal("tc shows no throttled queue")
	}
	return bytes
}

// node describes a node on a host; it listens on all addresses, port 8000.
func (w *network) node(host string, args ...string) *node {
	n := newNode(w.t, host, args...)
	n.space = w.space(host)
	n.address = ":8000"
	n.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: w.dialer(host)}}
	return n
}

// dialer connects to the node on a host from inside that host's namespace.
func (w *network) dialer(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialIn(ctx, w.space(host), "127.0.0.1:8000")
	}
}

// dialIn connects from inside a namespace: the socket is made by a thread that
// is there for that moment.
func dialIn(ctx context.Context, space, address string) (conn net.Conn, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join("/run/netns", space))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread must not go on in another network
	}
	return conn, err
}
