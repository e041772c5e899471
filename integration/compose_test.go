package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// containers is how many docker-compose.yml has: three nodes, and erwik-shape at
// both ends of the slow link.
const containers = 5

// TestContainers does what the README tells a stranger to do, with a container
// engine of its own: `make image`, `docker-compose up`. The three nodes are in
// sync, the link from e1 to e3 is slow and seen to be, saves go around it,
// and a restart of any container heals, with the slow link back.
func TestContainers(t *testing.T) {
	e := newEngine(t)
	mark := time.Now()
	lap := func(what string, args ...any) {
		e.did = fmt.Sprintf(what, args...)
		t.Logf("%6.1f s  %s", time.Since(mark).Seconds(), e.did)
		mark = time.Now()
	}
	e.must("make", "image")
	lap("make image")
	e.must("docker-compose", "up", "--detach")
	lap("docker-compose up")
	all := []*node{e.node("e1", "8001"), e.node("e2", "8002"), e.node("e3", "8003")}
	e1 := all[0]
	e.awaitWell(all)
	e.awaitHealthy()
	lap("all healthy, each node lists all three")
	page := e1.mustPut("Home", "# Home\n")
	awaitEqual(t, all...)
	if p, err := e.node("e1", "8000").page("Home"); err != nil || p.Text != "# Home\n" {
		t.Errorf("e1 on port 8000: %+v, %v", p, err)
	}
	e.checkImage()

	e.awaitSlow(all)
	lap("the link is slow: %v", costs(t, e1))
	e.scenario(all)
	lap("scenario")

	for i, restart := range []struct {
		what, service string
		how           func(container string)
	}{
		{"docker restart", "e2", func(c string) { e.must("docker", "restart", c) }},
		{"docker restart", "e1", func(c string) { e.must("docker", "restart", c) }},
		{"docker restart", "e3", func(c string) { e.must("docker", "restart", c) }},
		{"docker restart", "e1-shape", func(c string) { e.must("docker", "restart", c) }},
		{"kill -9 of its process", "e3-shape", func(string) { e.kill("e3-shape") }},
		{"kill -9 of its process", "e1", func(string) { e.kill("e1") }},
		{"docker kill, docker start", "e3", func(c string) { e.must("docker", "kill", c); e.must("docker", "start", c) }},
		{"docker stop, and a while later docker start", "e1", e.stopAndStart},
		{"docker-compose restart of all", "e1", func(string) { e.must("docker-compose", "restart") }},
	} {
		before := e.started(restart.service)
		restart.how(e.container(restart.service))
		eventually(t, restart.service+" runs again", func() error {
			if at := e.started(restart.service); at == before {
				return fmt.Errorf("it has run since %s", at)
			}
			return nil
		})
		e.awaitWell(all)
		all[i%3].mustPut(fmt.Sprintf("After-%d", i), restart.what)
		awaitEqual(t, all...)
		lap("%s: %s, healed", restart.service, restart.what)
	}
	e.awaitHealthy()
	e.awaitSlow(all)
	lap("all healthy, the link is slow again: %v", costs(t, e1))

	awaitEqual(t, all...)
	digest := e1.mustStatus().Digest
	e.must("docker-compose", "down")
	e.must("docker-compose", "up", "--detach")
	e.awaitWell(all)
	for _, n := range all {
		p, err := n.page("Home")
		if s := n.mustStatus(); err != nil || s.Digest != digest || !slices.Equal(p.Heads, page.Heads) {
			t.Errorf("%s after down and up: %+v, %v, digest %.8s, was %.8s", n.name, p, err, s.Digest, digest)
		}
	}
	lap("docker-compose down and up: the volumes kept all")
}

// kill ends the first process of a container as a crash would.
func (e *engine) kill(service string) {
	e.t.Helper()
	if out, err := e.inside("kill", "-KILL", e.process(service)); err != nil {
		e.t.Fatalf("kill %s: %v: %s", service, err, out)
	}
}

// stopAndStart leaves a node down until erwik-shape has seen it, and a while
// longer, in which it must not end: it would not be started again.
func (e *engine) stopAndStart(container string) {
	e.t.Helper()
	waits := func() int {
		return strings.Count(e.must("docker", "logs", e.container("e1-shape")), "waits until it runs again")
	}
	before := waits()
	e.must("docker", "stop", container)
	eventually(e.t, "e1-shape sees that its node is down", func() error {
		if waits() == before {
			return fmt.Errorf("it says nothing")
		}
		return nil
	})
	<-time.After(2 * time.Second)
	e.must("docker", "start", container)
}

// started is when a container's process began.
func (e *engine) started(service string) string {
	e.t.Helper()
	return strings.TrimSpace(e.must("docker", "inspect", "-f", "{{.State.StartedAt}}", e.container(service)))
}

// awaitWell waits until every node lists all nodes as alive, and the limits stand
// in the namespaces of e1 and e3, each for the address that the other has now.
func (e *engine) awaitWell(all []*node) {
	e.t.Helper()
	for _, n := range all {
		n.awaitNodes(len(all))
	}
	for _, p := range [][2]string{{"e1", "e3"}, {"e3", "e1"}} {
		eventually(e.t, "the limit is in place in "+p[0], func() error {
			to := strings.TrimSpace(e.must("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", e.container(p[1])))
			var a, b, c, d int
			if _, err := fmt.Sscanf(to, "%d.%d.%d.%d", &a, &b, &c, &d); err != nil {
				return fmt.Errorf("address of %s: %q", p[1], to)
			}
			out, err := e.queues(p[0])
			if err == nil && (!strings.Contains(out, "rate 2Kbit") || !strings.Contains(out, fmt.Sprintf("match %02x%02x%02x%02x/ffffffff at 16", a, b, c, d))) {
				err = fmt.Errorf("tc says %q", out)
			}
			return err
		})
	}
}

// awaitHealthy waits until every container's own check says so.
func (e *engine) awaitHealthy() {
	e.t.Helper()
	eventually(e.t, "all containers are healthy", func() error {
		said := strings.Split(strings.TrimSpace(e.must("docker", "ps", "--all", "--format", "{{.Names}} {{.Status}}")), "\n")
		well := func(line string) bool { return strings.HasSuffix(line, "(healthy)") }
		if len(said) != containers || slices.ContainsFunc(said, func(line string) bool { return !well(line) }) {
			return fmt.Errorf("%q", said)
		}
		return nil
	})
}

type linkRow struct {
	From, To, State string
	Cost            float64 `json:"cost_ms"`
}

// costs are those of all links as a node knows them.
func costs(t testing.TB, n *node) map[string]float64 {
	t.Helper()
	var rows []linkRow
	if err := n.get("network/links", &rows); err != nil {
		t.Fatalf("%s: %v", n.name, err)
	}
	found := make(map[string]float64)
	for _, l := range rows {
		found[l.From+"-"+l.To] = l.Cost
	}
	return found
}

// awaitSlow waits until every node knows that e1 and e3 reach each other slowly,
// and all others fast, and its page of the mesh says so. Meanwhile e1 and e3 save
// a page each second: a rate can be seen on what is sent only.
func (e *engine) awaitSlow(all []*node) {
	e.t.Helper()
	saved, saves := time.Now(), 0
	for _, n := range all {
		within(e.t, 3*patience, n.name+" sees the slow link", func() error {
			if time.Since(saved) > time.Second {
				saves++
				saved = time.Now()
				all[0].mustPut("Traffic-of-e1", fmt.Sprint(saves))
				all[2].mustPut("Traffic-of-e3", fmt.Sprint(saves))
			}
			var rows []linkRow
			if err := n.get("network/links", &rows); err != nil {
				return err
			}
			if len(rows) != 6 {
				return fmt.Errorf("%d directions of links, want 6: %+v", len(rows), rows)
			}
			for _, l := range rows {
				slow := l.From != "e2" && l.To != "e2"
				if l.State == "down" || slow && l.Cost < 500 || !slow && l.Cost >= 250 {
					return fmt.Errorf("%+v", rows)
				}
			}
			_, text, err := n.do("GET", "/-/mesh", nil, nil)
			for _, row := range []string{"<td>e1<td>e3<td class=\"state slow\">slow", "<td>e3<td>e1<td class=\"state slow\">slow"} {
				if err == nil && (!contains(text, row) || strings.Count(string(text), ">slow<") != 2) {
					err = fmt.Errorf("/-/mesh does not say that these links are slow: %s", text)
				}
			}
			return err
		})
	}
}

// scenario saves on e1 and looks how the saves come to e3.
func (e *engine) scenario(all []*node) {
	e.t.Helper()
	e1, e3 := all[0], all[2]
	told := e3.watch()
	const saves = 20
	begun := make(map[string]time.Time)
	next := time.NewTicker(500 * time.Millisecond)
	defer next.Stop()
	for i := range saves {
		at := time.Now()
		begun[e1.mustPut("MyPantsAreMelting", fmt.Sprintf("line %d\n", i)).Commit] = at
		<-next.C
	}
	var lags []time.Duration
	for len(lags) < saves {
		select {
		case c := <-told:
			if at, ours := begun[c.Args.Checksum]; ours {
				lags = append(lags, c.at.Sub(at))
			}
		case <-time.After(patience):
			e.t.Fatalf("e3 told of %d of %d saves", len(lags), saves)
		}
	}
	slices.Sort(lags)
	through, discarded := 0, 0
	last := time.Now()
	within(e.t, 3*patience, "notices of e1 come late to e3 and are discarded", func() error {
		through, discarded = 0, 0
		for c := range begun {
			var s story
			if err := e3.get("commits/"+c, &s); err != nil {
				return err
			}
			discarded += s.Discarded["e1"]
			for _, h := range s.Hops {
				if h.Node == "e3" && h.HeardFrom == "e2" && h.PulledFrom == "e2" {
					through++
				}
			}
		}
		if discarded == 0 {
			// While the slow link is full e1 hears that e3 has them before it
			// sends any; once it is empty the next notice goes.
			if time.Since(last) > 10*time.Second {
				last = time.Now()
				begun[e1.mustPut("MyPantsAreMelting", last.String()).Commit] = last
			}
			return fmt.Errorf("none of %d yet", saves)
		}
		return nil
	})
	e.t.Logf("%d saves on e1: on e3 after %v (median), %v (slowest); %d pulled from e2; %d notices of e1 discarded",
		saves, lags[saves/2], lags[saves-1], through, discarded)
	if through < saves*3/4 { // a notice that finds the slow link idle may be first
		e.t.Errorf("only %d of %d saves came to e3 through e2", through, saves)
	}
}

// checkImage: nothing in it but two binaries and a data directory, which
// belongs to the user under whom they run; the secret is not in it.
func (e *engine) checkImage() {
	e.t.Helper()
	if user := strings.TrimSpace(e.must("docker", "inspect", "-f", "{{.Config.User}}", e.container("e1"))); user != "65532:65532" {
		e.t.Errorf("a node runs as user %q", user)
	}
	secret, err := os.ReadFile(e.tree + "/.env")
	if err != nil || len(secret) < len("ERWIK_SECRET=")+16 {
		e.t.Errorf(".env: %q, %v", secret, err)
	}
	if info, err := os.Stat(e.tree + "/.env"); err == nil && info.Mode().Perm() != 0o600 {
		e.t.Errorf(".env has mode %v", info.Mode())
	}
	if text := e.must("docker", "history", "--no-trunc", "erwik"); strings.Contains(text, strings.TrimSpace(string(secret))) {
		e.t.Error("the image's history holds the secret")
	}
	if out, err := e.try("docker", "exec", e.container("e2"), "/erwik", "status", "--node", "http://e1:8000"); err != nil || !strings.Contains(out, "ready") {
		e.t.Errorf("erwik status of e1 in e2: %v: %s", err, out)
	}
}
