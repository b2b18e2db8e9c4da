//go:build unix

package main

import (
	"syscall"
)

// forbidCoreFiles lowers the limit of core files to nothing: one would hold the
// secret and the tokens.
func forbidCoreFiles() {
	var none syscall.Rlimit
	syscall.Setrlimit(syscall.RLIMIT_CORE, &none) //nolint:errcheck // lowering a limit is always allowed
}
