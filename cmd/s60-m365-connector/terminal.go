package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// escapeControls appends JSON with the control characters that it may hold raw
// (DEL, and U+0080 to U+009F, of which some terminals obey U+009B) written as
// escapes. The value is the same.
func escapeControls(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == 0x7f:
		case c == 0xc2 && i+1 < len(text) && text[i+1] >= 0x80 && text[i+1] <= 0x9f:
			i++
			c = text[i]
		default:
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return dst
}

// terminalJSON is where events go that a person looks at: what a record holds
// does not steer the terminal. Whatever else out is gets the events as they are.
func terminalJSON(out io.Writer) io.Writer {
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return escaping{out}
	}
	return out
}

type escaping struct{ out io.Writer }

// Write takes whole lines, so that no character is cut in two.
func (e escaping) Write(p []byte) (int, error) {
	if _, err := e.out.Write(escapeControls(nil, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
