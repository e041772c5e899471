package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// families scrapes a node and reads the answer with Prometheus' own parser.
func (n *node) families() (map[string]*dto.MetricFamily, error) {
	status, text, err := n.do("GET", "/-/metrics", nil, nil)
	if err != nil || status != 200 {
		return nil, errors.Join(err, fmt.Errorf("status %d: %.200s", status, text))
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// value sums the samples of a metric whose labels include the given pairs; a
// histogram counts its observations. found is false if there is none.
func value(all map[string]*dto.MetricFamily, name string, pairs ...string) (sum float64, found bool) {
	for _, m := range all[name].GetMetric() {
		match := true
		for i := 0; i+1 < len(pairs); i += 2 {
			match = match && slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == pairs[i] && l.GetValue() == pairs[i+1] })
		}
		if !match {
			continue
		}
		found = true
		switch {
		case m.Counter != nil:
			sum += m.Counter.GetValue()
		case m.Gauge != nil:
			sum += m.Gauge.GetValue()
		case m.Histogram != nil:
			sum += float64(m.Histogram.GetSampleCount())
		}
	}
	return sum, found
}

// promised are the metrics that people's dashboards name, with their labels.
var promised = map[string][]string{
	"erwik_http_requests_total": {"route", "method", "code"}, "erwik_http_request_seconds": {"route"}, "erwik_pages": nil,
	"erwik_commits_total": {"origin"}, "erwik_save_seconds": nil, "erwik_merge_total": {"result"}, "erwik_conflicts_open": nil,
	"erwik_peer_up": {"peer"}, "erwik_peer_lag_commits": {"peer", "dir"}, "erwik_peer_lag_seconds": {"peer", "dir"},
	"erwik_peer_rtt_seconds": {"peer"}, "erwik_sync_bytes_total": {"peer", "dir"}, "erwik_mesh_nodes": {"state"},
	"erwik_sse_clients": nil, "erwik_build_info": {"version", "commit"},
}

// TestMetricsMove: every promised metric is there, with its labels, and moves
// with a save, a copy, a merge, a clash and a refusal.
func TestMetricsMove(t *testing.T) {
	a := newNode(t, "e1").start().awaitReady()
	b := newNode(t, "e2", "--join", a.address).start().awaitReady()
	var before, after map[string]*dto.MetricFamily
	eventually(t, "both see each other", func() (err error) {
		if before, err = a.families(); err != nil {
			return err
		}
		up, _ := value(before, "erwik_peer_up", "peer", "e2")
		if alive, _ := value(before, "erwik_mesh_nodes", "state", "alive"); up != 1 || alive != 1 {
			return fmt.Errorf("up %v, alive %v", up, alive)
		}
		return nil
	})
	for name, labels := range promised {
		family := before[name]
		if len(family.GetMetric()) == 0 {
			t.Errorf("%s is missing", name)
			continue
		}
		for _, label := range labels {
			if !slices.ContainsFunc(family.Metric[0].Label, func(l *dto.LabelPair) bool { return l.GetName() == label }) {
				t.Errorf("%s has no label %s", name, label)
			}
		}
	}
	put := func(text string, base any) (int, saved) {
		body, _ := json.Marshal(map[string]any{"text": text, "author": "Ann", "base": base})
		status, answer, err := a.do("PUT", "/-/api/v1/pages/Page", map[string]string{"Content-Type": "application/json"}, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var s saved
		json.Unmarshal(answer, &s)
		return status, s
	}
	_, first := put("one\n\ntwo\n\nthree\n", nil)
	put("ONE\n\ntwo\n\nthree\n", first.Heads)
	if status, s := put("one\n\ntwo\n\nTHREE\n", first.Heads); status != 200 || !s.Merged {
		t.Errorf("status %d, merged %v", status, s.Merged)
	}
	if status, _ := put("uno\n\ntwo\n\nthree\n", first.Heads); status != 409 {
		t.Errorf("status %d for a clash", status)
	}
	if status, _, err := a.do("PUT", "/-/api/v1/pages/.git", map[string]string{"Content-Type": "application/json"}, strings.NewReader(`{"text":"x"}`)); err != nil || status != 400 {
		t.Errorf("status %d, %v", status, err)
	}
	moved := []struct {
		name  string
		pairs []string
		by    float64
	}{
		{"erwik_commits_total", []string{"origin", "api"}, 3}, {"erwik_save_seconds", nil, 3}, {"erwik_merge_total", []string{"result", "clean"}, 1},
		{"erwik_merge_total", []string{"result", "conflict"}, 1}, {"erwik_pages", nil, 1},
		{"erwik_http_requests_total", []string{"route", "/-/api/v1/pages/{path}", "code", "409"}, 1},
		{"erwik_http_requests_total", []string{"route", "/-/api/v1/pages/{path}", "code", "400"}, 1},
		{"erwik_http_problems_total", []string{"code", "bad_name"}, 1}, {"erwik_http_request_seconds", []string{"route", "/-/api/v1/pages/{path}"}, 5},
	}
	after, err := a.families()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moved {
		was, _ := value(before, m.name, m.pairs...)
		if now, _ := value(after, m.name, m.pairs...); now-was != m.by {
			t.Errorf("%s%v went from %v to %v, want %v more", m.name, m.pairs, was, now, m.by)
		}
	}
	eventually(t, "the copy is counted", func() error {
		copied, err := b.families()
		if err != nil {
			return err
		}
		synced, _ := value(copied, "erwik_commits_total", "origin", "sync")
		in, _ := value(copied, "erwik_sync_bytes_total", "peer", "e1", "dir", "in")
		if synced != 3 || in < 500 {
			return fmt.Errorf("%v commits and %v bytes came in", synced, in)
		}
		return nil
	})
	b.kill()
	eventually(t, "the dead neighbor shows", func() error {
		now, err := a.families()
		if err != nil {
			return err
		}
		up, _ := value(now, "erwik_peer_up", "peer", "e2")
		if dead, _ := value(now, "erwik_mesh_nodes", "state", "dead"); up != 0 || dead != 1 {
			return fmt.Errorf("up %v, dead %v", up, dead)
		}
		return nil
	})
}

// metricNames finds the metrics of a PromQL expression: names outside strings,
// label lists, grouping lists, ranges and calls.
func metricNames(expr string) (names []string) {
	for _, cut := range []string{`"[^"]*"`, `\{[^}]*\}`, `\[[^\]]*\]`, `\boffset\s+\S+`, `\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`} {
		expr = regexp.MustCompile(cut).ReplaceAllString(expr, " ")
	}
	for _, at := range regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`).FindAllStringIndex(expr, -1) {
		word, rest := expr[at[0]:at[1]], strings.TrimSpace(expr[at[1]:])
		keyword := slices.Contains([]string{"and", "or", "unless", "bool", "inf", "nan"}, strings.ToLower(word))
		digit := at[0] > 0 && expr[at[0]-1] >= '0' && expr[at[0]-1] <= '9'
		if !keyword && !digit && !strings.HasPrefix(rest, "(") && !strings.HasPrefix(strings.TrimSpace(rest), "by") && word != "by" {
			names = append(names, word)
		}
	}
	return names
}

// balanced reports whether brackets match outside strings.
func balanced(expr string) bool {
	var open []rune
	pairs := map[rune]rune{')': '(', ']': '[', '}': '{'}
	for _, c := range regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, "") {
		switch c {
		case '(', '[', '{':
			open = append(open, c)
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != pairs[c] {
				return false
			}
			open = open[:len(open)-1]
		}
	}
	return len(open) == 0
}

// known are the names that a scrape gives, and those of parts of histograms.
func known(t *testing.T, n *node) map[string]bool {
	t.Helper()
	all, err := n.families()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"up": true} // Prometheus' own
	for name, family := range all {
		names[name] = true
		if family.GetType() == dto.MetricType_HISTOGRAM {
			names[name+"_bucket"], names[name+"_sum"], names[name+"_count"] = true, true, true
		}
	}
	return names
}

// TestDeploy: the dashboard and the alert rules name only metrics that a node
// gives, and say what they must.
func TestDeploy(t *testing.T) {
	cert, key := selfSigned(t)
	a := newNode(t, "e1", "--tls-cert", cert, "--tls-key", key).start().awaitReady()
	b := newNode(t, "e2", "--join", a.address).start().awaitReady()
	var names map[string]bool
	eventually(t, "metrics of a mesh", func() error {
		names = known(t, a)
		if !names["erwik_peer_up"] {
			return errors.New("no peer yet")
		}
		return nil
	})
	b.stop()
	check := func(where, expr string) {
		t.Helper()
		found := metricNames(expr)
		if len(found) == 0 || !balanced(expr) {
			t.Errorf("%s: %q is no expression over metrics", where, expr)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s: no node gives %s (in %q)", where, name, expr)
			}
		}
	}
	checkRules(t, check)
	checkDashboard(t, check)
}

func checkRules(t *testing.T, check func(where, expr string)) {
	text, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../docs/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			check("alert "+r.Alert, r.Expr)
			if r.Alert == "" || seen[r.Alert] {
				t.Errorf("alert %q has no name of its own", r.Alert)
			}
			seen[r.Alert] = true
			if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("alert %s: severity %q, summary %q, action %q", r.Alert, r.Labels["severity"], r.Annotations["summary"], r.Annotations["action"])
			}
			if r.For != "" {
				if _, err := model.ParseDuration(r.For); err != nil {
					t.Errorf("alert %s: for %q: %v", r.Alert, r.For, err)
				}
			}
			if !bytes.Contains(manual, []byte("`"+r.Alert+"`")) {
				t.Errorf("docs/OPERATING.md has no line for %s", r.Alert)
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("%d alerts", len(seen))
	}
}

func checkDashboard(t *testing.T, check func(where, expr string)) {
	text, err := os.ReadFile("../deploy/grafana/erwik.json")
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	var board struct {
		UID, Title string
		Templating struct {
			List []struct{ Name, Type string }
		}
		Panels []struct {
			ID         int
			Type       string
			Title      string
			Datasource source
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct {
				RefID, Expr string
				Datasource  source
			}
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	variables := map[string]bool{"__rate_interval": true} // Grafana's own
	for _, v := range board.Templating.List {
		variables[v.Name] = true
	}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, p := range board.Panels {
		if p.ID <= 0 || ids[p.ID] || p.Title == "" || p.Type == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: no id of its own, no title, no type or no target", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q lies outside: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource != (source{"prometheus", "${datasource}"}) || p.Datasource != target.Datasource {
				t.Errorf("panel %q: target %+v", p.Title, target)
			}
			refs[target.RefID] = true
			for _, used := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr+target.Datasource.UID, -1) {
				if !variables[used[1]] {
					t.Errorf("panel %q: there is no variable %s", p.Title, used[1])
				}
			}
			check("panel "+p.Title, target.Expr)
		}
	}
}

// selfSigned makes a certificate for 127.0.0.1 that ends in an hour.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// TestMetricNamesOfExpressions: the reader of expressions finds what it must.
func TestMetricNamesOfExpressions(t *testing.T) {
	for expr, want := range map[string]string{
		`up{job="x"} == 0`: "up",
		`histogram_quantile(0.9, sum by (le) (rate(a_bucket{i=~"$i"}[5m])))`: "a_bucket",
		`sum(a) by (b) < 0.5 * sum by (c) (d)`:                               "a d",
		`a > 60 and on (x, y) b == 1e3 unless c offset 5m`:                   "a b c",
		`e - time() < 14 * 24`:                                               "e",
	} {
		if got := strings.Join(metricNames(expr), " "); got != want {
			t.Errorf("%s: found %q, want %q", expr, got, want)
		}
	}
}

// TestDoctor: a healthy mesh, a dead neighbor, a wrong secret.
func TestDoctor(t *testing.T) {
	a := newNode(t, "e1").start().awaitReady()
	b := newNode(t, "e2", "--join", a.address).start().awaitReady()
	c := newNode(t, "e3", "--join", a.address)
	c.env = []string{"ERWIK_SECRET=another secret of sixteen"}
	c.start()
	doctor := func(n *node) (string, int) {
		out, err := exec.Command(erwik, "doctor", "--node", "http://"+n.address).CombinedOutput()
		exit, isExit := errors.AsType[*exec.ExitError](err)
		if err != nil && !isExit {
			t.Fatal(err)
		}
		if isExit {
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	expect := func(n *node, status int, parts ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("doctor of %s ends with %d and says %q", n.name, status, parts), func() error {
			text, got := doctor(n)
			for _, part := range parts {
				if !strings.Contains(text, part) {
					return fmt.Errorf("status %d, no %q in:\n%s", got, part, text)
				}
			}
			if got != status {
				return fmt.Errorf("status %d:\n%s", got, text)
			}
			return nil
		})
	}
	expect(a, 0, "ok    node e2: reachable, link up", "nothing must be done")
	expect(c, 1, "ACT   join: ", "the token or secret is wrong", "erwik token --data DIR")
	expect(a, 0, "a join from 127.0.0.1", "was refused")
	b.kill()
	a.put("Page", "text")
	expect(a, 1, "ACT   node e2: dead for", "behind by at most", "and has at least 0 that are not here", "connection refused", "erwik serve --data DIR", "erwik network forget e2")
	b.start().awaitReady()
	expect(a, 0, "ok    node e2: reachable")
	var facts struct {
		OK        bool
		Neighbors []struct {
			Name      string
			Reachable bool
			Level     string
		}
	}
	out, err := exec.Command(erwik, "doctor", "--json", "--node", "http://"+a.address).Output()
	if err != nil || json.Unmarshal(out, &facts) != nil || !facts.OK || len(facts.Neighbors) != 1 || !facts.Neighbors[0].Reachable {
		t.Errorf("%v: %s", err, out)
	}
}
