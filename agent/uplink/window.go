package uplink

import (
	"context"
	"sync"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

// window bounds the bytes that are under way without acknowledgement.
type window struct {
	size int64

	mu       sync.Mutex
	used     int64
	underWay map[wirev1.Class][]sent
	freed    chan struct{}
}

type sent struct {
	last  uint64
	bytes int64
}

func newWindow(size int64) *window {
	return &window{size: size, underWay: make(map[wirev1.Class][]sent), freed: make(chan struct{})}
}

// send waits until there is room. A batch that is larger than the whole window
// goes alone.
func (w *window) send(ctx context.Context, class wirev1.Class, last uint64, bytes int64) error {
	for {
		w.mu.Lock()
		if w.used == 0 || w.used+bytes <= w.size {
			w.used += bytes
			w.underWay[class] = append(w.underWay[class], sent{last, bytes})
			w.mu.Unlock()
			return nil
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// acknowledged frees what was sent of a class up to and with a record.
func (w *window) acknowledged(class wirev1.Class, seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.underWay[class]
	n := 0
	for n < len(list) && list[n].last <= seq {
		w.used -= list[n].bytes
		n++
	}
	if n == 0 {
		return
	}
	w.underWay[class] = list[n:]
	close(w.freed)
	w.freed = make(chan struct{})
}
