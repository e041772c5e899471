package metrics

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Set holds all metrics of one node. Make one with [New]; its methods may be
// called concurrently.
type Set struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	times    *prometheus.HistogramVec
	problems *prometheus.CounterVec
	commits  *prometheus.CounterVec
	merges   *prometheus.CounterVec
	saves    prometheus.Histogram
	same     prometheus.Counter
	refused  *prometheus.CounterVec
}

// Where a commit came from.
const (
	OriginWeb    = "web"    // a form
	OriginAPI    = "api"    // JSON, or PUT of a file
	OriginSync   = "sync"   // another node
	OriginImport = "import" // a stream of revisions
)

// New returns an empty set for a program of that version.
func New(version, commit string) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "erwik_http_requests_total", Help: "Requests answered, by route template."}, []string{"route", "method", "code"}),
		times: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "erwik_http_request_seconds", Help: "Time until a request was answered; streams are not counted.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 30},
		}, []string{"route"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "erwik_http_problems_total", Help: "Requests answered with a problem, by its code."}, []string{"code"}),
		commits:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "erwik_commits_total", Help: "Commits that became visible here since the start, by where they came from."}, []string{"origin"}),
		merges:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "erwik_merge_total", Help: "Edits that met newer ones, by how it went."}, []string{"result"}),
		saves: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "erwik_save_seconds", Help: "Time until an edit was durable, merge and sync included.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
		}),
		same:    prometheus.NewCounter(prometheus.CounterOpts{Name: "erwik_saves_unchanged_total", Help: "Edits that changed nothing and made no commit."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "erwik_refused_total", Help: "Requests refused at the door for want of room, by class and reason."}, []string{"class", "reason"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "erwik_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": runtime.Version()}})
	build.Set(1)
	s.registry.MustRegister(s.requests, s.times, s.problems, s.commits, s.merges, s.saves, s.same, s.refused, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, origin := range []string{OriginWeb, OriginAPI, OriginSync, OriginImport} {
		s.commits.WithLabelValues(origin) // there from the first scrape on, as 0
	}
	for _, code := range []string{"conflict", "busy", "disk_full", "internal"} {
		s.problems.WithLabelValues(code)
	}
	for _, result := range []string{"clean", "conflict"} {
		s.merges.WithLabelValues(result)
	}
	return s
}

// Route counts the requests of one route.
type Route struct {
	set   *Set
	route string
	times prometheus.Observer
	ok    prometheus.Counter // GET, 200: nearly all of them
}

// Route returns the counters of a route's template.
func (s *Set) Route(route string) *Route {
	return &Route{s, route, s.times.WithLabelValues(route), s.requests.WithLabelValues(route, http.MethodGet, "200")}
}

// Done counts one request. Time 0 means that it was a stream.
func (r *Route) Done(method string, code int, took time.Duration) {
	if method == http.MethodGet && code == http.StatusOK {
		r.ok.Inc()
	} else {
		r.set.requests.WithLabelValues(r.route, methodLabel(method), codeLabel(code)).Inc()
	}
	if took > 0 {
		r.times.Observe(took.Seconds())
	}
}

// Refusals returns what counts one request that was refused before it came to its
// route, as Done and Refused do.
func (r *Route) Refusals(class, reason, method string, code int) func(took time.Duration) {
	requests := r.set.requests.WithLabelValues(r.route, methodLabel(method), codeLabel(code))
	refused := r.set.refused.WithLabelValues(class, reason)
	return func(took time.Duration) {
		requests.Inc()
		refused.Inc()
		r.times.Observe(took.Seconds())
	}
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func codeLabel(code int) string {
	if code < 100 || code > 599 {
		return "other"
	}
	return strconv.Itoa(code)
}

// Problem counts an answer that is a problem; code is one of the wiki's own.
func (s *Set) Problem(code string) { s.problems.WithLabelValues(code).Inc() }

// Refused counts a request that was not let in.
func (s *Set) Refused(class, reason string) { s.refused.WithLabelValues(class, reason).Inc() }

// Door shows how many requests of a class are inside, waiting ones included, and
// counts its refusals from 0 on.
func (s *Set) Door(class string, inside func() float64) {
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "erwik_requests_inside", Help: "Requests that are served or wait, by class.",
		ConstLabels: prometheus.Labels{"class": class}}, inside))
	for _, reason := range []string{"full", "share"} {
		s.refused.WithLabelValues(class, reason)
	}
}

// Commits counts commits that became visible.
func (s *Set) Commits(origin string, n int) { s.commits.WithLabelValues(origin).Add(float64(n)) }

// Saved counts an edit that was saved, or that changed nothing.
func (s *Set) Saved(origin string, took time.Duration, merged, unchanged bool) {
	s.saves.Observe(took.Seconds())
	if unchanged {
		s.same.Inc()
		return
	}
	s.Commits(origin, 1)
	if merged {
		s.merges.WithLabelValues("clean").Inc()
	}
}

// Clashed counts an edit that could not be merged.
func (s *Set) Clashed() { s.merges.WithLabelValues("conflict").Inc() }

// Sample is one value of somebody else's.
type Sample struct {
	Name, Help string
	Counter    bool // it only grows
	Labels     [][2]string
	Value      float64
}

// Source gives what is true at the moment of a scrape.
type Source func(yield func(Sample))

// Add lets a source be asked at each scrape from now on.
func (s *Set) Add(source Source) { s.registry.MustRegister(gatherer{source}) }

type gatherer struct{ source Source }

// Describe sends nothing: what a source tells is known only when it is asked.
func (gatherer) Describe(chan<- *prometheus.Desc) {}

func (g gatherer) Collect(out chan<- prometheus.Metric) {
	g.source(func(sample Sample) {
		var names, values []string
		for _, l := range sample.Labels {
			names, values = append(names, l[0]), append(values, l[1])
		}
		kind := prometheus.GaugeValue
		if sample.Counter {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc(sample.Name, sample.Help, names, nil)
		m, err := prometheus.NewConstMetric(desc, kind, sample.Value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		out <- m
	})
}

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes all metrics. What is wrong with some does not keep back the others.
func (s *Set) Write(w io.Writer) error {
	families, err := s.registry.Gather()
	if err != nil {
		err = fmt.Errorf("gather metrics: %w", err)
	}
	for _, family := range families {
		if _, writeErr := expfmt.MetricFamilyToText(w, family); writeErr != nil {
			return errors.Join(err, fmt.Errorf("write metrics: %w", writeErr))
		}
	}
	return err
}
