package client_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/reeve-cloud/reeve/tui/client"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"reeve.example.org:8443":       "https://reeve.example.org:8443",
		"https://Reeve.Example.org:1/": "https://reeve.example.org:1",
		"https://reeve.example.org":    "https://reeve.example.org:443",
		"10.0.0.1:8443":                "https://10.0.0.1:8443",
		"[fd00::1]:8443":               "https://[fd00::1]:8443",
		"":                             "",
		"reeve.example.org":            "",
		"http://reeve.example.org:80":  "",
		"ftp://reeve.example.org:21":   "",
		"https://":                     "",
		"https://user@host:1":          "",
		"host:1/path":                  "",
		"host:1?x":                     "",
		"host:0":                       "",
		"host:65536":                   "",
		"host:https":                   "",
		":8443":                        "",
		"fd00::1":                      "",
		"host:1\n":                     "",
	} {
		got, err := client.ParseServer(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseServer(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestCheckToken(t *testing.T) {
	for token, ok := range map[string]bool{
		"abc.DEF-123_~+/=":           true,
		"":                           false,
		"two words":                  false,
		"line\nline":                 false,
		"t\u00f6ken":                 false,
		strings.Repeat("x", 100_000): false,
	} {
		err := client.CheckToken(token)
		if (err == nil) != ok {
			t.Errorf("CheckToken(%.20q) = %v", token, err)
		}
		if err != nil && token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
}

func TestNewErrors(t *testing.T) {
	for name, o := range map[string]client.Options{
		"server": {Server: "nowhere", Token: "t"},
		"token":  {Server: "host:1"},
		"hash":   {Server: "host:1", Token: "t", CAHash: "sha256:1"},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// numbers is a list of n items that gives out at most most at a time.
func numbers(n, most int, asked *[]int32) client.PageFunc[int] {
	return func(_ context.Context, size int32, token string) ([]int, string, error) {
		*asked = append(*asked, size)
		start, _ := strconv.Atoi(token)
		var page []int
		for i := start; i < min(n, start+most); i++ {
			page = append(page, i)
		}
		if start+most >= n {
			return page, "", nil
		}
		return page, strconv.Itoa(start + most), nil
	}
}

func TestPages(t *testing.T) {
	for name, test := range map[string]struct {
		n, most, limit int
		want           int
		asked          []int32
	}{
		"all":             {n: 25, most: 10, want: 25, asked: []int32{10, 10, 10}},
		"none":            {n: 0, most: 10, want: 0, asked: []int32{10}},
		"limit":           {n: 25, most: 10, limit: 12, want: 12, asked: []int32{10, 2}},
		"limit of a page": {n: 25, most: 10, limit: 10, want: 10, asked: []int32{10}},
		"small pages":     {n: 25, most: 3, limit: 5, want: 5, asked: []int32{5, 2}},
		"past the end":    {n: 4, most: 10, limit: 9, want: 4, asked: []int32{9}},
		"big pages":       {n: 25, most: 25, limit: 7, want: 7, asked: []int32{7}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			var asked []int32
			err := client.Pages(t.Context(), test.limit, 10, numbers(test.n, test.most, &asked), func(page []int) error {
				got = append(got, page...)
				return nil
			})
			if err != nil || len(got) != test.want || !slices.Equal(asked, test.asked) {
				t.Errorf("got %d items with pages of %v, %v", len(got), asked, err)
			}
			for i, v := range got {
				if i != v {
					t.Fatalf("out of order: %v", got)
				}
			}
		})
	}
}

func TestPagesErrors(t *testing.T) {
	same := func(context.Context, int32, string) ([]int, string, error) { return nil, "same", nil }
	if err := client.Pages(t.Context(), 0, 10, same, func([]int) error { return nil }); err == nil {
		t.Error("a server that repeats itself was believed")
	}
	failed := errors.New("failed")
	fetch := func(context.Context, int32, string) ([]int, string, error) { return nil, "", failed }
	if err := client.Pages(t.Context(), 0, 10, fetch, func([]int) error { return nil }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	var asked []int32
	if err := client.Pages(t.Context(), 0, 10, numbers(3, 1, &asked), func([]int) error { return failed }); !errors.Is(err, failed) ||
		len(asked) != 1 {
		t.Errorf("got %v after %v", err, asked)
	}
}
