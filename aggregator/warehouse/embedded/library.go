package embedded

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb's C interface, as far as the engine needs it. Handles are
// opaque addresses in C memory; every result and stream has to be destroyed.
type library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv unsafe.Pointer) *uintptr
	closeConnection   func(connection *uintptr)

	queryN          func(connection uintptr, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr) uintptr
	queryWithParams func(connection uintptr, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	streamWithParams func(connection uintptr, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	streamFetch  func(connection, stream uintptr) uintptr
	streamCancel func(connection, stream uintptr)

	insertWithParams func(connection uintptr, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	insertAppend  func(stream uintptr, data unsafe.Pointer, length uintptr) int32
	insertDone    func(stream uintptr) uintptr
	insertCancel  func(stream uintptr)
	insertError   func(stream uintptr) string
	insertDestroy func(stream uintptr)

	classify func(connection uintptr, query unsafe.Pointer, queryLen uintptr, database unsafe.Pointer, databaseLen uintptr,
		analysis unsafe.Pointer) int32

	resultBuffer  func(result uintptr) unsafe.Pointer
	resultLength  func(result uintptr) uintptr
	resultError   func(result uintptr) string
	resultDestroy func(result uintptr)
}

// loaded holds the one library of this process: the engine inside cannot be
// unloaded, nor can a second copy work beside it.
var loaded struct {
	sync.Mutex
	path string
	lib  *library
}

// loadLibrary opens the shared library at path, once in a process.
func loadLibrary(path string) (*library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		if loaded.path != path {
			return nil, fmt.Errorf("load engine library %s: this process has loaded %s already", path, loaded.path)
		}
		return loaded.lib, nil
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine library %s: %w", path, err)
	}
	lib := &library{}
	for name, function := range map[string]any{
		"chdb_set_signal_handlers_enabled": &lib.setSignalHandlers,
		"chdb_connect":                     &lib.connect,
		"chdb_close_conn":                  &lib.closeConnection,
		"chdb_query_n":                     &lib.queryN,
		"chdb_query_with_params_n":         &lib.queryWithParams,
		"chdb_stream_query_with_params_n":  &lib.streamWithParams,
		"chdb_stream_fetch_result":         &lib.streamFetch,
		"chdb_stream_cancel_query":         &lib.streamCancel,
		"chdb_stream_insert_with_params_n": &lib.insertWithParams,
		"chdb_stream_append":               &lib.insertAppend,
		"chdb_stream_done":                 &lib.insertDone,
		"chdb_stream_cancel_insert":        &lib.insertCancel,
		"chdb_stream_insert_error":         &lib.insertError,
		"chdb_destroy_insert_stream":       &lib.insertDestroy,
		"chdb_classify_query_n":            &lib.classify,
		"chdb_result_buffer":               &lib.resultBuffer,
		"chdb_result_length":               &lib.resultLength,
		"chdb_result_error":                &lib.resultError,
		"chdb_destroy_query_result":        &lib.resultDestroy,
	} {
		address, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("load engine library %s: it lacks the function %s, so it is older than Reeve needs: %w", path, name, err)
		}
		purego.RegisterFunc(function, address)
	}
	// Signals belong to the Go runtime; this has to come before the first connection.
	lib.setSignalHandlers(0)
	loaded.path, loaded.lib = path, lib
	return lib, nil
}

// engineError is an error the engine answered a statement with.
type engineError struct {
	code int    // ClickHouse error code, 0 when the message names none
	text string // the engine's words: "Code: 60. DB::Exception: ..."
}

func (e *engineError) Error() string { return e.text }

var codePattern = regexp.MustCompile(`Code: (\d{1,9})\. `)

// newEngineError makes an error of what the engine said; nil of nothing.
func newEngineError(text string) error {
	if text == "" {
		return nil
	}
	e := &engineError{text: text}
	if at := codePattern.FindStringSubmatchIndex(text); at != nil {
		e.code, _ = strconv.Atoi(text[at[2]:at[3]])
		e.text = text[at[0]:] // without "Error fetching streaming results:" and the like
	}
	return e
}

// parameter is a value for a {name:Type} place in a statement, in the engine's
// escaped text form.
type parameter struct{ name, value string }

// cParameters are parameters in the arrays the C interface takes. They and
// what they point to stay pinned until the pinner is released.
type cParameters struct {
	names, nameLens, values, valueLens unsafe.Pointer
	count                              uintptr
}

func newCParameters(pinner *runtime.Pinner, parameters []parameter) cParameters {
	n := len(parameters)
	if n == 0 {
		return cParameters{}
	}
	names, values := make([]unsafe.Pointer, n), make([]unsafe.Pointer, n)
	nameLens, valueLens := make([]uintptr, n), make([]uintptr, n)
	for i, p := range parameters {
		names[i], nameLens[i] = cString(pinner, p.name)
		values[i], valueLens[i] = cString(pinner, p.value)
	}
	pinner.Pin(&names[0])
	pinner.Pin(&values[0])
	pinner.Pin(&nameLens[0])
	pinner.Pin(&valueLens[0])
	return cParameters{
		names: unsafe.Pointer(&names[0]), nameLens: unsafe.Pointer(&nameLens[0]),
		values: unsafe.Pointer(&values[0]), valueLens: unsafe.Pointer(&valueLens[0]),
		count: uintptr(n),
	}
}

// cString gives the address and length of a copy of s that ends in a zero byte.
func cString(pinner *runtime.Pinner, s string) (unsafe.Pointer, uintptr) {
	b := make([]byte, len(s)+1)
	copy(b, s)
	pinner.Pin(&b[0])
	return unsafe.Pointer(&b[0]), uintptr(len(s))
}

// open connects with the given arguments ("--name=value"). It gives the address
// of the connection's handle, nil when the engine refused; the engine tells
// why on stderr only.
func (l *library) open(arguments []string) *uintptr {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	argv := make([]unsafe.Pointer, len(arguments)+2)
	for i, argument := range append([]string{"reeve-engine"}, arguments...) {
		argv[i], _ = cString(&pinner, argument)
	}
	pinner.Pin(&argv[0])
	return l.connect(int32(len(arguments)+1), unsafe.Pointer(&argv[0]))
}

// take copies the result's bytes into buf (grown as needed), destroys it and
// gives its error, if it is one.
func (l *library) take(result uintptr, buf []byte) ([]byte, error) {
	if result == 0 {
		return buf[:0], &engineError{text: "the engine gave no result"}
	}
	defer l.resultDestroy(result)
	if err := newEngineError(l.resultError(result)); err != nil {
		return buf[:0], err
	}
	length := l.resultLength(result)
	if length == 0 {
		return buf[:0], nil
	}
	return append(buf[:0], unsafe.Slice((*byte)(l.resultBuffer(result)), length)...), nil
}

// query runs a statement to its end and gives its whole output.
func (l *library) query(connection uintptr, statement, format string, parameters []parameter) ([]byte, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	q, qn := cString(&pinner, statement)
	f, fn := cString(&pinner, format)
	if len(parameters) == 0 {
		return l.take(l.queryN(connection, q, qn, f, fn), nil)
	}
	p := newCParameters(&pinner, parameters)
	return l.take(l.queryWithParams(connection, q, qn, f, fn, p.names, p.nameLens, p.values, p.valueLens, p.count), nil)
}

// stream starts a statement whose output is fetched piece by piece.
func (l *library) stream(connection uintptr, statement, format string, parameters []parameter) (uintptr, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	q, qn := cString(&pinner, statement)
	f, fn := cString(&pinner, format)
	p := newCParameters(&pinner, parameters)
	stream := l.streamWithParams(connection, q, qn, f, fn, p.names, p.nameLens, p.values, p.valueLens, p.count)
	if stream == 0 {
		return 0, &engineError{text: "the engine gave no result"}
	}
	if err := newEngineError(l.resultError(stream)); err != nil {
		l.resultDestroy(stream)
		return 0, err
	}
	return stream, nil
}

// insert starts an INSERT whose data is appended piece by piece.
func (l *library) insert(connection uintptr, statement, format string, parameters []parameter) (uintptr, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	q, qn := cString(&pinner, statement)
	f, fn := cString(&pinner, format)
	p := newCParameters(&pinner, parameters)
	stream := l.insertWithParams(connection, q, qn, f, fn, p.names, p.nameLens, p.values, p.valueLens, p.count)
	if stream == 0 {
		return 0, &engineError{text: "the engine gave no result"}
	}
	if err := newEngineError(l.insertError(stream)); err != nil {
		l.insertDestroy(stream)
		return 0, err
	}
	return stream, nil
}

// append gives data to a started INSERT; the engine copies it. It blocks while
// the engine is behind, and reports false when the INSERT has failed.
func (l *library) append(stream uintptr, data []byte) bool {
	if len(data) == 0 {
		return true
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&data[0])
	return l.insertAppend(stream, unsafe.Pointer(&data[0]), uintptr(len(data))) == 0
}

// What the engine's parser says a statement does, ascending by consequence.
const (
	classReadOnly uint32 = iota
	classMutating
	classMutatingGlobal
	classControl // USE, SET, SYSTEM, KILL and the like
	classUnknown // does not parse
)

// analysis mirrors chdb_query_analysis_v1.
type analysis struct {
	structSize uint32
	statements uint32
	flags      uint32
	class      uint32
}

// analyse parses a statement without running it.
func (l *library) analyse(connection uintptr, statement string) (analysis, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	q, qn := cString(&pinner, statement)
	a := &analysis{structSize: uint32(unsafe.Sizeof(analysis{}))}
	pinner.Pin(a)
	if l.classify(connection, q, qn, nil, 0, unsafe.Pointer(a)) != 0 {
		return analysis{}, &engineError{text: "the engine could not analyse the statement"}
	}
	return *a, nil
}
