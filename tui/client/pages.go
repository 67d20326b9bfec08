package client

import (
	"context"
	"errors"
)

// PageFunc asks for one page of at most size items and returns it with the token
// of the next one.
type PageFunc[T any] func(ctx context.Context, size int32, token string) (page []T, next string, err error)

// Pages hands the pages of a list to use, in order, until limit items are
// through. A limit of zero means all. No page has more than size items.
func Pages[T any](ctx context.Context, limit int, size int32, fetch PageFunc[T], use func([]T) error) error {
	token := ""
	for done := 0; limit == 0 || done < limit; {
		ask := size
		if limit > 0 {
			ask = int32(min(int(size), limit-done))
		}
		page, next, err := fetch(ctx, ask, token)
		if err != nil {
			return err
		}
		if limit > 0 {
			page = page[:min(len(page), limit-done)]
		}
		if err := use(page); err != nil {
			return err
		}
		done += len(page)
		if next == "" {
			return nil
		}
		if next == token {
			return errors.New("the server gave the same page twice")
		}
		token = next
	}
	return nil
}
