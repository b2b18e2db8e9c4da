package extract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func mustParse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestFollow(t *testing.T) {
	current := mustParse(t, "https://manage.example/api/v1.0/t/activity/content?contentType=A&startTime=x")
	hosts := map[string]bool{}
	for _, h := range []string{"blobs.example", "https://other.example:8443/base", "http://127.0.0.1:9999"} {
		o, err := parseHost(h)
		if err != nil {
			t.Fatal(err)
		}
		hosts[o] = true
	}
	for _, test := range []struct{ link, want string }{
		// As given, to the letter.
		{"https://manage.example/api/v1/t/audit/2026$x$audit_exchange$A%24b%2Fc+d?a=%2f&b=c+d%20e&$f=x'y", "https://manage.example/api/v1/t/audit/2026$x$audit_exchange$A%24b%2Fc+d?a=%2f&b=c+d%20e&$f=x'y"},
		{" https://MANAGE.example:443/x?y\r", "https://MANAGE.example:443/x?y"},
		{"https://manage.example./x", "https://manage.example./x"},
		{"?nextPage=2", "https://manage.example/api/v1.0/t/activity/content?nextPage=2"},
		{"/x#part", "https://manage.example/x"},
		{"../y", "https://manage.example/api/v1.0/t/y"},
		{"https://manage.example/x?$filter=createdDateTime ge 2026 and name eq 'é'", "https://manage.example/x?$filter=createdDateTime%20ge%202026%20and%20name%20eq%20'%C3%A9'"},
		{"https://blobs.example/x", "https://blobs.example/x"},
		{"https://other.example:8443/x", "https://other.example:8443/x"},
		{"http://127.0.0.1:9999/x", "http://127.0.0.1:9999/x"},
	} {
		got, err := follow(current, test.link, "next link", hosts)
		if err != nil || got.String() != test.want {
			t.Errorf("%q: got %v, %v, want %s", test.link, got, err, test.want)
		}
	}
	for _, link := range []string{
		"http://manage.example/x", "https://manage.example:8443/x", "https://manage.example.evil.example/x", "https://evil.example/manage.example", "//evil.example/x",
		"https://manage.example@evil.example/x", "https://user@manage.example/x", "https://other.example/x", "http://127.0.0.1:9998/x", "http://blobs.example/x",
		"javascript:alert(1)", "file:///etc/passwd", "https:///x", "https://manage.example/\x00", "https://manage.example\\@evil.example/", `\\evil.example\x`, "https:evil.example",
	} {
		if got, err := follow(current, link, "next link", hosts); err == nil {
			// A backslash is no separator: what remains is a path on the same host.
			if got.Host != "manage.example" || !strings.Contains(link, `\`) {
				t.Errorf("%q: got %v", link, got)
			}
		}
	}
	for _, host := range []string{"", "http://10.0.0.1", "https://", "ftp://x", "a b"} {
		if got, err := parseHost(host); err == nil {
			t.Errorf("host %q is taken for %s", host, got)
		}
	}
}

func TestNextLinkHeader(t *testing.T) {
	for header, want := range map[string]string{
		``:                             ``,
		`<a>; rel=next`:                `a`,
		`<a>; rel="next"`:              `a`,
		`<a> ; REL = "prev NEXT"`:      `a`,
		`<a>; rel=prev, <b>; rel=next`: `b`,
		`<a>; rel="prev"; rel="next"`:  ``,
		`<a>; title="x, <y>; rel=\"next\""; rel=last,<b>;rel=next`: `b`,
		`<a>; anchor="#x"; rel=next, <b>; rel=next`:                `b`,
		`<a>;;;rel=next`:             `a`,
		`<a>; crossorigin; rel=next`: `a`,
		`, ,<a>; rel=next,`:          `a`,
		`<a,b>; rel=next`:            `a,b`,
		`<a; rel=next`:               ``,
		`a; rel=next`:                ``,
		`<a> rel=next`:               ``,
		`<a>; rel="next`:             `a`,
		`<a>; rel=nextpage`:          ``,
	} {
		if got := nextLink(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

// FuzzNextLink: whatever a service says, a link is followed to the host that
// answered, over what it answered with, and can be sent.
func FuzzNextLink(f *testing.F) {
	for _, s := range []string{
		"https://manage.example/x?y=z", "/x", "?a=b", "//evil.example", `\\evil.example`, "https://manage.example@evil.example", "https://manage.example:443", "http://manage.example",
		`<https://manage.example/x>; rel="next"`, `</x>; rel=next, <y>; rel="last"`, "https://manage.example/a$b%24c?d=e f\"<>", "https://[::1]/", "https://manage.example%2eevil.example/",
	} {
		f.Add(s)
	}
	current := mustParse(f, "https://manage.example/api?first=1")
	f.Fuzz(func(t *testing.T, s string) {
		for _, link := range []string{s, nextLink(s)} {
			u, err := follow(current, link, "next link", nil)
			if err != nil {
				continue
			}
			if u.Scheme != "https" || !strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), "manage.example") || u.Port() != "" && u.Port() != "443" || u.User != nil {
				t.Fatalf("%q leads to %s", link, u)
			}
			if strings.ContainsAny(u.RequestURI(), " \r\n\t\x00") {
				t.Errorf("%q makes the request line %q", link, u.RequestURI())
			}
			if _, err := http.NewRequest("GET", u.String(), nil); err != nil {
				t.Errorf("%q: %v", link, err)
			}
			again, err := follow(current, u.String(), "next link", nil)
			if err != nil || again.String() != u.String() {
				t.Errorf("%q gives %s, which gives %v, %v", link, u, again, err)
			}
		}
	})
}

func TestParameters(t *testing.T) {
	u := mustParse(t, "https://h.example/x?a=1&b=2&$top=3&a=4&c")
	for _, test := range []struct{ got, want string }{
		{add(u, param{"d e", "f&g"}).RawQuery, "a=1&b=2&$top=3&a=4&c&d%20e=f%26g"},
		{set(u, param{"a", "x/y"}).RawQuery, "a=x%2Fy&b=2&$top=3&c"},
		{set(u, param{"$top", "5"}).RawQuery, "a=1&b=2&$top=5&a=4&c"},
		{set(u, param{"new", ""}).RawQuery, "a=1&b=2&$top=3&a=4&c&new="},
		{set(mustParse(t, "https://h.example"), param{"p", "1"}).RawQuery, "p=1"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	if !has(u, "B") || !has(u, "c") || has(u, "d") || !has(mustParse(t, "https://h?%24top=1"), "$TOP") {
		t.Error("has does not find what is there, or finds what is not")
	}
	if u.RawQuery != "a=1&b=2&$top=3&a=4&c" {
		t.Errorf("the URL itself was changed: %s", u)
	}
}
