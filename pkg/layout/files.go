package layout

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Files reads the layouts that a collector has at the top of files, by the name
// of the file without its end, and without the white space that is there for
// people. They are part of the program and not checked here: a test does that.
func Files(files fs.FS) (map[string]json.RawMessage, error) {
	names, err := fs.Glob(files, "*.json")
	if err != nil {
		return nil, err
	}
	layouts := make(map[string]json.RawMessage, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading a layout: %w", err)
		}
		compact := jsontext.Value(text)
		if err := compact.Compact(); err != nil {
			return nil, fmt.Errorf("layout %s: %w", name, err)
		}
		layouts[strings.TrimSuffix(name, ".json")] = json.RawMessage(compact)
	}
	return layouts, nil
}
