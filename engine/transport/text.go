package transport

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// OneLine makes a text from outside fit for a line of a log and for a terminal: whatever
// is not a printable character becomes a space, and runs of spaces one. More than most characters
// are cut off, with a sign of it; 0: none are.
func OneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if most > 0 && utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return text
}

// OutOfDate reports whether a certificate was not taken because by this host's clock its time is over, or yet to come.
func OutOfDate(err error) bool {
	invalid, is := errors.AsType[x509.CertificateInvalidError](err)
	return is && invalid.Reason == x509.Expired
}

// Loopback reports whether a host, by its name or address, is this one, so that what is
// sent to it crosses no network.
func Loopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
