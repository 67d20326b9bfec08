package main

import (
	"context"
	"fmt"
)

// seedVolumes gives a project one volume for every n servers, half of them
// attached.
func seedVolumes(ctx context.Context, t *tenant, every, parallel int) (int, error) {
	if every <= 0 {
		return 0, nil
	}
	servers, err := list(ctx, t.compute, "servers?status=ACTIVE&not-tags=special&sort_key=created_at&sort_dir=asc&limit=1000")
	if err != nil {
		return 0, err
	}
	got, err := list(ctx, t.volume, "volumes/detail?limit=1000")
	if err != nil {
		return 0, err
	}
	have := map[any]bool{}
	for _, v := range got {
		have[v["name"]] = true
	}
	var todo []int
	for i := range (len(servers) + every - 1) / every {
		if !have[fmt.Sprintf("data-%04d", i)] {
			todo = append(todo, i)
		}
	}
	sizes := []int{10, 20, 50, 100, 200}
	return len(todo), each(ctx, parallel, len(todo), func(k int) error {
		i := todo[k]
		v, err := call(ctx, t.volume, "POST", "volumes", obj{"volume": obj{
			"name": fmt.Sprintf("data-%04d", i), "size": sizes[i%len(sizes)],
			"metadata": obj{"owner": "team-" + t.name}}})
		if err != nil {
			return err
		}
		if err := settle(ctx, t.volume, "volumes/"+id(v), "status", "available"); err != nil || i%2 == 1 {
			return err
		}
		_, err = call(ctx, t.compute, "POST", "servers/"+id(servers[i*every])+"/os-volume_attachments",
			obj{"volumeAttachment": obj{"volumeId": id(v)}})
		return err
	})
}

// seedStorage makes what a storage service has beside plain volumes.
func seedStorage(ctx context.Context, admin *cloud, base *shared, t *tenant) error {
	types := map[string]string{}
	for _, vt := range []struct {
		name  string
		open  bool
		specs obj
	}{
		{"ssd", true, obj{"volume_backend_name": "lab", "lab:media": "ssd"}},
		{"archive", false, obj{"volume_backend_name": "lab", "lab:media": "tape"}},
	} {
		var err error
		if types[vt.name], err = ensureIn(ctx, admin.volume, "types?is_public=None", "types", "volume_type", "name", vt.name,
			obj{"description": vt.name + " storage", "os-volume-type-access:is_public": vt.open, "extra_specs": vt.specs}); err != nil {
			return err
		}
	}
	if err := again(ctx, admin.volume, "POST", "types/"+types["archive"]+"/action",
		obj{"addProjectAccess": obj{"project": t.id}}); err != nil {
		return err
	}
	have, err := list(ctx, t.volume, "volumes/detail?limit=1000")
	if err != nil {
		return err
	}
	volume := func(name string, body obj) (string, error) {
		if v := find(have, "name", name); v != nil {
			return id(v), nil
		}
		body["name"] = name
		v, err := call(ctx, t.volume, "POST", "volumes", obj{"volume": body})
		if err != nil {
			return "", err
		}
		return id(v), settle(ctx, t.volume, "volumes/"+id(v), "status", "available")
	}
	first, err := volume("database", obj{"size": 100, "volume_type": "ssd", "description": "what the shop lives on",
		"metadata": obj{"tier": "db"}})
	if err != nil {
		return err
	}
	snapshots := map[string]string{}
	for _, name := range []string{"database-monday", "database-tuesday"} {
		if snapshots[name], err = ensureIn(ctx, t.volume, "snapshots/detail", "snapshots", "snapshot", "name", name,
			obj{"volume_id": first, "description": "before the release", "metadata": obj{"kept": "4 weeks"}}); err != nil {
			return err
		}
		if err := settle(ctx, t.volume, "snapshots/"+snapshots[name], "status", "available"); err != nil {
			return err
		}
	}
	if _, err := volume("database-restored", obj{"size": 100, "snapshot_id": snapshots["database-monday"]}); err != nil {
		return err
	}
	if _, err := volume("database-copy", obj{"size": 100, "source_volid": first}); err != nil {
		return err
	}
	boot, err := volume("boot", obj{"size": 20, "imageRef": base.images[0], "volume_type": "ssd"})
	if err != nil {
		return err
	}
	if _, err := volume("tapes", obj{"size": 5000, "volume_type": "archive"}); err != nil {
		return err
	}
	name := t.name + "-boots-from-volume"
	if found, err := list(ctx, t.compute, "servers?name="+name); err != nil {
		return err
	} else if find(found, "name", name) == nil {
		server, err := makeServer(ctx, t, base, name, obj{"imageRef": nil, "block_device_mapping_v2": []obj{
			{"boot_index": 0, "uuid": boot, "source_type": "volume", "destination_type": "volume", "delete_on_termination": false}}})
		if err == nil {
			err = settle(ctx, t.compute, "servers/"+server, "status", "ACTIVE")
		}
		if err != nil {
			return err
		}
	}

	// What is on its way to another project.
	transfers, err := list(ctx, t.volume, "volume-transfers/detail")
	if err != nil {
		return err
	}
	if len(transfers) == 0 {
		handed, err := volume("handed-over", obj{"size": 10})
		if err != nil {
			return err
		}
		if _, err := call(ctx, t.volume, "POST", "volume-transfers",
			obj{"transfer": obj{"volume_id": handed, "name": "to-billing"}}); err != nil {
			return err
		}
	}
	if err := seedVolumeGroup(ctx, admin, t, types["ssd"]); err != nil {
		return fmt.Errorf("volume groups: %w", err)
	}
	return seedBackups(ctx, admin, t, first)
}

// seedVolumeGroup makes volumes that are snapshotted together.
func seedVolumeGroup(ctx context.Context, admin *cloud, t *tenant, volumeType string) error {
	groupType, err := ensureIn(ctx, admin.volume, "group_types", "group_types", "group_type", "name", "together",
		obj{"description": "volumes of one application", "group_specs": obj{"lab:why": "consistency"}})
	if err != nil {
		return err
	}
	group, err := ensureIn(ctx, t.volume, "groups/detail", "groups", "group", "name", "shop-volumes",
		obj{"group_type": groupType, "volume_types": []string{volumeType}, "description": "database and its log"})
	if err != nil {
		return err
	}
	return settle(ctx, t.volume, "groups/"+group, "status", "available")
}

// seedBackups backs a volume up, where there is a service for that.
func seedBackups(ctx context.Context, admin *cloud, t *tenant, volume string) error {
	services, err := list(ctx, admin.volume, "os-services?binary=cinder-backup")
	if err != nil || len(services) == 0 {
		return err
	}
	parent := ""
	for _, name := range []string{"database-full", "database-incremental"} {
		body := obj{"volume_id": volume, "description": "nightly", "force": true, "incremental": parent != "", "metadata": obj{"job": "nightly"}}
		if parent, err = ensureIn(ctx, t.volume, "backups/detail", "backups", "backup", "name", name, body); err != nil {
			return err
		}
		if err := settle(ctx, t.volume, "backups/"+parent, "status", "available"); err != nil {
			return err
		}
	}
	return nil
}
