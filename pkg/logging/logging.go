// Package logging makes the structured logger of a program.
package logging

import (
	"fmt"
	"io"
	"log/slog"
)

// Options are the settings that people have for logs.
type Options struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level" env:"LEVEL"`
	// Format is text or json.
	Format string `yaml:"format" env:"FORMAT"`
}

// Defaults are info and text.
var Defaults = Options{Level: "info", Format: "text"}

// New returns a logger that writes to w, one line an event.
func New(w io.Writer, o Options) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.Level)); err != nil {
		return nil, fmt.Errorf("log level %q: must be debug, info, warn or error", o.Level)
	}
	ho := &slog.HandlerOptions{Level: level}
	switch o.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, ho)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, ho)), nil
	}
	return nil, fmt.Errorf("log format %q: must be text or json", o.Format)
}
