package definition

// The tests of this package are of the whole languages, whatever of them is implemented.
func init() { pending = nil }
