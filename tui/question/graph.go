package question

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
	"github.com/reeve-cloud/reeve/tui/verb"
)

type graphOptions struct {
	verb.OutputOptions
	verb.AssetOptions
	depth, nodes, fold int32
	out, in, impact    bool
	kinds, types       []string
	asOf               string
	to                 string
}

// GraphCommand returns the verb graph.
func GraphCommand(a *verb.App) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph UID",
		Short: "Show what is around an asset, what depends on it, or the ways to another",
		Long: "Show what is around an asset, across sites and providers. What an asset has many of is one line with a count.\n\n" +
			"With --impact it is what depends on the asset, directly and through others; with --to it is all shortest ways to another one.",
		Example: `  reeve graph 9f1c... --depth 3
  reeve graph cmp-07 --type hypervisor --impact
  reeve graph 9f1c... --as-of 2026-11-01 -o dot | dot -Tsvg > graph.svg`,
		Args:              verb.Exactly("UID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.UID = args[0]
			return graph(cmd.Context(), a, o)
		},
	}
	o.OutputOptions.AddTo(cmd, output.Tree, output.Dot, output.Mermaid, output.JSON, output.YAML)
	o.AssetOptions.AddTo(a, cmd)
	f := cmd.Flags()
	f.Int32Var(&o.depth, "depth", 0, "how many steps to take, at most 10 (default 1, and 6 with --impact)")
	f.BoolVar(&o.out, "out", false, "only from where relations begin to where they lead")
	f.BoolVar(&o.in, "in", false, "only against relations")
	f.BoolVar(&o.impact, "impact", false, "what depends on the asset")
	f.StringVar(&o.to, "to", "", "UID of an asset: the ways that lead there")
	f.StringSliceVar(&o.kinds, "kind", nil, "only relations of this kind (may be given several times)")
	f.StringSliceVar(&o.types, "to-type", nil, "only to assets of this type (may be given several times)")
	f.StringVar(&o.asOf, "as-of", "", "as of this moment: a date, a time, or a span such as -7d")
	f.Int32Var(&o.nodes, "max-nodes", 0, "show at most this many assets, at most 2000 (default 200)")
	f.Int32Var(&o.fold, "fold", 0, "show at most this many of one kind beside each other, at most 500 (default 12)")
	cmd.MarkFlagsMutuallyExclusive("out", "in", "impact", "to")
	for _, other := range []string{"to-type", "max-nodes", "fold"} { // ways have none of these
		cmd.MarkFlagsMutuallyExclusive("to", other)
	}
	a.Complete(cmd, "to-type", a.CompleteTypes)
	return cmd
}

func graph(ctx context.Context, a *verb.App, o graphOptions) error {
	p, err := o.Printer(a)
	if err != nil {
		return err
	}
	at, err := a.AsOf(o.asOf)
	if err != nil {
		return err
	}
	s, err := a.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ResolveType(ctx, &o.AssetOptions); err != nil {
		return err
	}
	for i, name := range o.types {
		t, err := s.AssetType(ctx, o.Site, name)
		if err != nil {
			return err
		}
		o.types[i] = t.GetName()
	}
	g, err := askGraph(ctx, s, o, at)
	if err != nil {
		return s.ExplainAsset(ctx, err, o.AssetOptions)
	}
	if g == nil {
		return fmt.Errorf("no way leads from %s to %s", o.UID, o.to)
	}
	if g.GetPartial() {
		a.Note("not everything is shown: give --max-nodes, or narrow it down by --kind and --to-type")
	}
	if g.GetUnknownRelations() {
		a.Note("some relations of that moment are not known: versions of before relations were part of them do not have them")
	}
	switch p.Format {
	case output.Tree:
		return printTree(p, g)
	case output.Dot:
		return printDot(p, g)
	case output.Mermaid:
		return printMermaid(p, g)
	}
	return p.Document(g)
}

// askGraph asks for what is wanted: nil if there is no way.
func askGraph(ctx context.Context, s *verb.Session, o graphOptions, at *timestamppb.Timestamp) (*reevev1.Graph, error) {
	name := &reevev1.AssetName{Uid: o.UID, Site: o.Site, Type: o.Type}
	switch {
	case o.to != "":
		answer, err := s.Graph.FindPath(ctx, connect.NewRequest(&reevev1.FindPathRequest{
			From: name, To: &reevev1.AssetName{Uid: o.to}, MaxSteps: o.depth, Kinds: o.kinds, AsOf: at,
		}))
		if err != nil {
			return nil, err
		}
		if answer.Msg.GetGraph() == nil && answer.Msg.GetPartial() {
			s.App.Note("not all ways could be tried: assets with more than 500 neighbours of a kind are passed by")
		}
		return answer.Msg.GetGraph(), nil
	case o.impact:
		answer, err := s.Graph.GetImpact(ctx, connect.NewRequest(&reevev1.GetImpactRequest{
			Asset: name, Depth: o.depth, Kinds: o.kinds, Types: o.types, AsOf: at, MaxNodes: o.nodes, Fold: o.fold,
		}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetGraph(), nil
	}
	direction := reevev1.Direction_DIRECTION_BOTH
	switch {
	case o.out:
		direction = reevev1.Direction_DIRECTION_OUT
	case o.in:
		direction = reevev1.Direction_DIRECTION_IN
	}
	answer, err := s.Graph.GetGraph(ctx, connect.NewRequest(&reevev1.GetGraphRequest{
		Asset: name, Depth: o.depth, Direction: direction, Kinds: o.kinds, Types: o.types, AsOf: at, MaxNodes: o.nodes, Fold: o.fold,
	}))
	if err != nil {
		return nil, err
	}
	return answer.Msg.GetGraph(), nil
}

// nodeTitle says what a node is, in a line.
func nodeTitle(n *reevev1.GraphNode) string {
	_, short, _ := strings.Cut(n.GetType(), ".")
	title := short + " " + n.GetName()
	if n.GetName() == "" || n.GetMissing() {
		title = short + " " + n.GetUid()
	}
	return title
}

// nodeNotes says what else is to be said of a node beside one of a site.
func nodeNotes(n *reevev1.GraphNode, site string) string {
	var notes []string
	if n.GetStatus() != "" {
		notes = append(notes, n.GetStatus())
	}
	switch {
	case n.GetMissing():
		notes = append(notes, "does not exist")
	case n.GetState() != reevev1.State_STATE_ACTIVE:
		notes = append(notes, verb.StateName(n.GetState()))
	}
	if n.GetSite() != site && !n.GetMissing() {
		notes = append(notes, "site "+n.GetSite())
	}
	if n.GetMore() {
		notes = append(notes, "has more")
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

// printTree prints a graph as a tree from its first node: each node once, below the one by
// which it was reached first. Other edges between nodes are named, and not followed.
func printTree(p *output.Printer, g *reevev1.Graph) error {
	nodes := g.GetNodes()
	if len(nodes) == 0 {
		return nil
	}
	type branch struct {
		text string
		node int32
		once bool
	}
	below := make([][]branch, len(nodes))
	edges := slices.Clone(g.GetEdges())
	slices.SortStableFunc(edges, func(x, y *reevev1.GraphEdge) int { return strings.Compare(x.GetKind(), y.GetKind()) })
	parent := make([]bool, len(nodes))
	parent[0] = true
	add := func(from, to int32, text string) {
		again := parent[to]
		parent[to] = true
		below[from] = append(below[from], branch{text, to, again})
	}
	for depth := int32(0); depth <= int32(len(nodes)); depth++ {
		for _, e := range edges {
			from, to := nodes[e.GetFrom()], nodes[e.GetTo()]
			switch {
			case from.GetDepth() == depth && to.GetDepth() >= depth:
				add(e.GetFrom(), e.GetTo(), e.GetKind()+" -> ")
			case to.GetDepth() == depth && from.GetDepth() > depth:
				add(e.GetTo(), e.GetFrom(), e.GetKind()+" <- ")
			}
		}
		if !slices.ContainsFunc(nodes, func(n *reevev1.GraphNode) bool { return n.GetDepth() > depth }) {
			break
		}
	}
	groups := make([][]string, len(nodes))
	for _, u := range g.GetGroups() {
		arrow := " <- "
		if u.GetOut() {
			arrow = " -> "
		}
		_, short, _ := strings.Cut(u.GetType(), ".")
		groups[u.GetNode()] = append(groups[u.GetNode()], fmt.Sprintf("%s%s%d more %s", u.GetKind(), arrow, u.GetCount(), short))
	}
	var lines []string
	var walk func(at int32, indent string)
	walk = func(at int32, indent string) {
		count := len(below[at]) + len(groups[at])
		line := func(i int, text string) (next string) {
			mark, more := "├─ ", "│  "
			if i == count-1 {
				mark, more = "└─ ", "   "
			}
			lines = append(lines, indent+mark+text)
			return indent + more
		}
		for i, b := range below[at] {
			text := b.text + nodeTitle(nodes[b.node])
			if b.once {
				line(i, text+" (elsewhere)")
				continue
			}
			walk(b.node, line(i, text+nodeNotes(nodes[b.node], nodes[at].GetSite())))
		}
		for i, text := range groups[at] {
			line(len(below[at])+i, text)
		}
	}
	lines = append(lines, nodeTitle(nodes[0])+nodeNotes(nodes[0], ""))
	walk(0, "")
	return p.Lines(lines)
}

// printDot prints a graph in the language of Graphviz.
func printDot(p *output.Printer, g *reevev1.Graph) error {
	quote := func(text string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(output.Escape(text)) + `"`
	}
	lines := []string{"digraph reeve {", "  rankdir=LR;", "  node [shape=box, fontname=\"sans-serif\"];"}
	for i, n := range g.GetNodes() {
		style := ""
		if n.GetMissing() || n.GetState() == reevev1.State_STATE_DELETED {
			style = ", style=dashed"
		}
		lines = append(lines, fmt.Sprintf("  n%d [label=%s%s];", i, quote(nodeTitle(n)+nodeNotes(n, g.GetNodes()[0].GetSite())), style))
	}
	for _, e := range g.GetEdges() {
		lines = append(lines, fmt.Sprintf("  n%d -> n%d [label=%s];", e.GetFrom(), e.GetTo(), quote(e.GetKind())))
	}
	for i, u := range g.GetGroups() {
		lines = append(lines, fmt.Sprintf("  g%d [label=%s, shape=folder];", i, quote(fmt.Sprintf("%d more %s", u.GetCount(), u.GetType()))))
		from, to := fmt.Sprintf("g%d", i), fmt.Sprintf("n%d", u.GetNode())
		if u.GetOut() {
			from, to = to, from
		}
		lines = append(lines, fmt.Sprintf("  %s -> %s [label=%s];", from, to, quote(u.GetKind())))
	}
	return p.Lines(append(lines, "}"))
}

// printMermaid prints a graph in the language of Mermaid.
func printMermaid(p *output.Printer, g *reevev1.Graph) error {
	quote := func(text string) string {
		return `"` + strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;").Replace(output.Escape(text)) + `"`
	}
	lines := []string{"graph LR"}
	for i, n := range g.GetNodes() {
		lines = append(lines, fmt.Sprintf("  n%d[%s]", i, quote(nodeTitle(n)+nodeNotes(n, g.GetNodes()[0].GetSite()))))
	}
	for _, e := range g.GetEdges() {
		lines = append(lines, fmt.Sprintf("  n%d -->|%s| n%d", e.GetFrom(), quote(e.GetKind()), e.GetTo()))
	}
	for i, u := range g.GetGroups() {
		lines = append(lines, fmt.Sprintf("  g%d[[%s]]", i, quote(fmt.Sprintf("%d more %s", u.GetCount(), u.GetType()))))
		from, to := fmt.Sprintf("g%d", i), fmt.Sprintf("n%d", u.GetNode())
		if u.GetOut() {
			from, to = to, from
		}
		lines = append(lines, fmt.Sprintf("  %s -->|%s| %s", from, quote(u.GetKind()), to))
	}
	return p.Lines(lines)
}
