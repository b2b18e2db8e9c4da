package wording

import (
	"io"
	"os"

	"golang.org/x/term"
)

// TerminalJSON is where events go that a person looks at: what a record holds
// does not steer the terminal. Whatever else out is gets the events as they are.
func TerminalJSON(out io.Writer) io.Writer {
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return escaping{out}
	}
	return out
}

type escaping struct{ out io.Writer }

// Write takes whole lines, so that no character is cut in two.
func (e escaping) Write(p []byte) (int, error) {
	if _, err := e.out.Write(EscapeControls(nil, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
