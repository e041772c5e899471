package wiki

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"strings"

	"github.com/erwik/erwik/wiki/web"
)

// editCookie holds the proof that a browser has given the edit token.
const editCookie = "erwik_edit"

// guard decides who may edit and who is the operator.
type guard struct {
	edit     []byte // SHA-256 of the edit token; nil: everybody may edit
	operator []byte // SHA-256 of the operator key; nil: nobody is
	cookie   string // value of the cookie; from it the token can't be found
}

func newGuard(editToken, operatorKey string) guard {
	var g guard
	if editToken != "" {
		g.edit = digest(editToken)
		mac := hmac.New(sha256.New, []byte(editToken))
		mac.Write([]byte("erwik edit cookie v1"))
		g.cookie = hex.EncodeToString(mac.Sum(nil))
	}
	if operatorKey != "" {
		g.operator = digest(operatorKey)
	}
	return g
}

func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// matches compares in constant time, whatever the lengths.
func matches(want []byte, given string) bool {
	return want != nil && subtle.ConstantTimeCompare(want, digest(given)) == 1
}

func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// mayEdit reports whether the request may change pages.
func (g *guard) mayEdit(r *http.Request) bool {
	if g.edit == nil {
		return true
	}
	if token := bearer(r); token != "" {
		return matches(g.edit, token) || matches(g.operator, token)
	}
	cookie, err := r.Cookie(editCookie)
	return err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(g.cookie)) == 1
}

// isOperator reports whether the request knows the operator key.
func (g *guard) isOperator(r *http.Request) bool { return matches(g.operator, bearer(r)) }

// maySeeMetrics: whoever sits at the machine, or has the token.
func (g *guard) maySeeMetrics(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsLoopback() {
		return true
	}
	return matches(g.edit, bearer(r)) || matches(g.operator, bearer(r))
}

// setCookie lets the browser edit from now on.
func (g *guard) setCookie(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name: editCookie, Value: g.cookie, Path: "/", MaxAge: 90 * 24 * 3600,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

func (h *Handler) loginForm(w http.ResponseWriter, r *http.Request) error {
	return h.showLogin(w, r, http.StatusOK, localPath(r.URL.Query().Get("next")), nil)
}

func (h *Handler) login(w http.ResponseWriter, r *http.Request) error {
	form, err := h.readForm(w, r)
	if err != nil {
		return err
	}
	next := localPath(form.Get("next"))
	if h.guard.edit != nil && !matches(h.guard.edit, form.Get("token")) {
		return h.showLogin(w, r, http.StatusForbidden, next, []web.Notice{{Class: "bad", Text: "This is not the edit token."}})
	}
	if h.guard.edit != nil {
		h.guard.setCookie(w, r)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (h *Handler) showLogin(w http.ResponseWriter, r *http.Request, status int, next string, notices []web.Notice) error {
	show := &web.Login{Chrome: h.chrome("Edit token"), Notices: notices, Next: next}
	show.Chrome.NoIndex = true
	return answerPage(w, r, status, show, h.web.Login)
}

// localPath returns path if it stays on this wiki, else the start page.
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}
