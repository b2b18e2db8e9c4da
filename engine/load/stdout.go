package load

import "os"

// openStdout makes the destination that writes events to standard output, one a
// line.
func openStdout(config Config) (Destination, error) {
	output := config.Output
	if output == nil {
		output = os.Stdout
	}
	return newLines(config, output.Write, func() error { return nil }), nil
}
