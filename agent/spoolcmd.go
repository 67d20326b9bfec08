package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/reeve-cloud/reeve/agent/config"
	"github.com/reeve-cloud/reeve/agent/spool"
	"github.com/reeve-cloud/reeve/pkg/cmdline"
	"github.com/reeve-cloud/reeve/pkg/wire"
	wirev1 "github.com/reeve-cloud/reeve/pkg/wire/v1"
)

func spoolCommand(file *string) *cobra.Command {
	root := &cobra.Command{
		Use:   "spool",
		Short: "Look into the spool, also while the agent runs",
		Args:  cmdline.NoArgs,
	}
	dir := func() (string, error) {
		c, err := config.Load(*file)
		return filepath.Join(c.DataDir, "spool"), err
	}
	root.AddCommand(&cobra.Command{
		Use:   "stat",
		Short: "Say how much is on disk, and of what was given up what is owed and what is lost",
		Long: "Say how much is on disk. Acknowledged records stay until their segment is full.\n" +
			"Those under WAITING are not acknowledged yet, as far as is known here.\n\n" +
			"Of the records that were given up for want of room, those under OWED were the newest\nword on an asset when it was last looked; " +
			"they are shipped from what was last seen.\nThose under GIVEN-UP are lost, and the centre is told of them.",
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inspect(cmd, dir, nil)
		},
	}, &cobra.Command{
		Use:   "check",
		Short: "Read every byte and check that nothing is damaged",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := inspect(cmd, dir, func(f spool.Frame) error {
				_, err := f.Records()
				return err
			}); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "no damage found")
			return err
		},
	}, &cobra.Command{
		Use:   "export",
		Short: "Print every record as one line of JSON, and of those that were given up what is left",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dir()
			if err != nil {
				return err
			}
			_, _, err = spool.Inspect(d, func(f spool.Frame) error { return export(cmd, f) })
			return err
		},
	})
	return root
}

func inspect(cmd *cobra.Command, dir func() (string, error), visit func(spool.Frame) error) error {
	d, err := dir()
	if err != nil {
		return err
	}
	given := make(map[wirev1.Class]struct{ owed, lost uint64 })
	id, stats, err := spool.Inspect(d, func(f spool.Frame) error {
		if f.Stub {
			records, err := f.Records()
			if err != nil {
				return err
			}
			n := given[f.Class]
			n.owed += uint64(len(records) - 1)
			g := records[len(records)-1].GetGap()
			n.lost += g.GetVersions() + g.GetAssetTypes() + g.GetEvents() + g.GetUsage() + g.GetUnknown()
			given[f.Class] = n
		}
		if visit == nil {
			return nil
		}
		return visit(f)
	})
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "spool %s\n%-10s %12s %12s %10s %10s %12s %10s %12s\n", id, "CLASS", "FIRST", "LAST", "WAITING", "SEGMENTS", "BYTES",
		"OWED", "GIVEN-UP")
	for _, s := range stats {
		n := given[s.Class]
		fmt.Fprintf(w, "%-10s %12d %12d %10d %10d %12d %10d %12d\n", wire.ClassName(s.Class), s.First, s.Next-1, s.Waiting, s.Segments, s.Bytes,
			n.owed, n.lost)
	}
	return nil
}

// exported is one line of `spool export`.
type exported struct {
	Class string `json:"class"`
	Seq   uint64 `json:"seq"`
	// Last is set where the record stands for those from Seq to Last that were given
	// up: one that is owed, or the gap.
	Last   uint64          `json:"last,omitempty"`
	Record json.RawMessage `json:"record"`
}

func export(cmd *cobra.Command, f spool.Frame) error {
	records, err := f.Records()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	for i, r := range records {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r)
		if err != nil {
			return err
		}
		// What is JSON already would be unreadable as bytes.
		for _, inner := range []struct {
			body, member string
			json         []byte
		}{
			{"asset", "document", r.GetAsset().GetDocument()},
			{"event", "data", r.GetEvent().GetData()},
			{"asset_type", "layout", r.GetAssetType().GetLayout()},
		} {
			if len(inner.json) == 0 {
				continue
			}
			if text, err = withJSON(text, inner.body, inner.member, inner.json); err != nil {
				return err
			}
		}
		line := exported{Class: wire.ClassName(f.Class), Seq: f.First + uint64(i), Record: text}
		if f.Stub {
			line.Seq, line.Last = f.First, f.Last
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// withJSON puts a JSON value in the place of a member of a record's body.
func withJSON(record []byte, body, member string, value json.RawMessage) ([]byte, error) {
	var r map[string]map[string]json.RawMessage
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, err
	}
	r[body][member] = value
	return json.Marshal(r)
}
