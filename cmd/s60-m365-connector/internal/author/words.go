package author

import (
	"io/fs"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/mappings"
)

// This file is what stays in a recorded case, because it identifies nobody.

// commonWords are what services call errors and states of which no feed or mapping speaks: members of
// documented enumerations, and error codes.
var commonWords = []string{
	"BadRequest", "Request_BadRequest", "UnknownError", "Forbidden", "InvalidAuthenticationToken", "Authentication_MSGraphPermissionMissing", "Authorization_RequestDenied",
	"Authentication_RequestFromNonPremiumTenantOrB2CTenant", "TooManyRequests", "Request_ThrottledTemporarily", "ResourceNotFound", "ServiceNotAvailable", "InternalServerError", "generalException",
	"enabled", "disabled", "active", "inactive", "none", "notStarted", "running", "succeeded", "failed", "cancelled", "changed", "deleted", "success", "failure", "new", "inProgress", "resolved",
	"notApplied", "notEnabled", "reportOnlySuccess", "reportOnlyFailure", "reportOnlyNotApplied", "reportOnlyInterrupted", "unknownFutureValue", "singleFactorAuthentication", "multiFactorAuthentication",
	"interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity", "AzureAD", "primaryAuthentication", "Password", "Browser", "Mobile Apps and Desktop clients", "Exchange ActiveSync",
	"Other clients", "Windows", "Windows10", "Windows11", "MacOs", "Ios", "Android", "Linux", "Workplace", "Hybrid Azure AD joined", "Azure AD registered", "Azure AD joined", "member", "guest",
	"atRisk", "remediated", "dismissed", "confirmedSafe", "confirmedCompromised", "hidden", "low", "medium", "high", "informational", "userManagement", "UserManagement", "GroupManagement",
	"ApplicationManagement", "RoleManagement", "Policy", "Device", "Authentication", "Add", "Update", "Delete", "Assign", "Unassign", "User", "Group", "Role", "Application", "ServicePrincipal", "Device",
}

var quotedWord = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'`)

// addShipped takes the words of the shipped mappings: keys and values of tables, texts in expressions, and
// the names of fields.
func (a *anonymizer) addShipped() {
	files, _ := fs.Glob(mappings.FS, "*.yaml") // the pattern is well formed
	for _, file := range files {
		var root yaml.Node
		if data, err := fs.ReadFile(mappings.FS, file); err != nil || yaml.Unmarshal(data, &root) != nil || len(root.Content) == 0 {
			continue // it is part of the program, and its tests read it
		}
		top := root.Content[0].Content
		for i := 0; i+1 < len(top); i += 2 {
			switch top[i].Value {
			case "tables":
				a.addTexts(top[i+1], func(text string) { a.harmless[text] = true })
			case "let", "fields", "cases", "when":
				a.addTexts(top[i+1], func(text string) { a.addQuoted(text, nil) })
			}
		}
	}
	for line := range strings.Lines(mappings.KnownFields) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "_") {
			a.harmless[part] = true
		}
	}
}

func (a *anonymizer) addTexts(node *yaml.Node, add func(string)) {
	if node.Kind == yaml.ScalarNode {
		add(node.Value)
	}
	for _, inner := range node.Content {
		a.addTexts(inner, add)
	}
}

func (a *anonymizer) addQuoted(expression string, words *[]string) {
	for _, m := range quotedWord.FindAllStringSubmatch(expression, -1) {
		word := m[1] + m[2]
		a.harmless[word] = true
		if words != nil && len(word) >= 6 {
			*words = append(*words, word)
		}
	}
}

// addFeed takes the words of a feed's conditions, and what its URLs have in themselves.
func (a *anonymizer) addFeed(feed *definition.Feed) {
	var conditions []string
	for _, r := range feed.Errors {
		conditions = append(conditions, r.When.String())
	}
	if feed.Licence != nil {
		conditions = append(conditions, feed.Licence.Missing.String())
	}
	if f := feed.Fallback; f != nil {
		conditions = append(conditions, f.When.String())
	}
	if j := feed.Job; j != nil {
		conditions = append(conditions, j.Done.String())
		if j.Failed != nil {
			conditions = append(conditions, j.Failed.String())
		}
	}
	if s := feed.Subscribe; s != nil {
		conditions = append(conditions, s.Active.String())
	}
	for _, c := range conditions {
		a.addQuoted(c, &a.words)
	}
	for _, r := range feed.Requests() {
		if r.Request.URL == nil { // the item holds it
			continue
		}
		parts := strings.Split(r.Request.URL.String(), "/")
		for i, part := range parts {
			switch {
			case strings.Contains(part, "${"):
			case i == 2 && parts[1] == "": // behind https://
				a.hosts[strings.ToLower(part)] = true
			default:
				a.segments[part] = true
			}
		}
	}
}
