// Command reeve is Reeve's terminal client.
//
// It is a client of the public API of an aggregator and nothing more: what it
// shows, any other client can ask for.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/reeve-cloud/reeve/tui/cli"
	"github.com/reeve-cloud/reeve/tui/verb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the run in order, a second one at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], verb.Host()))
}
