package setup

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	graphApp      = "00000003-0000-0000-c000-000000000000"
	managementApp = "c5393580-f805-4401-95e8-94b7a6ef2fc2"
	endpointApp   = "fc780465-2017-40d4-a0c5-307022471b92" // WindowsDefenderATP, of which a tenant may have no service principal yet
	planP2        = "eec0eb4f-6444-4f95-aba0-50c24d67f998" // https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference
)

// tenant is a directory as Microsoft Graph shows it: the part of it that the
// registration needs, with the refusals that it meets in the field.
type tenant struct {
	mu         sync.Mutex
	nextID     int
	apps       []*application
	principals []*principal
	everywhere string   // a permission that every service offers
	calls      []string // METHOD path, reads too
	secrets    []string // every secret handed out
	host       string   // the base that the last call was meant for

	// faults
	refuseConsent  bool
	notYet         int // so many calls about a new service principal are not found
	refusePassword string
	withoutRole    string   // no service offers it
	withoutService string   // no service principal can be made of it
	plans          []string // service plans of the tenant
	noLicences     bool     // who asks may not read them
}

type application struct {
	ID                     string           `json:"id"`
	AppID                  string           `json:"appId"`
	DisplayName            string           `json:"displayName"`
	SignInAudience         string           `json:"signInAudience"`
	RequiredResourceAccess []resourceAccess `json:"requiredResourceAccess"`
	PasswordCredentials    []map[string]any `json:"passwordCredentials"`
	KeyCredentials         []map[string]any `json:"keyCredentials"`
}

type resourceAccess struct {
	ResourceAppID  string `json:"resourceAppId"`
	ResourceAccess []struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"resourceAccess"`
}

type principal struct {
	ID          string              `json:"id"`
	AppID       string              `json:"appId"`
	AppRoles    []map[string]string `json:"appRoles"`
	Assignments []assignment        `json:"-"`
}

type assignment struct {
	ID          string `json:"id"`
	PrincipalID string `json:"principalId"`
	ResourceID  string `json:"resourceId"`
	AppRoleID   string `json:"appRoleId"`
}

// newTenant has Microsoft Graph but, as some tenants, no service principal of
// the Office 365 Management APIs yet.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	made := &tenant{}
	made.addPrincipal(rows(t), graphApp)
	return made
}

func (n *tenant) id() string {
	n.nextID++
	return fmt.Sprintf("%08d-aaaa-4bbb-8ccc-000000000000", n.nextID)
}

// A service principal of a service offers what feeds need of it, under ids that
// only it knows.
func (n *tenant) addPrincipal(offered []row, appID string) *principal {
	made := &principal{ID: n.id(), AppID: appID, AppRoles: []map[string]string{}}
	seen := map[string]bool{}
	for _, r := range offered {
		if r.resource == appID && r.name != n.withoutRole && !seen[r.name] {
			seen[r.name] = true
			made.AppRoles = append(made.AppRoles, map[string]string{"id": n.id(), "value": r.name})
		}
	}
	if n.everywhere != "" {
		made.AppRoles = append(made.AppRoles, map[string]string{"id": n.id(), "value": n.everywhere})
	}
	n.principals = append(n.principals, made)
	return made
}

// offerEverywhere makes each service offer a permission of this name, as some names are of several.
func (n *tenant) offerEverywhere(name string) {
	n.everywhere = name
	for _, p := range n.principals {
		p.AppRoles = append(p.AppRoles, map[string]string{"id": n.id(), "value": name})
	}
}

// holdsPacks holds the app to what the packs email and defender need, with two more by name: granted, each
// of the service that it is of, and declared.
func (n *tenant) holdsPacks(t *testing.T, app *application) {
	t.Helper()
	granted := n.granted(app.AppID)
	want := slices.Concat(core, risk, []string{"ExchangeMessageTrace.Read.All", "ThreatHunting.Read.All", "SecurityAlert.Read.All", "SecurityIncident.Read.All",
		"Machine.Read.All", "DeviceManagementApps.Read.All", "User.Read.All"})
	slices.Sort(want)
	if !slices.Equal(granted, want) {
		t.Errorf("granted %v, want %v", granted, want)
	}
	if declared := declaredRoles(app); len(declared) != len(want) {
		t.Errorf("the app asks for %d roles, want the %d that are granted", len(declared), len(want))
	}
	if !slices.ContainsFunc(app.RequiredResourceAccess, func(a resourceAccess) bool { return a.ResourceAppID == endpointApp }) {
		t.Error("the app does not ask for the permission of WindowsDefenderATP")
	}
}

func (n *tenant) app(id string) *application {
	for _, a := range n.apps {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func (n *tenant) principal(match func(*principal) bool) *principal {
	if i := slices.IndexFunc(n.principals, match); i >= 0 {
		return n.principals[i]
	}
	return nil
}

// granted are the names of the roles that the app with this client id holds.
func (n *tenant) granted(clientID string) []string {
	var names []string
	app := n.principal(func(p *principal) bool { return p.AppID == clientID })
	if app == nil {
		return nil
	}
	for _, a := range app.Assignments {
		service := n.principal(func(p *principal) bool { return p.ID == a.ResourceID })
		for _, role := range service.AppRoles {
			if role["id"] == a.AppRoleID {
				names = append(names, role["value"])
			}
		}
	}
	slices.Sort(names)
	return names
}

// writes are the calls that changed something, or tried to.
func (n *tenant) writes() []string {
	var writes []string
	for _, call := range n.calls {
		if !strings.HasPrefix(call, "GET ") {
			writes = append(writes, call)
		}
	}
	return writes
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func (n *tenant) handler(t *testing.T) http.Handler {
	offered := rows(t)
	mux := http.NewServeMux()

	mux.HandleFunc("GET /v1.0/subscribedSkus", func(w http.ResponseWriter, r *http.Request) {
		if n.noLicences {
			refuse(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
			return
		}
		var plans []map[string]string
		for _, id := range n.plans {
			plans = append(plans, map[string]string{"servicePlanId": id, "servicePlanName": "X", "provisioningStatus": "Success"})
		}
		// One that is over, and a plan that is switched off, give nothing.
		answer(w, 200, map[string]any{"value": []any{
			map[string]any{"capabilityStatus": "Suspended", "servicePlans": []any{map[string]string{"servicePlanId": planP2, "provisioningStatus": "Success"}}},
			map[string]any{"capabilityStatus": "Enabled", "servicePlans": []any{map[string]string{"servicePlanId": planP2, "provisioningStatus": "Disabled"}}},
			map[string]any{"capabilityStatus": "Warning", "servicePlans": append([]map[string]string{}, plans...)},
		}})
	})

	mux.HandleFunc("GET /v1.0/applications", func(w http.ResponseWriter, r *http.Request) {
		value := []*application{}
		for _, a := range n.apps {
			if filterMatches(t, r, map[string]string{"appId": a.AppID, "displayName": a.DisplayName}) {
				value = append(value, a)
			}
		}
		answer(w, 200, map[string]any{"value": value})
	})
	mux.HandleFunc("POST /v1.0/applications", func(w http.ResponseWriter, r *http.Request) {
		made := &application{ID: n.id(), AppID: n.id(), RequiredResourceAccess: []resourceAccess{},
			PasswordCredentials: []map[string]any{}, KeyCredentials: []map[string]any{}}
		decode(t, r, made)
		n.apps = append(n.apps, made)
		answer(w, 201, made)
	})
	mux.HandleFunc("GET /v1.0/applications/{id}", func(w http.ResponseWriter, r *http.Request) {
		if a := n.app(r.PathValue("id")); a != nil {
			answer(w, 200, a)
			return
		}
		refuse(w, 404, "Request_ResourceNotFound", "Resource does not exist or one of its queried reference-property objects are not present.")
	})
	mux.HandleFunc("PATCH /v1.0/applications/{id}", func(w http.ResponseWriter, r *http.Request) {
		patch(t, r, n.app(r.PathValue("id")))
		w.WriteHeader(204)
	})
	mux.HandleFunc("DELETE /v1.0/applications/{id}", func(w http.ResponseWriter, r *http.Request) {
		n.apps = slices.DeleteFunc(n.apps, func(a *application) bool { return a.ID == r.PathValue("id") })
		w.WriteHeader(204)
	})
	mux.HandleFunc("POST /v1.0/applications/{id}/addPassword", func(w http.ResponseWriter, r *http.Request) {
		if n.refusePassword != "" {
			refuse(w, 400, n.refusePassword, "The operation is not allowed by the app management policy of the tenant.")
			return
		}
		var body struct{ PasswordCredential map[string]any }
		decode(t, r, &body)
		made := body.PasswordCredential
		made["keyId"] = n.id()
		made["startDateTime"] = time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z")
		a := n.app(r.PathValue("id"))
		a.PasswordCredentials = append(a.PasswordCredentials, made)
		secret := fmt.Sprintf("s%d~Q.very-secret_value", len(n.secrets)+1)
		n.secrets = append(n.secrets, secret)
		answer(w, 200, map[string]any{"secretText": secret, "keyId": made["keyId"]})
	})
	mux.HandleFunc("POST /v1.0/applications/{id}/removePassword", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ KeyID string }
		decode(t, r, &body)
		a := n.app(r.PathValue("id"))
		a.PasswordCredentials = slices.DeleteFunc(a.PasswordCredentials, func(p map[string]any) bool { return p["keyId"] == body.KeyID })
		w.WriteHeader(204)
	})

	mux.HandleFunc("GET /v1.0/servicePrincipals", func(w http.ResponseWriter, r *http.Request) {
		value := []*principal{}
		for _, p := range n.principals {
			if filterMatches(t, r, map[string]string{"appId": p.AppID}) {
				value = append(value, p)
			}
		}
		answer(w, 200, map[string]any{"value": value})
	})
	mux.HandleFunc("POST /v1.0/servicePrincipals", func(w http.ResponseWriter, r *http.Request) {
		if n.notYet > 0 && n.principal(func(p *principal) bool { return p.AppID == managementApp }) != nil {
			n.notYet--
			refuse(w, 400, "Request_BadRequest", "The appId '…' of the service principal does not reference a valid application object: NoBackingApplicationObject")
			return
		}
		var body struct{ AppID string }
		decode(t, r, &body)
		if body.AppID == n.withoutService {
			refuse(w, 400, "Request_BadRequest", "The appId '…' of the service principal does not reference a valid application object.")
			return
		}
		answer(w, 201, n.addPrincipal(offered, body.AppID))
	})
	mux.HandleFunc("GET /v1.0/servicePrincipals/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, n.principal(func(p *principal) bool { return p.ID == r.PathValue("id") }))
	})
	mux.HandleFunc("GET /v1.0/servicePrincipals/{id}/appRoleAssignments", func(w http.ResponseWriter, r *http.Request) {
		if n.notYet > 0 {
			n.notYet--
			refuse(w, 404, "Request_ResourceNotFound", "Resource '…' does not exist or one of its queried reference-property objects are not present.")
			return
		}
		p := n.principal(func(p *principal) bool { return p.ID == r.PathValue("id") })
		answer(w, 200, map[string]any{"value": append([]assignment{}, p.Assignments...)})
	})
	mux.HandleFunc("POST /v1.0/servicePrincipals/{id}/appRoleAssignments", func(w http.ResponseWriter, r *http.Request) {
		if n.refuseConsent {
			refuse(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
			return
		}
		var made assignment
		decode(t, r, &made)
		p := n.principal(func(p *principal) bool { return p.ID == r.PathValue("id") })
		service := n.principal(func(p *principal) bool { return p.ID == made.ResourceID })
		if made.PrincipalID != p.ID || service == nil {
			refuse(w, 400, "Request_BadRequest", "Not a valid reference update.")
			return
		}
		if slices.ContainsFunc(p.Assignments, func(a assignment) bool { return a.AppRoleID == made.AppRoleID }) {
			refuse(w, 400, "Request_BadRequest", "Permission being assigned already exists on the object")
			return
		}
		if !slices.ContainsFunc(service.AppRoles, func(role map[string]string) bool { return role["id"] == made.AppRoleID }) {
			refuse(w, 400, "Request_BadRequest", "Permission being assigned was not found on application")
			return
		}
		made.ID = n.id()
		p.Assignments = append(p.Assignments, made)
		answer(w, 201, made)
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.calls = append(n.calls, r.Method+" "+r.URL.Path)
		n.host = r.Header.Get(meantFor)
		mux.ServeHTTP(w, r)
	})
}

// patch replaces what the body gives, each list as a whole, as Graph does. A
// certificate that is to stay must come with its key.
func patch(t *testing.T, r *http.Request, a *application) {
	var body struct {
		RequiredResourceAccess []resourceAccess
		KeyCredentials         []map[string]any
	}
	decode(t, r, &body)
	if body.RequiredResourceAccess != nil {
		seen := map[string]bool{}
		for _, access := range body.RequiredResourceAccess {
			if seen[access.ResourceAppID] {
				t.Errorf("requiredResourceAccess names %s twice", access.ResourceAppID)
			}
			seen[access.ResourceAppID] = true
		}
		a.RequiredResourceAccess = body.RequiredResourceAccess
	}
	if body.KeyCredentials != nil {
		for i, key := range body.KeyCredentials {
			if text, _ := key["key"].(string); text == "" {
				t.Errorf("a certificate without its key: %v", key)
			}
			if key["keyId"] == nil {
				key["keyId"] = fmt.Sprintf("key-%d", i+1)
			}
		}
		a.KeyCredentials = body.KeyCredentials
	}
}

// filterMatches evaluates a $filter of the one form "property eq 'value'".
func filterMatches(t *testing.T, r *http.Request, properties map[string]string) bool {
	filter := r.URL.Query().Get("$filter")
	name, value, ok := strings.Cut(filter, " eq ")
	actual, known := properties[name]
	if !ok || !known {
		t.Errorf("%s: the filter %q is not one that Graph knows here", r.URL.Path, filter)
		return false
	}
	return actual == strings.Trim(value, "'")
}

func decode(t *testing.T, r *http.Request, into any) {
	decoder := json.NewDecoder(r.Body)
	if err := decoder.Decode(into); err != nil {
		t.Errorf("%s %s: the body is no JSON: %v", r.Method, r.URL.Path, err)
	}
}
