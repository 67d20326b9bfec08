package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	host = "127.0.0.1"
	// The health ports lie so far above the aggregator's.
	aggregatorHealth, agentHealth = 1022, 1021
)

// choosePorts finds out before anything is started whether the ports can be had,
// and returns the aggregator's.
func choosePorts() (int, error) {
	text := os.Getenv("REEVE_RUN_PORT")
	if text == "" {
		text = "8443"
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 64000 {
		return 0, fmt.Errorf("REEVE_RUN_PORT is %q: must be a number from 1 to 64000", text)
	}
	other := port + 2000
	if port >= 60000 {
		other = port - 2000
	}
	for _, p := range []struct {
		network string
		port    int
	}{{"tcp", port}, {"udp", port}, {"tcp", port + aggregatorHealth}, {"tcp", port + agentHealth}} {
		if err := tryPort(p.network, addressOf(p.port)); err != nil {
			why := fmt.Sprintf("cannot be used (%v)", err)
			if errors.Is(err, syscall.EADDRINUSE) {
				why = "is in use"
			}
			return 0, fmt.Errorf("port %d (%s) of %s %s. Stop what uses it (another `make run`?), or choose other ports: REEVE_RUN_PORT=%d make run",
				p.port, strings.ToUpper(p.network), host, why, other)
		}
	}
	return port, nil
}

func tryPort(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

func addressOf(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

var healthClient = &http.Client{Timeout: 2 * time.Second}

func isReady(ctx context.Context, port int) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addressOf(port)+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := healthClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
