package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthCommand struct{}

// Run asks the connector that runs on this host.
func (healthCommand) Run(ctx context.Context, std streams) error {
	s, _, err := loadSettings(true)
	if err != nil {
		return err
	}
	status, body, err := ask(ctx, s, "/healthz")
	if err != nil {
		return exit(exitFailed, err)
	}
	fmt.Fprint(std.out, body)
	if status != http.StatusOK {
		return exit(exitFailed, nil)
	}
	return nil
}

// errNotListening says that no connector can be asked.
var errNotListening = errors.New("LISTEN_ADDR is empty, so a running connector cannot be asked: set it, for both")

// ask sends a question to the connector that runs on this host.
func ask(ctx context.Context, s *settings, path string) (status int, body string, err error) {
	if s.listen == "" {
		return 0, "", errNotListening
	}
	host, port, err := net.SplitHostPort(s.listen)
	if err != nil {
		return 0, "", err
	}
	// An address that means "every interface" is reached on loopback.
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{}} // no proxy: it is this host
	response, err := client.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("no connector answers on %s: %w", s.listen, err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, io.LimitReader(response.Body, 8<<20)); err != nil {
		return 0, "", err
	}
	return response.StatusCode, text.String(), nil
}
