package uplink

import (
	"context"
	"errors"
	"testing"
	"time"

	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func TestWindow(t *testing.T) {
	const a, e = wirev1.Class_CLASS_ASSETS, wirev1.Class_CLASS_EVENTS
	w := newWindow(100)
	send := func(class wirev1.Class, last uint64, bytes int64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		return w.send(ctx, class, last, bytes)
	}
	if err := send(a, 5, 500); err != nil {
		t.Fatalf("a batch larger than the window must go alone: %v", err)
	}
	if err := send(a, 6, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the window is full: %v", err)
	}
	w.acknowledged(e, 9) // another class
	w.acknowledged(a, 4)
	if err := send(a, 6, 1); err == nil {
		t.Fatal("what is not acknowledged was freed")
	}
	w.acknowledged(a, 5)
	for last, bytes := range map[uint64]int64{6: 50, 7: 50} {
		if err := send(e, last, bytes); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() { done <- w.send(t.Context(), a, 7, 10) }()
	w.acknowledged(e, 7)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
