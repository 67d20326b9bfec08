package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	c := Default()
	c.DataDir = "state"
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.DataDir) || c.Warehouse != "embedded:"+c.DataDir+"/warehouse" || !strings.HasSuffix(c.Advertise[0], ":8443") {
		t.Fatalf("%+v", c)
	}
}

func TestFaults(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"data_dir":     func(c *Config) { c.DataDir = "" },
		"listen":       func(c *Config) { c.Listen = "8443" },
		"advertise[0]": func(c *Config) { c.Advertise = []string{"x"} },
		"warehouse":    func(c *Config) { c.Warehouse = "mysql://x" },
		"log format":   func(c *Config) { c.Log.Format = "xml" },
	} {
		c := Default()
		spoil(&c)
		if err := c.Finish(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestEnvironmentAndPassword(t *testing.T) {
	t.Setenv("REEVE_ENGINE_PROCESS", "false")
	t.Setenv("REEVE_ADVERTISE", "a:1,b:2")
	c, err := Load("")
	if err != nil || c.Engine.Process || len(c.Advertise) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if p, err := c.WarehousePassword(); p != "" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	c.WarehousePasswordFile = filepath.Join(t.TempDir(), "p")
	if _, err := c.WarehousePassword(); err == nil {
		t.Fatal("a missing password file was accepted")
	}
	if err := os.WriteFile(c.WarehousePasswordFile, []byte("secret \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := c.WarehousePassword(); p != "secret " || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
}
