package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

func AskJSON(ctx context.Context, s *settings.Settings, path string, v any) error {
	code, body, err := Ask(ctx, s, path)
	if err != nil {
		return fmt.Errorf("a connector is running on this state directory, but cannot be asked: %w", err)
	}
	if code != 200 {
		return fmt.Errorf("the connector on %s answered HTTP %d", s.Listen, code)
	}
	return json.Unmarshal([]byte(body), v)
}

// errNotListening says that no connector can be asked.
var errNotListening = errors.New("LISTEN_ADDR is empty, so a running connector cannot be asked: set it, for both")

// Ask sends a question to the connector that runs on this host.
func Ask(ctx context.Context, s *settings.Settings, path string) (status int, body string, err error) {
	if s.Listen == "" {
		return 0, "", errNotListening
	}
	host, port, err := net.SplitHostPort(s.Listen)
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
		return 0, "", fmt.Errorf("no connector answers on %s: %w", s.Listen, err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, io.LimitReader(response.Body, 8<<20)); err != nil {
		return 0, "", err
	}
	return response.StatusCode, text.String(), nil
}
