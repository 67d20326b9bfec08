package kubernetes

import "sync"

// latch is a fact that becomes known once.
type latch struct {
	once sync.Once
	open chan struct{}
}

func newLatch() *latch { return &latch{open: make(chan struct{})} }

// set makes the fact known.
func (l *latch) set() { l.once.Do(func() { close(l.open) }) }

// isSet reports whether the fact is known.
func (l *latch) isSet() bool {
	select {
	case <-l.open:
		return true
	default:
		return false
	}
}
