package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// packageOf makes a package with these entries.
func packageOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(zipped)
	for _, h := range headers {
		content := library(t)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		h.Mode = 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// library is a library's content, which does not compress.
func library(t *testing.T) []byte {
	t.Helper()
	content := make([]byte, 100_000)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(content); err != nil {
		t.Fatal(err)
	}
	return content
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }

func pinOf(content []byte) Pin {
	hash := sha512.Sum512(content)
	return Pin{
		Version: "1.2.3", Name: "@chdb/lib-test", Size: int64(len(content)),
		Integrity: "sha512-" + base64.StdEncoding.EncodeToString(hash[:]),
	}
}

const source = "/npm/@chdb/lib-test/-/lib-test-1.2.3.tgz"

// serve answers for the package's address with h.
func serve(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+source, h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/npm/")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// content answers with these bytes, ranges included.
func content(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func fetcherOf(t *testing.T, pin Pin, registry *url.URL) *fetcher {
	t.Helper()
	return &fetcher{
		pin: pin, dir: filepath.Join(t.TempDir(), "engine"), registry: registry, client: http.DefaultClient,
		progress: t.Output(), pause: time.Millisecond, patience: time.Minute,
	}
}

// tree lists the files below a directory, but the one that is locked.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" {
			var name string
			name, err = filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wantLibrary wants the library and its marker in the directory, and nothing else.
func wantLibrary(t *testing.T, dir string) {
	t.Helper()
	if got, want := tree(t, dir), []string{Library, marker}; !slices.Equal(got, want) {
		t.Errorf("the directory has %q, want %q", got, want)
	}
	got, err := os.ReadFile(filepath.Join(dir, Library))
	if err != nil || !bytes.Equal(got, library(t)) {
		t.Errorf("the library is another (%d bytes, %v)", len(got), err)
	}
}

func TestFetch(t *testing.T) {
	whole := packageOf(t, file("package/package.json"), file(entry), file("package/index.js"))
	var asked atomic.Int32
	f := fetcherOf(t, pinOf(whole), serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		content(whole)(w, r)
	}))
	for range 2 {
		path, err := f.fetch(t.Context())
		if err != nil || path != filepath.Join(f.dir, Library) {
			t.Fatalf("got %q, %v", path, err)
		}
		wantLibrary(t, f.dir)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the registry was asked %d times for one package", n)
	}
	if info, err := os.Stat(filepath.Join(f.dir, Library)); err != nil || info.Mode() != 0o644 {
		t.Errorf("the library has mode %v, %v: not everybody can read it", info.Mode(), err)
	}

	// A library that is not the one that was unpacked is replaced, and so is one of another pin.
	if err := os.Truncate(filepath.Join(f.dir, Library), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLibrary(t, f.dir)
	if err := os.WriteFile(filepath.Join(f.dir, marker), []byte(`{"integrity":"sha512-of-another","size":100000}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLibrary(t, f.dir)
	if n := asked.Load(); n != 3 {
		t.Errorf("the registry was asked %d times, want 3", n)
	}
}

// TestFetchGoesOn interrupts transfers in several ways.
func TestFetchGoesOn(t *testing.T) {
	whole := packageOf(t, file(entry))
	third := len(whole) / 3
	for name, c := range map[string]struct {
		left    []byte // by an earlier run
		answers func(n int32, w http.ResponseWriter, r *http.Request)
		bytes   int // that the registry has to send at most
	}{
		"left by an earlier run":  {left: whole[:third], bytes: len(whole) - third},
		"all is there already":    {left: whole, bytes: 0},
		"too much is there":       {left: append(slices.Clone(whole), 1), bytes: len(whole)},
		"something else was left": {left: bytes.Repeat([]byte("x"), third), bytes: 2*len(whole) - third},
		"something else, as long": {left: bytes.Repeat([]byte("x"), len(whole)), bytes: len(whole)},
		"the connection ends twice": {answers: func(n int32, w http.ResponseWriter,
			r *http.Request) {
			content(whole)(cut(w, n <= 2, third), r)
		}, bytes: len(whole)},
		"it has no ranges": {left: whole[:third], answers: func(_ int32, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			content(whole)(w, r)
		}, bytes: len(whole)},
		"it answers another range": {left: whole[:third], answers: func(n int32, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				r.Header.Set("Range", "bytes=0-9")
			}
			content(whole)(w, r)
		}, bytes: len(whole) + 10},
		"it has no such range": {left: whole[:third], answers: func(n int32, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			content(whole)(w, r)
		}, bytes: len(whole)},
		"it is overloaded at first": {answers: func(n int32, w http.ResponseWriter, r *http.Request) {
			if n < attempts {
				w.WriteHeader([]int{503, 500, 429, 408}[n%4])
				return
			}
			content(whole)(w, r)
		}, bytes: len(whole)},
		"it falls silent": {answers: func(n int32, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
				_, _ = w.Write(whole[:third])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return
			}
			content(whole)(w, r)
		}, bytes: len(whole)},
	} {
		t.Run(name, func(t *testing.T) {
			var asked, sent atomic.Int32
			f := fetcherOf(t, pinOf(whole), serve(t, func(w http.ResponseWriter, r *http.Request) {
				n, counted := asked.Add(1), counter{w, &sent}
				if c.answers == nil {
					content(whole)(counted, r)
				} else {
					c.answers(n, counted, r)
				}
			}))
			f.patience = 2 * time.Second
			if c.left != nil {
				if err := errors.Join(os.MkdirAll(f.dir, 0o700), os.WriteFile(filepath.Join(f.dir, partialPackage), c.left, 0o600),
					os.WriteFile(filepath.Join(f.dir, partialLibrary), []byte("half"), 0o400)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.fetch(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantLibrary(t, f.dir)
			if n := int(sent.Load()); n > c.bytes {
				t.Errorf("the registry sent %d bytes, %d would do", n, c.bytes)
			}
		})
	}
}

// counter counts what is written as an answer's body.
type counter struct {
	http.ResponseWriter
	n *atomic.Int32
}

func (c counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int32(n))
	return n, err
}

func (c counter) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// cut ends the connection after so many bytes of the body.
func cut(w http.ResponseWriter, really bool, after int) http.ResponseWriter {
	if !really {
		return w
	}
	return &cutter{ResponseWriter: w, left: after}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func TestFetchRefuses(t *testing.T) {
	good := packageOf(t, file(entry))
	other := slices.Clone(good)
	other[len(other)/2] ^= 1
	for name, c := range map[string]struct {
		pin    Pin
		answer http.HandlerFunc
		want   string
		asked  int32 // how often the registry may be asked
		left   bool  // what has come is kept
	}{
		"another package":         {pin: pinOf(good), answer: content(other), want: "is not the pinned package", asked: 1},
		"it always ends too soon": {pin: pinOf(good), answer: content(good[:len(good)-1]), want: "ended after", asked: 2 * attempts, left: true},
		"it is not there":         {pin: pinOf(good), answer: http.NotFound, want: "404", asked: 1, left: true},
		"it wants a sign-in": {pin: pinOf(good), answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			want: "signing in", asked: 1, left: true},
		"it is out of order": {pin: pinOf(good), answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			want: "502", asked: attempts, left: true},
		"the library lies outside": {want: "has no package/libchdb.so", asked: 1, left: true,
			pin: pinOf(packageOf(t, file("../../"+Library), file("/tmp/"+Library), file("package/../../"+Library),
				file("package/sub/../"+Library))),
			answer: content(packageOf(t, file("../../"+Library), file("/tmp/"+Library), file("package/../../"+Library),
				file("package/sub/../"+Library)))},
		"the library is a link": {want: "is no file", asked: 1, left: true,
			pin:    pinOf(packageOf(t, tar.Header{Name: entry, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})),
			answer: content(packageOf(t, tar.Header{Name: entry, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}))},
		"the archive ends too soon": {pin: pinOf(good[:len(good)/2]), answer: content(good[:len(good)/2]), want: "unexpected EOF", asked: 1,
			left: true},
		"it is no archive": {pin: pinOf([]byte("hello, world")), answer: content([]byte("hello, world")), want: "gzip", asked: 1,
			left: true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			f := fetcherOf(t, c.pin, serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			}))
			_, err := f.fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if n := asked.Load(); n > c.asked {
				t.Errorf("the registry was asked %d times, %d would do", n, c.asked)
			}
			var want []string
			if c.left {
				want = []string{filepath.Join("engine", partialPackage)}
			}
			if got := tree(t, filepath.Dir(f.dir)); !slices.Equal(got, want) {
				t.Errorf("there is %q, want %q", got, want)
			}
		})
	}
}

// TestFetchFromFile takes a package that was brought on another way.
func TestFetchFromFile(t *testing.T) {
	whole := packageOf(t, file(entry))
	brought := filepath.Join(t.TempDir(), "brought.tgz")
	for _, c := range []struct {
		content []byte
		good    bool
	}{{whole[:len(whole)-1], false}, {append(slices.Clone(whole), 0), false}, {bytes.Repeat([]byte{1}, len(whole)), false}, {whole, true}} {
		if err := os.WriteFile(brought, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		f := fetcherOf(t, pinOf(whole), nil)
		f.from = brought
		_, err := f.fetch(t.Context())
		if c.good && err != nil || !c.good && !errors.Is(err, errNotPinned) {
			t.Errorf("%d bytes: got %v", len(c.content), err)
		}
		if c.good {
			wantLibrary(t, f.dir)
		} else if got := tree(t, f.dir); len(got) > 0 {
			t.Errorf("%d bytes: there is %q", len(c.content), got)
		}
		if _, err := os.Stat(brought); err != nil {
			t.Error(err)
		}
	}
}

// TestFetchAtOnce has several fetch into one directory, and one that does not wait.
func TestFetchAtOnce(t *testing.T) {
	whole := packageOf(t, file(entry))
	var asked atomic.Int32
	begun, goOn := make(chan struct{}), make(chan struct{})
	f := fetcherOf(t, pinOf(whole), serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			close(begun)
		}
		<-goOn
		content(whole)(w, r)
	}))
	errs := make([]error, 5)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			one := *f
			_, errs[i] = one.fetch(t.Context())
		})
	}
	<-begun
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.fetch(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the one that does not wait: %v", err)
	}
	close(goOn)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	wantLibrary(t, f.dir)
	if n := asked.Load(); n != 1 {
		t.Errorf("the registry was asked %d times", n)
	}
}

// TestFetchInterrupted keeps what has come.
func TestFetchInterrupted(t *testing.T) {
	whole := packageOf(t, file(entry))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := fetcherOf(t, pinOf(whole), serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		_, _ = w.Write(whole[:1000])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	if _, err := f.fetch(ctx); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "HTTPS_PROXY") {
		t.Errorf("got %v", err)
	}
	if got := tree(t, f.dir); !slices.Equal(got, []string{partialPackage}) {
		t.Errorf("there is %q", got)
	}
}
