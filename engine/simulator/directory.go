package simulator

import (
	"net/http"
	"strings"
	"time"
)

// This file is the directory part of Graph: the tenant's licence, and the connector's own application.

// plans are the licences of a tenant, by how much they cover.
var plans = map[string]int{Free: 0, P1: 1, P2: 2}

func (s *Simulator) applications(w http.ResponseWriter, r *http.Request) {
	secret := s.opts.ClientSecret
	application := map[string]any{
		"id": guidText(s.opts.Seed ^ 0xa99), "appId": s.opts.ClientID, "displayName": "audit-collector",
		"passwordCredentials": []any{map[string]any{
			"customKeyIdentifier": nil, "displayName": "collector", "hint": secret[:min(3, len(secret))], "keyId": guidText(s.opts.Seed ^ 0xa9a), "secretText": nil,
			"startDateTime": s.opts.SecretExpires.Add(-180 * 24 * time.Hour).UTC().Format(time.RFC3339),
			"endDateTime":   s.opts.SecretExpires.UTC().Format(time.RFC3339),
		}},
	}
	if c := s.opts.Certificate; c != nil {
		application["keyCredentials"] = []any{map[string]any{
			"displayName": c.Subject.CommonName, "type": "AsymmetricX509Cert", "usage": "Verify", "key": nil, "keyId": guidText(s.opts.Seed ^ 0xa9b),
			"startDateTime": c.NotBefore.UTC().Format(time.RFC3339), "endDateTime": c.NotAfter.UTC().Format(time.RFC3339),
		}}
	}
	context := s.GraphBase() + "/v1.0/$metadata#applications"
	if _, key, ok := strings.Cut(r.URL.Path, "("); ok {
		if key != "appId='"+s.opts.ClientID+"')" {
			s.graphError(w, 404, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", strings.TrimSuffix(key, ")"))
			return
		}
		application["@odata.context"] = context + "/$entity"
		writeJSON(w, 200, application)
		return
	}
	value := []any{application}
	if text := option(r.URL.Query(), "filter"); text != "" {
		filter, err := parseFilter(text, func(path []string) error {
			if _, ok := application[path[0]]; !ok {
				return badFilter("Could not find a property named '%s' on type 'microsoft.graph.application'.", path[0])
			}
			return nil
		})
		if err != nil {
			s.graphError(w, 400, "Request_BadRequest", "%s", err.Error())
			return
		}
		if !filter.holds(func(path []string) any { return property(application, path) }) {
			value = []any{}
		}
	}
	if !r.URL.Query().Has("$filter") {
		for _, other := range s.standing("applications", "", s.now().UTC()) {
			value = append(value, other)
		}
	}
	writeJSON(w, 200, map[string]any{"@odata.context": context, "value": value})
}
