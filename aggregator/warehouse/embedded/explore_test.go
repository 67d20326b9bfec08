package embedded

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func rss() string {
	b, _ := os.ReadFile("/proc/self/status")
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "RssAnon") || strings.HasPrefix(l, "RssFile") || strings.HasPrefix(l, "Threads") {
			out = append(out, strings.Join(strings.Fields(l), " "))
		}
	}
	return strings.Join(out, "; ")
}

func TestExplore(t *testing.T) {
	l, err := loadLibrary(os.Getenv("CHDB_LIB_PATH"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"--path=" + dir, "--config-file=" + dir + "/none.xml", "--implicit_select=0", "--async_insert=0"}
	args = append(args, strings.Fields(os.Getenv("ENGINE_ARGS"))...)
	c1p := l.open(args)
	if c1p == 0 {
		t.Fatal("no conn")
	}
	deref := func(p uintptr) uintptr { return *(*uintptr)(unsafe.Pointer(p)) }
	c1 := deref(c1p)
	q := func(c uintptr, s string, p ...parameter) string {
		t0 := time.Now()
		out, err := l.query(c, s, "TSV", p)
		fmt.Printf("%s -> %q %v (%v)\n", s, out, err, time.Since(t0))
		return string(out)
	}
	q(c1, "SELECT 1")
	time.Sleep(1000 * time.Millisecond)
	fmt.Println("queried", rss())
	q(c1, "SELECT name, value FROM system.server_settings WHERE changed")
	q(c1, "CREATE TABLE t (a UInt64, s String) ENGINE=MergeTree ORDER BY a")
	for i := 0; i < 10; i++ {
		q(c1, "INSERT INTO t SELECT number, toString(rand64()) FROM numbers(200000)")
	}
	fmt.Println("inserted", rss())
	q(c1, "OPTIMIZE TABLE t FINAL")
	fmt.Println("merged", rss())
	q(c1, "SELECT length(groupArray(s)) FROM (SELECT s FROM t UNION ALL SELECT s FROM t)")
	fmt.Println("grouped", rss())
	q(c1, "SELECT uniqExact(s) FROM t")
	q(c1, "SELECT uniqExact(rand64()) FROM numbers(100000000)")
	fmt.Println("grouped", rss())
	q(c1, "SELECT 1")
	for i := 0; i < 8; i++ {
		time.Sleep(2 * time.Second)
		fmt.Println("rest", rss())
	}
	q(c1, "SELECT metric, value FROM system.asynchronous_metrics WHERE metric like '%jemalloc%'")
	q(c1, "SELECT metric, value FROM system.metrics WHERE value>0 ")
	l.closeConnection(c1p)
}
