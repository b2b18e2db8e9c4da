//go:build !unix

package checkpoint

import (
	"errors"
	"os"
)

func lockFile(*os.File) (bool, error) {
	return false, errors.New("this system offers no file lock that the connector knows; run it on Linux or macOS, or in its container")
}
