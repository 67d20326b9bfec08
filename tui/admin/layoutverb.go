package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/pkg/layout"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

// LayoutCommand returns the verb layout.
func LayoutCommand(a *verb.App) *cobra.Command {
	var o verb.OutputOptions
	get := &cobra.Command{
		Use:   "get TYPE",
		Short: "Show the layout by which a type is shown",
		Args:  verb.Exactly("TYPE"),
		RunE:  func(cmd *cobra.Command, args []string) error { return layoutGet(cmd.Context(), a, args[0], o) },
	}
	o.AddTo(get, output.JSON, output.YAML)
	set := &cobra.Command{
		Use:   "set TYPE FILE",
		Short: "Give a type a layout in place of its own, for everybody; FILE - is standard input",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return verb.Usagef("%s takes two arguments, TYPE and FILE; there are %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return layoutSet(cmd.Context(), a, args[0], args[1]) },
	}
	reset := &cobra.Command{
		Use:   "reset TYPE",
		Short: "Give a type its own layout back",
		Args:  verb.Exactly("TYPE"),
		RunE:  func(cmd *cobra.Command, args []string) error { return layoutReset(cmd.Context(), a, args[0]) },
	}
	for _, cmd := range []*cobra.Command{get, set, reset} {
		cmd.ValidArgsFunction = verb.First(a.CompleteTypes)
	}
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Show the JSON Schema of layouts",
		Args:  verb.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			if _, err := a.Stdout.Write(layout.Schema()); err != nil {
				return fmt.Errorf("writing output: %w", err)
			}
			return nil
		},
	}
	return verb.Group("layout", "Show and change how types are shown (docs/layouts.md)", get, set, reset, schema)
}

func layoutGet(ctx context.Context, a *verb.App, name string, o verb.OutputOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.AssetType(ctx, "", name)
	if err != nil {
		return err
	}
	answer, err := s.View.GetLayout(ctx, connect.NewRequest(&reevev1.GetLayoutRequest{Type: t.GetName()}))
	if err != nil {
		return s.Explain(err)
	}
	l := answer.Msg.GetLayout()
	if verb.IsTerminal(a.Stderr) {
		words := map[reevev1.LayoutSource]string{
			reevev1.LayoutSource_LAYOUT_SOURCE_COLLECTOR: "the collector brings it",
			reevev1.LayoutSource_LAYOUT_SOURCE_USER:      l.GetUpdateUser() + " gave it to the type",
			reevev1.LayoutSource_LAYOUT_SOURCE_GENERATED: "it is made of what the documents have",
		}
		a.Note("%s", words[l.GetSource()])
	}
	return p.Document(l.GetLayout())
}

func layoutSet(ctx context.Context, a *verb.App, name, file string) error {
	in := a.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("reading the layout: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, layout.MaxSize+1))
	if err != nil {
		return fmt.Errorf("reading the layout: %w", err)
	}
	if _, err := layout.Parse(text); err != nil {
		return err
	}
	m := new(structpb.Struct)
	if err := protojson.Unmarshal(text, m); err != nil {
		return errors.Join(errors.New("reading the layout"), err)
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.AssetType(ctx, "", name)
	if err != nil {
		return err
	}
	if _, err := s.View.SetLayout(ctx, connect.NewRequest(&reevev1.SetLayoutRequest{Type: t.GetName(), Layout: m})); err != nil {
		return s.Explain(err)
	}
	return a.Say("Type %s is shown by this layout now; reeve layout reset %s gives it its own back", t.GetName(), t.GetName())
}

func layoutReset(ctx context.Context, a *verb.App, name string) error {
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := s.AssetType(ctx, "", name)
	if err != nil {
		return err
	}
	if _, err := s.View.ResetLayout(ctx, connect.NewRequest(&reevev1.ResetLayoutRequest{Type: t.GetName()})); err != nil {
		return s.Explain(err)
	}
	return a.Say("Type %s is shown by its own layout again", t.GetName())
}
