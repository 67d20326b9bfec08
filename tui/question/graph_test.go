package question

import (
	"bytes"
	"testing"

	reevev1 "github.com/reeve-cloud/reeve/pkg/api/reeve/v1"
	"github.com/reeve-cloud/reeve/tui/output"
)

func TestPrintGraph(t *testing.T) {
	g := &reevev1.Graph{
		Nodes: []*reevev1.GraphNode{
			{Uid: "n1", Type: "kubernetes.core.Node", Site: "east", Name: "worker-1", State: reevev1.State_STATE_ACTIVE, Status: "Ready"},
			{Uid: "s1", Type: "openstack.compute.Server", Site: "west", Name: "vm \"1\"\x1b[2J", State: reevev1.State_STATE_DISCONNECTED, Depth: 1},
			{Uid: "gone", Type: "kubernetes.core.Lease", Site: "east", Missing: true, Depth: 1},
			{Uid: "h", Type: "openstack.compute.Hypervisor", Site: "west", Name: "cmp-1", State: reevev1.State_STATE_ACTIVE, Depth: 1},
		},
		Edges: []*reevev1.GraphEdge{
			{From: 0, To: 1, Kind: "backed_by"}, {From: 2, To: 0, Kind: "owned_by"}, {From: 1, To: 3, Kind: "runs_on"}, {From: 0, To: 3, Kind: "knows"},
		},
		Groups: []*reevev1.GraphGroup{{Node: 0, Kind: "runs_on", Type: "kubernetes.core.Pod", Count: 47}},
	}
	for name, c := range map[string]struct {
		print func(*output.Printer, *reevev1.Graph) error
		want  string
	}{
		"tree": {printTree, `core.Node worker-1 (Ready, site east)
├─ backed_by -> compute.Server vm "1"\x1b[2J (DISCONNECTED, site west)
│  └─ runs_on -> compute.Hypervisor cmp-1 (elsewhere)
├─ knows -> compute.Hypervisor cmp-1 (site west)
├─ owned_by <- core.Lease gone (does not exist)
└─ runs_on <- 47 more core.Pod
`},
		"dot": {printDot, `digraph reeve {
  rankdir=LR;
  node [shape=box, fontname="sans-serif"];
  n0 [label="core.Node worker-1 (Ready)"];
  n1 [label="compute.Server vm \"1\"\\x1b[2J (DISCONNECTED, site west)"];
  n2 [label="core.Lease gone (does not exist)", style=dashed];
  n3 [label="compute.Hypervisor cmp-1 (site west)"];
  n0 -> n1 [label="backed_by"];
  n2 -> n0 [label="owned_by"];
  n1 -> n3 [label="runs_on"];
  n0 -> n3 [label="knows"];
  g0 [label="47 more kubernetes.core.Pod", shape=folder];
  g0 -> n0 [label="runs_on"];
}
`},
		"mermaid": {printMermaid, `graph LR
  n0["core.Node worker-1 (Ready)"]
  n1["compute.Server vm #quot;1#quot;\x1b[2J (DISCONNECTED, site west)"]
  n2["core.Lease gone (does not exist)"]
  n3["compute.Hypervisor cmp-1 (site west)"]
  n0 -->|"backed_by"| n1
  n2 -->|"owned_by"| n0
  n1 -->|"runs_on"| n3
  n0 -->|"knows"| n3
  g0[["47 more kubernetes.core.Pod"]]
  g0 -->|"runs_on"| n0
`},
	} {
		var b bytes.Buffer
		if err := c.print(&output.Printer{Writer: &b}, g); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, b.String(), c.want)
		}
	}
}
