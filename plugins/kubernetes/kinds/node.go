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
	if id := machineOf(info.MachineID); id != "" {
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

// otherClouds are the providers, as their ids of nodes begin, whose machines are no
// servers of Nova. All others say how the cluster was made (k3s, rke2, kind, metal3
// ...), which may be on any machine.
var otherClouds = map[string]bool{
	"alicloud": true, "aws": true, "azure": true, "baiducloud": true, "cherryservers": true, "civo": true, "cloudstack": true,
	"digitalocean": true,
	"equinixmetal": true, "exoscale": true, "external-cloudstack": true, "gce": true, "gridscale": true, "harvester": true, "hcloud": true,
	"hetzner": true, "huaweicloud": true, "ibm": true, "ibmcloud": true, "ibmpowervs": true, "ibmvpc": true, "ionos": true, "ionoscloud": true,
	"kubevirt": true, "latitude": true, "linode": true, "nutanix": true, "oci": true, "oraclecloud": true, "ovirt": true, "packet": true,
	"proxmox": true, "qcloud": true, "scaleway": true, "stackit": true, "tencentcloud": true, "upcloud": true, "vcd": true,
	"vmware-cloud-director": true,
	"vsphere":               true, "vultr": true, "yandex": true,
}

// serverOf returns the id of the OpenStack server that a node runs on, or empty.
// A node that no cloud provider has named tells the UUID of its firmware: in a guest
// of Nova that is the server's id.
func serverOf(providerID, systemUUID string) string {
	provider, path, _ := strings.Cut(providerID, "://")
	provider = strings.ToLower(provider)
	if provider == "openstack" { // then region/id
		id, err := uuid.Parse(path[strings.LastIndexByte(path, '/')+1:])
		if err != nil || id == uuid.Nil {
			return ""
		}
		return id.String()
	}
	// Oracle's ids have no provider in front.
	if otherClouds[provider] || strings.HasPrefix(providerID, "ocid1.") {
		return ""
	}
	return novaUUID(systemUUID)
}

// novaUUID returns the id of Nova's that a firmware's UUID is, or empty.
//
// Nova's are random ones (version 4), and so are neither those of boards, which are
// made of serial numbers and addresses, nor what stands there where nobody wrote
// any: 03000200-0400-0500-0006-000700080009 and its like. Firmware and kernels before
// SMBIOS 2.6 have the first three fields the other way round.
func novaUUID(text string) string {
	id, err := uuid.Parse(strings.TrimSpace(text))
	if err != nil {
		return ""
	}
	turned := id
	slices.Reverse(turned[0:4])
	slices.Reverse(turned[4:6])
	slices.Reverse(turned[6:8])
	for _, id := range []uuid.UUID{id, turned} {
		if id.Version() == 4 && id.Variant() == uuid.RFC4122 && !patterned(id) {
			return id.String()
		}
	}
	return ""
}

// patterned reports whether a UUID, though of the form of a random one, was written
// by hand: a random one has more than eight different digits.
func patterned(id uuid.UUID) bool {
	digits := make(map[byte]bool)
	for _, b := range id {
		digits[b>>4], digits[b&15] = true, true
	}
	return len(digits) <= 8
}

// machineOf returns the id of the machine that a node is, as its own collector names
// it, or empty: a machine id is 32 hexadecimal digits, and not all the same.
func machineOf(machineID string) string {
	id := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(machineID)), "-", "")
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, id[:1]) == "" {
		return ""
	}
	return id
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
