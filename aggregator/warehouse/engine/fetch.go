package engine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
	"github.com/reeve-cloud/reeve/pkg/dirlock"
	"github.com/reeve-cloud/reeve/pkg/retry"
)

const (
	// marker says what was unpacked, so that it need not be fetched to be compared.
	marker = "verified.json"
	// partialPackage and partialLibrary are what a fetch that was killed leaves. The
	// next one goes on with the first and replaces the second.
	partialPackage = "package.tgz.partial"
	partialLibrary = Library + ".partial"

	// entry is the library's name in its package.
	entry = "package/" + Library

	// attempts is how often in a row a transfer may bring nothing.
	attempts = 5
	// patience is how long a transfer may stand still.
	patience = time.Minute
	// progressEvery is how often something is said of a slow transfer.
	progressEvery = 15 * time.Second

	ownCopy = "or bring the package as a file with --from, or a copy of " + Library + " with CHDB_LIB_PATH"
)

// errNotPinned is the error of a package that is another than the pinned one.
var errNotPinned = errors.New("not the pinned package")

// finalError is one that trying again does not mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// Options say where the library comes from and goes to.
type Options struct {
	// Dir is the directory for the library; empty: the one in the cache, and
	// nothing is fetched if CHDB_LIB_PATH names a copy.
	Dir string
	// From is a file that has the package; empty: it comes from the npm registry,
	// by npm's settings for registry and proxy.
	From string
	// Progress is for what people read meanwhile, a line each.
	Progress io.Writer
}

// Fetch makes sure that the pinned library lies in a directory, and returns the
// absolute path of it. Of two at once one waits for the other. A fetch that was
// killed leaves nothing that counts as a library, and the next one goes on where
// it ended. At all times the directory has a whole library or none.
func Fetch(ctx context.Context, o Options) (string, error) {
	if o.Dir == "" && o.From == "" && os.Getenv("CHDB_LIB_PATH") != "" {
		return Find("")
	}
	pin, err := Pinned()
	if err != nil {
		return "", err
	}
	dir := o.Dir
	if dir == "" {
		dir, err = cacheDir()
	} else {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	f := fetcher{pin: pin, dir: dir, from: o.From, progress: o.Progress, pause: time.Second, patience: patience}
	if o.From == "" {
		settings, err := readNpmSettings(os.Environ())
		if err != nil {
			return "", err
		}
		scope, _, _ := strings.Cut(pin.Name, "/")
		if f.registry, err = settings.registry(scope); err != nil {
			return "", err
		}
		if f.client, err = settings.client(); err != nil {
			return "", err
		}
	}
	return f.fetch(ctx)
}

type fetcher struct {
	pin      Pin
	dir      string
	from     string // a file, or empty for the registry
	registry *url.URL
	client   *http.Client
	progress io.Writer
	pause    time.Duration // before a transfer is tried again, at first
	patience time.Duration // with a transfer that stands still
}

func (f *fetcher) say(format string, args ...any) {
	fmt.Fprintf(f.progress, "engine: "+format+"\n", args...)
}

func (f *fetcher) fetch(ctx context.Context) (string, error) {
	path := filepath.Join(f.dir, Library)
	if f.isReady() {
		return path, nil
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", fmt.Errorf("make the engine's directory: %w", err)
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if f.isReady() { // another one was at it
		return path, nil
	}

	if f.from != "" {
		f.say("checking %s", f.from)
		if err := f.check(ctx, f.from); err != nil {
			return "", err
		}
		if err := f.unpack(ctx, f.from); err != nil {
			return "", err
		}
	} else {
		partial := filepath.Join(f.dir, partialPackage)
		if err := f.download(ctx, partial); err != nil {
			return "", err
		}
		if err := f.unpack(ctx, partial); err != nil {
			return "", err
		}
		if err := os.Remove(partial); err != nil {
			return "", fmt.Errorf("remove the unpacked package: %w", err)
		}
	}
	f.say("ready: %s", path)
	return path, nil
}

// isReady tells whether the directory holds the pinned library.
func (f *fetcher) isReady() bool {
	text, err := os.ReadFile(filepath.Join(f.dir, marker))
	if err != nil {
		return false
	}
	var m markerFile
	info, err := os.Stat(filepath.Join(f.dir, Library))
	return err == nil && json.Unmarshal(text, &m) == nil && m.Integrity == f.pin.Integrity && m.Size == info.Size()
}

// markerFile is what is unpacked: the package's hash, and the library's size.
type markerFile struct {
	Integrity string `json:"integrity"`
	Size      int64  `json:"size"`
}

// lock holds the directory until unlock is called or this process ends.
func (f *fetcher) lock(ctx context.Context) (unlock func(), err error) {
	for waiting := false; ; waiting = true {
		lock, err := dirlock.Take(f.dir)
		if err == nil {
			return func() { _ = lock.Release() }, nil
		}
		if !errors.Is(err, dirlock.ErrHeld) {
			return nil, err
		}
		if !waiting {
			f.say("another process fetches it into %s; waiting for that", f.dir)
		}
		if err := retry.Sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// download brings the pinned package into a file, going on with what is there.
func (f *fetcher) download(ctx context.Context, path string) error {
	source, err := f.source()
	if err != nil {
		return err
	}
	var left int64
	if info, err := os.Stat(path); err == nil {
		left = info.Size()
	}
	f.say("fetching %s@%s (%s) from %s", f.pin.Name, f.pin.Version, megabytes(f.pin.Size), f.registry.Redacted())
	if err := f.transferAll(ctx, source, path); err != nil {
		err = fmt.Errorf("fetch the ClickHouse engine from %s: %w", source.Redacted(), err)
		if _, local := errors.AsType[*fs.PathError](err); local || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w. Check that the registry can be reached (npm_config_registry and .npmrc name it, HTTPS_PROXY a proxy), %s", err,
			ownCopy)
	}
	f.say("checking it")
	err = f.check(ctx, path)
	if errors.Is(err, errNotPinned) {
		if err := os.Remove(path); err != nil {
			return err
		}
		if left > 0 {
			f.say("what an earlier run has left does not fit; beginning anew")
			return f.download(ctx, path)
		}
	}
	return err
}

// source is the package's address. It is the same in every registry that has
// the public one's packages.
func (f *fetcher) source() (*url.URL, error) {
	_, base, scoped := strings.Cut(f.pin.Name, "/")
	if !scoped {
		return nil, fmt.Errorf("the pinned package %s has no scope", f.pin.Name)
	}
	return f.registry.JoinPath(f.pin.Name, "-", base+"-"+f.pin.Version+".tgz"), nil
}

// transferAll transfers until all is there, or nothing comes any more.
func (f *fetcher) transferAll(ctx context.Context, source *url.URL, path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return finalError{err}
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	pauses := retry.BackOff(f.pause, 15*f.pause)
	for failures, most := 0, int64(0); ; {
		have, err := f.transfer(ctx, source, file)
		if err == nil {
			return nil
		}
		if failures++; have > most {
			failures, most = 1, have
			pauses.Reset()
		}
		if _, final := errors.AsType[finalError](err); final || ctx.Err() != nil || failures == attempts {
			return err
		}
		f.say("%v; trying again", err)
		if err := retry.Sleep(ctx, pauses.NextBackOff()); err != nil {
			return err
		}
	}
}

// transfer asks for what the file lacks, appends it, and returns the file's size.
func (f *fetcher) transfer(ctx context.Context, source *url.URL, file *os.File) (have int64, err error) {
	if have, err = file.Seek(0, io.SeekEnd); err == nil && have > f.pin.Size {
		have, err = startOver(file)
	}
	if err != nil {
		return have, finalError{err}
	}
	if have == f.pin.Size {
		return have, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source.String(), nil)
	if err != nil {
		return have, err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	response, err := f.client.Do(request)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the address is said once, by the caller
		}
		return have, err
	}
	defer response.Body.Close()
	switch begin := fmt.Sprintf("bytes %d-", have); {
	case response.StatusCode == http.StatusPartialContent && have > 0 && strings.HasPrefix(response.Header.Get("Content-Range"), begin):
	case response.StatusCode == http.StatusOK:
		have, err = startOver(file)
	case response.StatusCode == http.StatusPartialContent, response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		have, err = startOver(file)
		return have, errors.Join(fmt.Errorf("the registry has no rest of what is here (%s)", response.Status), err)
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		return have, finalError{fmt.Errorf("the registry answered %s; signing in to one is not done here", response.Status)}
	case response.StatusCode >= 400 && response.StatusCode < 500 &&
		response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusRequestTimeout:
		return have, finalError{fmt.Errorf("the registry answered %s", response.Status)}
	default:
		return have, fmt.Errorf("the registry answered %s", response.Status)
	}
	if err != nil {
		return have, finalError{err}
	}

	stalled := time.AfterFunc(f.patience, func() { cancel(fmt.Errorf("nothing has come for %s", f.patience)) })
	defer stalled.Stop()
	buffer := make([]byte, 256<<10)
	for said := time.Now(); have < f.pin.Size; {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), f.pin.Size-have)])
		if n > 0 {
			stalled.Reset(f.patience)
			if _, err := file.Write(buffer[:n]); err != nil {
				return have, finalError{err}
			}
			have += int64(n)
		}
		if time.Since(said) > progressEvery {
			said = time.Now()
			f.say("%s of %s", megabytes(have), megabytes(f.pin.Size))
		}
		if err != nil && have < f.pin.Size {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return have, fmt.Errorf("the transfer ended after %d of %d bytes: %w", have, f.pin.Size, err)
		}
	}
	return have, nil
}

func startOver(file *os.File) (int64, error) {
	if err := file.Truncate(0); err != nil {
		return 0, err
	}
	return file.Seek(0, io.SeekStart)
}

// check compares a file with the pin.
func (f *fetcher) check(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check the engine's package: %w", err)
	}
	defer file.Close()
	hash := sha512.New()
	// One byte more than is right is as wrong as a gigabyte.
	size, err := io.Copy(hash, io.LimitReader(interruptible{ctx, file}, f.pin.Size+1))
	if err != nil {
		return fmt.Errorf("check the engine's package: %w", err)
	}
	if size != f.pin.Size {
		return fmt.Errorf("%s is %w %s@%s: it has not the %d bytes of that", path, errNotPinned, f.pin.Name, f.pin.Version, f.pin.Size)
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != f.pin.Integrity {
		return fmt.Errorf("%s is %w %s@%s and is not used: its hash is %s, pinned is %s. The registry or something on the way to it gave "+
			"another file, %s",
			path, errNotPinned, f.pin.Name, f.pin.Version, got, f.pin.Integrity, ownCopy)
	}
	return nil
}

// unpack puts the library of a checked package into the directory. Nothing else
// of the package is written, whatever its entries are called.
func (f *fetcher) unpack(ctx context.Context, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack the engine's package: %w", err)
		}
	}()
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := gzip.NewReader(interruptible{ctx, file})
	if err != nil {
		return err
	}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it has no %s", entry)
		}
		if err != nil {
			return err
		}
		if header.Name != entry {
			continue
		}
		if header.Typeflag != tar.TypeReg {
			return fmt.Errorf("its %s is no file", entry)
		}
		f.say("unpacking it (%s)", megabytes(header.Size))
		return f.place(archive, header.Size)
	}
}

// place writes the library beside its place, and puts it there when it is whole
// and on disk.
func (f *fetcher) place(library io.Reader, size int64) (err error) {
	partial := filepath.Join(f.dir, partialLibrary)
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial))
		}
	}()
	_, err = io.CopyN(file, library, size)
	if err == nil {
		err = file.Chmod(0o644) // for all, whatever the umask is
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial, filepath.Join(f.dir, Library)); err != nil {
		return err
	}
	text, err := json.Marshal(markerFile{Integrity: f.pin.Integrity, Size: size})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(f.dir, marker), append(text, '\n'), 0o644)
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(b []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(b)
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
