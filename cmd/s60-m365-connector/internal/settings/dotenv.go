package settings

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// This file reads the environment, and the .env files that complete it.

// Environment is the process's environment, completed by a .env file in the
// working directory or beside the program; the environment wins. What is wrong with a file is in
// problems, and the rest of it is read all the same: see [ReadAll].
func Environment() (env map[string]string, problems Problems) {
	env = map[string]string{}
	dirs := []string{"."}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, ".env")
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && dir != ".":
			continue
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s cannot be read: %v", path, err))
			continue
		}
		file, found := parseEnv(path, data)
		problems = append(problems, found...)
		for name, value := range file {
			if _, ok := env[name]; !ok {
				env[name] = value
			}
		}
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env, problems
}

// decoded is the text of a file as UTF-8: editors on Windows write a byte order mark, or UTF-16.
func decoded(data []byte) (string, error) {
	order := map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian}
	if len(data) >= 2 && order[string(data[:2])] != nil {
		units := make([]uint16, (len(data)-2)/2)
		for i := range units {
			units[i] = order[string(data[:2])].Uint16(data[2+2*i:])
		}
		return string(utf16.Decode(units)), nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", errors.New("it is not UTF-8 text: save it as UTF-8")
	}
	return string(data), nil
}

// assignment is a line that sets a variable, or means to.
var assignment = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*([=:])(.*)$`)

// parseEnv reads a .env file. Problems tell the line, and nothing that stands in it but the name: the
// value may be a secret. A line that can be understood all the same counts, so that the others' problems
// are told and none that follows from it.
func parseEnv(path string, data []byte) (map[string]string, Problems) {
	text, err := decoded(data)
	if err != nil {
		return nil, Problems{fmt.Sprintf("%s cannot be read: %v", path, err)}
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	var problems Problems
	for i := 0; i < len(lines); i++ {
		trimmed := strings.TrimSpace(lines[i])
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		m := assignment.FindStringSubmatch(lines[i])
		if m == nil {
			problems = append(problems, fmt.Sprintf("%s:%d: the line is not of the form NAME=value", path, i+1))
			lines[i] = ""
			continue
		}
		name, value := m[1], strings.TrimSpace(m[3])
		if m[2] == ":" {
			problems = append(problems, fmt.Sprintf("%s:%d: the line has a colon behind %s: write %s=value", path, i+1, name, name))
			lines[i] = name + "=" + value
		}
		if value == "" || value[0] != '"' && value[0] != '\'' || closes(value[1:], value[0]) {
			continue
		}
		end := i + 1 // of a value over several lines
		for end < len(lines) && !closes(lines[end], value[0]) {
			end++
		}
		if end == len(lines) {
			problems = append(problems, fmt.Sprintf("%s:%d: the quote of %s does not end: write another %c, or the value without quotes", path, i+1, name, value[0]))
			lines[i] = name + "=" + value[1:]
			continue
		}
		i = end
	}
	file, err := godotenv.Unmarshal(strings.Join(lines, "\n"))
	if err != nil { // its error may quote a line
		return nil, append(problems, fmt.Sprintf("%s cannot be read: write each line as NAME=value", path))
	}
	return file, problems
}

// closes reports whether a text holds the end of a quoted value.
func closes(text string, quote byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
		} else if text[i] == quote {
			return true
		}
	}
	return false
}
