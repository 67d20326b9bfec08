package centre

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/reeve-cloud/reeve/aggregator/api"
	"github.com/reeve-cloud/reeve/aggregator/config"
	"github.com/reeve-cloud/reeve/aggregator/registry"
	"github.com/reeve-cloud/reeve/aggregator/warehouse"
	"github.com/reeve-cloud/reeve/pkg/identity"
)

// A first start makes everything. At any other start what is missing was lost, or is
// not mounted, and is not made anew: a new CA shuts out every agent, a new registry
// forgets them all. What says that it is not the first is that something else is
// there. So that a first start that was cut short can be told from that, the
// registry is made first, and nothing is written to it before the CA is there.

// CADir is where an aggregator keeps its certificate authority.
func CADir(c config.Config) string { return filepath.Join(c.DataDir, "ca") }

// RegistryDir is where an aggregator keeps its registry.
func RegistryDir(c config.Config) string { return filepath.Join(c.DataDir, "registry") }

func commitLogDir(c config.Config) string { return filepath.Join(c.DataDir, "commit-log") }

// openIdentity opens the registry and the CA, and makes both at the first start.
func (a *Centre) openIdentity(ctx context.Context) error {
	c := a.config
	ca, err := identity.LoadCA(CADir(c))
	if err != nil && !errors.Is(err, identity.ErrNoCA) {
		return err
	}
	a.ca = ca
	if err := checkRegistryThere(c, ca != nil); err != nil {
		return err
	}
	if a.registry, err = registry.Open(registry.Options{Dir: RegistryDir(c), Logger: a.logger}); err != nil {
		return err
	}
	a.closing("the registry", a.registry.Close)
	if a.ca == nil {
		if a.registry.Store().Revision() > 0 {
			return fmt.Errorf("the certificate authority in %s is missing, though the registry in %s is in use: bring the directory back from a "+
				"backup. "+
				"Without one no agent can be let in any more: move the registry away as well, begin anew, and have all agents join again", CADir(c),
				RegistryDir(c))
		}
		if a.ca, err = identity.MakeCA(CADir(c)); err != nil {
			return err
		}
		a.logger.Info("first start: made a certificate authority", "dir", CADir(c), "ca_hash", a.ca.Pin().String())
	}
	if err := a.ca.LetSignNext(); err != nil {
		return err
	}
	a.tokenFile, err = api.EnsureAdminToken(ctx, a.registry, c.DataDir)
	return err
}

// checkRegistryThere returns an error if there is no registry, and there are other
// things that only an aggregator has that had one.
func checkRegistryThere(c config.Config, ca bool) error {
	there, err := registry.Exists(RegistryDir(c))
	if err != nil || there {
		return err
	}
	var others []string
	if ca {
		others = append(others, "a certificate authority in "+CADir(c))
	}
	dirs := []struct{ what, dir string }{{"a commit log in ", commitLogDir(c)}}
	if dir, ok := warehouse.EmbeddedDir(c.Warehouse); ok {
		dirs = append(dirs, struct{ what, dir string }{"a warehouse in ", dir})
	}
	for _, d := range dirs {
		used, err := notEmpty(d.dir)
		if err != nil {
			return err
		}
		if used {
			others = append(others, d.what+d.dir)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("the registry in %s is missing, though there is %s: bring the directory back from a backup, or mount it. "+
		"Without one every agent is unknown: to begin anew, move what is left away as well, and have all agents join again",
		RegistryDir(c), strings.Join(others, " and "))
}

func notEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// checkWarehouseThere returns an error if the warehouse is empty though agents have
// delivered something, unless a person has said that it may be.
func (a *Centre) checkWarehouseThere(ctx context.Context) error {
	if a.config.NewWarehouse || len(a.registry.Watermarks()) == 0 {
		return nil
	}
	empty, err := a.warehouse.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	return errors.New("the warehouse is empty, though agents have delivered to one before: bring it back from a backup, mount it, or " +
		"correct its address. " +
		"To go on with an empty one, start once with --new-warehouse: agents bring back the newest state of their assets, and nothing brings " +
		"back its history")
}
