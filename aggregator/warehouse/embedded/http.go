package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
)

const (
	// maxStatementBytes bounds a statement, the values of its INSERT ... VALUES included.
	maxStatementBytes = 16 << 20
	// maxHeaderBytes bounds a request's head; statements of batches stand in the URL.
	maxHeaderBytes = 8 << 20
	// maxDrainBytes is how much of a failed INSERT's data is read all the same,
	// so that the client gets to read the answer.
	maxDrainBytes = 256 << 20

	exceptionCodeHeader = "X-ClickHouse-Exception-Code"
	exceptionTagHeader  = "X-ClickHouse-Exception-Tag"
	// alivePath is answered once the engine itself has answered something.
	alivePath = "/alive"
	// pidHeader tells, in the answer to /ping and to it, which process answers.
	pidHeader = "X-Reeve-Engine-Pid"

	// helloStatement is the first one of every connection of the driver.
	helloStatement = "SELECT displayName(), version(), revision(), timezone()"
)

// newServer serves e's handler; requests end when the engine closes.
func newServer(e *Engine) *http.Server {
	return &http.Server{
		Handler:           e.Handler(),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return e.ctx },
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
}

// refusal is an error of a request that never reached the engine.
type refusal struct {
	status int
	code   int // ClickHouse's, for the driver
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status, code int, format string, args ...any) error {
	return &refusal{status: status, code: code, err: fmt.Errorf(format, args...)}
}

func (e *Engine) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		w.Header().Set(pidHeader, strconv.Itoa(os.Getpid()))
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	if r.URL.Path == alivePath {
		w.Header().Set(pidHeader, strconv.Itoa(os.Getpid()))
		e.alive()
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	out := &output{w: w}
	err := e.serveStatement(out, r)
	if err == nil {
		return
	}
	if out.err != nil || r.Context().Err() != nil && e.ctx.Err() == nil {
		e.log.Debug("client of the engine went away", "error", err)
	}
	out.fail(err)
	if r.Body != nil && r.Context().Err() == nil {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrainBytes)
	}
}

// serveStatement runs the request's statement.
func (e *Engine) serveStatement(out *output, r *http.Request) error {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, codeUnsupported, "method %s: send statements by POST", r.Method)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, codeUnsupported,
			"Content-Encoding %q: the embedded engine does not compress, set the client's compression to none", encoding)
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" {
		return refuse(http.StatusUnsupportedMediaType, codeUnsupported, "the embedded engine takes no external tables")
	}
	parsed, err := parseRequest(r.Method, r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, codeBadArguments, "%w", err)
	}
	out.format = parsed.format
	if statement, format, ok := splitInsert(parsed.statement); ok {
		return e.serveInsert(r, parsed, statement, format)
	}

	body, err := io.ReadAll(io.LimitReader(r.Body, maxStatementBytes+1))
	if err != nil {
		return refuse(http.StatusBadRequest, codeBadArguments, "read the statement: %w", err)
	}
	statement := string(body)
	if parsed.statement != "" {
		statement = parsed.statement
		if len(body) > 0 {
			statement += "\n" + string(body)
		}
	}
	if len(statement) > maxStatementBytes {
		return refuse(http.StatusRequestEntityTooLarge, codeBadArguments,
			"the statement is longer than %d bytes: send the data of a large INSERT in the body and the statement as ?query=", maxStatementBytes)
	}
	if strings.TrimSpace(statement) == "" {
		return refuse(http.StatusBadRequest, codeSyntaxError, "the statement is empty")
	}
	if parsed.revision > 0 && strings.TrimSpace(statement) == helloStatement {
		return e.hello(out, parsed.revision)
	}

	s, err := e.session(r.Context(), parsed)
	if err != nil {
		return err
	}
	defer s.release()
	class, err := s.check(statement, parsed.readOnly)
	if err != nil {
		return err
	}
	return s.run(statement, parsed.format, parsed.parameters, class, out)
}

// serveInsert runs an INSERT with the request's body as its data.
func (e *Engine) serveInsert(r *http.Request, parsed *request, statement, format string) error {
	if parsed.readOnly {
		return refuse(http.StatusMethodNotAllowed, codeReadonly, "a GET request may only read, use POST")
	}
	s, err := e.session(r.Context(), parsed)
	if err != nil {
		return err
	}
	defer s.release()
	return s.insert(statement, format, parsed.parameters, r.Body)
}

// hello answers the driver's first statement. The driver reads this answer as
// the revision it asked for writes blocks, and all others as the revision that
// this answer names; the engine writes them as revision 0.
func (e *Engine) hello(w io.Writer, revision int) error {
	name, version, timezone := new(proto.ColStr), new(proto.ColStr), new(proto.ColStr)
	name.Append("reeve")
	version.Append(e.version)
	timezone.Append(e.timezone)
	block := proto.Block{Info: proto.BlockInfo{BucketNum: -1}, Columns: 4, Rows: 1}
	var buf proto.Buffer
	err := block.EncodeBlock(&buf, revision, []proto.InputColumn{
		{Name: "displayName()", Data: name},
		{Name: "version()", Data: version},
		{Name: "revision()", Data: &proto.ColUInt32{0}},
		{Name: "timezone()", Data: timezone},
	})
	if err != nil {
		return fmt.Errorf("encode the answer to the driver's first statement: %w", err)
	}
	_, err = w.Write(buf.Buf)
	return err
}

// output is the body of an answer that may still have to turn into an error.
type output struct {
	w      http.ResponseWriter
	format string
	tag    string // set once the first bytes are on their way
	err    error  // of writing to the client
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if o.tag == "" {
		o.tag = rand.Text()[:16]
		o.w.Header().Set("Content-Type", "application/octet-stream")
		o.w.Header().Set("X-ClickHouse-Format", o.format)
		o.w.Header().Set(exceptionTagHeader, o.tag)
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = err
	}
	return n, err
}

// fail ends the answer with an error: as status and message while nothing was
// written, in ClickHouse's frame for exceptions after that.
func (o *output) fail(err error) {
	status, code, text := describe(err)
	if o.tag != "" {
		if o.err != nil {
			return
		}
		message := text + "\n"
		var b bytes.Buffer
		fmt.Fprintf(&b, "\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", o.tag, message, len(message), o.tag)
		_, _ = o.w.Write(b.Bytes())
		return
	}
	o.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	o.w.Header().Set(exceptionCodeHeader, strconv.Itoa(code))
	o.w.WriteHeader(status)
	_, _ = io.WriteString(o.w, text+"\n")
}

// describe gives an error's HTTP status, ClickHouse code (never 0, by which the
// driver would not know the error) and message.
func describe(err error) (status, code int, text string) {
	status, code = http.StatusInternalServerError, codeAborted
	var fromEngine *engineError
	var refused *refusal
	switch {
	case errors.As(err, &fromEngine):
		if fromEngine.code != 0 {
			code = fromEngine.code
		}
		switch code {
		case codeUnknownTable, codeUnknownDatabase:
			status = http.StatusNotFound
		case codeSyntaxError:
			status = http.StatusBadRequest
		}
		if strings.HasPrefix(fromEngine.text, "Code: ") {
			return status, code, fromEngine.text
		}
	case errors.As(err, &refused):
		status, code = refused.status, refused.code
	case errors.Is(err, ErrClosed):
		status = http.StatusServiceUnavailable
	case errors.Is(err, errReadData):
		status, code = http.StatusBadRequest, codeAborted
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		status, code = http.StatusServiceUnavailable, codeTooManyQueries
	}
	return status, code, fmt.Sprintf("Code: %d. DB::Exception: %s", code, err)
}
