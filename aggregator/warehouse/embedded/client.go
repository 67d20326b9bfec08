package embedded

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ClientOptions gives the driver's options for an engine that dial reaches,
// see [Engine.DialContext] and [Process.DialContext]. The caller may change
// them, for instance set Auth.Database, but not the protocol nor the
// compression.
func ClientOptions(dial func(context.Context) (net.Conn, error)) *clickhouse.Options {
	return &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{"localhost:8123"}, // only for the Host header
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			return dial(ctx)
		},
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) {
			t.Proxy = nil
			return t, nil
		},
		Compression:     &clickhouse.Compression{Method: clickhouse.CompressionNone},
		DialTimeout:     processPatience,
		ReadTimeout:     time.Hour, // until a statement's first answer; contexts bound more tightly
		MaxOpenConns:    maxStatements * 2 / 3,
		MaxIdleConns:    maxStatements / 3,
		ConnMaxLifetime: time.Hour,
	}
}
