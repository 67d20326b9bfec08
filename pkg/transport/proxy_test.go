package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const password = "s3cret-of-the-proxy"

// answering is a proxy that reads one request and lets answer do the rest.
func answering(t *testing.T, answer func(conn net.Conn, r *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err == nil {
					answer(conn, r)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// saying is a proxy that always gives one answer.
func saying(t *testing.T, text string) string {
	return answering(t, func(conn net.Conn, _ *http.Request) { io.WriteString(conn, text) })
}

// proper is a proxy that does as it is told, by the right user.
func proper(t *testing.T) string {
	return answering(t, func(conn net.Conn, r *http.Request) {
		user, pass, ok := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		switch {
		case r.Method != http.MethodConnect:
			io.WriteString(conn, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
			return
		case !ok || user != "reeve" || pass != password:
			io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		defer to.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(to, conn)
		io.Copy(conn, to)
	})
}

func TestDialThrough(t *testing.T) {
	// What is behind the proxies answers a word and closes.
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	go func() {
		for {
			conn, err := behind.Accept()
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, 1))
			io.WriteString(conn, "through")
			conn.Close()
		}
	}()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for name, test := range map[string]struct {
		proxy string
		user  *url.Userinfo
		to    string
		want  string // in the error; none if empty
	}{
		"no proxy":         {},
		"with credentials": {proxy: proper(t), user: url.UserPassword("reeve", password)},
		"without":          {proxy: proper(t), want: "give it proxy_credentials_file"},
		"with wrong ones":  {proxy: proper(t), user: url.UserPassword("reeve", password+"x"), want: "does not accept the user and password"},
		"nobody behind it": {proxy: proper(t), user: url.UserPassword("reeve", password), to: closed.Addr().String(), want: "502 Bad Gateway"},
		"no credentials":   {proxy: saying(t, "HTTP/1.0 200 OK\r\nVia: old\r\n\r\n"), want: "-"},
		"forbidden":        {proxy: saying(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n"), want: "403"},
		"not HTTP":         {proxy: saying(t, "220 mail.example.com ESMTP\r\n"), want: "no answer of HTTP"},
		"hangs up":         {proxy: saying(t, ""), want: "no answer of HTTP"},
		"without end":      {proxy: saying(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: b\r\n", 1<<20)), want: "no answer of HTTP"},
		"too much":         {proxy: saying(t, "HTTP/1.1 200 OK\r\n\r\nhello"), want: "more than its answer"},
		"says nothing":     {proxy: answering(t, func(conn net.Conn, _ *http.Request) { io.Copy(io.Discard, conn) }), want: "no answer"},
		"nobody there":     {proxy: closed.Addr().String(), want: "reaching the proxy"},
		"redirects":        {proxy: saying(t, "HTTP/1.1 302 Found\r\nLocation: http://portal.example.com\r\n\r\n"), want: "302 Found"},
		"created":          {proxy: saying(t, "HTTP/1.1 201 Created\r\n\r\n"), want: "-"},
		"no content":       {proxy: saying(t, "HTTP/1.1 204 No Content\r\n\r\n"), want: "-"},
		"informed first": {proxy: saying(t,
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), want: "-"},
		"informed for ever": {proxy: saying(t, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1<<14)), want: "no answer of HTTP"},
		"informed, refused": {proxy: saying(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n"), want: "403"},
		"another protocol":  {proxy: saying(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), want: "101"},
		"answers, informed": {proxy: saying(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), want: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 30 * time.Second
			if name == "says nothing" {
				timeout = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			var proxy Proxy
			if test.proxy != "" {
				proxy = FixedProxy(&url.URL{Scheme: "http", Host: test.proxy, User: test.user})
			}
			if test.to == "" {
				test.to = behind.Addr().String()
			}
			conn, err := DialThrough(ctx, test.to, proxy)
			if err == nil {
				defer conn.Close()
			}
			switch {
			case test.want == "-":
				if err != nil {
					t.Fatal(err) // there is nothing behind it that speaks
				}
				return
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				} else if strings.Contains(err.Error(), password) {
					t.Errorf("the password is in the error: %v", err)
				}
				if name == "says nothing" && !errors.Is(err, ErrNoAnswer) {
					t.Errorf("%v is not %v", err, ErrNoAnswer)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("?")); err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(conn); err != nil || string(data) != "through" {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
}

func TestDialThroughEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	at := answering(t, func(conn net.Conn, _ *http.Request) {
		cancel()
		io.Copy(io.Discard, conn)
	})
	if _, err := DialThrough(ctx, "reeve.example:8443", FixedProxy(&url.URL{Scheme: "http", Host: at})); err == nil {
		t.Error("it connected")
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("NO_PROXY", "direct.example,10.0.0.0/8")
	t.Setenv("REQUEST_METHOD", "")
	proxy := ProxyFromEnvironment()
	for address, want := range map[string]string{
		"reeve.example:8443":  "http://proxy.example:3128",
		"direct.example:8443": "",
		"10.1.2.3:8443":       "",
		"127.0.0.1:8443":      "",
	} {
		u, err := proxy.For(address)
		got := ""
		if u != nil {
			got = u.String()
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
	t.Setenv("HTTPS_PROXY", "http://reeve:"+password+"@proxy.example:not-a-port")
	if _, err := ProxyFromEnvironment().For("reeve.example:8443"); err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the password is in the error: %v", err)
	}
}

func TestCheckProxy(t *testing.T) {
	for text, good := range map[string]bool{
		"http://proxy.example:3128": true, "https://proxy.example": true, "http://u:p@proxy.example:3128/": true,
		"socks5://proxy.example:1080": false, "http://": false, "http://proxy.example/path": false, "http://proxy.example?x": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckProxy(u); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCut(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", 501), strings.Repeat("ü", 251), strings.Repeat("x", 499) + "ü",
		strings.Repeat("x", 498) + "€", "a\xffb"} {
		got := cut(text)
		if len(got) > closeErrorLimit || len(got) < min(len(text), closeErrorLimit)-3 || !utf8.ValidString(got) ||
			strings.HasPrefix(text, got) == strings.Contains(text, "\xff") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
