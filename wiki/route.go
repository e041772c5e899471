package wiki

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// action serves one method of a route. An error that it returns, and for
// which it has not answered, becomes a problem or a page.
type action func(w http.ResponseWriter, r *http.Request) error

// methods are the actions of a route, by method. HEAD goes with GET.
type methods map[string]action

// Route is an address and what may be done there; see [Handler.Routes].
type Route struct {
	Path    string // in gorilla/mux's language
	Methods []string
}

// eventsPath is the stream of live events.
const eventsPath = apiPrefix + "v1/events"

// restPath is what is the wiki's own, and nothing.
const restPath = "/-/{rest:(?s:.*)}"

// apiPrefix begins the addresses whose errors are problem+json.
const apiPrefix = "/-/api/"

// table lists all routes, in the order in which they are tried.
func (h *Handler) table(calls map[string]OperatorCall) []struct {
	path    string
	methods methods
} {
	type row = struct {
		path    string
		methods methods
	}
	const v1 = apiPrefix + "v1/"
	rows := []row{
		{v1 + "pages", methods{"GET": h.apiPages}},
		{v1 + "pages/{path:(?s:.*)}", methods{"GET": h.apiGet, "PUT": h.apiPut, "DELETE": h.apiDelete}},
		{v1 + "move", methods{"POST": h.apiMove}},
		{v1 + "revert", methods{"POST": h.apiRevert}},
		{v1 + "preview", methods{"POST": h.apiPreview}},
		{v1 + "history/{path:(?s:.+)}", methods{"GET": h.apiHistory}},
		{v1 + "diff/{path:(?s:.+)}", methods{"GET": h.apiDiff}},
		{v1 + "conflicts", methods{"GET": h.apiConflicts}},
		{v1 + "recent", methods{"GET": h.apiRecent}},
		{v1 + "status", methods{"GET": h.apiStatus}},
		{v1 + "doctor", methods{"GET": h.apiDoctor}},
		{v1 + "network/{what:nodes|links|routes|graph|bans}", methods{"GET": h.apiNetwork}},
		{v1 + "commits/{hash}", methods{"GET": h.apiCommit}},
		{eventsPath, methods{"GET": h.streamEvents}},
		{v1 + "files", methods{"GET": h.apiFiles}},
		{v1 + "import", methods{"POST": h.apiImport}},
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		rows = append(rows, row{v1 + name, methods{"POST": h.operatorCall(calls[name])}})
	}
	return append(rows,
		row{"/-/static/{file:(?s:.+)}", methods{"GET": h.static}},
		row{"/-/files", methods{"GET": h.toFiles}},
		row{filesPath, methods{"GET": h.filesPage, "POST": h.filesPost}},
		row{filesPath + "{path:(?s:.+)}", methods{"GET": h.getFile, "PUT": h.putFile, "DELETE": h.deleteFile, "POST": h.filePost}},
		row{"/-/recent", methods{"GET": h.recentPage}},
		row{"/-/mesh", methods{"GET": h.meshPage}},
		row{"/-/conflicts", methods{"GET": h.conflictsPage}},
		row{"/-/login", methods{"GET": h.loginForm, "POST": h.login}},
		row{"/-/healthz", methods{"GET": h.healthz}},
		row{"/-/readyz", methods{"GET": h.readyz}},
		row{"/-/metrics", methods{"GET": h.serveMetrics}},
		row{restPath, methods{"GET": h.nothing, "POST": h.nothing, "PUT": h.nothing, "DELETE": h.nothing}},
		row{"/-", methods{"GET": h.nothing}},
		row{"/robots.txt", methods{"GET": h.robots}},
		row{"/{page:(?s:.*)}", methods{"GET": h.page, "POST": h.pagePost}},
	)
}

// Routes lists every address, so that tests can see that they cover them.
func (h *Handler) Routes() []Route {
	var out []Route
	for _, row := range h.table(nil) {
		out = append(out, Route{row.path, slices.Sorted(maps.Keys(row.methods))})
	}
	return out
}

// routes builds the router. Paths are decoded once, by net/http; the router
// neither cleans nor redirects them, since page.ParseName decides what a name
// may be.
func (h *Handler) routes(calls map[string]OperatorCall) *mux.Router {
	router := mux.NewRouter().SkipClean(true)
	for _, row := range h.table(calls) {
		router.Path(row.path).Handler(h.dispatch(row.path, row.methods))
	}
	router.NotFoundHandler = h.dispatch("none", methods{"GET": h.nothing})
	return router
}

// dispatch chooses the action of a request's method, refuses what comes from
// other sites, and answers for errors.
func (h *Handler) dispatch(route string, actions methods) http.Handler {
	if get := actions["GET"]; get != nil {
		actions["HEAD"] = get
	}
	allow := strings.Join(append(slices.Sorted(maps.Keys(actions)), http.MethodOptions), ", ")
	protection := http.NewCrossOriginProtection()
	count := h.metrics.Route(routeLabel(route))
	stream := route == eventsPath
	return http.HandlerFunc(func(plain http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		w := &recorder{ResponseWriter: plain, large: &h.answerBytes}
		r = watchBody(w, r)
		defer leaveBody(r)
		defer w.forget()
		run := actions[r.Method]
		var err error
		switch {
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow)
			w.WriteHeader(http.StatusNoContent)
		case run == nil:
			err = &methodError{r.Method, allow}
		case protection.Check(r) != nil:
			err = errCrossOrigin
		case strings.Contains(r.URL.RawQuery, "%") && badQuery(r):
			err = badRequest("query", "%.200q has a %% that is not followed by two hex digits", r.URL.RawQuery)
		case strings.HasPrefix(r.URL.Path, apiPrefix) && strings.HasSuffix(r.URL.Path, "/") && strings.Trim(mux.Vars(r)["path"], "/") != "":
			toBarePath(w, r)
		default:
			err = h.letIn(w, r, route, run)
		}
		if err != nil {
			h.fail(w, r, err)
		}
		took := time.Since(begin)
		if stream {
			took = 0
		}
		count.Done(r.Method, cmp.Or(w.code, http.StatusOK), took)
	})
}

// badQuery reports whether a query can't be read. Of such a one the rest would
// be obeyed, and that is not what was asked for.
func badQuery(r *http.Request) bool {
	_, err := url.ParseQuery(r.URL.RawQuery)
	var escape url.EscapeError
	return errors.As(err, &escape)
}

// toBarePath sends a client to the same address without the slashes at its end.
func toBarePath(w http.ResponseWriter, r *http.Request) {
	bare := url.URL{Path: strings.TrimRight(r.URL.Path, "/"), RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", bare.String())
	w.WriteHeader(http.StatusPermanentRedirect)
}

// letIn runs an action when there is a place for it. Of what changes pages, only
// the beginning of a queue that is full is seen here: a body that comes slowly
// must not hold a place, nor must a reader who takes an answer slowly: the place is
// free when the answer begins.
func (h *Handler) letIn(w *recorder, r *http.Request, route string, run action) error {
	class := h.door.classOf(route, r.Method)
	if class == nil {
		writes := r.Method == http.MethodPut || r.Method == http.MethodDelete || r.Method == http.MethodPost && strings.HasPrefix(route, apiPrefix)
		if writes && !holdsRoom(r) && h.door.saves.full() {
			turnAway(w, r, h.door.saves.refuse(errBusy))
			return nil
		}
		return run(w, r)
	}
	if dearQuery(r) {
		class = h.door.dear
	}
	if h.answerBytes.Load() > maxAnswerMemory {
		turnAway(w, r, class.refuse(errBusy))
		return nil
	}
	host := h.door.hostOf(r)
	if err := class.enter(r.Context(), host); err != nil {
		turnAway(w, r, err)
		return nil
	}
	w.leave = func() { class.leave(host) }
	defer w.release()
	return run(w, r)
}

// routeLabel is a route's template without its patterns: {path} for {path:.+}.
func routeLabel(route string) string {
	for _, pattern := range []string{":(?s:.+)}", ":(?s:.*)}", ":nodes|links|routes|graph}"} {
		route = strings.ReplaceAll(route, pattern, "}")
	}
	return route
}

// fail answers with err as its address demands.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if strings.HasPrefix(r.URL.Path, apiPrefix) || wantsJSON(r) {
		h.failJSON(w, r, err)
		return
	}
	h.failPage(w, r, err)
}

// nothing answers for addresses of the wiki's own at which nothing is, but where
// something is without the slashes at the end.
func (h *Handler) nothing(w http.ResponseWriter, r *http.Request) error {
	if bare := strings.TrimRight(r.URL.Path, "/"); bare != r.URL.Path && h.leads(bare) {
		toBarePath(w, r)
		return nil
	}
	return errNoRoute
}

// leads reports whether something is at an address of the wiki's own.
func (h *Handler) leads(path string) bool {
	var found mux.RouteMatch
	if !strings.HasPrefix(path, "/-/") || !h.router.Match(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}, &found) || found.Route == nil {
		return false
	}
	template, err := found.Route.GetPathTemplate()
	return err == nil && template != restPath
}

func (h *Handler) toFiles(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, filesPath, http.StatusPermanentRedirect)
	return nil
}

func (h *Handler) static(w http.ResponseWriter, r *http.Request) error {
	h.web.ServeHTTP(w, r)
	return nil
}

func (h *Handler) robots(w http.ResponseWriter, r *http.Request) error {
	return answerText(w, r, http.StatusOK, "User-agent: *\nDisallow: /-/\n")
}
