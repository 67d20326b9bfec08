package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// ClickHouse's codes of the errors that this package raises or tells apart.
const (
	codeUnsupported     = 1
	codeBadArguments    = 36
	codeUnknownTable    = 60
	codeSyntaxError     = 62
	codeUnknownDatabase = 81
	codeReadonly        = 164
	codeTooManyQueries  = 202
	codeAborted         = 236
)

const (
	killInterval = 100 * time.Millisecond
	insertChunk  = 256 << 10 // bytes; the engine queues up to 16 of them

	// streamingNotSupported is in the engine's error for a statement that only gives its output whole.
	streamingNotSupported = "Streaming query is not supported"
)

// connection is a session of the engine. It runs one statement at a time, and
// costs about a tenth of a millisecond to make, so none is ever used for two
// requests: nothing one does (SET, USE, temporary tables) is seen by another.
type connection struct {
	lib    *library
	holder *uintptr
	handle uintptr
}

func (e *Engine) connect(arguments ...string) (*connection, error) {
	holder := e.lib.open(append(slices.Clone(e.arguments), arguments...))
	if holder == nil {
		return nil, &engineError{text: "the engine refused to connect; its reason is on stderr"}
	}
	return &connection{lib: e.lib, holder: holder, handle: *holder}, nil
}

func (c *connection) close() { c.lib.closeConnection(c.holder) }

func (c *connection) query(statement, format string, parameters []parameter) ([]byte, error) {
	return c.lib.query(c.handle, statement, format, parameters)
}

// session is a connection set up for one request. Its statement is killed when
// the context ends that it was made with.
type session struct {
	*connection
	release func()
}

// session waits for a free slot, connects, and applies the request's database
// and settings.
func (e *Engine) session(ctx context.Context, r *request) (*session, error) {
	select {
	case e.slots <- struct{}{}:
	case <-e.ctx.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for one of %d running statements to end: %w", maxStatements, context.Cause(ctx))
	}
	if e.ctx.Err() != nil {
		<-e.slots
		return nil, ErrClosed
	}
	// The mark names this session in system.processes.
	mark := fmt.Sprintf("reeve-%d ", e.nextMark.Add(1))
	c, err := e.connect("--log_comment=" + mark)
	if err != nil {
		<-e.slots
		return nil, err
	}
	unwatch := e.killWhenDone(ctx, mark, r.settings["readonly"] == "1")
	s := &session{connection: c, release: func() {
		unwatch()
		c.close()
		<-e.slots
	}}
	for _, statement := range r.preparations(mark) {
		if _, err := c.query(statement, "Null", nil); err != nil {
			s.release()
			return nil, err
		}
	}
	return s, nil
}

// stuckAfter is how long a statement may go on after it was killed for the first time.
var stuckAfter = 30 * time.Second

// killWhenDone kills what the marked session runs once ctx ends, or the engine
// closes, again and again until the function it gives is called. A statement does not
// end before the function that it is in: should a read-only one go on for too long,
// the engine is given up, as [ErrStuck].
func (e *Engine) killWhenDone(ctx context.Context, mark string, readOnly bool) (stop func()) {
	stopping := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-stopping:
			return
		case <-ctx.Done():
		case <-e.ctx.Done():
		}
		if readOnly && e.ctx.Err() == nil {
			// Beside the kills: they may be waited for in vain as well.
			defer time.AfterFunc(stuckAfter, e.giveUp).Stop()
		}
		for {
			// The first may come before the engine lists the statement.
			if err := e.kill(mark); err != nil {
				e.log.Warn("engine did not kill an abandoned statement", "error", err)
			}
			select {
			case <-stopping:
				return
			case <-time.After(killInterval):
			}
		}
	})
	return func() {
		close(stopping)
		watching.Wait()
	}
}

// giveUp has the engine's process end.
func (e *Engine) giveUp() {
	select {
	case e.stuck <- struct{}{}:
	default: // it ends already
	}
}

// alive returns when the engine has answered a statement, with whatever. It waits for
// no slot: others may run for long.
func (e *Engine) alive() {
	e.anchoring.Lock()
	defer e.anchoring.Unlock()
	if e.ctx.Err() != nil {
		return // it closes
	}
	// An error, say of its memory, is an answer as well.
	_, _ = e.anchor.query("SELECT 1", "Null", nil)
}

func (e *Engine) kill(mark string) error {
	e.anchoring.Lock()
	defer e.anchoring.Unlock()
	_, err := e.anchor.query("KILL QUERY WHERE startsWith(Settings['log_comment'], '"+mark+"') ASYNC FORMAT Null", "Null", nil)
	return err
}

// check refuses what is not one statement, and what changes anything where
// only reading is allowed. It gives the statement's class.
func (s *session) check(statement string, readOnly bool) (uint32, error) {
	a, err := s.lib.analyse(s.handle, statement)
	if err != nil {
		return 0, err
	}
	switch {
	case a.statements > 1:
		return 0, &engineError{code: codeSyntaxError,
			text: "Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)"}
	case a.class == classUnknown:
		// Run as it is, the statements before the faulty one would take effect.
		// The parser of INSERT takes one statement and says what is wrong with it.
		stream, err := s.lib.insert(s.handle, statement, "", nil)
		if err == nil {
			s.lib.insertDestroy(stream)
			err = &engineError{code: codeSyntaxError, text: "Code: 62. DB::Exception: The statement is of no known kind. (SYNTAX_ERROR)"}
		}
		var refused *engineError
		if errors.As(err, &refused) && refused.code != 0 {
			return 0, err
		}
		// It parses but the engine has no class for it: one statement all the same.
	}
	if readOnly && a.class != classReadOnly {
		return 0, &engineError{code: codeReadonly, text: "Code: 164. DB::Exception: A GET request may only read, use POST. (READONLY)"}
	}
	return a.class, nil
}

// run runs a statement and writes its output to w piece by piece.
func (s *session) run(statement, format string, parameters []parameter, class uint32, w io.Writer) error {
	if class == classReadOnly {
		stream, err := s.lib.stream(s.handle, statement, format, parameters)
		var refused *engineError
		switch {
		case err == nil:
			return s.forward(stream, w)
		case !errors.As(err, &refused) || !strings.Contains(refused.text, streamingNotSupported):
			return err
		}
		// SHOW, DESCRIBE, EXPLAIN and the like: not run yet, and small.
	}
	out, err := s.query(statement, format, parameters)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// forward writes a started statement's output to w, straight out of the
// engine's memory, and ends the statement.
func (s *session) forward(stream uintptr, w io.Writer) error {
	defer s.lib.resultDestroy(stream)
	for {
		more, err := s.forwardPiece(stream, w)
		if err != nil {
			s.lib.streamCancel(s.handle, stream)
			return err
		}
		if !more {
			return nil
		}
	}
}

func (s *session) forwardPiece(stream uintptr, w io.Writer) (more bool, err error) {
	piece := s.lib.streamFetch(s.handle, stream)
	if piece == 0 {
		return false, &engineError{text: "the engine gave no result"}
	}
	defer s.lib.resultDestroy(piece)
	if err := newEngineError(s.lib.resultError(piece)); err != nil {
		return false, err
	}
	length := s.lib.resultLength(piece)
	if length == 0 {
		return false, nil
	}
	_, err = w.Write(unsafe.Slice((*byte)(s.lib.resultBuffer(piece)), length))
	return true, err
}

// errReadData is the error of an INSERT whose data could not be read to its end.
var errReadData = errors.New("read the data of the INSERT")

// insert runs an INSERT with the data that r yields. Data that breaks off is
// not inserted, beyond whole blocks that the engine has written already.
func (s *session) insert(statement, format string, parameters []parameter, r io.Reader) error {
	stream, err := s.lib.insert(s.handle, statement, format, parameters)
	if err != nil {
		return err
	}
	defer s.lib.insertDestroy(stream)
	buf := make([]byte, insertChunk)
	for ended := false; !ended; {
		n, err := fill(r, buf)
		if err != nil && !errors.Is(err, io.EOF) {
			s.lib.insertCancel(stream)
			return fmt.Errorf("%w: %w", errReadData, err)
		}
		taken := s.lib.append(stream, buf[:n])
		ended = err != nil || !taken
	}
	_, err = s.lib.take(s.lib.insertDone(stream), nil) // tells what went wrong, if something did
	return err
}

// fill reads until buf is full or r gives an error; unlike with io.ReadFull
// data that broke off and data that ended can be told apart.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var read int
		read, err = r.Read(buf[n:])
		n += read
	}
	return n, err
}
