package names

import "testing"

// TestHas holds values against the names that they stand under.
func TestHas(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"password", "moonlight", true}, {"DB_PASSWORD", "moonlight", true}, {"dbpass", "moonlight", true}, {"mot_de_passe", "moonlight", true},
		{"암호", "moonlight", true}, {"api-key", "moonlight", true}, {"X-Auth-Token", "moonlight", true}, {"userPin", "9911", true},
		{"password", "", false}, {"password", "yes", false}, {"password", "$(DB_PASSWORD)", false}, {"password", "$(cat /run/db)", false},
		{"password", "$(echo moonlight)", true}, {"password", "<password>", false}, {"password", Mask, false}, {"askpass", "/run/askpass", false},
		{"secretName", "web-tls", false}, {"existingSecret", "db", false}, {"auth-secret", "ops/basic-auth", false}, {"auth-password", "ops/basic", true},
		{"secrets", "10", false}, {"secret", "10", true}, {"tokenTTL", "24h", false}, {"tokenLifetime", "1h", false}, {"password_file", "/run/x", false},
		{"password_file", "a1b2c3d4e5", true}, {"NOPASSWD", "ALL", false}, {"checksum/secret", "9f86d081884c7d65", false},
		{"ca-cert-hash", "sha256:9f86d081884c7d65", false}, {"salt", "of the earth", false}, {"salt", "a1B2c3D4e5", true}, {"compass", "north", false},
		{"keyboard", "us", false}, {"monkey", "x", false}, {"sortKey", "created", false}, {"name", "moonlight", false},
	} {
		if got := Judge(c.name).Has(c.value); got != c.want {
			t.Errorf("%s: %q: %v", c.name, c.value, got)
		}
	}
}

// TestRules shows that each word of the table is one by itself, and is named.
func TestRules(t *testing.T) {
	for word, by := range table.rules {
		if by == 0 || by >= OwnRule || by.String() == "name" {
			t.Errorf("%q has the rule %d: %s", word, by, by)
		}
	}
	if got := Judge("db_password").Rule.String(); got != `name "password"` {
		t.Errorf("db_password: %s", got)
	}
}
