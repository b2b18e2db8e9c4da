package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

func TestOneCauseIsToldOnce(t *testing.T) {
	type cause struct{ kind, of, text string }
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	tests := map[string]struct {
		met  []cause
		want []string // name: cause (affects)
	}{
		"one": {[]cause{{"feed", "a", "no"}}, []string{"feed a: no"}},
		"a request of its own each": {
			[]cause{{"feed", "a", "Get \"https://graph.example/v1.0/a?x=1\": EOF after 12ms, id " + id}, {"feed", "b", "Get \"https://graph.example/v1.0/b\": EOF after 340ms, id " + id[:35] + "f"}},
			[]string{"feeds: Get \"https://graph.example\": EOF after 12ms, id " + id + " (Affects 2 feeds: a, b)"},
		},
		"partitions":   {[]cause{{"feed", "a x", "no"}, {"feed", "a y", "no"}}, []string{"feed a: no (Affects 2 feeds: a x, a y)"}},
		"other hosts":  {[]cause{{"feed", "a", "https://one.example/ fails"}, {"feed", "b", "https://two.example/ fails"}}, []string{"feed a: https://one.example/ fails", "feed b: https://two.example/ fails"}},
		"other causes": {[]cause{{"feed", "a", "HTTP 500"}, {"feed", "b", "HTTP 404"}}, []string{"feed a: HTTP 500", "feed b: HTTP 404"}},
		"no DNS": {
			[]cause{{"token", "for x", "dial tcp: lookup login.example on 10.0.0.2:53: no such host"}, {"destination", "", "ingest: dial tcp: lookup ingest.example: no such host"}},
			[]string{"name resolution: login.example, ingest.example cannot be resolved: no such host (Affects for x)"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			d := &Doctor{Report: func(f Finding) {
				line := f.Name + ": " + f.Cause
				if affects := f.Affects(); affects != "" {
					line += " (" + affects + ")"
				}
				got = append(got, line)
			}}
			for _, c := range test.met {
				var feeds []string
				if c.of != "" {
					feeds = []string{c.of}
				}
				d.gather(c.kind, c.of, Finding{Status: Failed, Cause: c.text, Remedy: "mend it"}, program.Failed, feeds...)
			}
			d.tell()
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	feeds := []*definition.Feed{{Name: "a", Permissions: []string{"A.Read"}}, {Name: "b", Permissions: []string{"B.Read"}}, {Name: "c", Permissions: []string{"B.Read", "Directory.Read.All"}}}
	tests := map[string]struct {
		claims extract.Claims
		last   map[[2]string]met
		want   []string
		code   int
	}{
		"granted": {
			extract.Claims{Tenant: "t", Roles: []string{"A.Read", "B.Read", "Directory.Read.All"}}, nil,
			[]string{"ok permission A.Read [a]", "ok permission B.Read [b c]", "ok permission Directory.Read.All [c]"}, program.Done,
		},
		"one was never granted": {
			extract.Claims{Tenant: "t", Roles: []string{"A.Read", "Directory.Read.All"}}, nil,
			[]string{"ok permission A.Read [a]", "warn permission B.Read [b c]", "ok permission Directory.Read.All [c]"}, program.Done,
		},
		"one was taken away": {
			extract.Claims{Tenant: "t", Roles: []string{"A.Read", "Directory.Read.All"}}, map[[2]string]met{{"b", ""}: {collected: true}},
			[]string{"ok permission A.Read [a]", "FAIL permission B.Read [b c]", "ok permission Directory.Read.All [c]"}, program.Failed,
		},
		"nothing can be collected": {
			extract.Claims{Tenant: "t", Roles: []string{"Other"}}, nil,
			[]string{"FAIL permission A.Read [a]", "FAIL permission B.Read [b c]", "warn permission Directory.Read.All [c]"}, program.Failed,
		},
		"none at all":                {extract.Claims{Tenant: "t"}, nil, []string{"FAIL permissions of scope [a b c]"}, program.Failed},
		"a token that tells nothing": {extract.Claims{}, nil, []string{"warn permissions of scope [a b c]"}, program.Done},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			d := &Doctor{Settings: &settings.Settings{}, tokens: map[string]tokenState{"scope": {claims: test.claims}}, last: test.last, Report: func(f Finding) {
				got = append(got, fmt.Sprint(f.Status, " ", f.Name, " ", f.Feeds))
				if f.Status != Passed && f.Remedy == "" {
					t.Errorf("%s: nothing to do", f.Name)
				}
			}}
			for _, feed := range feeds {
				d.targets = append(d.targets, target{feed: feed, scope: "scope"})
			}
			d.checkPermissions()
			if !slices.Equal(got, test.want) || d.Code != test.code {
				t.Errorf("got  %q, %d\nwant %q, %d", got, d.Code, test.want, test.code)
			}
		})
	}
}

// What is missing is given by one command, which the scripts of setup/ take as it stands.
func TestGrantIsACommand(t *testing.T) {
	for cloud, want := range map[string][2]string{
		"commercial": {"--client-id app --permission A.Read,B.Read (", "-ClientId app -Permission A.Read,B.Read)"},
		"gcchigh":    {"--client-id app --permission A.Read,B.Read --cloud gcchigh (", "-ClientId app -Permission A.Read,B.Read -Environment USGov)"},
	} {
		d := &Doctor{Settings: &settings.Settings{ClientID: "app", Cloud: cloud, GraphBase: "https://graph"}}
		got := d.grant("https://graph/.default", "A.Read", "B.Read")
		if !strings.Contains(got, want[0]) || !strings.Contains(got, want[1]) {
			t.Errorf("%s: %s\nwant %q", cloud, got, want)
		}
	}
}
