package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/grpclog"
)

func init() { components["compact"] = runCompact }

// runCompact compacts etcd to its current revision, waits until that is done,
// and prints the revision. kube-apiserver does it only every five minutes, and
// never to the current one.
func runCompact() {
	fs := flag.NewFlagSet("compact", flag.ExitOnError)
	endpoint := fs.String("endpoint", "http://127.0.0.1:26444", "client URL of etcd (the lab's port + 1)")
	timeout := fs.Duration("timeout", 30*time.Second, "give up after this long")
	fs.Parse(os.Args[1:]) //nolint:errcheck

	// The error says all that the connection's own chatter would.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	revision, err := compact(*endpoint, *timeout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "k8slab compact: etcd does not do it; is it up at %s? %v\n", *endpoint, err)
		os.Exit(1)
	}
	fmt.Println(revision)
}

func compact(endpoint string, timeout time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: timeout, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return 0, err
	}
	defer client.Close() //nolint:errcheck
	// Any key will do: the header has the revision of the whole store.
	answer, err := client.Get(ctx, "compact_rev_key")
	if err != nil {
		return 0, err
	}
	revision := answer.Header.Revision
	if _, err := client.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return 0, err
	}
	return revision, nil
}
