package main

import (
	"runtime/debug"
	"slices"
	"strings"

	"github.com/erwik/erwik/cluster"
	"github.com/erwik/erwik/cluster/mesh"
	"github.com/erwik/erwik/wiki/metrics"
)

// Directions of what a neighbor lacks or sends: out is from this node to it.
const (
	dirIn  = "in"
	dirOut = "out"
)

// samples are what the mesh, the disk and the port have for /-/metrics.
func (n *node) samples(yield func(metrics.Sample)) {
	h := n.member.Health()
	states := map[string]float64{string(mesh.StateSelf): 1, string(mesh.StateAlive): 0, string(mesh.StateUnreachable): 0, string(mesh.StateDead): 0}
	for i := range h.Peers {
		states[string(h.Peers[i].State)]++
		peerSamples(&h.Peers[i], yield)
	}
	for state, count := range states {
		yield(metrics.Sample{Name: "erwik_mesh_nodes", Help: "Nodes of the pool, this one included, as this one sees them.", Labels: [][2]string{{"state", state}}, Value: count})
	}
	c := n.member.Counters()
	for _, row := range []struct {
		name, help string
		value      uint64
	}{
		{"erwik_notices_sent_total", "Copies of commit events sent.", c.NoticesSent},
		{"erwik_notices_received_total", "Copies of commit events received.", c.NoticesReceived},
		{"erwik_pulls_total", "Pulls begun.", c.Pulls},
		{"erwik_pulls_failed_total", "Pulls that failed.", c.PullsFailed},
	} {
		yield(metrics.Sample{Name: row.name, Help: row.help, Counter: true, Value: float64(row.value)})
	}
	alarms := make(map[string]uint64)
	for _, kind := range []mesh.AlarmKind{mesh.AlarmLostSaves, mesh.AlarmFork, mesh.AlarmTwin, mesh.AlarmFull, mesh.AlarmState, mesh.AlarmDead, mesh.AlarmAlive, mesh.AlarmBanned, mesh.AlarmHostile} {
		alarms[string(kind)] = 0 // there from the first scrape on, so that a rise is seen
	}
	dropped := map[string]uint64{"join_refused": 0, "handshake": 0, "connection_flood": 0}
	for reason, times := range n.member.Dropped() {
		if kind, isAlarm := strings.CutPrefix(reason, "alarm_"); isAlarm {
			alarms[kind] = times
			continue
		}
		dropped[reason] = times
	}
	for kind, times := range alarms {
		yield(metrics.Sample{Name: "erwik_alarms_total", Help: "Alarms of the mesh, by kind.", Counter: true, Labels: [][2]string{{"kind", kind}}, Value: float64(times)})
	}
	for reason, times := range dropped {
		yield(metrics.Sample{Name: "erwik_dropped_total", Help: "What came from outside and was not used, by reason.", Counter: true,
			Labels: [][2]string{{"reason", reason}}, Value: float64(times)})
	}
	n.diskSamples(yield)
	if !n.certEnds.IsZero() {
		yield(metrics.Sample{Name: "erwik_tls_certificate_end_seconds", Help: "When the certificate for HTTPS ends, in Unix seconds.", Value: float64(n.certEnds.Unix())})
	}
}

// diskSamples are what the disk has, and what was found damaged on it.
func (n *node) diskSamples(yield func(metrics.Sample)) {
	disk, damage := n.store.Disk(), n.store.Damage()
	last, now := n.store.Scrubbed()
	repaired, ended := 0.0, 0.0
	if damage.Repaired {
		repaired = 1
	}
	if !last.Ended.IsZero() {
		ended = float64(last.Ended.Unix())
	}
	for _, row := range []struct {
		name, help string
		value      float64
	}{
		{"erwik_disk_free_bytes", "Free room of the file system with the data directory.", float64(disk.Free)},
		{"erwik_disk_size_bytes", "Size of that file system.", float64(disk.Size)},
		{"erwik_disk_reserve_bytes", "Below so much free room saves are refused.", float64(disk.Reserve)},
		{"erwik_repaired", "1 if the database was damaged and was repaired when the node started.", repaired},
		{"erwik_commits_behind_gap", "Commits that are shown though something before them is gone with a damaged file.", float64(damage.Behind)},
		{"erwik_scrub_end_seconds", "When everything was read again last, in Unix seconds; 0 = not yet.", ended},
		{"erwik_scrub_damaged", "What the last whole round of that and the one under way found damaged.", float64(last.Found + now.Found)},
		{"erwik_scrub_bytes", "What the round under way has read so far.", float64(now.Bytes)},
	} {
		yield(metrics.Sample{Name: row.name, Help: row.help, Value: row.value})
	}
	yield(metrics.Sample{Name: "erwik_damage_total", Help: "How often damage of the database was met since the node started.", Counter: true, Value: float64(damage.Times)})
}

func peerSamples(p *cluster.PeerHealth, yield func(metrics.Sample)) {
	up := 0.0
	if p.Link == "up" || p.Link == "slow" {
		up = 1
	}
	emit := func(name, help string, counter bool, value float64, labels ...[2]string) {
		labels = append([][2]string{{"peer", p.Name}}, labels...)
		yield(metrics.Sample{Name: name, Help: help, Counter: counter, Labels: labels, Value: value})
	}
	emit("erwik_peer_up", "1 while the link to this node is up.", false, up)
	emit("erwik_peer_rtt_seconds", "Round trip of the link, smoothed; 0 = unknown.", false, p.RTT)
	for _, row := range []struct {
		dir     string
		commits uint64
		seconds float64
		bytes   uint64
	}{{dirOut, p.Lacks, p.LacksFor, p.BytesOut}, {dirIn, p.Leads, p.LeadsFor, p.BytesIn}} {
		dir := [2]string{"dir", row.dir}
		emit("erwik_peer_lag_commits", "Commits that the peer is not known to hold (out), that it is known to hold and this node lacks (in).", false, float64(row.commits), dir)
		emit("erwik_peer_lag_seconds", "For how long that has been so.", false, row.seconds, dir)
		emit("erwik_sync_bytes_total", "Bytes of all mesh connections with the peer, TLS included.", true, float64(row.bytes), dir)
	}
}

// sourceCommit is the commit that the program was built from.
func sourceCommit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	at := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
	if at < 0 {
		return "unknown"
	}
	return info.Settings[at].Value
}
