package doctor

import (
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// refusal says what an error code of the Microsoft identity platform means for
// the connector and what mends it.
type refusal struct{ cause, remedy string }

// refusals are the codes that a client-credentials request can meet:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var refusals = map[int]refusal{
	7000215: {"the client secret is wrong", "write the secret's Value into CLIENT_SECRET, not its Secret ID; create a new secret if the value is lost"},
	7000222: {"the client secret has expired", "create a new client secret for the app registration and put its value into CLIENT_SECRET; collection resumes where it stopped"},
	700016:  {"the application is not known in this tenant", "compare CLIENT_ID and TENANT_ID with the app registration's overview page, and MS_CLOUD with the cloud the tenant is in"},
	90002:   {"the tenant was not found", "compare TENANT_ID with the Directory (tenant) ID, and MS_CLOUD with the cloud the tenant is in"},
	900023:  {"TENANT_ID is no tenant id and no domain", "write the Directory (tenant) ID of the app registration"},
	70011:   {"the scope is not valid", "check MS_MANAGE_BASE and MS_GRAPH_BASE, or the scope in your feed file"},
	1002012: {"the scope is not valid", "check MS_MANAGE_BASE and MS_GRAPH_BASE, or the scope in your feed file: it ends in /.default"},
	500011:  {"the API named in the scope is not present in this tenant", "check MS_CLOUD and the bases; for the Management API, add the service principal of \"Office 365 Management APIs\" to the tenant"},
	650052:  {"the organisation has not subscribed to the API", "add the licence that includes it, or switch the feed off"},
	650051:  {"the app asks for a permission that no longer exists", "remove ActivityReports.Read from the app registration's permissions"},
	53003:   {"a Conditional Access policy blocks the app", "exclude the app from the policy, or let the connector run from an allowed location"},
	7000112: {"the application is disabled in this tenant", "enable the enterprise application in Entra"},
	7000229: {"the application has no enterprise application (service principal) in this tenant", "run the set-up script again, which makes it and grants what it needs; if the app belongs to another tenant, correct TENANT_ID"},
	70001:   {"the application was not found or is disabled", "compare CLIENT_ID with the app registration, and enable the enterprise application"},
	700027:  {"the certificate does not match the app registration", "upload the certificate of CLIENT_CERTIFICATE_FILE to the app registration, and check that it has not expired"},
	700024:  {"the signed assertion is not within its time", "set the clock of this host (NTP)"},
	700213:  {"no federated credential of the app matches the token", "compare issuer, subject and audience of the federated credential with the token in FEDERATED_TOKEN_FILE"},
	900382:  {"the tenant is in another cloud", "set MS_CLOUD to the cloud the tenant is in"},
	900432:  {"the tenant is in another cloud", "set MS_CLOUD to the cloud the tenant is in"},
	50196:   {"the identity platform saw the same request too often", "stop other copies of the connector that use the same app"},
	90055:   {"the tenant is throttled", "nothing: it is tried again"},
	90033:   {"the identity platform is temporarily unavailable", "nothing: it is tried again"},
	90025:   {"the identity platform is busy", "nothing: it is tried again"},
}

// keyExpired is how the platform says, with the code of any certificate that it does not take, that this one has ended:
// https://github.com/microsoft/azure-tools-for-java/issues/2785
const keyExpired = "The key used is expired"

// refusalOf is what a refusal means, where that is known.
func refusalOf(err *extract.AuthError) (refusal, bool) {
	r, ok := refusals[err.Code]
	if err.Code == 700027 && strings.Contains(err.Description, keyExpired) {
		r = refusal{"the certificate has expired", "create a new one, upload it to the app registration, and write it and its key into the file of CLIENT_CERTIFICATE_FILE; collection resumes where it stopped"}
	}
	return r, ok
}

// explain puts a refused credential into words.
func explain(err *extract.AuthError) string {
	r, ok := refusalOf(err)
	if !ok {
		return err.Error()
	}
	return fmt.Sprintf("%s (AADSTS%d). %s", r.cause, err.Code, wording.Sentence(r.remedy))
}
