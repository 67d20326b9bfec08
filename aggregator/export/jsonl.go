package export

import (
	"bufio"
	"io"
	"time"
)

// jsonlEncoder writes an object a line, with all columns in their order.
type jsonlEncoder struct {
	out      *bufio.Writer
	location *time.Location
	// keys are the columns' names as JSON, with what stands before and after.
	keys [][]byte
	line []byte
}

func newJSONL(out io.Writer, o Options) *jsonlEncoder {
	return &jsonlEncoder{out: bufio.NewWriterSize(out, 64<<10), location: o.Location}
}

func (e *jsonlEncoder) table(_ string, columns []Column) error {
	for i, c := range columns {
		key := []byte{"{,"[min(i, 1)]}
		key, err := appendString(key, c.Name)
		if err != nil {
			return err
		}
		e.keys = append(e.keys, append(key, ':'))
	}
	return nil
}

func (e *jsonlEncoder) row(values []any) (err error) {
	e.line = e.line[:0]
	for i, v := range values {
		e.line = append(e.line, e.keys[i]...)
		if e.line, err = appendJSON(e.line, v, e.location, 0); err != nil {
			return err
		}
	}
	e.line = append(e.line, '}', '\n')
	_, err = e.out.Write(e.line)
	return err
}

func (e *jsonlEncoder) close() ([]string, error) { return nil, e.out.Flush() }
func (e *jsonlEncoder) discard() error           { return nil }
