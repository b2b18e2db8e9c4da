// Package oserror tells errors of the operating system apart, through whatever
// wraps them.
package oserror

import (
	"os"

	"github.com/cockroachdb/errors"
)

var (
	ErrInvalid    = os.ErrInvalid
	ErrPermission = os.ErrPermission
	ErrExist      = os.ErrExist
	ErrNotExist   = os.ErrNotExist
	ErrClosed     = os.ErrClosed
)

// IsPermission is [os.IsPermission] of an error and its causes.
func IsPermission(err error) bool {
	return errors.Is(err, ErrPermission) || os.IsPermission(errors.UnwrapAll(err))
}

// IsExist is [os.IsExist] of an error and its causes.
func IsExist(err error) bool {
	return errors.Is(err, ErrExist) || os.IsExist(errors.UnwrapAll(err))
}

// IsNotExist is [os.IsNotExist] of an error and its causes.
func IsNotExist(err error) bool {
	return errors.Is(err, ErrNotExist) || os.IsNotExist(errors.UnwrapAll(err))
}
