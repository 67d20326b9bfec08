package kinds

import (
	"testing"

	"github.com/reeve-cloud/reeve/pkg/plugin"
)

func TestStorage(t *testing.T) {
	volume := func(spec string) string {
		return `{"apiVersion":"v1","kind":"PersistentVolume","spec":{"capacity":{"storage":"20Gi"},"claimRef":{"namespace":"ns",` +
			`"name":"data"},` + spec +
			`},"status":{"phase":"Bound"}}`
	}
	attachment := func(meta, status string) string {
		return `{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","metadata":{"name":"x"` + meta + `},
			"spec":{"nodeName":"n","source":{"persistentVolumeName":"pv"}},"status":{` + status + `}}`
	}
	snapshot := func(spec, status string) string {
		return `{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","spec":{` + spec + `},"status":{` + status + `}}`
	}
	const deleted = `,"deletionTimestamp":"2026-03-01T00:00:00Z"`
	for _, want := range []reading{
		{
			name: "Cinder", status: "Bound", facts: `{"capacity":21474836480}`,
			document: volume(`"storageClassName":"ssd","csi":{"driver":"cinder.csi.openstack.org","volumeHandle":"v-1"}`),
			edges:    []string{"backed_by openstack.storage.Volume v-1", "uses storage.k8s.io.StorageClass ssd"},
		},
		{name: "Cinder in the tree", document: volume(`"cinder":{"volumeID":"v-2"}`), status: "Bound",
			edges: []string{"backed_by openstack.storage.Volume v-2"}},
		{
			name: "Manila", status: "Bound", edges: []string{"backed_by openstack.share.Share s-1"},
			document: volume(`"csi":{"driver":"nfs.manila.csi.openstack.org","volumeHandle":"h","volumeAttributes":{"shareID":"s-1"}}`),
		},
		{name: "another driver", document: volume(`"csi":{"driver":"ebs.csi.aws.com","volumeHandle":"vol-1"}`), status: "Bound",
			edges: []string{}},

		{
			name: "claim", status: "Bound", facts: `{"requested":10737418240,"capacity":21474836480}`,
			document: `{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"volumeName":"pv","storageClassName":"ssd",
				"resources":{"requests":{"storage":"10Gi"}}},"status":{"phase":"Bound","capacity":{"storage":"20Gi"}}}`,
			edges: []string{"backed_by core.PersistentVolume pv", "uses storage.k8s.io.StorageClass ssd"},
		},
		{
			name: "claim that waits", status: "Pending", facts: `{"requested":10737418240}`, edges: []string{"uses storage.k8s.io.StorageClass old"},
			document: `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"x",` +
				`"annotations":{"volume.beta.kubernetes.io/storage-class":"old"}},
				"spec":{"resources":{"requests":{"storage":"10Gi"}}},"status":{"phase":"Pending"}}`,
		},

		{name: "attached", document: attachment(``, `"attached":true`), status: "Attached",
			edges: []string{"attached_to core.Node n", "uses core.PersistentVolume pv"}},
		{name: "attaching", document: attachment(``, ``), status: "Attaching"},
		{name: "cannot be attached", document: attachment(``, `"attachError":{"message":"m"}`), status: "Failed"},
		{name: "detaching", document: attachment(deleted, `"attached":true`), status: "Detaching"},
		{name: "cannot be detached", document: attachment(deleted, `"attached":true,"detachError":{"message":"m"}`), status: "Failed"},

		{
			name: "snapshot", status: "Ready",
			document: snapshot(`"volumeSnapshotClassName":"c","source":{"persistentVolumeClaimName":"data"}`,
				`"readyToUse":true,"boundVolumeSnapshotContentName":"content"`),
			edges: []string{
				"backed_by snapshot.storage.k8s.io.VolumeSnapshotContent content", "snapshot_of core.PersistentVolumeClaim ns/data",
				"uses snapshot.storage.k8s.io.VolumeSnapshotClass c",
			},
		},
		{
			name: "snapshot that was there", document: snapshot(`"source":{"volumeSnapshotContentName":"content"}`, ``), status: "Pending",
			edges: []string{"backed_by snapshot.storage.k8s.io.VolumeSnapshotContent content"},
		},
		{name: "snapshot failed", document: snapshot(``, `"readyToUse":false,"error":{"message":"m"}`), status: "Failed"},
	} {
		want.check(t)
	}
}

func TestLostClaim(t *testing.T) {
	claim := func(meta string) Reading {
		return read(t, `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"x"`+meta+`},"spec":{"volumeName":"pv"},`+
			`"status":{"phase":"Lost"}}`)
	}
	want := incident{"pvc.lost", "2026-03-02T00:00:00Z", plugin.Error, `{"volume":"pv"}`}
	incidents(t, claim(`,"managedFields":[{"manager":"m","time":"2026-03-02T00:00:00Z"}]`), want)
	want.time = "2026-03-01T00:00:00Z"
	incidents(t, claim(``), want)
}
