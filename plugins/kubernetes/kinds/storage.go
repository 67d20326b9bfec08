package kinds

import (
	"github.com/reeve-cloud/reeve/pkg/plugin"
)

// What OpenStack keeps volumes in. Its collector must name them so.
const (
	typeVolume = "openstack.storage.Volume"
	typeShare  = "openstack.share.Share"
)

// classAnnotation named the StorageClass before there was a field for it.
const classAnnotation = "volume.beta.kubernetes.io/storage-class"

func (r *reader) persistentVolume() error {
	var v struct {
		Spec struct {
			Capacity amounts `json:"capacity"`
			Class    string  `json:"storageClassName"`
			CSI      struct {
				Driver     string            `json:"driver"`
				Handle     string            `json:"volumeHandle"`
				Attributes map[string]string `json:"volumeAttributes"`
			} `json:"csi"`
			Cinder struct {
				VolumeID string `json:"volumeID"`
			} `json:"cinder"`
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	}
	if err := r.object.Decode(&v); err != nil {
		return err
	}
	r.state(v.Status.Phase)
	r.relate(uses, groupStorage, "StorageClass", or(v.Spec.Class, r.object.Meta.Annotations[classAnnotation]))
	volume, share := v.Spec.Cinder.VolumeID, ""
	switch v.Spec.CSI.Driver {
	case "cinder.csi.openstack.org":
		volume = v.Spec.CSI.Handle
	case "nfs.manila.csi.openstack.org", "cephfs.manila.csi.openstack.org":
		share = v.Spec.CSI.Attributes["shareID"]
	}
	if volume != "" {
		r.edge(backedBy, plugin.Key{Type: typeVolume, UID: volume})
	}
	if share != "" {
		r.edge(backedBy, plugin.Key{Type: typeShare, UID: share})
	}
	r.fact("capacity", v.Spec.Capacity.bytes("storage"))
	return nil
}

func (r *reader) persistentVolumeClaim() error {
	var c struct {
		Spec struct {
			Volume    string    `json:"volumeName"`
			Class     string    `json:"storageClassName"`
			Resources resources `json:"resources"`
		} `json:"spec"`
		Status struct {
			Phase    string  `json:"phase"`
			Capacity amounts `json:"capacity"`
		} `json:"status"`
	}
	if err := r.object.Decode(&c); err != nil {
		return err
	}
	r.state(c.Status.Phase)
	r.relate(backedBy, groupCore, "PersistentVolume", c.Spec.Volume)
	r.relate(uses, groupStorage, "StorageClass", or(c.Spec.Class, r.object.Meta.Annotations[classAnnotation]))
	r.fact("requested", c.Spec.Resources.Requests.bytes("storage"))
	if len(c.Status.Capacity) > 0 {
		r.fact("capacity", c.Status.Capacity.bytes("storage"))
	}
	if c.Status.Phase != "Lost" {
		return nil
	}
	// The status does not say when; nobody writes a lost claim very often.
	at := r.object.UpdatedAt()
	if at.IsZero() {
		at = r.object.Meta.CreationTimestamp
	}
	data := struct {
		Volume string `json:"volume"`
	}{c.Spec.Volume}
	return r.incident("pvc.lost", plugin.Error, at, "The volume "+c.Spec.Volume+" of the claim is gone", data)
}

func (r *reader) volumeAttachment() error {
	var a struct {
		Spec struct {
			Node   string `json:"nodeName"`
			Source struct {
				Volume string `json:"persistentVolumeName"`
			} `json:"source"`
		} `json:"spec"`
		Status struct {
			Attached    bool      `json:"attached"`
			AttachError *struct{} `json:"attachError"`
			DetachError *struct{} `json:"detachError"`
		} `json:"status"`
	}
	if err := r.object.Decode(&a); err != nil {
		return err
	}
	r.relate(attachedTo, groupCore, "Node", a.Spec.Node)
	r.relate(uses, groupCore, "PersistentVolume", a.Spec.Source.Volume)
	// An attachment that is being deleted is a volume that is being detached.
	switch {
	case r.deleted() && a.Status.DetachError != nil, !a.Status.Attached && a.Status.AttachError != nil:
		r.Status = "Failed"
	case r.deleted():
		r.Status = "Detaching"
	case a.Status.Attached:
		r.Status = "Attached"
	default:
		r.Status = "Attaching"
	}
	return nil
}

func (r *reader) volumeSnapshot() error {
	var s struct {
		Spec struct {
			Class  string `json:"volumeSnapshotClassName"`
			Source struct {
				Claim   string `json:"persistentVolumeClaimName"`
				Content string `json:"volumeSnapshotContentName"`
			} `json:"source"`
		} `json:"spec"`
		Status struct {
			Content string    `json:"boundVolumeSnapshotContentName"`
			Ready   bool      `json:"readyToUse"`
			Error   *struct{} `json:"error"`
		} `json:"status"`
	}
	if err := r.object.Decode(&s); err != nil {
		return err
	}
	r.relate(snapshotOf, groupCore, "PersistentVolumeClaim", s.Spec.Source.Claim)
	r.relate(backedBy, groupSnapshot, "VolumeSnapshotContent", or(s.Status.Content, s.Spec.Source.Content))
	r.relate(uses, groupSnapshot, "VolumeSnapshotClass", s.Spec.Class)
	switch {
	case s.Status.Ready:
		r.state("Ready")
	case s.Status.Error != nil:
		r.state("Failed")
	default:
		r.state("Pending")
	}
	return nil
}
