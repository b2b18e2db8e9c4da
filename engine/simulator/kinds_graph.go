package simulator

// The kinds of rows of Graph's logs, after its published metadata and the
// examples of its reference.

const signInHead = `
"id":"{{id}}"
"createdDateTime":"{{madez}}"
`

const signInUser = `
"userDisplayName":"{{name}}"
"userPrincipalName":"{{user}}"
"userId":"{{oid}}"
"appId":"{{appid}}"
"appDisplayName":"{{app}}"
"ipAddress":"{{bareip}}"
"userAgent":"{{agent}}"
"correlationId":"{{guid:1}}"
"riskEventTypes":[]
"resourceDisplayName":"{{step:Microsoft Graph|Office 365 Exchange Online|Windows Azure Service Management API}}"
"resourceId":"{{step:00000003-0000-0000-c000-000000000000|00000002-0000-0ff1-ce00-000000000000|797f4846-ba00-4fd7-ba43-dac1f8f63013}}"
"homeTenantId":"{{tenant}}"
"resourceTenantId":"{{tenant}}"
"servicePrincipalId":""
"servicePrincipalName":null
"location":{"city":"{{city}}","state":"{{state}}","countryOrRegion":"{{country}}","geoCoordinates":{"altitude":null,"latitude":{{lat}},"longitude":{{lon}}}}
`

const signInV1 = `
"authenticationAppDeviceDetails":null
`

const signInBetaUser = `
"userType":"member"
"authenticationProtocol":"none"
"authenticationProcessingDetails":[{"key":"Root Key Type","value":"Unknown"},{"key":"Is CAE Token","value":"{{pick:True|False}}"}]
"networkLocationDetails":[{"networkType":"namedNetwork","networkNames":["Head office"]}]
"sessionId":"{{guid:2}}"
"uniqueTokenIdentifier":"{{base64:22}}"
"originalRequestId":""
"tokenIssuerType":"AzureAD"
"tokenIssuerName":""
"flaggedForReview":false
"isTenantRestricted":false
"processingTimeInMilliseconds":{{num:20-900}}
"crossTenantAccessType":"none"
"autonomousSystemNumber":{{asn}}
"privateLinkDetails":{"policyId":"","policyName":"","resourceId":"","policyTenantId":""}
"authenticationRequirementPolicies":[]
"ssoExtensionVersion":""
`

const signInNoRisk = `
"riskDetail":"{{risk:none}}"
"riskLevelAggregated":"{{risk:none}}"
"riskLevelDuringSignIn":"{{risk:none}}"
"riskState":"none"
"riskEventTypes_v2":[]
`

const signInRisk = `
"riskDetail":"{{risk:none}}"
"riskLevelAggregated":"{{risk:high}}"
"riskLevelDuringSignIn":"{{risk:medium}}"
"riskState":"atRisk"
"riskEventTypes_v2":["{{step:unfamiliarFeatures|anonymizedIPAddress}}"]
`

const signInOK = `
"clientAppUsed":"{{pick:Browser|Mobile Apps and Desktop clients}}"
"conditionalAccessStatus":"{{pick:success|notApplied}}"
"status":{"errorCode":0,"failureReason":"Other.","additionalDetails":"{{pick:MFA requirement satisfied by claim in the token|MFA completed in Azure AD}}"}
"deviceDetail":{"deviceId":"{{deviceid}}","displayName":"{{device}}","operatingSystem":"{{os}}","browser":"{{browser}}","isCompliant":true,"isManaged":true,"trustType":"Hybrid Azure AD joined"}
"appliedConditionalAccessPolicies":[{"id":"{{fixed:1}}","displayName":"Require MFA","enforcedGrantControls":["Mfa"],"enforcedSessionControls":[],"result":"success"},{"id":"{{fixed:2}}","displayName":"Block legacy clients","enforcedGrantControls":["Block"],"enforcedSessionControls":[],"result":"notApplied"}]
`

// signInPending is a sign-in before its second factor; published again it is
// complete.
const signInPending = `
"clientAppUsed":"{{pick:Browser|Mobile Apps and Desktop clients}}"
"conditionalAccessStatus":"failure"
"status":{"errorCode":50074,"failureReason":"Strong Authentication is required.","additionalDetails":"MFA required in Azure AD"}
"deviceDetail":{"deviceId":"{{deviceid}}","displayName":"{{device}}","operatingSystem":"{{os}}","browser":"{{browser}}","isCompliant":true,"isManaged":true,"trustType":"Hybrid Azure AD joined"}
"appliedConditionalAccessPolicies":[{"id":"{{fixed:1}}","displayName":"Require MFA","enforcedGrantControls":["Mfa"],"enforcedSessionControls":[],"result":"failure"}]
`

const signInFailed = `
"clientAppUsed":"{{pick:Browser|Browser|Authenticated SMTP|IMAP4}}"
"conditionalAccessStatus":"{{pick:notApplied|failure}}"
"status":{"errorCode":{{step:50126|50053|50057|53003|50076|50034}},"failureReason":"{{step:Error validating credentials due to invalid username or password.|Account is locked because user tried to sign in too many times with an incorrect user ID or password.|User account is disabled.|Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.|Due to a configuration change made by your administrator, you must use multi-factor authentication.|The user account does not exist in the directory.}}","additionalDetails":null}
"deviceDetail":{"deviceId":"","displayName":"","operatingSystem":"{{os}}","browser":"{{browser}}","isCompliant":false,"isManaged":false,"trustType":""}
"appliedConditionalAccessPolicies":[{"id":"{{fixed:1}}","displayName":"Require MFA","enforcedGrantControls":["Mfa"],"enforcedSessionControls":[],"result":"notApplied"}]
`

const signInSpray = `
"clientAppUsed":"Browser"
"conditionalAccessStatus":"notApplied"
"status":{"errorCode":50126,"failureReason":"Error validating credentials due to invalid username or password.","additionalDetails":"The user didn't enter the right credentials."}
"deviceDetail":{"deviceId":"","displayName":"","operatingSystem":"Linux","browser":"Python Requests 2.32","isCompliant":false,"isManaged":false,"trustType":""}
"appliedConditionalAccessPolicies":[]
`

const interactive = `
"isInteractive":true
`

const betaInteractive = `
"signInEventTypes":["interactiveUser"]
"incomingTokenType":"none"
"authenticationRequirement":"{{pick:multiFactorAuthentication|singleFactorAuthentication}}"
"authenticationDetails":[{"authenticationStepDateTime":"{{madez}}","authenticationMethod":"Password","authenticationMethodDetail":"Password in the cloud","succeeded":true,"authenticationStepResultDetail":"Correct password","authenticationStepRequirement":"Primary authentication"}]
"mfaDetail":{"authMethod":"{{pick:Mobile app notification|Text message}}","authDetail":null}
`

// signIns of one kind: the shapes it takes, in v1.0 and in beta.
type signInShapes struct {
	v1, beta struct{ ok, pending, failed, spray, risky *template }
}

var userSignIns = func() (s signInShapes) {
	v1 := func(parts string) *template { return compile(signInHead + signInUser + signInV1 + interactive + parts) }
	beta := func(parts string) *template {
		return compile(signInHead + signInUser + signInBetaUser + interactive + betaInteractive + parts)
	}
	s.v1.ok, s.beta.ok = v1(signInOK+signInNoRisk), beta(signInOK+signInNoRisk)
	s.v1.pending, s.beta.pending = v1(signInPending+signInNoRisk), beta(signInPending+signInNoRisk)
	s.v1.failed, s.beta.failed = v1(signInFailed+signInNoRisk), beta(signInFailed+signInNoRisk)
	s.v1.spray, s.beta.spray = v1(signInSpray+signInRisk), beta(signInSpray+signInRisk)
	s.v1.risky, s.beta.risky = v1(signInOK+signInRisk), beta(signInOK+signInRisk)
	return s
}()

var quietSignIns = func() (s signInShapes) {
	beta := func(parts string) *template {
		return compile(signInHead + signInUser + signInBetaUser + `
"isInteractive":false
"signInEventTypes":["nonInteractiveUser"]
"incomingTokenType":"{{pick:primaryRefreshToken|refreshToken}}"
"authenticationRequirement":"singleFactorAuthentication"
"authenticationDetails":[{"authenticationStepDateTime":"{{madez}}","authenticationMethod":"Previously satisfied","authenticationMethodDetail":null,"succeeded":true,"authenticationStepResultDetail":"First factor requirement satisfied by claim in the token","authenticationStepRequirement":null}]
"mfaDetail":null
` + parts)
	}
	s.beta.ok = beta(signInOK + signInNoRisk)
	s.beta.pending = beta(signInPending + signInNoRisk)
	s.beta.failed = beta(signInFailed + signInNoRisk)
	s.beta.spray = s.beta.failed
	s.beta.risky = beta(signInOK + signInRisk)
	return s
}()

const robotSignIn = signInHead + signInNoRisk + `
"isInteractive":false
"userId":""
"userDisplayName":""
"userPrincipalName":""
"userType":null
"servicePrincipalId":"{{robotoid}}"
"servicePrincipalName":"{{robot}}"
"servicePrincipalCredentialKeyId":"{{robotkey}}"
"servicePrincipalCredentialThumbprint":""
"appId":"{{robotapp}}"
"appDisplayName":"{{robot}}"
"resourceId":"{{step:00000003-0000-0000-c000-000000000000|cfa8b339-82a2-471a-a3c9-0fc0be7a4093}}"
"resourceDisplayName":"{{step:Microsoft Graph|Azure Key Vault}}"
"resourceServicePrincipalId":"{{fixed:5}}"
"resourceTenantId":"{{tenant}}"
"homeTenantId":"{{tenant}}"
"ipAddress":"{{bareip}}"
"autonomousSystemNumber":{{num:64496-64511}}
"userAgent":""
"correlationId":"{{guid:1}}"
"uniqueTokenIdentifier":"{{base64:22}}"
"conditionalAccessStatus":"notApplied"
"appliedConditionalAccessPolicies":[]
"authenticationDetails":[]
"authenticationProcessingDetails":[]
"authenticationProtocol":"none"
"incomingTokenType":"none"
"crossTenantAccessType":"none"
"flaggedForReview":false
"isTenantRestricted":false
"tokenIssuerType":"AzureAD"
"processingTimeInMilliseconds":{{num:5-300}}
"location":{"city":"{{city}}","state":"{{state}}","countryOrRegion":"{{country}}","geoCoordinates":{"altitude":null,"latitude":{{lat}},"longitude":{{lon}}}}
"deviceDetail":{"deviceId":"","displayName":null,"operatingSystem":"","browser":"","isCompliant":null,"isManaged":null,"trustType":null}
`

var robotSignIns = func() (s signInShapes) {
	const tail = `
"signInEventTypes":["servicePrincipal"]
"clientCredentialType":"{{pick:clientSecret|clientAssertion|federatedIdentityCredential}}"
"managedServiceIdentity":{"msiType":"none","associatedResourceId":null,"federatedTokenId":null,"federatedTokenIssuer":null}
`
	s.beta.ok = compile(robotSignIn + tail + `
"status":{"errorCode":0,"failureReason":"Other.","additionalDetails":null}
`)
	s.beta.failed = compile(robotSignIn + tail + `
"status":{"errorCode":{{pick#e:7000222|7000215|700016}},"failureReason":"The provided client secret keys are expired.","additionalDetails":null}
`)
	s.beta.pending, s.beta.spray, s.beta.risky = s.beta.failed, s.beta.ok, s.beta.ok
	return s
}()

var boxSignIns = func() (s signInShapes) {
	s.beta.ok = compile(robotSignIn + `
"signInEventTypes":["managedIdentity"]
"clientCredentialType":"none"
"managedServiceIdentity":{"msiType":"systemAssigned","associatedResourceId":"{{robotpath}}","federatedTokenId":null,"federatedTokenIssuer":null}
"status":{"errorCode":0,"failureReason":"Other.","additionalDetails":null}
`)
	s.beta.pending, s.beta.failed, s.beta.spray, s.beta.risky = s.beta.ok, s.beta.ok, s.beta.ok, s.beta.ok
	return s
}()

const auditHead = `
"correlationId":"{{guid:1}}"
"activityDateTime":"{{made7}}"
"resultReason":""
`

const auditByUser = auditHead + `
"loggedByService":"Core Directory"
"initiatedBy":{"app":null,"user":{"id":"{{oid}}","displayName":null,"userPrincipalName":"{{user}}","ipAddress":"{{bareip}}"}}
"additionalDetails":[{"key":"User-Agent","value":"{{agent}}"}]
`

var directoryAudits = newCatalogue(
	kind{30, compile(`
"id":"Directory_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"UserManagement"
"result":"success"
"activityDisplayName":"{{pick:Update user|Change user license|Reset user password|Disable account}}"
"operationType":"Update"
"targetResources":[{"id":"{{otheroid}}","displayName":null,"type":"User","userPrincipalName":"{{other}}","groupType":null,"modifiedProperties":[{"displayName":"Department","oldValue":"[]","newValue":"[\"{{department}}\"]"},{"displayName":"Included Updated Properties","oldValue":null,"newValue":"\"Department\""}]}]
` + auditByUser)},
	kind{12, compile(`
"id":"Directory_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"RoleManagement"
"result":"{{pick:success|success|failure}}"
"activityDisplayName":"{{step:Add member to role|Remove member from role|Add eligible member to role}}"
"operationType":"{{step:Assign|Unassign|Assign}}"
"targetResources":[{"id":"{{otheroid}}","displayName":null,"type":"User","userPrincipalName":"{{other}}","groupType":null,"modifiedProperties":[{"displayName":"Role.DisplayName","oldValue":null,"newValue":"\"Global Administrator\""},{"displayName":"Role.WellKnownObjectName","oldValue":null,"newValue":"\"TenantAdmins\""}]},{"id":"{{fixed:6}}","displayName":"Global Administrator","type":"Role","userPrincipalName":null,"groupType":null,"modifiedProperties":[]}]
` + auditByUser)},
	kind{18, compile(`
"id":"Directory_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"GroupManagement"
"result":"success"
"activityDisplayName":"{{step:Add member to group|Remove member from group|Add owner to group}}"
"operationType":"{{step:Assign|Unassign|Assign}}"
"targetResources":[{"id":"{{otheroid}}","displayName":null,"type":"User","userPrincipalName":"{{other}}","groupType":null,"modifiedProperties":[{"displayName":"Group.ObjectID","oldValue":null,"newValue":"\"{{guid:3}}\""},{"displayName":"Group.DisplayName","oldValue":null,"newValue":"\"{{team}}\""}]},{"id":"{{guid:3}}","displayName":null,"type":"Group","userPrincipalName":null,"groupType":"azureAD","modifiedProperties":[]}]
` + auditByUser)},
	kind{14, compile(`
"id":"Directory_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"ApplicationManagement"
"result":"success"
"activityDisplayName":"{{pick:Consent to application|Add app role assignment to service principal|Update application – Certificates and secrets management|Add service principal credentials}}"
"operationType":"{{pick:Assign|Update|Add}}"
"targetResources":[{"id":"{{robotoid}}","displayName":"{{robot}}","type":"ServicePrincipal","userPrincipalName":null,"groupType":null,"modifiedProperties":[{"displayName":"ConsentContext.IsAdminConsent","oldValue":null,"newValue":"\"True\""},{"displayName":"ConsentAction.Permissions","oldValue":null,"newValue":"\"[] => [[Id: {{guid:4}}, ClientId: {{robotoid}}, PrincipalId: , ResourceId: {{fixed:5}}, ConsentType: AllPrincipals, Scope: Mail.Read]]\""}]}]
` + auditByUser)},
	kind{20, compile(`
"id":"Directory_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"{{step:UserManagement|Device|GroupManagement}}"
"result":"success"
"loggedByService":"{{step:Core Directory|Device Registration Service|Self-service Group Management}}"
"activityDisplayName":"{{step:Update user|Register device|Update group}}"
"operationType":"{{step:Update|Add|Update}}"
"initiatedBy":{"user":null,"app":{"appId":null,"displayName":"{{pick:Microsoft Graph Sync|Device Registration Service|Microsoft Approval Management}}","servicePrincipalId":"{{fixed:7}}","servicePrincipalName":null}}
"targetResources":[{"id":"{{otheroid}}","displayName":"{{othername}}","type":"User","userPrincipalName":"{{other}}","groupType":null,"modifiedProperties":[]}]
"additionalDetails":[]
` + auditHead)},
	kind{6, compile(`
"id":"SSGM_{{id}}_{{pick:ABCDE|QWXYZ|PL0KM|F7HTR}}_{{num:10000000-99999999}}"
"category":"UserManagement"
"result":"{{pick:success|failure}}"
"activityDisplayName":"{{pick:Self-service password reset flow activity progress|User registered security info|Reset password (self-service)}}"
"operationType":"Update"
"targetResources":[{"id":"{{oid}}","displayName":null,"type":"User","userPrincipalName":"{{user}}","groupType":null,"modifiedProperties":[]}]
` + auditByUser)},
)

var provisioningRow = compile(`
"id":"{{id}}"
"activityDateTime":"{{madez}}"
"tenantId":"{{tenant}}"
"jobId":"BoxOutDelta.{{hex:32}}.{{hex:4}}"
"cycleId":"{{guid:1}}"
"changeId":"{{guid:2}}"
"provisioningAction":"{{pick:create|update|disable|other}}"
"durationInMilliseconds":{{num:40-4000}}
"servicePrincipal":{"id":"{{robotoid}}","displayName":"{{robot}}"}
"sourceSystem":{"id":"{{guid:3}}","displayName":"Azure Active Directory","details":{}}
"targetSystem":{"id":"{{guid:4}}","displayName":"Freight Tracker","details":{"ApplicationId":"{{robotapp}}"}}
"initiatedBy":{"id":"","displayName":"Azure AD Provisioning Service","initiatorType":"system"}
"sourceIdentity":{"id":"{{oid}}","displayName":"{{name}}","identityType":"User","details":{"odatatype":"User","UserPrincipalName":"{{user}}"}}
"targetIdentity":{"id":"","displayName":"","identityType":"User","details":{}}
"provisioningStatusInfo":{"status":"{{step:success|success|success|failure|skipped}}","errorInformation":null}
"provisioningSteps":[{"name":"EntryImport","provisioningStepType":"import","status":"success","description":"Received User '{{user}}' change of type (Update)","details":{}},{"name":"EntryExport","provisioningStepType":"export","status":"{{step:success|success|success|failure|skipped}}","description":"User '{{user}}' in the target","details":{}}]
"modifiedProperties":[{"displayName":"active","oldValue":null,"newValue":"True"},{"displayName":"department","oldValue":null,"newValue":"{{department}}"}]
`)

var deviceAuditRow = compile(`
"id":"{{id}}"
"displayName":"{{step:Create|Patch|Delete}} {{pick:DeviceConfiguration|DeviceCompliancePolicy|MobileApp}}"
"componentName":"{{pick:DeviceConfiguration|DeviceCompliancePolicy|MobileApp}}"
"activity":null
"activityDateTime":"{{made7}}"
"activityType":"{{step:Create|Patch|Delete}} {{pick:DeviceConfiguration|DeviceCompliancePolicy|MobileApp}}"
"activityOperationType":"{{step:Create|Patch|Delete}}"
"activityResult":"{{pick:Success|Success|Failure}}"
"correlationId":"{{guid:1}}"
"category":"{{pick:DeviceConfiguration|DeviceCompliancePolicy|MobileApp}}"
"actor":{"auditActorType":"ItPro","userPermissions":["*"],"applicationId":"5926fc8e-304e-4f59-8bed-58ca97cc39a4","applicationDisplayName":"Microsoft Intune portal extension","userPrincipalName":"{{user}}","servicePrincipalName":null,"ipAddress":null,"userId":"{{oid}}"}
"resources":[{"displayName":"{{site}} baseline","auditResourceType":"{{pick:DeviceConfiguration|DeviceCompliancePolicy|MobileApp}}","resourceId":"{{guid:2}}","modifiedProperties":[{"displayName":"DisplayName","oldValue":null,"newValue":"{{site}} baseline"}]}]
`)

// Rows of state tables. {{rowid}} is the row's id; versions of a row differ in
// their clock and state.

var riskDetectionRow = compile(`
"id":"{{rowid}}"
"requestId":"{{guid:1}}"
"correlationId":"{{guid:2}}"
"riskEventType":"{{step:unfamiliarFeatures|passwordSpray|anonymizedIPAddress|unlikelyTravel|leakedCredentials|suspiciousInboxForwarding|maliciousIPAddress}}"
"riskState":"{{riskstate}}"
"riskLevel":"{{pick:low|medium|high}}"
"riskDetail":"{{riskdetail}}"
"source":"IdentityProtection"
"detectionTimingType":"{{pick:realtime|nearRealtime|offline}}"
"activity":"{{step:signin|signin|signin|signin|user|signin|signin}}"
"tokenIssuerType":"AzureAD"
"ipAddress":"{{bareip}}"
"location":{"city":"{{city}}","state":"{{state}}","countryOrRegion":"{{country}}","geoCoordinates":{"latitude":{{lat}},"longitude":{{lon}}}}
"activityDateTime":"{{activity7}}"
"detectedDateTime":"{{detected7}}"
"lastUpdatedDateTime":"{{made7}}"
"userId":"{{oid}}"
"userDisplayName":"{{name}}"
"userPrincipalName":"{{user}}"
"additionalInfo":"[{\"Key\":\"userAgent\",\"Value\":\"{{agent}}\"}]"
`)

var riskyUserRow = compile(`
"id":"{{rowid}}"
"isDeleted":false
"isProcessing":false
"riskLastUpdatedDateTime":"{{made7}}"
"riskLevel":"{{pick:low|medium|high}}"
"riskState":"{{riskstate}}"
"riskDetail":"{{riskdetail}}"
"userDisplayName":"{{name}}"
"userPrincipalName":"{{user}}"
`)

var riskyPrincipalRow = compile(`
"id":"{{rowid}}"
"appId":"{{robotapp}}"
"displayName":"{{robot}}"
"isEnabled":true
"isProcessing":false
"riskLastUpdatedDateTime":"{{made7}}"
"riskLevel":"{{pick:low|medium|high}}"
"riskState":"{{riskstate}}"
"riskDetail":"{{riskdetail}}"
"servicePrincipalType":"Application"
`)

var principalDetectionRow = compile(`
"id":"{{rowid}}"
"requestId":"{{guid:1}}"
"correlationId":"{{guid:2}}"
"riskEventType":"{{pick:leakedCredentials|suspiciousSignins|maliciousApplication|anomalousServicePrincipalActivity}}"
"riskState":"{{riskstate}}"
"riskLevel":"{{pick#l:low|medium|high}}"
"riskDetail":"{{riskdetail}}"
"source":"IdentityProtection"
"detectionTimingType":"offline"
"activity":"servicePrincipal"
"tokenIssuerType":"AzureAD"
"ipAddress":"{{bareip}}"
"location":{"city":"{{city}}","state":"{{state}}","countryOrRegion":"{{country}}","geoCoordinates":{"latitude":{{lat}},"longitude":{{lon}}}}
"activityDateTime":"{{activity7}}"
"detectedDateTime":"{{detected7}}"
"lastUpdatedDateTime":"{{made7}}"
"servicePrincipalId":"{{robotoid}}"
"servicePrincipalDisplayName":"{{robot}}"
"appId":"{{robotapp}}"
"keyIds":["{{robotkey}}"]
"additionalInfo":"[]"
`)

var alertRow = compile(`
"@odata.type":"#microsoft.graph.security.alert"
"id":"{{rowid}}"
"providerAlertId":"{{rowid}}"
"incidentId":"{{num:20000-29999}}"
"status":"{{alertstate}}"
"severity":"{{pick:low|medium|high|informational}}"
"classification":null
"determination":null
"serviceSource":"{{step:microsoftDefenderForEndpoint|microsoftDefenderForOffice365|microsoftDefenderForCloudApps}}"
"detectionSource":"{{step:antivirus|microsoftDefenderForOffice365|cloudAppSecurity}}"
"detectorId":"{{fixed:8}}"
"productName":"{{step:Microsoft Defender for Endpoint|Microsoft Defender for Office 365|Microsoft Defender for Cloud Apps}}"
"tenantId":"{{tenant}}"
"title":"{{step:Suspicious execution of hidden file|Email messages containing malicious URL removed after delivery|Mass download}}"
"description":"{{step:A hidden file has been launched.|Mails with a malicious URL were delivered and removed.|One user downloaded an unusual number of files.}}"
"recommendedActions":"Collect artifacts and determine scope."
"category":"{{step:DefenseEvasion|InitialAccess|Exfiltration}}"
"assignedTo":null
"alertWebUrl":"https://security.example/alerts/{{rowid}}"
"incidentWebUrl":"https://security.example/incidents/{{num:20000-29999}}"
"actorDisplayName":null
"threatDisplayName":null
"threatFamilyName":null
"mitreTechniques":["{{step:T1564.001|T1566.002|T1567}}"]
"createdDateTime":"{{detected7}}"
"lastUpdateDateTime":"{{made7}}"
"resolvedDateTime":null
"firstActivityDateTime":"{{activity7}}"
"lastActivityDateTime":"{{detected7}}"
"alertPolicyId":null
"additionalData":null
"comments":[]
"systemTags":[]
"evidence":[{"@odata.type":"#microsoft.graph.security.deviceEvidence","createdDateTime":"{{detected7}}","verdict":"suspicious","remediationStatus":"none","remediationStatusDetails":null,"roles":["compromised"],"detailedRoles":[],"tags":[],"deviceDnsName":"{{device}}.{{domain}}","mdeDeviceId":"{{hex:40}}","osPlatform":"Windows11"},{"@odata.type":"#microsoft.graph.security.userEvidence","createdDateTime":"{{detected7}}","verdict":"suspicious","remediationStatus":"none","remediationStatusDetails":null,"roles":[],"detailedRoles":[],"tags":[],"userAccount":{"accountName":"{{slug}}","azureAdUserId":"{{oid}}","displayName":"{{name}}","userPrincipalName":"{{user}}"}}]
`)

var incidentRow = compile(`
"@odata.type":"#microsoft.graph.security.incident"
"id":"{{rowid}}"
"tenantId":"{{tenant}}"
"displayName":"{{step:Multi-stage incident on one endpoint|Phishing campaign against Finance|Data theft by one user}}"
"incidentWebUrl":"https://security.example/incidents/{{rowid}}"
"redirectIncidentId":null
"createdDateTime":"{{detected7}}"
"lastUpdateDateTime":"{{made7}}"
"assignedTo":null
"classification":"unknown"
"determination":"unknown"
"status":"{{incidentstate}}"
"severity":"{{pick:low|medium|high}}"
"customTags":[]
"systemTags":[]
"comments":[]
"description":null
"lastModifiedBy":"Microsoft 365 Defender"
"resolvingComment":null
"summary":null
"priorityScore":{{num:1-100}}
`)
