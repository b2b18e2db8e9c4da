package simulator

import (
	"net/http"
	"strings"
	"time"
)

// This file is the directory part of Graph: licences, the tenant, and the
// connector's own application.

type plan struct{ name, id string }

var plans = map[string][]plan{
	Free: {},
	P1:   {{"AAD_PREMIUM", "41781fb2-bc02-4b7c-bd55-b576c07bb09d"}},
	P2: {{"AAD_PREMIUM", "41781fb2-bc02-4b7c-bd55-b576c07bb09d"}, {"AAD_PREMIUM_P2", "eec0eb4f-6444-4f95-aba0-50c24d67f998"},
		{"AAD_WRKLDID_P2", "7dc0e92d-bf15-401d-907e-0884efe7c760"}, {"INTUNE_A", "c1ec4a95-1f05-45b3-a911-aa3fa01094f5"}},
}

var skus = map[string]struct{ name, id string }{
	Free: {"O365_BUSINESS_ESSENTIALS", "3b555118-da6a-4418-894f-7df1e2096870"},
	P1:   {"SPE_E3", "05e9a617-0261-4cee-bb44-138d3ef5d965"},
	P2:   {"SPE_E5", "06ebc4ee-1bb5-47dd-8120-11324bc54e06"},
}

func (s *Simulator) subscribedSkus(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" && (r.URL.Query().Has("$filter") || r.URL.Query().Has("$top")) {
		s.graphError(w, 400, "Request_BadRequest", "This resource does not support query options.")
		return
	}
	sku := skus[s.licence()]
	servicePlans := []map[string]string{{"servicePlanId": "9aaf7827-d63c-4b61-89c3-182f06f82e5c", "servicePlanName": "EXCHANGE_S_STANDARD", "provisioningStatus": "Success", "appliesTo": "User"}}
	for _, p := range plans[s.licence()] {
		servicePlans = append(servicePlans, map[string]string{"servicePlanId": p.id, "servicePlanName": p.name, "provisioningStatus": "Success", "appliesTo": "User"})
	}
	writeJSON(w, 200, map[string]any{
		"@odata.context": s.GraphBase() + "/v1.0/$metadata#subscribedSkus",
		"value": []any{map[string]any{
			"accountName": "kaurifreight", "accountId": s.opts.TenantID, "appliesTo": "User", "capabilityStatus": "Enabled", "consumedUnits": 200,
			"id": s.opts.TenantID + "_" + sku.id, "skuId": sku.id, "skuPartNumber": sku.name, "subscriptionIds": []string{guidText(s.opts.Seed ^ 0x5c5)},
			"prepaidUnits": map[string]int{"enabled": 250, "suspended": 0, "warning": 0, "lockedOut": 0},
			"servicePlans": servicePlans,
		}},
	})
}

func (s *Simulator) organization(w http.ResponseWriter, r *http.Request) {
	assigned := []map[string]string{}
	for _, p := range plans[s.licence()] {
		assigned = append(assigned, map[string]string{"assignedDateTime": "2025-01-01T00:00:00Z", "capabilityStatus": "Enabled", "service": "AADPremiumService", "servicePlanId": p.id})
	}
	writeJSON(w, 200, map[string]any{
		"@odata.context": s.GraphBase() + "/v1.0/$metadata#organization",
		"value": []any{map[string]any{
			"id": s.opts.TenantID, "displayName": "Kauri Freight", "tenantType": "AAD", "countryLetterCode": "NZ", "assignedPlans": assigned,
			"verifiedDomains": []any{map[string]any{"capabilities": "Email, OfficeCommunicationsOnline", "isDefault": true, "isInitial": false, "name": s.world.domain, "type": "Managed"}},
		}},
	})
}

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
