package kinds

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// The machines that nodes run on. The collectors of OpenStack and of the host
// must name them so.
const (
	typeServer  = "openstack.compute.Server"
	typeMachine = "host.system.Machine"
)

func (r *reader) node() error {
	var n struct {
		Spec struct {
			ProviderID    string `json:"providerID"`
			Unschedulable bool   `json:"unschedulable"`
		} `json:"spec"`
		Status struct {
			Capacity    amounts    `json:"capacity"`
			Allocatable amounts    `json:"allocatable"`
			Conditions  conditions `json:"conditions"`
			Addresses   []struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			} `json:"addresses"`
			Info struct {
				MachineID    string `json:"machineID"`
				SystemUUID   string `json:"systemUUID"`
				Kernel       string `json:"kernelVersion"`
				OSImage      string `json:"osImage"`
				Runtime      string `json:"containerRuntimeVersion"`
				Kubelet      string `json:"kubeletVersion"`
				OS           string `json:"operatingSystem"`
				Architecture string `json:"architecture"`
			} `json:"nodeInfo"`
		} `json:"status"`
	}
	if err := r.object.Decode(&n); err != nil {
		return err
	}
	// kubectl does not say Terminating of nodes.
	ready := n.Status.Conditions.get("Ready")
	switch {
	case ready == nil:
		r.Status = "Unknown"
	case ready.Status == "True":
		r.Status = "Ready"
	default:
		r.Status = "NotReady"
	}
	if n.Spec.Unschedulable {
		r.Status += ",SchedulingDisabled"
	}

	info := &n.Status.Info
	provider, _, _ := strings.Cut(n.Spec.ProviderID, "://")
	if server := serverOf(n.Spec.ProviderID, info.SystemUUID); server != "" {
		r.edge(backedBy, plugin.Key{Type: typeServer, UID: server})
	}
	if id := strings.ReplaceAll(strings.ToLower(info.MachineID), "-", ""); id != "" {
		r.edge(backedBy, plugin.Key{Type: typeMachine, UID: id})
	}

	labels := r.object.Meta.Labels
	r.fact("ready", n.Status.Conditions.holds("Ready"))
	r.list("roles", roles(labels))
	r.text("provider", provider)
	r.text("instanceType", or(labels["node.kubernetes.io/instance-type"], labels["beta.kubernetes.io/instance-type"]))
	r.text("zone", or(labels["topology.kubernetes.io/zone"], labels["failure-domain.beta.kubernetes.io/zone"]))
	r.text("region", or(labels["topology.kubernetes.io/region"], labels["failure-domain.beta.kubernetes.io/region"]))
	r.text("kubelet", info.Kubelet)
	r.text("runtime", info.Runtime)
	r.text("os", info.OS)
	r.text("osImage", info.OSImage)
	r.text("kernel", info.Kernel)
	r.text("arch", info.Architecture)
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			r.fact("internalIP", a.Address)
			break // of two families the first is the node's own
		}
	}
	r.amounts("capacity", n.Status.Capacity)
	r.amounts("allocatable", n.Status.Allocatable)
	return r.nodeIncidents(n.Status.Conditions)
}

// serverOf returns the id of the OpenStack server that a node runs on, or empty.
// A node without a cloud provider tells the UUID of its firmware: in a guest of
// Nova that is the server's id.
func serverOf(providerID, systemUUID string) string {
	text := systemUUID
	if providerID != "" {
		path, ok := strings.CutPrefix(providerID, "openstack://") // then region/id
		if !ok {
			return ""
		}
		text = path[strings.LastIndexByte(path, '/')+1:]
	}
	// Boards are sold with all kinds of texts there, short forms are not used.
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(uuid.Nil.String()) {
		return ""
	}
	return id.String()
}

// roles are a node's roles as kubectl prints them.
func roles(labels map[string]string) []string {
	var roles []string
	for label, value := range labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if label == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// nodeIncidents tells of the changes of a node's conditions.
func (r *reader) nodeIncidents(all conditions) error {
	for _, c := range all {
		typ, severity, message := "", plugin.Warning, ""
		switch {
		case c.Type == "Ready" && c.Status == "True":
			typ, severity, message = "node.ready", plugin.Info, "Node is ready"
		case c.Type == "Ready":
			typ, severity, message = "node.not_ready", plugin.Error, "Node is not ready: "+or(c.Message, c.Reason)
		case c.Status != "True":
			continue
		case c.Type == "MemoryPressure":
			typ, message = "node.memory_pressure", "Node is short of memory"
		case c.Type == "DiskPressure":
			typ, message = "node.disk_pressure", "Node is short of disk space"
		case c.Type == "PIDPressure":
			typ, message = "node.pid_pressure", "Node is short of process ids"
		default:
			continue
		}
		data := struct {
			Status  string `json:"status"`
			Reason  string `json:"reason,omitempty"`
			Message string `json:"message,omitempty"`
		}{c.Status, c.Reason, c.Message}
		at := c.LastTransitionTime
		if err := r.incident(typ, severity, at, message, data, at.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return nil
}
