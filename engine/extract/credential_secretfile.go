package extract

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"
)

// secretFile is the path of a file that holds a client secret.
type secretFile string

func (f secretFile) Parameters(string, string, time.Time) (url.Values, error) {
	text, err := readSecret(string(f))
	if err != nil {
		return nil, fmt.Errorf("client secret file: %w", err)
	}
	return url.Values{"client_secret": {string(text)}}, nil
}

// Expires: a secret does not say.
func (f secretFile) Expires() (time.Time, error) { return time.Time{}, nil }

// readSecret reads a small file that holds one secret, and is lenient about
// the line feed that editors add.
func readSecret(path string) ([]byte, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	if len(text) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// readSmall reads a file of at most 1 MB.
func readSmall(path string) ([]byte, error) {
	const largest = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > largest {
		return nil, fmt.Errorf("%s is larger than 1 MB, so it cannot be the right file", path)
	}
	return text, nil
}
