package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxAnswer bounds what the client reads of an answer: a page of 1 MiB, three
// times over in a conflict, escaped.
const maxAnswer = 64 << 20

// problem is an answer of RFC 9457 with what erwik adds.
type problem struct {
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`
	Code    string   `json:"code"`
	Next    string   `json:"next"`
	Request string   `json:"request_id"`
	Heads   []string `json:"heads"`
	Current *string  `json:"current"`
	Yours   *string  `json:"yours"`
	Merged  *string  `json:"merged_with_markers"`

	Versions []struct {
		Heads []string `json:"heads"`
	} `json:"versions"`
}

func (p *problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.Next != "" {
		text += "\n  " + p.Next
	}
	return text
}

// request is one call of a node's API.
type request struct {
	method string
	path   string // below /-/api/v1/, escaped
	query  url.Values
	body   any
	key    string // operator's key or edit token
}

func (a *app) url(path string, query url.Values) (string, error) {
	base, err := url.Parse(a.node)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return "", usageError{fmt.Errorf("--node %q: want a URL such as http://127.0.0.1:8000", a.node)}
	}
	text := strings.TrimSuffix(base.String(), "/") + path
	if len(query) > 0 {
		text += "?" + query.Encode()
	}
	return text, nil
}

// open sends a request and returns the answer if it is a success.
func (a *app) open(ctx context.Context, method, path string, query url.Values, key string, body io.Reader, kind string) (*http.Response, error) {
	return a.openSized(ctx, method, path, query, key, body, 0, kind)
}

// openSized is open for a body whose length is known; 0 leaves it to the client
// library, -1 says that nobody knows it.
func (a *app) openSized(ctx context.Context, method, path string, query url.Values, key string, body io.Reader, length int64, kind string) (*http.Response, error) {
	target, err := a.url(path, query)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.node, err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if length != 0 {
		r.ContentLength = length
		r.Header.Set("Expect", "100-continue")
	}
	r.Header.Set("Accept", "application/json, */*;q=0.5")
	if key == "" {
		key = a.getenv("ERWIK_EDIT_TOKEN")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		var untrusted *tls.CertificateVerificationError
		if errors.As(err, &untrusted) {
			return nil, fmt.Errorf("the certificate of %s is not trusted: %w\n  Name the file of its authority in SSL_CERT_FILE, or use the name that the certificate is for", a.node, untrusted.Err)
		}
		return nil, fmt.Errorf("no answer from %s: %w\n  Is the node running? Another one is chosen by --node URL or ERWIK_NODE", a.node, err)
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	p := &problem{Status: response.StatusCode}
	if json.Unmarshal(text, p) != nil || p.Title == "" {
		return nil, fmt.Errorf("%s answers %s", a.node, response.Status)
	}
	p.Next = a.hint(p, path)
	return nil, p
}

// call sends a request with a JSON body and reads a JSON answer.
func (a *app) call(ctx context.Context, r request) (json.RawMessage, error) {
	var body io.Reader
	kind := ""
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	response, err := a.open(ctx, r.method, "/-/api/v1/"+r.path, r.query, r.key, body, kind)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", a.node, err)
	}
	return text, nil
}

// get reads facts into v.
func (a *app) get(ctx context.Context, path string, query url.Values, v any) (json.RawMessage, error) {
	return a.read(ctx, request{method: http.MethodGet, path: path, query: query}, v)
}

// getWith reads facts that need a key.
func (a *app) getWith(ctx context.Context, path, key string, v any) (json.RawMessage, error) {
	return a.read(ctx, request{method: http.MethodGet, path: path, key: key}, v)
}

func (a *app) read(ctx context.Context, r request, v any) (json.RawMessage, error) {
	text, err := a.call(ctx, r)
	if err == nil && v != nil {
		if err = json.Unmarshal(text, v); err != nil {
			err = fmt.Errorf("read the answer of %s: %w", a.node, err)
		}
	}
	return text, err
}

func (a *app) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", text)
	return err
}

// pagePath escapes a page's name for an address.
func pagePath(name string) string {
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// short is how commits are shown in tables.
func short(hash string) string { return hash[:min(len(hash), 10)] }

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func author(getenv func(string) string) string {
	for _, name := range []string{"ERWIK_AUTHOR", "USER"} {
		if v := getenv(name); v != "" {
			return v
		}
	}
	return ""
}

func readInput(a *app, args []string) ([]byte, error) {
	if len(args) == 0 || args[0] == "-" {
		if f, ok := a.stdin.(*os.File); ok && terminal(f) && len(args) == 0 {
			fmt.Fprintln(a.stderr, "reading the text from the terminal; end it with Ctrl-D")
		}
		return io.ReadAll(a.stdin)
	}
	return os.ReadFile(args[0])
}
