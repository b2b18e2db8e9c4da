package transport

import (
	"bufio"
	"bytes"
	"net"
)

// This file is for services whose header lines end in a stray carriage return,
// as some have been seen to end the line that names the next page. net/http refuses the
// whole answer. Such a host is then spoken to over a connection of its own for
// each request, where the first line is sure to be a header line, and can be mended.

// mendedConn is a connection for one request, whose answer's header lines are
// mended on the way in.
type mendedConn struct {
	net.Conn
	from *bufio.Reader
	line []byte // mended, not yet read
	body bool   // the header has ended
}

func mend(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &mendedConn{Conn: c, from: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *mendedConn) Read(p []byte) (int, error) {
	for len(c.line) == 0 {
		if c.body {
			return c.from.Read(p)
		}
		line, err := c.from.ReadSlice('\n')
		if err != nil && len(line) == 0 {
			return 0, err
		}
		if end, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			text := bytes.TrimRight(end, "\r")
			c.line = append(bytes.ReplaceAll(text, []byte("\r"), []byte(" ")), "\r\n"...)
			c.body = len(text) == 0
		} else {
			c.line = bytes.Clone(line) // too long, or the last of a connection that broke
		}
	}
	n := copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}
