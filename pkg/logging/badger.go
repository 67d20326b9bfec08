package logging

import (
	"fmt"
	"log/slog"
	"strings"
)

// Badger hands on what a badger database says: its own progress only as debug.
type Badger struct{ Logger *slog.Logger }

// Errorf logs an error.
func (b Badger) Errorf(format string, args ...any) { b.log(b.Logger.Error, format, args) }

// Warningf logs a warning.
func (b Badger) Warningf(format string, args ...any) { b.log(b.Logger.Warn, format, args) }

// Infof logs progress.
func (b Badger) Infof(format string, args ...any) { b.log(b.Logger.Debug, format, args) }

// Debugf logs details.
func (b Badger) Debugf(format string, args ...any) { b.log(b.Logger.Debug, format, args) }

func (b Badger) log(to func(string, ...any), format string, args []any) {
	to("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}
