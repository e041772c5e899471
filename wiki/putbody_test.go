package wiki

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestParsePut(t *testing.T) {
	tests := []struct {
		body string
		want putRequest
		ok   bool
	}{
		{`{"text":"a","summary":"b","author":"c","base":["d","e"]}`, putRequest{[]byte("a"), "b", "c", []string{"d", "e"}}, true},
		{" { \"text\" : \"\" , \"base\" : [ ] }\n", putRequest{Text: []byte{}, Base: []string{}}, true},
		{`{"text":"a\n\"\\\/\b\f\r\t\u00e9\ud83d\ude00x"}`, putRequest{Text: []byte("a\n\"\\/\b\f\r\té😀x")}, true},
		{`{"text":null,"base":null}`, putRequest{}, true},
		{`{"TEXT":"a"}`, putRequest{Text: []byte("a")}, true},
		{`{"text":"a","text":"b"}`, putRequest{Text: []byte("b")}, true},
		{`{}`, putRequest{}, true},
		{`{"text":"\ud83d"}`, putRequest{}, false},
		{`{"text":"a","x":1}`, putRequest{}, false},
		{`{"text":"a"`, putRequest{}, false},
		{`{"text":"a",}`, putRequest{}, false},
		{`{"text":"a"}x`, putRequest{}, false},
		{"{\"text\":\"a\nb\"}", putRequest{}, false},
		{`{"text":"\x"}`, putRequest{}, false},
		{`{"base":["a",]}`, putRequest{}, false},
		{`{"base":["a"`, putRequest{}, false},
		{"", putRequest{}, false},
	}
	for _, tt := range tests {
		got, err := parsePut([]byte(tt.body))
		if (err == nil) != tt.ok || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v, want %+v, ok %v", tt.body, got, err, tt.want, tt.ok)
		}
	}
}

// FuzzParsePut holds the hand-written parser to what encoding/json says.
func FuzzParsePut(f *testing.F) {
	f.Add([]byte(`{"text":"a\nb","summary":"s","author":"a","base":["current"]}`))
	f.Add([]byte(`{"text":"\ud83d\ude00 \u0041"}`))
	f.Add([]byte(` { "base" : [ "a" , "b" ] , "text" : "" } `))
	f.Fuzz(func(t *testing.T, body []byte) {
		var fast putRequest
		before := string(body)
		p := putParser{rest: body}
		if !p.object(&fast) {
			if string(body) != before {
				t.Fatalf("the body was changed to %q", body)
			}
			return
		}
		var slow struct {
			Text, Summary, Author *string
			Base                  []string
		}
		if err := json.Unmarshal([]byte(before), &slow); err != nil {
			t.Fatalf("accepts %q, which is no JSON: %v", before, err)
		}
		if _, err := parsePut([]byte(before)); err != nil {
			return // not valid UTF-8
		}
		text := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		if text(slow.Text) != string(fast.Text) || text(slow.Summary) != fast.Summary || text(slow.Author) != fast.Author || len(slow.Base) != len(fast.Base) {
			t.Fatalf("%q: got %+v, encoding/json reads %q %q %q %q", before, fast, text(slow.Text), text(slow.Summary), text(slow.Author), slow.Base)
		}
		for i := range slow.Base {
			if slow.Base[i] != fast.Base[i] {
				t.Fatalf("%q: base %q, encoding/json reads %q", before, fast.Base, slow.Base)
			}
		}
	})
}
