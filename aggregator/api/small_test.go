package api

import (
	"strings"
	"testing"
)

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
