package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"connectrpc.com/connect"

	"github.com/reeve-cloud/reeve/aggregator/registry"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	// maxPageToken has room for any key: names are at most 1 KiB each, and a key that is
	// JSON may need six bytes for one of them. It fits into a header or an address.
	maxPageToken = 24 << 10
)

// invalid returns the error for a field of a request.
func invalid(field, format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
}

// checkPageSize returns how many items a page has.
func checkPageSize(n int32) (int, error) {
	switch {
	case n < 0:
		return 0, invalid("page_size", "%d: must not be negative", n)
	case n == 0:
		return defaultPageSize, nil
	}
	return min(int(n), maxPageSize), nil
}

// A page token is where the next page of a list begins. It is opaque to clients and
// holds for one list with one filter. Its bytes are a version, a hash of the list's
// name, one of the filter, and the last key of the page before as it is.
const (
	pageTokenVersion = 2
	pageTokenHash    = 8
	pageTokenHeader  = 1 + 2*pageTokenHash
)

var (
	pageTokenEncoding = base64.RawURLEncoding.Strict()
	errPageToken      = errors.New("must be the next_page_token of the page before, unchanged")
)

func pageTokenStart(list, filter string) []byte {
	head := make([]byte, 0, pageTokenHeader)
	head = append(head, pageTokenVersion)
	for _, text := range []string{list, filter} {
		sum := sha256.Sum256([]byte(text))
		head = append(head, sum[:pageTokenHash]...)
	}
	return head
}

// encodePageToken returns the token of the page behind the key.
func encodePageToken(list, filter, after string) string {
	return pageTokenEncoding.EncodeToString(append(pageTokenStart(list, filter), after...))
}

// decodePageToken returns the key behind which the page begins: empty for the
// first one, whose token is empty.
func decodePageToken(token, list, filter string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	if len(token) > maxPageToken {
		return "", invalid("page_token", "%w", errPageToken)
	}
	data, err := pageTokenEncoding.DecodeString(token)
	if err != nil || len(data) <= pageTokenHeader || data[0] != pageTokenVersion {
		return "", invalid("page_token", "%w", errPageToken)
	}
	const listEnd = 1 + pageTokenHash
	head := pageTokenStart(list, filter)
	if !bytes.Equal(data[:listEnd], head[:listEnd]) {
		return "", invalid("page_token", "it belongs to another list")
	}
	if !bytes.Equal(data[listEnd:pageTokenHeader], head[listEnd:]) {
		return "", invalid("page_token", "it belongs to a list with another filter: begin again without it")
	}
	return string(data[pageTokenHeader:]), nil
}

// paged is a request for a page.
type paged interface {
	GetPageSize() int32
	GetPageToken() string
}

// page reads one page of a list of the registry: those objects that keep
// accepts. Objects that cannot be read are left out and logged.
func page[T any](
	ctx context.Context, s *Server, request paged, list, filter string,
	read func(ctx context.Context, after string) iter.Seq2[T, error], key func(T) string, keep func(T) bool,
) (items []T, next string, err error) {
	size, err := checkPageSize(request.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	after, err := decodePageToken(request.GetPageToken(), list, filter)
	if err != nil {
		return nil, "", err
	}
	for item, err := range readable(ctx, s, read(ctx, after)) {
		if err != nil {
			return nil, "", s.failed(ctx, "listing "+list, err)
		}
		if !keep(item) {
			continue
		}
		if len(items) == size {
			return items, encodePageToken(list, filter, key(items[size-1])), nil
		}
		items = append(items, item)
	}
	return items, "", nil
}

// readable leaves out of a list what is corrupt, and logs it.
func readable[T any](ctx context.Context, s *Server, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range list {
			if errors.Is(err, registry.ErrCorrupt) {
				s.failures.log(ctx, slog.LevelError, "an object of the registry is left out of a list", "error", err)
				continue
			}
			if !yield(item, err) {
				return
			}
		}
	}
}
