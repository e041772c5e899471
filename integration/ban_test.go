package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// banLimit is in what time every connected node must have shut a banned one out.
const banLimit = 5 * time.Second

// nodeNames returns the pool as a node lists it.
func (n *node) nodeNames() (names []string, err error) {
	var list []struct{ Name string }
	err = n.get("network/nodes", &list)
	for _, item := range list {
		names = append(names, item.Name)
	}
	return names, err
}

// TestBan: three processes, one is banned by another that is not its sponsor.
func TestBan(t *testing.T) {
	e1 := newNode(t, "e1").start().awaitReady()
	e2 := newNode(t, "e2", "--join", e1.address).start().awaitReady()
	e3 := newNode(t, "e3", "--join", e1.address).start().awaitReady()
	for _, n := range []*node{e1, e2, e3} {
		n.awaitNodes(3)
		n.mustPut("Of "+n.name, "before")
	}
	awaitEqual(t, e1, e2, e3)
	url := "http://" + e2.address
	if out, err := run("network", "ban", "e1", "--node", url, "--data", e2.dir); exitStatus(err) != 1 || !strings.Contains(out, "joined through") {
		t.Errorf("e2 bans the node through which it joined: %v %s", err, out)
	}
	if out, err := run("network", "ban", "e9", "--node", url, "--data", e2.dir); exitStatus(err) != 1 || !strings.Contains(out, "network nodes") {
		t.Errorf("a node that is not there: %v %s", err, out)
	}
	if out, err := run("network", "ban", "e3", "--node", url, "--data", e3.dir); exitStatus(err) != 1 {
		t.Errorf("with another node's key: %v %s", err, out)
	}
	began := time.Now()
	if out, err := run("network", "ban", "e3", "--node", url, "--data", e2.dir); err != nil || !strings.Contains(out, "banned e3") {
		t.Fatalf("ban: %v %s", err, out)
	}
	gone := func(n *node) error {
		names, err := n.nodeNames()
		if err == nil && (len(names) != 2 || strings.Contains(strings.Join(names, " "), "e3")) {
			err = fmt.Errorf("%s lists %v", n.name, names)
		}
		return err
	}
	for _, n := range []*node{e1, e2} {
		eventually(t, "e3 is gone from "+n.name, func() error { return gone(n) })
	}
	if took := time.Since(began); took > banLimit {
		t.Errorf("gone after %s", took)
	} else {
		t.Logf("gone from both after %s", took)
	}
	e3.mustPut("After", "the ban")
	e3.mustPut("Of e1", "taken over")
	e2.mustPut("Of e2 too", "the others go on")
	awaitEqual(t, e1, e2)
	// It comes back with a token of the node that did not ban it.
	e3.stop()
	token, err := exec.Command(erwik, "token", "--data", e1.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	e3.start("--join", e1.address, "--token", strings.TrimSpace(string(token)))
	eventually(t, "a clear refusal", func() error {
		if !strings.Contains(e3.log.String(), "this node was banned from the mesh") {
			return fmt.Errorf("it says: %.2000s", e3.log)
		}
		return nil
	})
	check := func() {
		t.Helper()
		for _, n := range []*node{e1, e2} {
			if err := gone(n); err != nil {
				t.Error(err)
			}
			if p, err := n.page("After"); err == nil {
				t.Errorf("%s shows what was saved after the ban: %+v", n.name, p)
			}
			out, err := run("network", "bans", "--json", "--node", "http://"+n.address)
			var bans []struct{ Name, By, Void string }
			if err != nil || json.Unmarshal([]byte(out), &bans) != nil || len(bans) != 1 || bans[0].Name != "e3" || bans[0].Void != "" {
				t.Errorf("%s: bans: %v %s", n.name, err, out)
			}
		}
	}
	check()
	e1.stop()
	e2.stop()
	e1.start().awaitReady()
	e2.start().awaitReady()
	e2.mustPut("After the restart", "still two")
	awaitEqual(t, e1, e2)
	check()
	if p, err := e1.page("Of e3"); err != nil || p.Text != "before" {
		t.Errorf("what it saved before the ban: %+v, %v", p, err)
	}
	if p, err := e1.page("Of e1"); err != nil || p.Text != "before" {
		t.Errorf("a page that it took over: %+v, %v", p, err)
	}
}
