// Package join is the standard library's Join under the name that Pebble knows.
package join

import "errors"

// Join is [errors.Join].
func Join(errs ...error) error { return errors.Join(errs...) }
