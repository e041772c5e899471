package page_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/erwik/erwik/storage"
	"github.com/erwik/erwik/wiki/page"
)

func TestParseName(t *testing.T) {
	long := strings.Repeat("x", 200)
	tests := []struct {
		raw  string
		want page.Name // empty: refused
	}{
		{"Home", "Home"},
		{"docs/Install", "docs/Install"},
		{"jc.json", "jc.json"},
		{"%", "%"},
		{"[[", "[["},
		{"~", "~"},
		{"!", "!"},
		{"%2E", "%2E"},
		{"a b", "a b"},
		{"What?", "What?"},
		{"C#", "C#"},
		{"a\\b", "a\\b"},
		{"...md"[3:], "md"},
		{"a.md", "a.md"},
		{"Cafe\u0301", "Caf\u00e9"},
		{"日本語/ページ", "日本語/ページ"},
		{"👩\u200d💻", "👩\u200d💻"},
		{"-x", "-x"},
		{"a/-", "a/-"},
		{"systems", "systems"},
		{"a/system", "a/system"},
		{"a/favicon.ico", "a/favicon.ico"},
		{"git", "git"},
		{"a.gitx", "a.gitx"},
		{long, page.Name(long)},
		{strings.Repeat(long+"/", 4) + strings.Repeat("y", 196), page.Name(strings.Repeat(long+"/", 4) + strings.Repeat("y", 196))},
		{"", ""},
		{".", ""},
		{"..", ""},
		{".x", ""},
		{"a/.x", ""},
		{"a/..", ""},
		{"../../x", ""},
		{"/a", ""},
		{"a/", ""},
		{"a//b", ""},
		{" a", ""},
		{"a ", ""},
		{"a/ b", ""},
		{"a /b", ""},
		{"a\u00a0", ""},
		{"a\x00b", ""},
		{"a\nb", ""},
		{"a\x7f", ""},
		{"a\u0085b", ""},
		{"a\u202eb", ""},
		{"a\u2028b", ""},
		{"\xff", ""},
		{"x.git", ""},
		{"x.GIT", ""},
		{"x.git/y", ""},
		{"-", ""},
		{"-/x", ""},
		{"system", ""},
		{"system/x", ""},
		{"robots.txt", ""},
		{"favicon.ico", ""},
		{"favicon.png", ""},
		{"sitemap.xml", ""},
		{"wiki.git", ""},
		{long + "x", ""},
		{strings.Repeat(long+"/", 5) + "y", ""},
		{strings.Repeat("x", 100_000), ""},
	}
	for _, tt := range tests {
		got, err := page.ParseName(tt.raw)
		if got != tt.want {
			t.Errorf("ParseName(%.40q) = %.40q, want %.40q (%v)", tt.raw, got, tt.want, err)
		}
		if tt.want == "" {
			refused, ok := errors.AsType[*page.NameError](err)
			if !ok || refused.Why == "" || refused.Do == "" {
				t.Errorf("ParseName(%.40q): error %v does not say why and what to do", tt.raw, err)
			}
		} else if err != nil {
			t.Errorf("ParseName(%.40q): %v", tt.raw, err)
		}
	}
}

func TestNameOfPath(t *testing.T) {
	for path, want := range map[string]page.Name{
		"docs/Install.md": "docs/Install", "a.md.md": "a.md", "%.md": "%",
		"docs/net.png": "", ".erwik/signers/x": "", ".x.md": "", ".md": "", "Cafe\u0301.md": "",
	} {
		got, ok := page.NameOfPath(path)
		if ok != (want != "") || ok && got != want {
			t.Errorf("NameOfPath(%q) = %q, %v, want %q", path, got, ok, want)
		}
		if ok && got.Path() != path {
			t.Errorf("Path of %q = %q, want %q", got, got.Path(), path)
		}
	}
}

func TestFileNames(t *testing.T) {
	for file, want := range map[string]page.Name{
		"common/jc.md": "common/jc", "..md": "%2E", ".x.md": "%2Ex", "...md": "%2E.",
		".github/x.md": "%2Egithub/x", "a/.b/c.md": "a/%2Eb/c", "%.md": "%", "[[.md": "[[", "~.md": "~", "!.md": "!",
		"%2Ex.md": "%252Ex", "%252E.md": "%25252E", "%25.md": "%25", "x.txt": "", "system/x.md": "", ".md": "",
	} {
		got, err := page.NameOfFile(file)
		if got != want {
			t.Errorf("NameOfFile(%q) = %q, want %q (%v)", file, got, want, err)
		}
		if err == nil && got.File() != file {
			t.Errorf("File of %q = %q, want %q", got, got.File(), file)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, seed := range []string{"Home", "a/b", ".", "..", "%2E", "%252E/x", "Cafe\u0301", "\xff", "x.git", "a//b", "system/1", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := page.ParseName(raw)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Fatalf("the refusal has %d bytes", len(err.Error()))
			}
			return
		}
		again, err := page.ParseName(string(name))
		if err != nil || again != name {
			t.Fatalf("ParseName is not stable: %q, then %q (%v)", name, again, err)
		}
		if !utf8.ValidString(string(name)) || !norm.NFC.IsNormalString(string(name)) {
			t.Fatalf("%q is not NFC", name)
		}
		if back, ok := page.NameOfPath(name.Path()); !ok || back != name {
			t.Fatalf("path %q gives %q", name.Path(), back)
		}
		if back, err := page.NameOfFile(name.File()); err != nil || back != name {
			t.Fatalf("file %q of %q gives %q (%v)", name.File(), name, back, err)
		}
		if err := storage.CheckPath(name.Path()); err != nil {
			t.Fatalf("storage refuses the path of a good name: %v", err)
		}
	})
}
