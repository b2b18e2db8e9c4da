package settings

import (
	"slices"
	"strings"
)

// The content types of the Management Activity API:
// https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference
var contentTypes = []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"}

// CloudBases are a cloud's login, Management API, Graph and Defender for Endpoint bases:
// https://learn.microsoft.com/graph/deployments, https://learn.microsoft.com/defender-endpoint/gov
type CloudBases struct{ Login, Manage, Graph, Defender string }

var Clouds = map[string]CloudBases{
	"commercial": {"https://login.microsoftonline.com", "https://manage.office.com", "https://graph.microsoft.com", "https://api.securitycenter.microsoft.com"},
	"gcc":        {"https://login.microsoftonline.com", "https://manage-gcc.office.com", "https://graph.microsoft.com", "https://api-gcc.securitycenter.microsoft.us"},
	"gcchigh":    {"https://login.microsoftonline.us", "https://manage.office365.us", "https://graph.microsoft.us", "https://api-gov.securitycenter.microsoft.us"},
	"dod":        {"https://login.microsoftonline.us", "https://manage.protection.apps.mil", "https://dod-graph.microsoft.us", "https://api-gov.securitycenter.microsoft.us"},
	// Microsoft documents no Management API host for 21Vianet, and none of Defender for Endpoint.
	"china": {"https://login.partner.microsoftonline.cn", "", "https://microsoftgraph.chinacloudapi.cn", ""},
}

var CloudNames = []string{"commercial", "gcc", "gcchigh", "dod", "china"}

func (r *environment) contentTypes() []any {
	given := r.list("MGMT_CONTENT_TYPES")
	if len(given) == 0 {
		for _, t := range contentTypes {
			given = append(given, t)
		}
		return given
	}
	for _, t := range given {
		if !slices.Contains(contentTypes, t.(string)) {
			r.fail("MGMT_CONTENT_TYPES holds %q: write some of %s", t, strings.Join(contentTypes, ","))
		}
	}
	return given
}
