package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/erwik/erwik/cluster"
	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/storage"
)

// Levels of a finding.
const (
	levelOK   = "ok"   // as it should be
	levelNote = "note" // good to know; nothing must be done
	levelAct  = "act"  // somebody must do something
)

// finding is one thing that doctor looked at.
type finding struct {
	Level string `json:"level"`
	About string `json:"about"` // disk, saves, address, node e3 …
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// neighborReport is what doctor tells of one other node.
type neighborReport struct {
	finding
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Reachable bool     `json:"reachable"`
	Link      string   `json:"link"`
	Addresses []string `json:"addresses"`
	// Lacks is the most of this node's commits that it may lack, Has the least
	// that it has and this node lacks; AsOf is how many seconds ago that was
	// known, 0 = now.
	Lacks     uint64  `json:"lacks_commits"`
	LacksFor  float64 `json:"lacks_s"`
	Has       uint64  `json:"has_commits"`
	HasFor    float64 `json:"has_s"`
	AsOf      float64 `json:"as_of_s"`
	LastError string  `json:"last_error,omitempty"`
	ErrorAge  float64 `json:"last_error_s,omitempty"`
	Clock     float64 `json:"clock_ahead_s"` // at least; 0 = not known to be ahead
}

// report is what doctor finds.
type report struct {
	Node      string           `json:"node"`
	Name      string           `json:"name"`
	Version   string           `json:"version"`
	OK        bool             `json:"ok"` // nothing must be done
	Findings  []finding        `json:"findings"`
	Neighbors []neighborReport `json:"neighbors"`
}

const (
	// probeTime is how long doctor tries to reach an address.
	probeTime = 2 * time.Second
	// clockTolerance is how far another clock may be ahead before doctor says so;
	// commits name whole seconds.
	clockTolerance = 5 * time.Second
	// lagTolerance is how long a reachable node may lack something.
	lagTolerance = time.Minute
	// diskTight is the share of the disk that should be free.
	diskTight = 10
)

// diagnose serves doctor.
func (n *node) diagnose(ctx context.Context) (any, error) {
	h := n.member.Health()
	r := &report{Node: n.store.Node().String(), Name: n.store.Name(), Version: programVersion(), OK: true, Neighbors: []neighborReport{}}
	r.Findings = append(r.Findings, n.joinFinding(&h), n.diskFinding())
	r.Findings = append(r.Findings, n.storeFindings()...)
	r.Findings = append(r.Findings, addressFindings(ctx, &h)...)
	for _, a := range h.Alarms {
		r.Findings = append(r.Findings, alarmFinding(a))
	}
	if !h.Refused.At.IsZero() && time.Since(h.Refused.At) < time.Hour {
		r.Findings = append(r.Findings, finding{levelNote, "joins", fmt.Sprintf("a join from %s was refused %s ago: %s", h.Refused.With, ago(time.Since(h.Refused.At)), h.Refused.What),
			"if that was one of yours: make a token here with erwik token, or give both nodes the same secret"})
	}
	if !n.certEnds.IsZero() && time.Until(n.certEnds) < 14*24*time.Hour {
		r.Findings = append(r.Findings, finding{levelAct, "certificate", "the certificate for HTTPS ends " + n.certEnds.UTC().Format(time.RFC3339), "renew it and restart the node"})
	}
	for i := range h.Peers {
		r.Neighbors = append(r.Neighbors, neighborFinding(&h.Peers[i]))
	}
	for _, f := range r.Findings {
		r.OK = r.OK && f.Level != levelAct
	}
	for _, f := range r.Neighbors {
		r.OK = r.OK && f.Level != levelAct
	}
	return r, nil
}

func (n *node) joinFinding(h *cluster.Health) finding {
	switch {
	case h.JoinError == nil && h.Ready:
		return finding{Level: levelOK, About: "ready", Text: "the node serves"}
	case h.JoinError == nil:
		return finding{levelNote, "ready", "the node is joining; nothing has failed yet", "wait a moment and ask again"}
	}
	text, level := h.JoinError.Error(), levelAct
	if h.Ready {
		level = levelNote // a member already
	}
	return finding{level, "join", text, joinAdvice(h.JoinError)}
}

// joinAdvice says what to do about a join that fails.
func joinAdvice(err error) string {
	if strings.Contains(err.Error(), "was banned") {
		return "nothing on this machine changes that. Move the data directory away (its pages are in it:  erwik export) and join anew as another node"
	}
	if strings.Contains(err.Error(), "refused: ") {
		return "the other node is reached but does not let this one in: run  erwik token --data DIR  on its machine, and start this node with that --token; or give both the same ERWIK_SECRET (or --secret-file)"
	}
	return dialAdvice(err.Error(), err)
}

func (n *node) diskFinding() finding {
	d := n.store.Disk()
	text := fmt.Sprintf("%s of %s free; below %s saves are refused", size(d.Free), size(d.Size), size(d.Reserve))
	switch {
	case d.Size == 0:
		return finding{Level: levelNote, About: "disk", Text: "the file system does not say how full it is"}
	case n.store.DiskFull():
		return finding{levelAct, "disk", "full: saves are refused (507), reads go on; " + text, "free space; saves resume by themselves"}
	case d.Free < d.Size/diskTight && d.Free < 4*d.Reserve:
		return finding{levelAct, "disk", text, "free space before saves are refused"}
	}
	return finding{Level: levelOK, About: "disk", Text: text}
}

func (n *node) storeFindings() []finding {
	s := n.store.Stats()
	all := []finding{{Level: levelOK, About: "pages", Text: strings.Join([]string{several(s.Pages, "page"), several(s.Files, "file"), several(s.Commits, "commit")}, ", ")}}
	if err := n.store.Failed(); err != nil {
		all = append(all, finding{levelAct, "saves", "refused since a write failed: " + err.Error(), "mend the disk, then restart the node"})
	}
	if s.Regressed {
		all = append(all, finding{levelAct, "saves", "acknowledged saves are missing from the database; they are pulled back as soon as a neighbor has them",
			"look at the disk; keep the other nodes up until this finding is gone"})
	}
	all = append(all, damageFindings(n.store.Damage())...)
	if last, _ := n.store.Scrubbed(); !last.Ended.IsZero() {
		all = append(all, finding{Level: levelOK, About: "scrub", Text: fmt.Sprintf("everything was read again up to %s ago: %s, %s, %d damaged",
			ago(time.Since(last.Ended)), several(last.Commits, "commit"), size(last.Bytes), last.Found)})
	}
	if s.Staged > 0 {
		all = append(all, finding{Level: levelNote, About: "saves", Text: "waiting for parents, which are being pulled: " + several(s.Staged, "commit")})
	}
	if s.Lacking > 0 {
		all = append(all, finding{levelNote, "files", fmt.Sprintf("parts of %s are not here yet", several(s.Lacking, "file revision")),
			"nothing while nodes that have them are reachable; files that stay missing are only on nodes that are away"})
	}
	return all
}

// damageFindings says what became of damage to the database.
func damageFindings(d storage.Damage) (all []finding) {
	if d.What != "" {
		all = append(all, finding{levelNote, "disk", "a file of the database is damaged: " + d.What,
			"nothing: the node starts anew by itself and repairs it. Look at the disk"})
	}
	if d.Repaired {
		all = append(all, finding{levelNote, "disk", "the database was damaged, and was repaired when the node started; the damaged one is kept in " + d.Kept,
			"look at the disk. When digests are equal remove that folder; where there is no neighbor keep it"})
	}
	if d.Behind > 0 {
		all = append(all, finding{levelNote, "saves", "shown though something before is gone with a damaged file, and is pulled back: " + several(d.Behind, "commit"),
			"keep the other nodes up until this finding is gone"})
	}
	return all
}

// addressFindings looks whether others can reach this node.
func addressFindings(ctx context.Context, h *cluster.Health) (all []finding) {
	remote := false
	for _, p := range h.Peers {
		for _, a := range p.Addresses {
			remote = remote || !loopback(a)
		}
	}
	if len(h.Addresses) == 0 {
		level := levelNote
		if len(h.Peers) > 0 {
			level = levelAct
		}
		return []finding{{level, "address", "listening on " + h.Listen + "; no address is known by which others reach this node", "it is found out with the first neighbor; else start with --advertise HOST:PORT"}}
	}
	for _, a := range h.Addresses {
		if remote && loopback(a) {
			all = append(all, finding{levelAct, "address", "others are told to dial " + a + ", which only this machine reaches", "start with --advertise HOST:PORT, a host that the other nodes can resolve and reach"})
			continue
		}
		conn, err := (&net.Dialer{Timeout: probeTime}).DialContext(ctx, "tcp", a)
		if err != nil {
			all = append(all, finding{levelNote, "address", fmt.Sprintf("%s, by which others are told to reach this node, does not answer from here: %s", a, err), "if the other nodes do not reach it either, start with another --advertise HOST:PORT"})
			continue
		}
		conn.Close()
		all = append(all, finding{Level: levelOK, About: "address", Text: "others are told to dial " + a + ", which answers"})
	}
	return all
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// alarmFinding says what an alarm of the mesh means.
func alarmFinding(a cluster.Alarm) finding {
	f := finding{Level: levelAct, About: "alarm " + string(a.Kind), Text: fmt.Sprintf("%s ago, about %s: %s", ago(time.Since(a.At)), a.Node, a.Text)}
	switch a.Kind {
	case mesh.AlarmLostSaves:
		f.Level, f.Do = levelNote, "nothing: they are pulled back. Look at the disk if nobody restored a backup"
	case mesh.AlarmFork:
		f.Do = "its key is misused or its disk was cloned while it ran: stop it, then  erwik network ban " + a.Node
	case mesh.AlarmTwin:
		f.Do = "two nodes run with one node.key: stop one, remove its node.key and let it join anew"
	case mesh.AlarmFull:
		f.Do = "a limit of the mesh is met (OPERATING, Limits): remove nodes that will not come back with  erwik network forget"
	case mesh.AlarmState:
		f.Do = "the disk gave back something else than was written: look at it; the node goes on without that piece"
	case mesh.AlarmHostile:
		f.Do = "what it sends is dropped and counted; look at its machine. If it is not to be trusted:  erwik network ban " + a.Node
	case mesh.AlarmBanned:
		f.Level, f.Do = levelNote, "nothing: see  erwik network bans"
	case mesh.AlarmDead:
		f.Level, f.Do = levelNote, "see this node below; one that was removed is not listed any more"
	default:
		f.Do = "see docs/OPERATING.md"
	}
	return f
}

// neighborFinding says how another node is and what to do.
func neighborFinding(p *cluster.PeerHealth) neighborReport {
	r := neighborReport{ID: p.ID.String(), Name: p.Name, Link: p.Link, Addresses: p.Addresses, Reachable: p.State == mesh.StateAlive,
		Lacks: p.Lacks, LacksFor: p.LacksFor, Has: p.Leads, HasFor: p.LeadsFor, AsOf: p.GoneFor, Clock: p.ClockAhead.Seconds()}
	r.finding = finding{Level: levelOK, About: "node " + p.Name}
	if p.Link != "up" && p.Link != "slow" && !p.Trouble.At.IsZero() {
		r.LastError, r.ErrorAge = p.Trouble.What, time.Since(p.Trouble.At).Seconds()
	}
	switch {
	case p.State == mesh.StateAlive && p.Via == "":
		r.Text = fmt.Sprintf("reachable, link %s, %.1f ms; %s", p.Link, 1000*p.RTT, balance(&r))
	case p.State == mesh.StateAlive:
		r.Level = levelNote
		r.Text = fmt.Sprintf("reachable only via %s; %s", p.Via, balance(&r))
		r.Do = "nothing must be done, saves take the other way. If a direct link is wanted: " + dialAdvice(r.LastError, nil)
	default:
		r.Text = fmt.Sprintf("%s for %s; %s. What it saved since then nobody here knows", p.State, ago(seconds(p.GoneFor)), balance(&r))
		r.Level, r.Do = levelAct, dialAdvice(r.LastError, nil)+fmt.Sprintf(". If it will not come back:  erwik network forget %s", p.Name)
		if p.State == mesh.StateUnreachable {
			r.Level, r.Do = levelNote, "wait a moment: it may be back at once"
		}
	}
	if r.Reachable && r.Level == levelOK && (p.LacksFor > lagTolerance.Seconds() || p.LeadsFor > lagTolerance.Seconds()) {
		r.Level, r.Do = levelNote, "if that does not shrink, look at the network between them:  erwik network links"
	}
	if p.ClockAhead > clockTolerance {
		r.Text += fmt.Sprintf("; its clock is at least %s ahead of this one", ago(p.ClockAhead))
		r.Level = levelAct
		r.Do = strings.TrimPrefix(r.Do+". Set the clocks of both by NTP; nothing is lost by it, but times in histories are wrong", ". ")
	}
	if p.Forked {
		r.Level = levelAct
		r.Text += "; it signed two commits for one place of its log"
		r.Do = strings.TrimPrefix(r.Do+". Its key is misused or its disk was cloned: stop it, then  erwik network ban "+p.Name, ". ")
	}
	return r
}

// balance says what either side lacks.
func balance(r *neighborReport) string {
	if r.Reachable {
		if r.Lacks == 0 && r.Has == 0 {
			return "nothing is known to be missing on either side"
		}
		return fmt.Sprintf("it lacks %s of here (for %s), this node %d of there", several(r.Lacks, "commit"), ago(seconds(r.LacksFor)), r.Has)
	}
	return fmt.Sprintf("behind by at most %s of those here, and has at least %d that are not here, as of %s ago", several(r.Lacks, "commit"), r.Has, ago(seconds(r.AsOf)))
}

// dialAdvice says what to do about an address that can't be reached.
func dialAdvice(text string, err error) string {
	switch {
	case strings.Contains(text, "connection refused") || errors.Is(err, syscall.ECONNREFUSED):
		return "its machine answers, but nothing listens there: start erwik on it (erwik serve --data DIR), or correct its --advertise"
	case strings.Contains(text, "no such host") || strings.Contains(text, "server misbehaving"):
		return "its name does not resolve here: mend DNS or /etc/hosts, or start it with --advertise and an IP address"
	case strings.Contains(text, "timeout") || strings.Contains(text, "deadline") || strings.Contains(text, "no route") || strings.Contains(text, "unreachable"):
		return "no answer from its machine: is it on, and does a firewall between let TCP through to that port, both ways?"
	case strings.Contains(text, "remote error: tls:"):
		return "it answers, and refuses this node's key: this node was banned or removed there, or it has not heard of this node; see  erwik network bans  there"
	case strings.Contains(text, "prove keys") || strings.Contains(text, "tls:") || strings.Contains(text, "certificate"):
		return "somebody else answers at its address: another node, or a proxy that ends TLS; correct its --advertise"
	case text == "":
		return "is it running? Look at its own  erwik doctor"
	}
	return "look at its log and its own  erwik doctor"
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ago is a time for people.
func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

func size(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// several counts things in words: "1 page", "2 pages".
func several[T int | int64 | uint64](n T, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
