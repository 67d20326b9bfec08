package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/pkg/atomicfile"
)

const adminTokenFile = "admin-token"

// EnsureAdminToken makes a bearer token for the user "admin" at the first start,
// when nothing was ever written to the registry, as MakeAdminToken does. It returns
// the file's path if it made one.
func EnsureAdminToken(ctx context.Context, r *registry.Registry, dir string) (file string, err error) {
	if r.Store().Revision() > 0 {
		return "", nil
	}
	return MakeAdminToken(ctx, r, dir)
}

// MakeAdminToken makes a bearer token for the user "admin" and writes it to the file
// admin-token in dir, which only its owner can read. The secret is nowhere else.
func MakeAdminToken(ctx context.Context, r *registry.Registry, dir string) (file string, err error) {
	token, secret := registry.NewAPIToken("admin", registry.RoleAdmin)
	file = filepath.Join(dir, adminTokenFile)
	// The file comes first: after a crash in between there is a file with a
	// token that does not count, and the next start replaces it. The other way
	// round nobody could ever sign in.
	if err := atomicfile.Write(file, []byte(formatBearer(token.ID, secret)+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the admin's token: %w", err)
	}
	if err := r.AddAPIToken(ctx, registry.System, token); err != nil {
		return "", errors.Join(err, os.Remove(file))
	}
	return file, nil
}
