package expression

import (
	"strconv"
	"strings"
	"time"
)

// AppendTime appends the time that s holds in RFC 3339, in UTC, with the digits
// that its fraction has (nine at most, trailing zeros dropped). A time without
// a zone is UTC. It reads
//
//	2026-03-01T10:00:00Z  2026-03-01T10:00:00.1234567+01:00  2026-03-01 10:00
//	2026-03-01 10:00:00Z  2026-03-01 10:00:00 UTC  2026-03-01  20260301100000
//	3/1/2026 10:00:00 AM  3/1/2026 22:00           (month first)
//	/Date(1772359200000)/ and /Date(1772359200000+0100)/
//	1772359200 1772359200.5 1772359200000  (Unix seconds, milli-, micro-, nanoseconds by size)
//	134168328000000000 639079560000000000  (100 ns since 1601, since year 1)
//	Sun, 01 Mar 2026 10:00:00 GMT          (HTTP, and Go's other named layouts)
//
// ok is false for anything else, and for the instants that stand for no time
// at all: the first of the year 1, and of 1601.
func AppendTime(dst []byte, s string) (out []byte, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) >= 19 && s[4] == '-' {
		if out, ok = appendPlain(dst, s); ok {
			return out, true
		}
	}
	t, ok := parseTime(s)
	if !ok || noTime(t) || t.Year() > 9999 {
		return dst, false
	}
	return t.AppendFormat(dst, time.RFC3339Nano), true
}

// noTime says whether t is how a service writes that there is no time.
func noTime(t time.Time) bool {
	return t.Year() <= 1 || t.Year() == 1601 && t.YearDay() == 1
}

// appendPlain is the common case: 2006-01-02T15:04:05, a fraction or none, Z
// or nothing. It only copies.
func appendPlain(dst []byte, s string) (out []byte, ok bool) {
	const shape = "dddd-dd-ddTdd:dd:dd"
	for i := 0; i < len(shape); i++ {
		if shape[i] == 'd' {
			if !isDigit(s[i]) {
				return dst, false
			}
		} else if s[i] != shape[i] && !(i == 10 && s[i] == ' ') {
			return dst, false
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	if year < 1602 || month < 1 || month > 12 || day < 1 || day > 28 && day > days(year, month) || two(11) > 23 || two(14) > 59 || two(17) > 59 {
		return dst, false
	}
	end := len(s)
	if s[end-1] == 'Z' {
		end--
	}
	if end > len(shape) {
		if s[len(shape)] != '.' || end == len(shape)+1 {
			return dst, false
		}
		for _, c := range []byte(s[len(shape)+1 : end]) {
			if !isDigit(c) {
				return dst, false
			}
		}
		end = min(end, len(shape)+10)
		for s[end-1] == '0' {
			end--
		}
		if s[end-1] == '.' {
			end--
		}
	}
	end = max(end, len(shape))
	dst = append(dst, s[:10]...)
	dst = append(dst, 'T')
	dst = append(dst, s[11:end]...)
	return append(dst, 'Z'), true
}

func days(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func parseTime(s string) (time.Time, bool) {
	switch {
	case s == "" || len(s) > 64:
		return time.Time{}, false
	case strings.HasPrefix(s, "/Date("):
		s, ok := strings.CutSuffix(s[len("/Date("):], ")/")
		if !ok {
			return time.Time{}, false
		}
		if sign := strings.LastIndexAny(s, "+-"); sign > 0 {
			s = s[:sign] // the zone is for display; the count is UTC already
		}
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil || ms < -1<<47 || ms > 1<<48 {
			return time.Time{}, false
		}
		return time.UnixMilli(ms).UTC(), true
	case strings.Trim(s, "0123456789.") == "":
		return fromCount(s)
	}
	if t, ok := parseCivil(s); ok {
		return t, true
	}
	for _, layout := range []string{time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, time.UnixDate, time.RFC822, time.RFC822Z} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// fromCount reads a count since an epoch, its unit told by its size, and the
// compact forms of a date.
func fromCount(s string) (time.Time, bool) {
	digits, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strings.Contains(fraction, ".") {
		return time.Time{}, false
	}
	if fraction == "" && len(digits) == len(s) {
		if layout := map[int]string{8: "20060102", 14: "20060102150405"}[len(digits)]; layout != "" {
			t, err := time.Parse(layout, digits)
			return t, err == nil
		}
	}
	switch {
	case n < 1e8: // before 1973: a count of something else
		return time.Time{}, false
	case n < 1e11:
		t := time.Unix(n, 0).UTC()
		if fraction != "" {
			nanos, err := strconv.Atoi((fraction + "000000000")[:9])
			return t.Add(time.Duration(nanos)), err == nil
		}
		return t, true
	case n < 1e14:
		return time.UnixMilli(n).UTC(), true
	case n < 1e17:
		return time.UnixMicro(n).UTC(), true
	case n < 3e17: // 100 ns since 1601, for the years 1917 to 2551
		return since1601(n), true
	case n >= 6e17 && n < 8e17: // 100 ns since year 1
		const to1601 = 504_911_232_000_000_000
		return since1601(n - to1601), true
	case n > 1e18:
		return time.Unix(0, n).UTC(), true
	}
	return time.Time{}, false
}

func since1601(n int64) time.Time {
	const to1970 = 116_444_736_000_000_000
	n -= to1970
	return time.Unix(n/1e7, n%1e7*100).UTC()
}

// civil reads a written date and time from its front.
type civil struct{ s string }

// number reads a number of least to most digits.
func (c *civil) number(least, most int) (n int, ok bool) {
	digits := 0
	for digits < len(c.s) && digits < most && isDigit(c.s[digits]) {
		n = n*10 + int(c.s[digits]-'0')
		digits++
	}
	c.s = c.s[digits:]
	return n, digits >= least
}

func (c *civil) skip(b byte) bool {
	if c.s != "" && c.s[0] == b {
		c.s = c.s[1:]
		return true
	}
	return false
}

func (c *civil) spaces() {
	c.s = strings.TrimLeft(strings.TrimPrefix(c.s, "\u202f"), " ") // a narrow no-break space stands before AM in newer locales
}

func parseCivil(s string) (time.Time, bool) {
	none := time.Time{}
	c := civil{s}
	var year, month, day int
	ok := make([]bool, 3)
	if slash := strings.IndexByte(s, '/'); slash == 1 || slash == 2 {
		month, ok[0] = c.number(1, 2)
		c.skip('/')
		day, ok[1] = c.number(1, 2)
		if !c.skip('/') {
			return none, false
		}
		year, ok[2] = c.number(4, 4)
	} else {
		year, ok[0] = c.number(4, 4)
		if !c.skip('-') && !c.skip('/') {
			return none, false
		}
		month, ok[1] = c.number(1, 2)
		if !c.skip('-') && !c.skip('/') {
			return none, false
		}
		day, ok[2] = c.number(1, 2)
	}
	if !ok[0] || !ok[1] || !ok[2] || year < 1 || month < 1 || month > 12 || day < 1 || day > days(year, month) {
		return none, false
	}
	if c.s == "" {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), true
	}
	if !c.skip('T') && !c.skip('t') && !c.skip(',') && c.s[0] != ' ' {
		return none, false
	}
	c.spaces()
	hour, minute, second, nanos, good := c.clock()
	if !good {
		return none, false
	}
	offset, good := c.zone()
	if !good {
		return none, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-offset), true
}

// clock reads 15:04, 15:04:05.999 or 3:04:05 PM.
func (c *civil) clock() (hour, minute, second, nanos int, ok bool) {
	if hour, ok = c.number(1, 2); !ok || !c.skip(':') {
		return 0, 0, 0, 0, false
	}
	if minute, ok = c.number(2, 2); !ok {
		return 0, 0, 0, 0, false
	}
	if c.skip(':') {
		if second, ok = c.number(2, 2); !ok {
			return 0, 0, 0, 0, false
		}
		if c.skip('.') || c.skip(',') {
			digits := len(c.s) - len(strings.TrimLeft(c.s, "0123456789"))
			if digits == 0 {
				return 0, 0, 0, 0, false
			}
			nanos, _ = strconv.Atoi((c.s[:digits] + "000000000")[:9])
			c.s = c.s[digits:]
		}
	}
	c.spaces()
	if len(c.s) >= 2 && (c.s[1]|0x20) == 'm' {
		switch c.s[0] | 0x20 {
		case 'a', 'p':
			if hour < 1 || hour > 12 {
				return 0, 0, 0, 0, false
			}
			hour %= 12
			if c.s[0]|0x20 == 'p' {
				hour += 12
			}
			c.s = c.s[2:]
			c.spaces()
		}
	}
	return hour, minute, second, nanos, hour < 24 && minute < 60 && second < 60
}

// zone reads what remains: nothing, Z, UTC, GMT or an offset.
func (c *civil) zone() (offset time.Duration, ok bool) {
	c.s = strings.TrimSpace(c.s)
	switch c.s {
	case "", "Z", "z", "UTC", "GMT", "(UTC)":
		return 0, true
	}
	sign := time.Duration(1)
	if c.skip('-') {
		sign = -1
	} else if !c.skip('+') {
		return 0, false
	}
	hours, ok := c.number(2, 2)
	if !ok {
		return 0, false
	}
	minutes := 0
	if c.skip(':') || c.s != "" {
		if minutes, ok = c.number(2, 2); !ok {
			return 0, false
		}
	}
	return sign * (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute), c.s == "" && hours < 24 && minutes < 60
}
