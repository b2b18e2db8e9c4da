package errors_test

import (
	stderrors "errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/errors"
	"github.com/cockroachdb/errors/oserror"
)

var errCorrupt = errors.New("corruption")

func TestMessages(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"New":             {errors.New("100%"), "100%"},
		"Newf":            {errors.Newf("table %d: %s", 7, errors.Safe("gone")), "table 7: gone"},
		"Errorf with %w":  {errors.Errorf("reading: %w", io.EOF), "reading: EOF"},
		"Wrap":            {errors.Wrap(io.EOF, "reading"), "reading: EOF"},
		"Wrap in nothing": {errors.Wrap(io.EOF, ""), "EOF"},
		"Wrapf":           {errors.Wrapf(io.EOF, "reading %q", "x"), `reading "x": EOF`},
		"Mark":            {errors.Mark(io.EOF, errCorrupt), "EOF"},
		"a detail":        {errors.WithDetailf(io.EOF, "at %d", 3), "EOF"},
		"combined":        {errors.CombineErrors(io.EOF, errCorrupt), "EOF"},
		"joined":          {errors.Join(io.EOF, nil, errCorrupt), "EOF\ncorruption"},
		"‹markers›":       {errors.Newf("%s", "‹a›"), "?a?"}, // as the original does
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if got := fmt.Sprintf("%v", test.err); got != test.want {
			t.Errorf("%s as %%v: %q, want %q", name, got, test.want)
		}
	}
	all := fmt.Sprintf("%+v", errors.CombineErrors(errors.WithHintf(errors.WithDetailf(io.EOF, "at %d", 3), "try again"), errCorrupt))
	for _, part := range []string{"EOF", "at 3", "try again", "corruption"} {
		if !strings.Contains(all, part) {
			t.Errorf("%%+v does not show %q: %s", part, all)
		}
	}
}

func TestNilStaysNil(t *testing.T) {
	for name, err := range map[string]error{
		"Wrap": errors.Wrap(nil, "x"), "Wrapf": errors.Wrapf(nil, "x"), "Mark": errors.Mark(nil, io.EOF), "WithStack": errors.WithStack(nil),
		"WithDetailf": errors.WithDetailf(nil, "x"), "WithHintf": errors.WithHintf(nil, "x"), "WithSafeDetails": errors.WithSafeDetails(nil, "x"),
		"WithSecondaryError": errors.WithSecondaryError(nil, io.EOF), "CombineErrors": errors.CombineErrors(nil, nil), "Join": errors.Join(nil, nil),
	} {
		if err != nil {
			t.Errorf("%s of nil is %v", name, err)
		}
	}
	if err := errors.CombineErrors(nil, io.EOF); err != io.EOF {
		t.Errorf("nil combined with EOF is %v", err)
	}
}

func TestIs(t *testing.T) {
	marked := errors.Mark(errors.Newf("bad block %d", 3), errCorrupt)
	for name, test := range map[string]struct {
		err, reference error
		want           bool
	}{
		"itself":                      {errCorrupt, errCorrupt, true},
		"nil":                         {nil, nil, true},
		"nil and an error":            {nil, errCorrupt, false},
		"wrapped":                     {errors.Wrap(errors.WithStack(io.EOF), "x"), io.EOF, true},
		"wrapped by the library":      {fmt.Errorf("x: %w", errCorrupt), errCorrupt, true},
		"marked":                      {errors.Wrapf(marked, "x"), errCorrupt, true},
		"marked, among joined ones":   {errors.Wrap(errors.Join(io.EOF, marked), "x"), errCorrupt, true},
		"marked, and the other":       {marked, io.EOF, false},
		"a reference that is marked":  {errors.Mark(io.ErrUnexpectedEOF, errCorrupt), marked, true},
		"the same text":               {errors.New("corruption"), errCorrupt, true},
		"the same text, other types":  {stderrors.New("corruption"), errCorrupt, false},
		"the second of combined ones": {errors.CombineErrors(io.EOF, errCorrupt), errCorrupt, false},
		"an argument of the message":  {errors.Newf("x: %v", errCorrupt), errCorrupt, false},
		"an error number":             {errors.Wrap(&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}, "x"), syscall.ENOSPC, true},
	} {
		if got := errors.Is(test.err, test.reference); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	var path *fs.PathError
	if !errors.As(errors.Mark(errors.Wrap(&fs.PathError{Op: "open", Err: io.EOF}, "x"), errCorrupt), &path) || path.Op != "open" {
		t.Errorf("As finds %v", path)
	}
	if got := errors.UnwrapAll(errors.Mark(errors.Wrap(errors.WithDetailf(io.EOF, "x"), "y"), errCorrupt)); got != io.EOF {
		t.Errorf("the innermost cause is %v", got)
	}
}

func TestOperatingSystem(t *testing.T) {
	_, missing := os.Open("there-is-no-such-file")
	for name, test := range map[string]struct {
		is   func(error) bool
		err  error
		want bool
	}{
		"missing":               {oserror.IsNotExist, errors.Wrap(missing, "x"), true},
		"missing by a mark":     {oserror.IsNotExist, errors.Mark(io.EOF, os.ErrNotExist), true},
		"missing by its number": {oserror.IsNotExist, errors.Wrap(os.NewSyscallError("open", syscall.ENOENT), "x"), true},
		"not missing":           {oserror.IsNotExist, io.EOF, false},
		"there":                 {oserror.IsExist, errors.Wrap(syscall.EEXIST, "x"), true},
		"forbidden":             {oserror.IsPermission, errors.Wrap(syscall.EACCES, "x"), true},
	} {
		if got := test.is(test.err); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
