package transform

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file changes one value: what remove, mask and pseudonym make of it.

// apply is a JSON value as a rule leaves it.
func (r *redactor) apply(raw []byte, with string) []byte {
	text := raw
	if raw[0] == '"' {
		text = rawjson.Unescape(nil, view(raw[1:len(raw)-1]))
	}
	switch with {
	case definition.RedactMask:
		return rawjson.AppendString(nil, mask(string(text)))
	case definition.RedactPseudonym:
		if isPseudonym(text) {
			return raw
		}
		known, ok := r.pseudonyms[string(text)]
		if !ok {
			if len(r.pseudonyms) == maxPseudonyms {
				clear(r.pseudonyms)
			}
			known = `"` + pseudonym(r.key, text) + `"`
			r.pseudonyms[string(text)] = known
		}
		return []byte(known)
	}
	return nil
}

// pseudonym is the same for the same text, and tells nothing of it to who does
// not have the key.
func pseudonym(key, text []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return "p-" + strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil))[:26])
}

// Fingerprint tells texts apart, with the key of pseudonyms where there is one: by 32 bits, which fit so many
// texts that they confirm no guess of one.
func (m *Mapper) Fingerprint(parts ...string) string {
	mac := hmac.New(sha256.New, m.m.options.PseudonymKey)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil)[:4])
}

// isPseudonym says whether a text has the form of a pseudonym, which has none of its own.
func isPseudonym(text []byte) bool {
	return len(text) == 28 && string(text[:2]) == "p-" && strings.Trim(view(text[2:]), "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// maskedAddress is an address that was masked.
var maskedAddress = regexp.MustCompile(`^(\d{1,3}\.\d{1,3}\.\*\.\*|[0-9a-f]{4}:[0-9a-f]{4}:\*)$`)

// mask keeps the shape of a text: a***@c***.example, 192.0.*.*, 2001:db8:*, else
// the first character and ***.
func mask(s string) string {
	if strings.HasSuffix(s, "*") && maskedAddress.MatchString(s) {
		return s
	}
	if strings.Trim(s, "0123456789abcdefABCDEF.:") == "" && strings.ContainsAny(s, ".:") {
		if address, err := netip.ParseAddr(s); err == nil && address.Is4() {
			parts := strings.SplitN(s, ".", 3)
			return parts[0] + "." + parts[1] + ".*.*"
		} else if err == nil {
			parts := strings.SplitN(address.StringExpanded(), ":", 3)
			return parts[0] + ":" + parts[1] + ":*"
		}
	}
	if local, domain, ok := strings.Cut(s, "@"); ok && local != "" && strings.LastIndexByte(domain, '.') > 0 && !strings.ContainsAny(s, " \t\n") {
		return first(local) + "***@" + first(domain) + "***" + domain[strings.LastIndexByte(domain, '.'):]
	}
	if s == "" {
		return ""
	}
	return first(s) + "***"
}

func first(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return s[:size]
}

// Digest is what may be kept of bytes that are no JSON where a mapping redacts:
// their length and SHA-256.
func Digest(raw []byte) string {
	return fmt.Sprintf("%d bytes that are no JSON, SHA-256 %x", len(raw), sha256.Sum256(raw))
}
