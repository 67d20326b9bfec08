package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reeve-cloud/reeve/aggregator/registry"
)

const adminTokenFile = "admin-token"

// EnsureAdminToken makes a bearer token for the user "admin" unless the registry
// has a token already, and writes it to the file admin-token in dir, which only
// its owner can read. The secret is nowhere else. It returns the file's path if
// it made one.
func EnsureAdminToken(ctx context.Context, r *registry.Registry, dir string) (file string, err error) {
	for _, err := range r.APITokens(ctx, "") {
		if err != nil && !errors.Is(err, registry.ErrCorrupt) {
			return "", fmt.Errorf("looking for API tokens: %w", err)
		}
		return "", nil
	}
	token, secret := registry.NewAPIToken("admin", registry.RoleAdmin)
	file = filepath.Join(dir, adminTokenFile)
	// The file comes first: after a crash in between there is a file with a
	// token that does not count, and the next start replaces it. The other way
	// round nobody could ever sign in.
	if err := writeSecret(file, formatBearer(token.ID, secret)+"\n"); err != nil {
		return "", fmt.Errorf("writing the admin's token: %w", err)
	}
	if err := r.AddAPIToken(ctx, registry.System, token); err != nil {
		return "", errors.Join(err, os.Remove(file))
	}
	return file, nil
}

// writeSecret replaces a file in one step; only its owner can read it.
func writeSecret(file, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // has mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return nil // the rename has happened
	}
	_ = d.Sync()
	return d.Close()
}
