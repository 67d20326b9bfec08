package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/wire"
)

// TestPageTokenOfAnyKey has the longest keys there can be, in their worst spelling.
func TestPageTokenOfAnyKey(t *testing.T) {
	longest := strings.Repeat("<", wire.MaxName)
	event, err := json.Marshal((&warehouse.ReceivedEvent{Event: warehouse.Event{Origin: warehouse.Origin{Site: strings.Repeat("x", 63)},
		ID: longest, Source: longest}}).Key())
	if err != nil {
		t.Fatal(err)
	}
	filter := strings.Repeat("f", 100_000)
	for name, key := range map[string]string{
		"asset": strings.Join([]string{strings.Repeat("x", 63), longest, longest}, "\x1f"), "type": longest, "event": string(event),
		"bytes": "\x00\xff" + longest,
	} {
		token := encodePageToken(name, filter, key)
		if after, err := decodePageToken(token, name, filter); err != nil || after != key {
			t.Errorf("%s: a token of %d bytes: %v", name, len(token), err)
		}
		if _, err := decodePageToken(token, "another", filter); err == nil || !strings.Contains(err.Error(), "another list") {
			t.Errorf("%s: for another list: %v", name, err)
		}
		if _, err := decodePageToken(token, name, ""); err == nil || !strings.Contains(err.Error(), "another filter") {
			t.Errorf("%s: with another filter: %v", name, err)
		}
	}
}

func FuzzPageToken(f *testing.F) {
	f.Add(encodePageToken("sites", "", "lab"))
	f.Add(encodePageToken("sites", "x", "lab"))
	f.Add("")
	f.Add("e30")
	f.Add("garbage!")
	f.Fuzz(func(t *testing.T, token string) {
		after, err := decodePageToken(token, "sites", "")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "invalid_argument: page_token: ") {
				t.Errorf("error %v", err)
			}
			return
		}
		if token == "" {
			if after != "" {
				t.Errorf("the first page begins after %q", after)
			}
			return
		}
		again, err := decodePageToken(encodePageToken("sites", "", after), "sites", "")
		if err != nil || again != after {
			t.Errorf("%q: %q comes back as %q, %v", token, after, again, err)
		}
	})
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer id.SECRET")
	f.Add("bearer  id.SECRET ")
	f.Add("Basic YTpi")
	f.Add("Bearer")
	f.Add("")
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, err := parseBearer(header)
		if err != nil {
			if id != "" || secret != "" {
				t.Error("half a token with an error")
			}
			return
		}
		if !isTokenPart(id) || !isTokenPart(secret) {
			t.Errorf("%q, %q", id, secret)
		}
		id2, secret2, err := parseBearer("Bearer " + formatBearer(id, secret))
		if err != nil || id2 != id || secret2 != secret {
			t.Errorf("%q.%q comes back as %q.%q, %v", id, secret, id2, secret2, err)
		}
	})
}
