// Package program holds the command's name, its version and its exit codes.
package program

// Name is what the program is called in logs, events and requests.
const Name = "s60-m365-connector"

// Version is that of the build: main sets it before anything else runs.
var Version = "dev"

// UserAgent is the value of the header in all requests.
func UserAgent() string { return Name + "/" + Version }

// Exit codes. They are part of the contract with scripts that call the program.
const (
	Done        = 0
	Failed      = 1 // the work failed
	Usage       = 2 // wrong usage or settings
	Definitions = 3 // a feed or mapping file is invalid
	Credentials = 4 // the credentials were refused
)

// Error ends the program with a code, after its text was printed.
type Error struct {
	Code int
	Err  error // nil: everything was said already
}

func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Exit makes err end the program with a code.
func Exit(code int, err error) error { return &Error{Code: code, Err: err} }
