package warehouse

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/reeve-cloud/reeve/pkg/atomicfile"
)

// Whatever a statement of a person turns out to do, the engine itself shows it only
// what its reader may see: row policies, keyed on the database that the statement's
// connection stands in. Nothing within a statement can change that one. In our own
// database, where our own statements stand, they show everything.
//
// The embedded engine has one user, and takes policies from a file only, when it
// starts. A server gets them from its administrator (docs/sql.md).

// A policy says which rows of a table are shown. The empty table stands for all that
// have no policy of their own.
type policy struct{ database, table, filter string }

// own is the condition that a statement stands in our own database.
const own = "currentDatabase() = '" + Database + "'"

// policies returns those that the engine must have.
func policies() []policy {
	list := []policy{
		{Database, "", own},
		{Database, readerTable, own + " OR name = currentDatabase()"},
		// What the engine tells of itself: statements that run, their text, sizes of tables.
		// "default" is where connections stand that have chosen none.
		{"system", "", "currentDatabase() IN ('" + Database + "', 'default')"},
		{"system", "one", "1"},
	}
	var tables []string
	for _, v := range views {
		if !slices.Contains(tables, v.table) {
			tables = append(tables, v.table)
		}
	}
	const reader = Database + "." + readerTable + " FINAL WHERE "
	for _, table := range tables {
		list = append(list, policy{Database, table, own +
			" OR currentDatabase() IN (SELECT name FROM " + reader + "everything)" +
			" OR site IN (SELECT arrayJoin(sites) FROM " + reader + "name = currentDatabase())"})
	}
	return list
}

// rights are what our own statements need. There is none to read or write files, nor
// to reach other machines, which nobody needs.
var rights = []string{
	"SHOW", "SELECT", "INSERT", "ALTER", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP", "TRUNCATE", "OPTIMIZE", "KILL QUERY",
}

// writeFence writes the engine's configuration with the policies into a directory, and
// returns its path.
func writeFence(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	type named struct {
		Name   string  `xml:"name,attr"`
		Filter string  `xml:"filter,omitempty"`
		Tables []named `xml:"table,omitempty"`
	}
	var databases []named
	for _, p := range policies() {
		at := slices.IndexFunc(databases, func(d named) bool { return d.Name == p.database })
		if at < 0 {
			at = len(databases)
			databases = append(databases, named{Name: p.database})
		}
		databases[at].Tables = append(databases[at].Tables, named{Name: p.table, Filter: p.filter})
	}
	text, err := xml.MarshalIndent(struct {
		XMLName   xml.Name `xml:"clickhouse"`
		Profile   string   `xml:"profiles>default"`
		Quota     string   `xml:"quotas>default"`
		Password  string   `xml:"users>default>password"`
		Networks  string   `xml:"users>default>networks>ip"`
		OfProfile string   `xml:"users>default>profile"`
		OfQuota   string   `xml:"users>default>quota"`
		Grants    []string `xml:"users>default>grants>query"`
		Databases []named  `xml:"users>default>databases>database"`
	}{
		Networks: "::/0", OfProfile: "default", OfQuota: "default",
		Grants:    []string{"GRANT " + strings.Join(rights, ", ") + " ON *.*", "GRANT SHOW ROW POLICIES ON *.*"},
		Databases: databases,
	}, "", "  ")
	if err != nil {
		return "", err
	}
	const head = "<!-- Made anew at each start, by the aggregator. -->\n"
	users := filepath.Join(dir, "users.xml")
	if err := atomicfile.Write(users, append([]byte(head), text...), 0o600); err != nil {
		return "", err
	}
	text, err = xml.Marshal(struct {
		XMLName xml.Name `xml:"clickhouse"`
		Users   string   `xml:"users_config"`
	}{Users: users})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "engine.xml")
	return path, atomicfile.Write(path, append([]byte(head), text...), 0o600)
}

// statement is the one by which an administrator gives the policy to a server, for the
// user that the aggregator is there.
func (p *policy) statement() string {
	return fmt.Sprintf("CREATE ROW POLICY OR REPLACE reader ON %s.%s USING %s TO reeve;", p.database, p.name(), p.filter)
}

// Unfenced returns which tables have no policy of those that statements of people must
// have behind them, as DATABASE.TABLE. What a server tells of itself is its
// administrator's to hide.
func (w *Warehouse) Unfenced(ctx context.Context) ([]string, error) {
	rows, err := w.conn.Query(ctx, "SELECT database, table FROM system.row_policies")
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its row policies: %w", err)
	}
	has, err := scan(rows, func(p *policy) []any { return []any{&p.database, &p.table} })
	if err != nil {
		return nil, fmt.Errorf("asking the engine for its row policies: %w", err)
	}
	var missing []string
	for _, p := range policies() {
		if p.database != Database && w.kind != "embedded" {
			continue
		}
		if !slices.Contains(has, policy{database: p.database, table: p.table}) {
			missing = append(missing, p.database+"."+p.name())
		}
	}
	return missing, nil
}

// name is the table as statements have it.
func (p *policy) name() string {
	if p.table == "" {
		return "*"
	}
	return p.table
}
