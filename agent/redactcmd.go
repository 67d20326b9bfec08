package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/redact"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/document"
)

func redactCommand(file *string) *cobra.Command {
	root := &cobra.Command{
		Use:   "redact",
		Short: "See what is taken out of what is observed",
		Args:  cmdline.NoArgs,
	}
	var as string
	var why bool
	test := &cobra.Command{
		Use:   "test FILE",
		Short: "Print what would leave of a file, which is - for standard input",
		Long: "Print what would leave of a file, which is - for standard input: the same rules go over it as\n" +
			"over what collectors observe, with the names and patterns of the file given with --config.\n\n" +
			"JSON and YAML are read as documents, several if there are; all else is a text. Collectors\n" +
			"leave out more by what they know of the place (docs/redaction.md). Secrets are never printed;\n" +
			"--why says on standard error what was masked, where, and by which rule.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rules *redact.Rules
			if *file != "" {
				c, err := config.Load(*file)
				if err != nil {
					return err
				}
				if rules, err = c.Redact.Rules(); err != nil {
					return err
				}
			}
			data, err := readFile(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			t := redactTest{rules: rules, out: cmd.OutOrStdout()}
			if err := t.run(data, formatOf(as, args[0], data)); err != nil {
				return err
			}
			if why {
				for _, line := range t.why {
					fmt.Fprintln(cmd.ErrOrStderr(), line)
				}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d masked\n", len(t.why))
			return nil
		},
	}
	test.Flags().StringVar(&as, "as", "", "what the file is: json, yaml or text (default: by its name and content)")
	test.Flags().BoolVar(&why, "why", false, "say what was masked, where, and by which rule")
	root.AddCommand(test)
	return root
}

// maxTested is the size of the largest file that is looked at.
const maxTested = 64 << 20

func readFile(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxTested+1))
	if err == nil && len(data) > maxTested {
		err = fmt.Errorf("it has more than %d MiB", maxTested>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

// formatOf returns what a file is read as: what the user says, else what its name
// does, else what it looks like.
func formatOf(as, name string, data []byte) string {
	if as != "" {
		return as
	}
	switch filepath.Ext(name) {
	case ".json", ".jsonl", ".ndjson":
		return "json"
	case ".yaml", ".yml":
		return "yaml"
	}
	trimmed := bytes.TrimSpace(data)
	if values, err := splitJSON(trimmed); err == nil && len(values) > 0 {
		return "json"
	}
	for _, begin := range []string{"---\n", "apiVersion:", "kind:"} {
		if bytes.HasPrefix(trimmed, []byte(begin)) {
			return "yaml"
		}
	}
	return "text"
}

// redactTest redacts a file and remembers why.
type redactTest struct {
	rules *redact.Rules
	out   io.Writer
	why   []string
}

func (t *redactTest) run(data []byte, format string) error {
	var values []jsontext.Value
	var err error
	switch format {
	case "json":
		values, err = splitJSON(data)
	case "yaml":
		values, err = splitYAML(data)
	case "text":
		clean, found := t.rules.ExplainText(strings.ToValidUTF8(string(data), "\ufffd"))
		t.explain("", found)
		_, err := io.WriteString(t.out, clean)
		return err
	default:
		return fmt.Errorf("--as %s: is not known; write json, yaml or text", format)
	}
	if err != nil {
		return err
	}
	for n, v := range values {
		where := ""
		if len(values) > 1 {
			where = fmt.Sprintf("document %d: ", n+1)
		}
		clean, err := t.document(where, v)
		if err != nil {
			return fmt.Errorf("document %d: %w", n+1, err)
		}
		if format == "yaml" {
			if clean, err = yaml.JSONToYAML(clean); err != nil {
				return fmt.Errorf("document %d: writing it as YAML: %w", n+1, err)
			}
			if n > 0 {
				clean = append([]byte("---\n"), clean...)
			}
		} else {
			if err := (*jsontext.Value)(&clean).Indent(jsontext.WithIndent("  ")); err != nil {
				return fmt.Errorf("document %d: writing it as JSON: %w", n+1, err)
			}
			clean = append(clean, '\n')
		}
		if _, err := t.out.Write(clean); err != nil {
			return err
		}
	}
	return nil
}

// document redacts a JSON value. What is no object is looked at as a member of one.
func (t *redactTest) document(where string, v jsontext.Value) ([]byte, error) {
	const begin, end = `{"":`, `}`
	inner := v.Kind() != jsontext.KindBeginObject
	if inner {
		v = jsontext.Value(begin + string(v) + end)
	}
	var clean []byte
	var found []redact.Finding
	doc, err := document.Canonical(v)
	if err == nil {
		clean, found, err = t.rules.ExplainDocument(doc)
	}
	if err != nil {
		return nil, errors.New(t.rules.Text(err.Error())) // it may name members
	}
	t.explain(where, found)
	if inner {
		clean = clean[len(begin) : len(clean)-len(end)]
	}
	return clean, nil
}

func (t *redactTest) explain(where string, found []redact.Finding) {
	for _, f := range found {
		line := where
		if f.Path != "" {
			line += f.Path + ": "
		}
		if f.Line > 0 {
			line += fmt.Sprintf("line %d: ", f.Line)
		}
		t.why = append(t.why, line+f.Rule)
	}
}

// splitJSON returns the JSON objects and arrays that stand one behind another.
func splitJSON(data []byte) (values []jsontext.Value, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		v, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is no JSON at byte %d; is it --as yaml, or --as text?", dec.InputOffset())
		}
		if kind := v.Kind(); kind != jsontext.KindBeginObject && kind != jsontext.KindBeginArray {
			return nil, errors.New("it is neither a JSON object nor an array; is it --as text?")
		}
		values = append(values, v.Clone())
	}
}

// splitYAML returns the documents of a file as JSON.
func splitYAML(data []byte) (values []jsontext.Value, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			// What the parser says of it may have a part of the file in it.
			place := ""
			if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
				place = fmt.Sprintf(" at line %d", e.GetToken().Position.Line)
			}
			return nil, fmt.Errorf("document %d is no YAML%s; is it --as text?", len(values)+1, place)
		}
		if v == nil {
			continue
		}
		value, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("document %d has what JSON has not: %w", len(values)+1, err)
		}
		values = append(values, value)
	}
}
