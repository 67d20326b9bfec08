package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
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
	maxPageToken    = 4 << 10
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

// pageToken is where the next page of a list begins. It is opaque to clients and
// holds for one list with one filter.
type pageToken struct {
	Version int    `json:"v"`
	List    string `json:"l"`
	Filter  string `json:"f,omitempty"`
	// After is the last key of the page before.
	After string `json:"a"`
}

var (
	pageTokenEncoding = base64.RawURLEncoding.Strict()
	errPageToken      = errors.New("must be the next_page_token of the page before, unchanged")
)

// encodePageToken returns the token of the page behind the key.
func encodePageToken(list, filter, after string) string {
	data, err := json.Marshal(pageToken{Version: 1, List: list, Filter: filter, After: after})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return pageTokenEncoding.EncodeToString(data)
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
	if err != nil {
		return "", invalid("page_token", "%w", errPageToken)
	}
	var t pageToken
	if err := json.Unmarshal(data, &t); err != nil || t.Version != 1 || t.After == "" {
		return "", invalid("page_token", "%w", errPageToken)
	}
	if t.List != list {
		return "", invalid("page_token", "it belongs to another list")
	}
	if t.Filter != filter {
		return "", invalid("page_token", "it belongs to a list with another filter: begin again without it")
	}
	return t.After, nil
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
