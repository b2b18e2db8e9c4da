package expression

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"},
		{"2026-03-01T10:00:00", "2026-03-01T10:00:00Z"},
		{" 2026-03-01T10:00:00 ", "2026-03-01T10:00:00Z"},
		{"2026-03-01 10:00:00Z", "2026-03-01T10:00:00Z"},
		{"2026-03-01 10:00:00", "2026-03-01T10:00:00Z"},
		{"2026-03-01 10:00:00 UTC", "2026-03-01T10:00:00Z"},
		{"2026-03-01 10:00:00 +0100", "2026-03-01T09:00:00Z"},
		{"2026-03-01T10:00", "2026-03-01T10:00:00Z"},
		{"2026-03-01", "2026-03-01T00:00:00Z"},
		{"2026-03-01T10:00:00.1234567Z", "2026-03-01T10:00:00.1234567Z"},
		{"2026-03-01T10:00:00.1234567", "2026-03-01T10:00:00.1234567Z"},
		{"2026-03-01T10:00:00.0000000Z", "2026-03-01T10:00:00Z"},
		{"2026-03-01T10:00:00.1000000Z", "2026-03-01T10:00:00.1Z"},
		{"2026-03-01T10:00:00.123456789", "2026-03-01T10:00:00.123456789Z"},
		{"2026-03-01T10:00:00.1234567891Z", "2026-03-01T10:00:00.123456789Z"},
		{"2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00Z"},
		{"2026-03-01T00:30:00.5+01:00", "2026-02-28T23:30:00.5Z"},
		{"2026-03-01T10:00:00-0530", "2026-03-01T15:30:00Z"},
		{"2026-03-01T10:00:00+01", "2026-03-01T09:00:00Z"},
		{"2024-02-29T10:00:00Z", "2024-02-29T10:00:00Z"},
		{"3/1/2026 10:00:00 AM", "2026-03-01T10:00:00Z"},
		{"3/1/2026 12:00:00 AM", "2026-03-01T00:00:00Z"},
		{"3/1/2026 12:30:00 PM", "2026-03-01T12:30:00Z"},
		{"12/31/2026 11:59:59 pm", "2026-12-31T23:59:59Z"},
		{"03/01/2026 22:15", "2026-03-01T22:15:00Z"},
		{"3/1/2026", "2026-03-01T00:00:00Z"},
		{"3/1/2026 10:00:00\u202fAM", "2026-03-01T10:00:00Z"},
		{"/Date(1772359200000)/", "2026-03-01T10:00:00Z"},
		{"/Date(1772359200123+0100)/", "2026-03-01T10:00:00.123Z"},
		{"/Date(-1000)/", "1969-12-31T23:59:59Z"},
		{"1772359200", "2026-03-01T10:00:00Z"},
		{"1772359200.25", "2026-03-01T10:00:00.25Z"},
		{"1772359200123", "2026-03-01T10:00:00.123Z"},
		{"1772359200123456", "2026-03-01T10:00:00.123456Z"},
		{"1772359200123456789", "2026-03-01T10:00:00.123456789Z"},
		{"134168328001234567", "2026-03-01T10:00:00.1234567Z"},
		{"639079560000000000", "2026-03-01T10:00:00Z"},
		{"20260301100000", "2026-03-01T10:00:00Z"},
		{"20260301", "2026-03-01T00:00:00Z"},
		{"Sun, 01 Mar 2026 10:00:00 GMT", "2026-03-01T10:00:00Z"},
		{"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
		// no time
		{"0001-01-01T00:00:00", ""}, {"0001-01-01T00:00:00Z", ""}, {"1601-01-01T00:00:00Z", ""}, {"0", ""}, {"", ""}, {" ", ""}, {"now", ""}, {"5", ""}, {"-5", ""},
		{"2026-13-01T10:00:00", ""}, {"2026-02-29T10:00:00", ""}, {"2026-03-01T24:00:00", ""}, {"2026-03-01T10:60:00", ""}, {"2026-03-01T10:00:00X", ""}, {"2026-03-01T10:00:00.", ""},
		{"2026-03-01T10:00:00.Z", ""}, {"2026-03-01T", ""}, {"13/1/2026 10:00", ""}, {"3/1/2026 13:00 PM", ""}, {"3/1", ""}, {"/Date(x)/", ""}, {"/Date(1)", ""}, {"1.2.3", ""}, {"203.0.113.1", ""},
		{"2026-03-01T10:00:00+25:00", ""}, {"12345678901234567890", ""}, {strings.Repeat("1", 100), ""},
	}
	for _, test := range tests {
		out, ok := AppendTime([]byte("x"), test.in)
		if got := string(out[1:]); got != test.want || ok != (test.want != "") {
			t.Errorf("time(%q) = %q, %v, want %q", test.in, got, ok, test.want)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, seed := range []string{"2026-03-01T10:00:00.1234567+01:00", "3/1/2026 10:00:00 AM", "/Date(1772359200000)/", "1772359200", "639079560000000000", "Sun, 01 Mar 2026 10:00:00 GMT", "2024-02-29 23:59:59"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, ok := AppendTime(nil, s)
		if !ok {
			if len(out) > 0 {
				t.Fatalf("time(%q) fails and writes %q", s, out)
			}
			return
		}
		at, err := time.Parse(time.RFC3339Nano, string(out))
		if err != nil || out[len(out)-1] != 'Z' {
			t.Fatalf("time(%q) = %q: %v", s, out, err)
		}
		// What Go reads as RFC 3339 must be the same instant.
		if want, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(s)); err == nil && !want.Equal(at) {
			t.Fatalf("time(%q) = %q, want %s", s, out, want)
		}
		if again, ok := AppendTime(nil, string(out)); !ok || string(again) != string(out) {
			t.Fatalf("time(%q) = %q, and of that %q", s, out, again)
		}
	})
}

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, ip string
		port   int
	}{
		{"1.2.3.4", "1.2.3.4", 0},
		{"1.2.3.4:5", "1.2.3.4", 5},
		{" 1.2.3.4 ", "1.2.3.4", 0},
		{"1.2.3.4:65536", "1.2.3.4", 0},
		{"1.2.3.4:0", "1.2.3.4", 0},
		{"2001:db8::1", "2001:db8::1", 0},
		{"2001:0DB8:0:0::1", "2001:db8::1", 0},
		{"[2001:db8::1]:443", "2001:db8::1", 443},
		{"[2001:db8::1]", "2001:db8::1", 0},
		{"[1.2.3.4]:80", "1.2.3.4", 80},
		{"::ffff:1.2.3.4", "1.2.3.4", 0},
		{"[::ffff:1.2.3.4]:443", "1.2.3.4", 443},
		{"::ffff:1.2.3.4:443", "1.2.3.4", 443},
		{"2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2:3:4:5:6", 443},
		{"fe80::1%eth0", "fe80::1", 0},
		{"fe80::1%12", "fe80::1", 0},
		{"1.2.3.4, 5.6.7.8", "1.2.3.4", 0},
		{"unknown, 5.6.7.8:9", "5.6.7.8", 9},
		{"::1", "::1", 0},
		{"255.255.255.255", "255.255.255.255", 0},
		{"example.com:8443", "", 8443},
		{"443", "", 443},
		{"203.0.113.XXX", "", 0}, {"203.0.113.xxx", "", 0}, {"", "", 0}, {"-", "", 0}, {"<null>", "", 0}, {"1.2.3", "", 0}, {"1.2.3.4.5", "", 0}, {"256.1.1.1", "", 0},
		{"01.2.3.4", "", 0}, {"[::1", "", 0}, {"[]:1", "", 1}, {":", "", 0}, {"::", "::", 0}, {"gggg::1", "", 0}, {"localhost", "", 0}, {"::ffff:1.2.3", "", 0},
	}
	for _, test := range tests {
		out, ok := AppendIP([]byte("x"), test.in)
		if got := string(out[1:]); got != test.ip || ok != (test.ip != "") {
			t.Errorf("ip(%q) = %q, %v, want %q", test.in, got, ok, test.ip)
		}
		if port, ok := Port(test.in); port != test.port || ok != (test.port != 0) {
			t.Errorf("port(%q) = %d, %v, want %d", test.in, port, ok, test.port)
		}
	}
}

func FuzzIP(f *testing.F) {
	for _, seed := range []string{"1.2.3.4:5", "[2001:db8::1]:443", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4, 5.6.7.8", "2001:db8:1:2:3:4:5:6:443"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		port, ok := Port(s)
		if ok && (port < 1 || port > 65535) {
			t.Fatalf("port(%q) = %d", s, port)
		}
		out, ok := AppendIP(nil, s)
		if !ok {
			if len(out) > 0 {
				t.Fatalf("ip(%q) fails and writes %q", s, out)
			}
			if address, err := netip.ParseAddr(s); err == nil {
				t.Fatalf("ip(%q) is nil, but it is %s", s, address)
			}
			return
		}
		address, err := netip.ParseAddr(string(out))
		if err != nil || address.Zone() != "" || address.Is4In6() || address.String() != string(out) {
			t.Fatalf("ip(%q) = %q: %v", s, out, err)
		}
	})
}

func TestKebab(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"Add member to role.", "add-member-to-role"}, {"FileAccessedExtended", "file-accessed-extended"}, {"New-InboxRule", "new-inbox-rule"}, {"MCASLogin", "mcas-login"},
		{"UserLoggedIn", "user-logged-in"}, {"Set-CASMailbox", "set-cas-mailbox"}, {"DLPRuleMatch", "dlp-rule-match"}, {"already-kebab", "already-kebab"}, {"snake_case_name", "snake-case-name"},
		{"Add OAuth2PermissionGrant", "add-oauth2-permission-grant"}, {"Update user's photo", "update-users-photo"}, {"Update user’s photo", "update-users-photo"}, {"GUIDs", "guids"}, {"ViewedURLsList", "viewed-urls-list"},
		{"TIUrlClickData", "ti-url-click-data"}, {"File2Upload", "file2-upload"}, {"v2Beta", "v2-beta"}, {"3rdParty", "3rd-party"}, {"IPv6Address", "ipv6-address"}, {"ABC", "abc"}, {"A", "a"}, {"aB", "a-b"},
		{"  spaced  out  ", "spaced-out"}, {"Consent to application.", "consent-to-application"}, {"--x--", "x"}, {"añadir", "a-adir"}, {"", ""}, {"...", ""}, {"日本", ""},
	}
	for _, test := range tests {
		out, ok := AppendKebab([]byte("x"), test.in)
		if got := string(out[1:]); got != test.want || ok != (test.want != "") {
			t.Errorf("kebab(%q) = %q, %v, want %q", test.in, got, ok, test.want)
		}
	}
}

func TestDomain(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"Alice@Example.COM", "example.com"}, {"a_b.test#EXT#@example.com", "example.com"}, {"Alice <alice@example.com>", "example.com"}, {"https://Files.Example.com/sites/x", "files.example.com"},
		{"http://user:pw@host.example:8080/x?y", "host.example"}, {"https://[2001:db8::1]:443/", "[2001:db8::1]"}, {"example.com", "example.com"}, {"example.com.", "example.com"}, {" a@b ", "b"}, {"https://host#frag", "host"},
		{"alice", ""}, {"DOMAIN\\alice", ""}, {"", ""}, {"@", ""}, {"a@", ""}, {"@b", ""}, {"two words.com", ""}, {"1.2.3.4", ""}, {"a@b c", ""}, {"://", ""},
	}
	for _, test := range tests {
		out, ok := AppendDomain([]byte("x"), test.in)
		if got := string(out[1:]); got != test.want || ok != (test.want != "") {
			t.Errorf("domain(%q) = %q, %v, want %q", test.in, got, ok, test.want)
		}
	}
}
