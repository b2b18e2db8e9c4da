package author

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

// answers have the shapes of answers that the documentation of list endpoints of Microsoft
// Graph shows, with values of their own. want are lines of the feed, and fields of the
// first event.
var answers = map[string]struct {
	answer string
	feed   []string
	event  map[string]any
	url    string // where it came from, where that is known
	events int    // 1, where it is 0
}{
	// https://learn.microsoft.com/graph/api/signin-list
	"sign-ins": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#auditLogs/signIns", "@odata.nextLink": "https://graph.microsoft.com/v1.0/auditLogs/signIns?$top=1&$skiptoken=9177f2e3",
		"value": [{"id": "66ea54eb-6301-4ee5-be62-ff5a759b0100", "createdDateTime": "2026-03-01T16:03:35Z", "userDisplayName": "Lee Gu", "userPrincipalName": "Lee.Gu@fabrikam.example", "userId": "26be570a-ae82-4189-b4e2-a37c6808512d", "appDisplayName": "Mail", "ipAddress": "203.0.113.7", "clientAppUsed": "Browser",
		"status": {"errorCode": 50126, "failureReason": "Wrong password", "additionalDetails": null}, "deviceDetail": {"deviceId": "", "displayName": "laptop-7", "operatingSystem": "Windows 11"}, "location": {"city": "Basel"}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/auditLogs/signIns'", "records: value", "paging: {style: odata}", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T16:03:35Z", "user_name": "lee.gu@fabrikam.example", "ip_src_address": "203.0.113.7", "outcome": "failure", "host_name": "laptop-7"}},
	// https://learn.microsoft.com/graph/api/directoryaudit-list
	"directory-audits": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#auditLogs/directoryAudits",
		"value": [{"id": "Directory_1", "category": "UserManagement", "correlationId": "c", "result": "success", "resultReason": "", "activityDisplayName": "Add user", "activityDateTime": "2026-03-01T10:00:00.1234567Z", "loggedByService": "Core Directory",
		"initiatedBy": {"user": {"id": "u", "displayName": null, "userPrincipalName": "Admin@fabrikam.example", "ipAddress": "203.0.113.8"}, "app": null}, "targetResources": [{"id": "t", "displayName": "New"}], "additionalDetails": [{"key": "User-Agent", "value": "x"}]}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/auditLogs/directoryAudits'", "cursor: {field: activityDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T10:00:00.1234567Z", "user_name": "admin@fabrikam.example", "ip_src_address": "203.0.113.8", "outcome": "success", "operation": "add-user"}},
	// https://learn.microsoft.com/graph/api/riskdetection-list
	"risk-detections": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identityProtection/riskDetections",
		"value": [{"id": "6a5874ca", "requestId": "r", "riskEventType": "unfamiliarFeatures", "riskState": "atRisk", "riskLevel": "high", "source": "IdentityProtection", "detectedDateTime": "2026-03-01T00:22:00Z", "lastUpdatedDateTime": "2026-03-01T00:23:00Z", "activityDateTime": "2026-03-01T00:20:00Z", "userPrincipalName": "Joe@fabrikam.example", "ipAddress": "2001:db8::7", "location": {"city": "x"}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/identityProtection/riskDetections'", "cursor: {field: activityDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T00:20:00Z", "user_name": "joe@fabrikam.example", "ip_src_address": "2001:db8::7", "source_severity": "high"}},
	// https://learn.microsoft.com/graph/api/security-list-alerts_v2
	"alerts": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#security/alerts_v2",
		"value": [{"@odata.type": "#microsoft.graph.security.alert", "id": "da1", "incidentId": "28282", "status": "new", "severity": "low", "title": "Suspicious execution", "category": "DefenseEvasion", "createdDateTime": "2026-03-01T12:55:19Z", "lastUpdateDateTime": "2026-03-01T14:53:14Z", "alertWebUrl": "https://security.microsoft.com/alerts/da1",
		"evidence": [{"@odata.type": "#microsoft.graph.security.deviceEvidence", "deviceDnsName": "pc1"}]}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/security/alerts_v2'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T12:55:19Z", "source_severity": "low", "alert_name": "Suspicious execution"}},
	// https://learn.microsoft.com/graph/api/security-list-incidents
	"incidents": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#security/incidents",
		"value": [{"id": "2972395", "displayName": "Multi-stage incident", "incidentWebUrl": "https://security.microsoft.com/incidents/2972395", "createdDateTime": "2026-03-01T12:07:57Z", "lastUpdateDateTime": "2026-03-01T12:08:57Z", "severity": "medium", "status": "active", "assignedTo": "Soc@fabrikam.example"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/security/incidents'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T12:07:57Z", "source_severity": "medium"}},
	// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
	"provisioning": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#auditLogs/provisioning",
		"value": [{"id": "gc532ff9", "activityDateTime": "2026-03-01T00:01:09Z", "tenantId": "t", "jobId": "j", "durationInMilliseconds": 266, "provisioningAction": "create", "initiatedBy": {"id": "", "displayName": "Azure AD Provisioning Service", "initiatorType": "system"}, "provisioningStatusInfo": {"status": "success"}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/auditLogs/provisioning'", "cursor: {field: activityDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T00:01:09Z"}},
	// https://learn.microsoft.com/graph/api/intune-auditing-auditevent-list: the context names a type only
	"intune-audits": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(microsoft.graph.auditEvent)", "@odata.nextLink": "https://graph.microsoft.com/v1.0/deviceManagement/auditEvents?$skip=1",
		"value": [{"id": "1ac1f94d", "displayName": "Patch", "componentName": "Policy", "activity": "Patch policy", "activityDateTime": "2026-03-01T23:59:51Z", "activityType": "Patch", "activityOperationType": "Action", "activityResult": "Failure", "correlationId": "e", "actor": {"type": "ItPro", "userPrincipalName": "It@fabrikam.example", "applicationId": "a", "ipAddress": "203.0.113.9", "userId": "u"}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/deviceManagement/auditEvents'", "cursor: {field: activityDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T23:59:51Z", "user_name": "it@fabrikam.example", "ip_src_address": "203.0.113.9", "outcome": "failure", "operation": "patch-policy"}},
	// https://learn.microsoft.com/graph/api/riskyuser-list
	"risky-users": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identityProtection/riskyUsers",
		"value": [{"id": "c2b6c2b9", "isDeleted": false, "isProcessing": true, "riskLevel": "medium", "riskState": "atRisk", "riskLastUpdatedDateTime": "2026-03-01T01:02:03Z", "userDisplayName": "Al", "userPrincipalName": "Al@fabrikam.example"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/identityProtection/riskyUsers'", "cursor: {field: riskLastUpdatedDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T01:02:03Z", "user_name": "al@fabrikam.example", "source_severity": "medium"}},
	// https://learn.microsoft.com/graph/api/user-list
	"people": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users(id,displayName)", "@odata.nextLink": "https://graph.microsoft.com/v1.0/users?$skiptoken=r",
		"value": [{"id": "87d349ed", "displayName": "Adele", "mail": "adele@fabrikam.example", "userPrincipalName": "AdeleV@fabrikam.example", "accountEnabled": true, "createdDateTime": "2026-01-01T00:00:00Z"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/users'", "snapshot: {id: id}", "paging: {style: odata}"},
		event: map[string]any{"user_name": "adelev@fabrikam.example"}},
	// https://learn.microsoft.com/graph/api/intune-devices-manageddevice-list
	"managed-devices": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#deviceManagement/managedDevices", "@odata.count": 1,
		"value": [{"id": "705c034c", "userId": "u", "deviceName": "laptop-3", "managedDeviceOwnerType": "company", "enrolledDateTime": "2026-01-02T00:00:00Z", "lastSyncDateTime": "2026-03-01T00:02:49Z", "operatingSystem": "Windows", "complianceState": "compliant", "userPrincipalName": "Eve@fabrikam.example"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/deviceManagement/managedDevices'", "snapshot: {id: id}"},
		event: map[string]any{"user_name": "eve@fabrikam.example", "host_name": "laptop-3"}},
	// https://learn.microsoft.com/graph/api/conditionalaccessroot-list-policies
	"access-policies": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identity/conditionalAccess/policies",
		"value": [{"id": "2b31ac51", "displayName": "Require MFA", "createdDateTime": "2026-01-01T00:00:00Z", "modifiedDateTime": null, "state": "enabled", "conditions": {"clientAppTypes": ["all"], "users": {"includeUsers": ["All"]}}, "grantControls": {"operator": "OR", "builtInControls": ["mfa"]}}]}`,
		feed: []string{"url: '${MS_GRAPH_BASE}/v1.0/identity/conditionalAccess/policies'", "snapshot: {id: id}"}},
	// https://learn.microsoft.com/graph/api/subscribedsku-list: no time at all
	"licences": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#subscribedSkus",
		"value": [{"id": "t_c7df2760", "capabilityStatus": "Enabled", "consumedUnits": 14, "skuId": "c7df2760", "skuPartNumber": "ENTERPRISEPREMIUM", "prepaidUnits": {"enabled": 25, "suspended": 0}, "servicePlans": [{"servicePlanId": "8c098270"}]}]}`,
		feed: []string{"url: '${MS_GRAPH_BASE}/v1.0/subscribedSkus'", "snapshot: {id: id}"}},
	// https://learn.microsoft.com/graph/api/serviceannouncement-list-messages
	"announcements": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#admin/serviceAnnouncement/messages", "@odata.nextLink": "https://graph.microsoft.com/v1.0/admin/serviceAnnouncement/messages?$skip=100",
		"value": [{"startDateTime": "2026-02-01T19:00:00Z", "endDateTime": "2026-05-01T18:00:00Z", "lastModifiedDateTime": "2026-02-02T19:00:00Z", "title": "Retirement", "id": "MC172851", "category": "planForChange", "severity": "normal", "tags": ["Admin impact"], "details": [{"name": "BlogLink", "value": "https://x.example"}]}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/admin/serviceAnnouncement/messages'", "cursor: {field: startDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-02-01T19:00:00Z", "source_severity": "normal"}},
	// https://learn.microsoft.com/graph/api/security-casesroot-list-ediscoverycases
	"ediscovery-cases": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#security/cases/ediscoveryCases", "@odata.count": 2,
		"value": [{"description": "", "lastModifiedDateTime": "2026-03-01T19:51:29Z", "status": "active", "closedDateTime": null, "externalId": "", "id": "22aa2acd", "displayName": "Case 1", "createdDateTime": "2026-02-01T18:23:24Z", "lastModifiedBy": {"application": null, "user": {"id": "c1", "displayName": "Megan", "userPrincipalName": "Megan@fabrikam.example"}}},
		{"id": "22aa2ace", "displayName": "Case 2", "createdDateTime": "2026-02-01T20:23:24Z", "lastModifiedDateTime": "2026-03-01T19:51:29Z"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/security/cases/ediscoveryCases'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-02-01T18:23:24Z", "user_name": "megan@fabrikam.example"}, events: 2},
	// https://learn.microsoft.com/graph/api/user-list-messages
	"messages": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('bb8775a4')/messages(subject,sender)", "@odata.nextLink": "https://graph.microsoft.com/v1.0/users/bb8775a4/messages?$skip=1",
		"value": [{"@odata.etag": "W/\"C\"", "id": "AAMkAGUA", "createdDateTime": "2026-03-01T10:00:00Z", "receivedDateTime": "2026-03-01T10:00:01Z", "subject": "Hello", "from": {"emailAddress": {"name": "A", "address": "A@fabrikam.example"}}, "isRead": false}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/users/bb8775a4/messages'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T10:00:00Z", "user_name": "a@fabrikam.example", "email_subject": "Hello"}},
	// https://learn.microsoft.com/graph/api/security-list-securescores
	"secure-scores": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Security/secureScores", "@odata.nextLink": "https://graph.microsoft.com/v1.0/security/secureScores?$skip=1",
		"value": [{"id": "00000001_2026-03-01", "azureTenantId": "t", "activeUserCount": 277, "createdDateTime": "2026-03-01T00:00:00Z", "currentScore": 191.0, "maxScore": 1000.0, "averageComparativeScores": [{"basis": "Industry", "averageScore": 36.0}]}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/security/secureScores'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T00:00:00Z"}},
	// https://learn.microsoft.com/graph/api/rbacapplication-list-roleassignmentschedulerequests
	"role-requests": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#roleManagement/directory/roleAssignmentScheduleRequests",
		"value": [{"id": "95c690fb", "status": "Provisioned", "createdDateTime": "2026-03-01T11:50:05.95Z", "completedDateTime": "2026-03-01T11:50:06Z", "approvalId": null, "action": "adminAssign", "principalId": "071cc716", "roleDefinitionId": "fdd7a751", "directoryScopeId": "/", "isValidationOnly": false,
		"createdBy": {"application": null, "device": null, "user": {"displayName": null, "id": "3fbd929d"}}, "scheduleInfo": {"startDateTime": "2026-03-01T11:50:05.9999343Z", "recurrence": null, "expiration": {"type": "noExpiration"}}, "ticketInfo": {"ticketNumber": null}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/roleManagement/directory/roleAssignmentScheduleRequests'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T11:50:05.95Z", "operation": "admin-assign", "user_id": "3fbd929d"}},
	// https://learn.microsoft.com/graph/api/attacksimulationroot-list-simulations: an example without its context
	"phishing-exercises": {answer: `{"value": [{"id": "f1b13829", "displayName": "Spring", "attackType": "social", "attackTechnique": "credentialHarvesting", "status": "scheduled", "createdDateTime": "2026-03-01T01:01:01.01Z", "createdBy": {"id": "99af58b9", "displayName": "Reed", "email": "Reed@fabrikam.example"},
		"lastModifiedDateTime": "2026-03-01T01:01:01.01Z", "launchDateTime": "2026-03-01T02:01:01.01Z", "isAutomated": false}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/phishing-exercises'", "paging: {style: odata}", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T01:01:01.01Z", "user_name": "reed@fabrikam.example"}},
	// https://learn.microsoft.com/graph/api/callrecords-cloudcommunications-list-callrecords
	"calls": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#communications/callRecords",
		"value": [{"id": "3cf3bbc8", "version": 2, "type": "unknown", "modalities": ["audio"], "lastModifiedDateTime": "2026-03-01T10:36:40Z", "startDateTime": "2026-03-01T09:28:38Z", "endDateTime": "2026-03-01T09:28:41Z", "organizer": {"user": {"id": "821809f5", "displayName": "Abbie", "tenantId": "d"}},
		"organizer_v2@odata.context": "https://graph.microsoft.com/v1.0/$metadata#communications/callRecords('3cf3bbc8')/organizer_v2/$entity", "organizer_v2": {"id": "821809f5", "identity": {"user": {"id": "821809f5", "displayName": "Abbie"}}}},
		{"id": "c3ad8c4b", "version": 2, "startDateTime": "2026-03-01T14:03:36Z", "endDateTime": "2026-03-01T14:03:40Z", "organizer": {"user": null, "phone": {"id": "+3161"}}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/communications/callRecords'", "cursor: {field: startDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T09:28:38Z", "user_name": "abbie", "user_id": "821809f5"}, events: 2},
	// https://learn.microsoft.com/graph/api/authenticationmethodsroot-list-userregistrationdetails: rows that change
	"registrations": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#reports/authenticationMethods/userRegistrationDetails",
		"value": [{"id": "86462606", "userPrincipalName": "AlexW@fabrikam.example", "userDisplayName": "Alex", "isAdmin": false, "isMfaRegistered": true, "lastUpdatedDateTime": "2026-03-01T19:15:41.6195833Z", "methodsRegistered": ["push"], "userType": "member"}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/reports/authenticationMethods/userRegistrationDetails'", "snapshot: {id: id}"},
		event: map[string]any{"user_name": "alexw@fabrikam.example", "operation": "registrations-created"}},
	// https://learn.microsoft.com/graph/api/accessreviewinstance-list-decisions: ids in the path, times that are not there yet
	"review-decisions": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#identityGovernance/accessReviews/definitions('2dca8959')/instances('8d035c9d')/decisions", "@odata.count": 1,
		"value": [{"id": "139166ec", "accessReviewId": "8d035c9d", "reviewedDateTime": null, "decision": "NotReviewed", "justification": "", "applyResult": "New", "recommendation": "Deny", "reviewedBy": {"id": "0", "displayName": "", "userPrincipalName": ""},
		"target": {"@odata.type": "#microsoft.graph.accessReviewInstanceDecisionItemUserTarget", "userId": "04777c4b", "userPrincipalName": "Diego@fabrikam.example"}, "principal": {"id": "1800bb2c", "userPrincipalName": "guest@guest.example"}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/identityGovernance/accessReviews/definitions/2dca8959/instances/8d035c9d/decisions'", "snapshot: {id: id}"},
		event: map[string]any{"user_name": "diego@fabrikam.example"}},
	// https://learn.microsoft.com/graph/api/user-list-events: its times are objects
	"meetings": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('cd209b0b')/events(subject,organizer,start,end)",
		"value": [{"@odata.etag": "W/\"Z\"", "id": "AAMkAGIA", "subject": "Orientation ", "start": {"dateTime": "2026-03-01T10:00:00.0000000", "timeZone": "Pacific Standard Time"}, "end": {"dateTime": "2026-03-01T12:00:00.0000000", "timeZone": "Pacific Standard Time"}, "attendees": [{"type": "required"}],
		"organizer": {"emailAddress": {"name": "Sam", "address": "Sam@fabrikam.example"}}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/users/cd209b0b/events'", "snapshot: {id: id}"},
		event: map[string]any{"user_name": "sam@fabrikam.example", "email_subject": "Orientation "}},
	// https://learn.microsoft.com/graph/api/informationprotection-list-threatassessmentrequests
	"submissions": {answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#informationProtection/threatAssessmentRequests", "@odata.nextLink": "https://graph.microsoft.com/v1.0/informationProtection/threatAssessmentRequests?$skiptoken=eyJ",
		"value": [{"@odata.type": "#microsoft.graph.fileAssessmentRequest", "id": "18406a56", "createdDateTime": "2026-03-01T05:44:00.4051536Z", "contentType": "file", "expectedAssessment": "block", "category": "malware", "status": "completed", "fileName": "b.csv", "contentData": "", "createdBy": {"user": {"id": "c52ce8db", "displayName": "Ronald"}}},
		{"@odata.type": "#microsoft.graph.urlAssessmentRequest", "id": "723c35be", "createdDateTime": "2026-02-20T17:02:59.8160832Z", "contentType": "url", "category": "phishing", "url": "http://t.example", "createdBy": {"user": {"id": "c52ce8db", "displayName": "Ronald"}}}]}`,
		feed:  []string{"url: '${MS_GRAPH_BASE}/v1.0/informationProtection/threatAssessmentRequests'", "cursor: {field: createdDateTime}", "key: id"},
		event: map[string]any{"timestamp": "2026-03-01T05:44:00.4051536Z", "user_name": "ronald", "file_name": "b.csv"}},
	// https://learn.microsoft.com/graph/api/serviceprincipal-list-oauth2permissiongrants: neither context nor time
	"app-grants": {answer: `{"value": [{"id": "g1", "clientId": "c", "consentType": "AllPrincipals", "principalId": null, "resourceId": "r", "scope": "User.Read"}]}`,
		feed: []string{"paging: {style: odata}", "snapshot: {id: id}"}},
	// https://learn.microsoft.com/defender-endpoint/api/get-machines: OData of another host
	"machines": {answer: `{"@odata.context": "https://api.securitycenter.microsoft.com/api/$metadata#Machines",
		"value": [{"id": "1e5bc9d7", "computerDnsName": "pc7.fabrikam.example", "firstSeen": "2026-02-01T14:55:03Z", "lastSeen": "2026-03-01T03:05:03Z", "osPlatform": "Windows11", "lastIpAddress": "192.0.2.7", "lastExternalIpAddress": "203.0.113.7", "healthStatus": "Active", "riskScore": "Low"}]}`,
		feed:  []string{`auth: {scope: "https://api.securitycenter.microsoft.com/.default"}`, "url: 'https://api.securitycenter.microsoft.com/api/Machines'", "snapshot: {id: id}"},
		event: map[string]any{"host_name": "pc7.fabrikam.example", "ip_src_address": "203.0.113.7"}},
	// The query of the URL stays, but for the page and the time.
	"high-alerts": {url: "https://graph.microsoft.com/v1.0/security/alerts_v2?$filter=severity%20eq%20%27high%27&$select=id,title&$top=2",
		answer: `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#security/alerts_v2(id,title)", "value": [{"id": "a", "title": "T: 1", "createdDateTime": "2026-03-01T12:55:19Z"}]}`,
		feed:   []string{"$filter: '(severity eq ''high'') and createdDateTime ge ${window.from} and createdDateTime lt ${window.to}'", "$select: 'id,title'"}},
	"late-alerts": {url: "https://graph.microsoft.us/v1.0/security/alerts_v2?$filter=createdDateTime%20ge%202026-03-01T00:00:00Z",
		answer: `{"@odata.context": "https://graph.microsoft.us/v1.0/$metadata#security/alerts_v2", "value": [{"id": "a", "title": "T", "createdDateTime": "2026-03-01T12:55:19Z"}]}`,
		feed:   []string{"url: '${MS_GRAPH_BASE}/v1.0/security/alerts_v2'", "$filter: 'createdDateTime ge ${window.from} and createdDateTime lt ${window.to}'"}},
	// A service of somebody else's: its own scope, a list within an object, times in the query, a token for the next page.
	"doors": {url: "https://api.doors.example/v2/log?since=2026-03-01T00:00:00Z&until=2026-03-02T00:00:00Z&kind=a%20b&cursor=x",
		answer: `{"meta": {"next": "abc", "count": 12345678901234567890}, "data": {"items": [{"uuid": "1", "at": "2026-03-01T00:00:00Z", "n": 9007199254740993, "user": {"email": "A@b.example"}, "action": "Door Opened", "source_ip": "192.0.2.9"},
			{"uuid": "2", "at": "2026-02-28T23:00:00", "action": "Door Closed"}, {"uuid": "3", "at": "2026-02-01T00:00:00Z", "action": "Door Closed"}]}}`,
		feed: []string{`auth: {scope: "https://api.doors.example/.default"}`, "url: 'https://api.doors.example/v2/log'", "since: '${window.from}'", "until: '${window.to}'", "kind: 'a b'", "paging: {style: body, path: meta.next, param: cursor}",
			"records: data.items", "cursor: {field: at}", "key: uuid"},
		event: map[string]any{"timestamp": "2026-02-28T23:00:00Z", "operation": "door-closed"}, events: 2},
	// An array, and no time, no key: the list is read as a whole.
	"plain": {answer: `[{"a": 1, "b": "x"}, {"a": 1, "b": "x"}]`,
		feed: []string{`records: '@this'`, `key: "@this"`, "# paging: {style: page, param: page, size: 100}"}},
	// The same with a time, of which nothing says how it is asked by.
	"plain-times": {answer: `[{"id": 1, "at": "2026-03-01T00:00:00Z", "user": {"email": "A@b.example"}}]`,
		feed: []string{"key: id", "# cursor: {field: at}"}, event: map[string]any{"timestamp": "2026-03-01T00:00:00Z", "user_name": "a@b.example"}},
}

// What new feed writes is valid, and its case passes, as it stands.
func TestNewFeed(t *testing.T) {
	dir := t.TempDir()
	s, err := settings.Read(map[string]string{"CONFIG_DIR": dir}, true)
	if err != nil {
		t.Fatal(err)
	}
	bases := Bases{"MS_GRAPH_BASE": s.GraphBase, "MS_MANAGE_BASE": s.ManageBase}
	created := map[string]*Answer{}
	for name, test := range answers {
		a, err := Read([]byte(test.answer), test.url, bases)
		if err == nil {
			_, err = a.Write(dir, name, bases)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		created[name] = a
		feed := a.Feed(name, bases)
		for _, line := range test.feed {
			if !strings.Contains(feed, line+"\n") && !strings.Contains(feed, line+" ") {
				t.Errorf("%s: no %s in\n%s", name, line, feed)
			}
		}
	}
	var said strings.Builder
	defs, err := definitions.LoadValid(s, dir, &said)
	if err != nil || said.Len() > 0 {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for name, a := range created {
		c, err := a.Case(name, filepath.Join(dir, "golden", "feeds", name, "example.yaml"))
		if err == nil {
			err = c.Create("# a remark\n", defs, s.Names)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := definitions.PrintUnknownNames(defs, dir, &said); err != nil || said.Len() > 0 {
		t.Errorf("%v\n%s", err, said.String())
	}
	all, err := cases.Find(filepath.Join(dir, "golden"))
	if err != nil || len(all) != len(answers) {
		t.Fatalf("%d cases, %v", len(all), err)
	}
	for _, c := range all {
		got, err := c.Run(defs, s.Names)
		if err == nil {
			err = errors.Join(c.Compare(got), cases.HoldToSchema(got.Events...))
		}
		if err != nil {
			t.Errorf("%s: %v", c.Feed, err)
			continue
		}
		want := answers[c.Feed]
		if len(c.Expect.Events) != max(want.events, 1) {
			t.Errorf("%s: %d events", c.Feed, len(c.Expect.Events))
			continue
		}
		for field, value := range want.event {
			if c.Expect.Events[0][field] != value {
				t.Errorf("%s: %s is %v, want %v", c.Feed, field, c.Expect.Events[0][field], value)
			}
		}
	}
	if _, err := created["people"].Write(dir, "people", bases); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("it was written over: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	for answer, want := range map[string]string{"<html>": "not JSON", `{"value": []}`: "holds no record", `{"error": {"code": "x"}}`: "no list of records"} {
		if _, err := Read([]byte(answer), "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
