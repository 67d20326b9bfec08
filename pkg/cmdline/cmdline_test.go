package cmdline_test

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/reeve-cloud/reeve/pkg/cmdline"
)

func TestWrongWords(t *testing.T) {
	for line, want := range map[string]string{
		"":             "",
		"chekc":        `agent has no command "chekc"; is it check?`,
		"quux":         `agent has no command "quux"`,
		"hiden":        `agent has no command "hiden"`,
		"check now":    "agent check takes no arguments; there are 1",
		"--confg=x":    "unknown flag: --confg; is it --config?",
		"--frobnicate": "unknown flag: --frobnicate",
		"-x":           "unknown shorthand flag: 'x' in -x",
		"check --conf": "unknown flag: --conf; is it --config?",
	} {
		root := &cobra.Command{Use: "agent", Args: cmdline.NoArgs, SilenceErrors: true, SilenceUsage: true,
			RunE: func(*cobra.Command, []string) error { return nil }}
		root.PersistentFlags().String("config", "", "")
		root.SetFlagErrorFunc(cmdline.FlagError)
		root.AddCommand(
			&cobra.Command{Use: "check", Args: cmdline.NoArgs, RunE: root.RunE},
			&cobra.Command{Use: "hidden", Hidden: true, RunE: root.RunE},
		)
		root.SetArgs(strings.Fields(line))
		got := ""
		if err := root.Execute(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
