package simulator

// The kinds of records of the Management Activity API, as Microsoft's schema
// pages and public records show them. Weights are shares within the content
// type. One file, because it is one table.

const entraHead = `
"CreationTime":"{{time}}"
"Id":"{{id}}"
`

const entraTail = `
"OrganizationId":"{{tenant}}"
"UserType":0
"Version":1
"Workload":"AzureActiveDirectory"
"AzureActiveDirectoryEventType":1
"ActorContextId":"{{tenant}}"
"TargetContextId":"{{tenant}}"
"SupportTicketId":""
"InterSystemsId":"{{guid:1}}"
`

const stsTail = entraTail + `
"IntraSystemId":"{{id}}"
"UserKey":"{{oid}}"
"UserId":"{{user}}"
"ClientIP":{{ip}}
"ActorIpAddress":"{{bareip}}"
"ObjectId":"00000003-0000-0000-c000-000000000000"
"ModifiedProperties":[]
"Actor":[{"ID":"{{oid}}","Type":0},{"ID":"{{user}}","Type":5}]
"Target":[{"ID":"00000003-0000-0000-c000-000000000000","Type":0}]
"ApplicationId":"{{appid}}"
`

const directoryTail = entraTail + `
"IntraSystemId":"{{guid:2}}"
"UserKey":"{{puid}}@{{domain}}"
"UserId":"{{user}}"
"RecordType":{{type:8}}
"Actor":[{"ID":"{{user}}","Type":5},{"ID":"{{puid}}","Type":3},{"ID":"User_{{oid}}","Type":2},{"ID":"{{oid}}","Type":2},{"ID":"User","Type":2}]
`

const exchangeHead = `
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"UserKey":"{{puid}}"
"Version":1
"Workload":"Exchange"
"UserId":"{{user}}"
"ExternalAccess":false
"OrganizationName":"{{domain}}"
"OriginatingServer":"SY{{num:1-9}}PR01MB{{num:1000-9999}} (15.20.8158.{{num:1-40}})"
`

const adminCmdlet = exchangeHead + `
"RecordType":{{type:1}}
"ResultStatus":"{{pick:True|True|True|True|False}}"
"UserType":{{n:2}}
"ClientIP":"{{ipport}}"
"AppId":"00000002-0000-0ff1-ce00-000000000000"
"ClientAppId":""
"SessionId":"{{guid:4}}"
`

const mailboxHead = exchangeHead + `
"ResultStatus":"Succeeded"
"UserType":{{n:0}}
"ClientIPAddress":"{{bareip}}"
"ClientInfoString":"{{pick:Client=OWA;Action=ViaProxy|Client=REST;Client=RESTSystem;;|Client=Microsoft.Exchange.Mapi; Microsoft Outlook 16.0|Client=ActiveSync;Outlook-iOS-Android/1.0}}"
"InternalLogonType":{{n:0}}
"LogonType":{{n:0}}
"LogonUserSid":"{{sid}}"
"MailboxGuid":"{{mailbox}}"
"MailboxOwnerSid":"{{sid}}"
"MailboxOwnerUPN":"{{user}}"
"SessionId":"{{guid:5}}"
`

const sharePointHead = `
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"UserKey":"i:0h.f|membership|{{puid}}@live.com"
"UserType":{{n:0}}
"Version":1
"UserId":"{{user}}"
"ClientIP":{{ip}}
"CorrelationId":"{{guid:6}}"
"EventSource":"SharePoint"
"UserAgent":"{{agent}}"
"AppAccessContext":{"AADSessionId":"{{guid:7}}","CorrelationId":"{{guid:6}}","UniqueTokenId":"{{base64:22}}"}
"Site":"{{guid:8}}"
"WebId":"{{guid:9}}"
"AuthenticationType":"OAuth"
"IsManagedDevice":{{pick:true|true|false}}
"DeviceDisplayName":"{{device}}"
`

const teamsHead = `
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:25}}
"UserKey":"{{oid}}"
"UserType":{{n:0}}
"Version":1
"Workload":"MicrosoftTeams"
"UserId":"{{user}}"
"ClientIP":{{ip}}
"ResultStatus":"Succeeded"
`

const serviceHead = `
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"Version":1
"UserType":{{n:4}}
`

const dlpTail = `
"IncidentId":"{{guid:20}}"
"SensitiveInfoDetectionIsIncluded":{{sensitive}}
"PolicyDetails":[{"PolicyId":"{{fixed:2}}","PolicyName":"{{step:Card data|Staff records|Bank details}}","Rules":[{"RuleId":"{{fixed:3}}","RuleName":"{{pick:High count|Low count}}","RuleMode":"Enable","Severity":"{{pick:Low|Medium|High}}","Actions":["NotifyUser","BlockAccess"],"ConditionsMatched":{"SensitiveInformation":[{"Confidence":85,"Count":{{num:1-40}},"UniqueCount":{{num#u:1-9}},"Location":"{{pick:Message Body|Attachment}}","SensitiveType":"50842eb7-edc8-4019-85dd-5a5c1f2bb085","SensitiveInformationTypeName":"{{step:Credit Card Number|New Zealand Inland Revenue Number|International Banking Account Number (IBAN)}}"{{detections}}}]}}]}]
`

// The kinds that stories call for by name.
var (
	stsSuccess = compile(entraHead + `
"Operation":"UserLoggedIn"
"RecordType":{{type:15}}
"ResultStatus":"Success"
"ErrorNumber":"0"
"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"{{pick:Success|Redirect}}"},{"Name":"UserAgent","Value":"{{agent}}"},{"Name":"UserAuthenticationMethod","Value":"{{pick:1|16|16457}}"},{"Name":"RequestType","Value":"{{pick:OAuth2:Authorize|Login:login|SAS:ProcessAuth|Kmsi:kmsi}}"}]
"DeviceProperties":[{"Name":"Id","Value":"{{deviceid}}"},{"Name":"DisplayName","Value":"{{device}}"},{"Name":"OS","Value":"{{os}}"},{"Name":"BrowserType","Value":"{{pick:Edge|Chrome|Other}}"},{"Name":"TrustType","Value":"2"},{"Name":"IsCompliantAndManaged","Value":"True"},{"Name":"SessionId","Value":"{{guid:3}}"}]
` + stsTail)

	stsFailure = compile(entraHead + `
"Operation":"UserLoginFailed"
"RecordType":{{type:15}}
"ResultStatus":"Failed"
"ErrorNumber":"{{step:50126|50126|50126|50053|50076|53003|50057|50140}}"
"LogonError":"{{step:InvalidUserNameOrPassword|InvalidUserNameOrPassword|InvalidUserNameOrPassword|IdsLocked|UserStrongAuthClientAuthNRequiredInterrupt|BlockedByConditionalAccess|UserDisabled|KmsiInterrupt}}"
"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"Success"},{"Name":"UserAgent","Value":"{{agent}}"},{"Name":"UserAuthenticationMethod","Value":"1"},{"Name":"RequestType","Value":"{{pick:OAuth2:Authorize|OAuth2:Token|Login:login}}"}]
"DeviceProperties":[{"Name":"OS","Value":"{{os}}"},{"Name":"BrowserType","Value":"{{pick:Edge|Chrome|Other}}"},{"Name":"SessionId","Value":"{{guid:3}}"}]
` + stsTail)

	inboxRule = compile(adminCmdlet + `
"Operation":"{{pick:New-InboxRule|New-InboxRule|Set-InboxRule}}"
"ObjectId":"AUSPR01A001.PROD.OUTLOOK.COM/{{domain}}/{{oid}}\\{{num:10000000-99999999}}"
"Parameters":[{"Name":"AlwaysDeleteOutlookRulesBlob","Value":"False"},{"Name":"Name","Value":"."},{"Name":"ForwardTo","Value":"drop{{num:1-9}}@evil.example"},{"Name":"SubjectOrBodyContainsWords","Value":"invoice;payment"},{"Name":"DeleteMessage","Value":"True"},{"Name":"StopProcessingRules","Value":"True"}]
`)

	fileOperation = compile(sharePointHead + `
"RecordType":{{type:6}}
"Workload":"SharePoint"
"Operation":"{{pick:FileAccessed|FileAccessed|FileAccessed|FileModified|FileDownloaded|FilePreviewed|FileUploaded|FileRenamed|FileDeleted|FileMoved|FileCheckedOut|FileSyncDownloadedFull}}"
"ItemType":"File"
"ListId":"{{guid:10}}"
"ListItemUniqueId":"{{guid:11}}"
"SourceFileExtension":"{{ext}}"
"SiteUrl":"https://kaurifreight.sharepoint.example/sites/{{site}}/"
"SourceFileName":"{{file}}"
"SourceRelativeUrl":"Shared Documents/{{department}}"
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}/Shared Documents/{{department}}/{{file}}"
`)

	massDownload = compile(sharePointHead + `
"RecordType":{{type:6}}
"Workload":"OneDrive"
"Operation":"FileDownloaded"
"ItemType":"File"
"ListId":"{{guid:10}}"
"ListItemUniqueId":"{{guid:11}}"
"SourceFileExtension":"{{ext}}"
"SiteUrl":"https://kaurifreight-my.sharepoint.example/personal/{{slug}}_kaurifreight_example/"
"SourceFileName":"{{file}}"
"SourceRelativeUrl":"Documents"
"FileSizeBytes":{{num:2000-9000000}}
"ObjectId":"https://kaurifreight-my.sharepoint.example/personal/{{slug}}_kaurifreight_example/Documents/{{file}}"
`)

	alertTriggered = compile(serviceHead + `
"RecordType":{{type:40}}
"Operation":"{{pick:AlertTriggered|AlertTriggered|AlertUpdated}}"
"ResultStatus":"Succeeded"
"UserKey":"SecurityComplianceAlerts"
"UserId":"SecurityComplianceAlerts"
"Workload":"SecurityComplianceCenter"
"ObjectId":"{{guid:12}}"
"AlertId":"{{guid:12}}"
"AlertType":"System"
"AlertLinks":[{"AlertLinkHref":""}]
"Category":"{{step:ThreatManagement|ThreatManagement|DataGovernance|DataLossPrevention}}"
"Comments":"New alert"
"Data":"{\"etype\":\"User\",\"eid\":\"{{user}}\",\"lon\":\"{{step:MailRedirect|TIMailData|FileDownloaded|DlpRuleMatch}}\",\"ts\":\"{{timez}}\"}"
"Name":"{{step:Creation of forwarding/redirect rule|A potentially malicious URL click was detected|Unusual volume of file deletion|DLP policy match}}"
"PolicyId":"{{fixed:1}}"
"Severity":"{{step:Informational|High|Medium|Low}}"
"Source":"Office 365 Security & Compliance"
"Status":"{{pick:Active|Active|Investigating|Resolved}}"
`)
)

var managementKinds = map[string]*catalogue{
	AuditEntra: newCatalogue(
		kind{62, stsSuccess},
		kind{18, stsFailure},
		kind{4, compile(entraHead + `
"Operation":"{{pick:Update user.|Update user.|Change user license.|Disable account.|Enable account.}}"
"ResultStatus":"Success"
"ObjectId":"{{other}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{\"UserType\":\"Member\"}"},{"Name":"extendedAuditEventCategory","Value":"User"}]
"ModifiedProperties":[{"Name":"Department","NewValue":"[\r\n  \"{{department}}\"\r\n]","OldValue":"[]"},{"Name":"Included Updated Properties","NewValue":"Department","OldValue":""}]
"Target":[{"ID":"User_{{otheroid}}","Type":2},{"ID":"{{otheroid}}","Type":2},{"ID":"{{other}}","Type":5},{"ID":"{{otherpuid}}","Type":3}]
` + directoryTail)},
		kind{3, compile(entraHead + `
"Operation":"{{pick:Reset user password.|Change user password.}}"
"ResultStatus":"Success"
"ObjectId":"{{other}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"User"}]
"ModifiedProperties":[]
"Target":[{"ID":"{{otheroid}}","Type":2},{"ID":"{{other}}","Type":5},{"ID":"{{otherpuid}}","Type":3}]
` + directoryTail)},
		kind{2, compile(entraHead + `
"Operation":"Add member to role."
"ResultStatus":"Success"
"ObjectId":"{{other}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"Role"}]
"ModifiedProperties":[{"Name":"Role.DisplayName","NewValue":"{{step:Global Administrator|Exchange Administrator|Helpdesk Administrator}}","OldValue":""},{"Name":"Role.WellKnownObjectName","NewValue":"{{step:TenantAdmins|ExchangeServiceAdmins|HelpdeskAdmins}}","OldValue":""}]
"Target":[{"ID":"{{otheroid}}","Type":2},{"ID":"{{other}}","Type":5}]
` + directoryTail)},
		kind{4, compile(entraHead + `
"Operation":"{{step:Add member to group.|Remove member from group.|Add owner to group.}}"
"ResultStatus":"Success"
"ObjectId":"{{other}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"Group"}]
"ModifiedProperties":[{"Name":"Group.ObjectID","NewValue":"{{guid:13}}","OldValue":""},{"Name":"Group.DisplayName","NewValue":"{{team}}","OldValue":""}]
"Target":[{"ID":"{{otheroid}}","Type":2},{"ID":"{{other}}","Type":5}]
` + directoryTail)},
		kind{3, compile(entraHead + `
"Operation":"Add user."
"ResultStatus":"Success"
"ObjectId":"starter{{num:1-900}}@{{domain}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"User"}]
"ModifiedProperties":[{"Name":"AccountEnabled","NewValue":"[\r\n  true\r\n]","OldValue":"[]"},{"Name":"UserPrincipalName","NewValue":"[\r\n  \"starter{{num:1-900}}@{{domain}}\"\r\n]","OldValue":"[]"}]
"Target":[{"ID":"starter{{num:1-900}}@{{domain}}","Type":5},{"ID":"{{guid:14}}","Type":2}]
` + directoryTail)},
		kind{2, compile(entraHead + `
"Operation":"{{pick:Consent to application.|Add delegated permission grant.|Add app role assignment grant to user.}}"
"ResultStatus":"{{pick:Success|Failure}}"
"ObjectId":"{{appid}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{\"User-Agent\":\"EvoSTS\",\"AppId\":\"{{appid}}\"}"},{"Name":"extendedAuditEventCategory","Value":"ServicePrincipal"}]
"ModifiedProperties":[{"Name":"ConsentContext.IsAdminConsent","NewValue":"{{pick:True|False}}","OldValue":""},{"Name":"ConsentContext.OnBehalfOfAll","NewValue":"False","OldValue":""}]
"Target":[{"ID":"ServicePrincipal_{{appoid}}","Type":2},{"ID":"{{appoid}}","Type":2},{"ID":"{{app}}","Type":1}]
` + directoryTail)},
		kind{2, compile(entraHead + `
"Operation":"{{pick:Update application – Certificates and secrets management |Add service principal credentials.|Update service principal.}}"
"ResultStatus":"Success"
"ObjectId":"{{robotapp}}"
"ExtendedProperties":[{"Name":"additionalDetails","Value":"{}"},{"Name":"extendedAuditEventCategory","Value":"Application"}]
"ModifiedProperties":[{"Name":"KeyDescription","NewValue":"[\r\n  \"[KeyIdentifier={{robotkey}},KeyType=Password,KeyUsage=Verify,DisplayName=auto]\"\r\n]","OldValue":"[]"}]
"Target":[{"ID":"Application_{{robotoid}}","Type":2},{"ID":"{{robotoid}}","Type":2},{"ID":"{{robot}}","Type":1}]
` + directoryTail)},
	),
	AuditExchange: newCatalogue(
		kind{38, compile(mailboxHead + `
"RecordType":{{type:50}}
"Operation":"MailItemsAccessed"
"AppId":"00000003-0000-0000-c000-000000000000"
"ClientAppId":"9199bf20-a13f-4107-85dc-02114787ef48"
"OperationProperties":[{"Name":"MailAccessType","Value":"{{pick:Bind|Bind|Sync}}"},{"Name":"IsThrottled","Value":"False"}]
"Folders":[{"FolderItems":[{"InternetMessageId":"<{{hex:16}}@{{domain}}>","SizeInBytes":{{num:2000-90000}}},{"InternetMessageId":"<{{hex#2:16}}@partner.example>","SizeInBytes":{{num#2:2000-90000}}}],"Id":"LgAAAA{{base64:24}}==","Path":"\\{{pick:Inbox|Inbox|Sent Items|Archive}}"}]
"OperationCount":{{n:2}}
`)},
		kind{14, compile(mailboxHead + `
"RecordType":{{type:2}}
"Operation":"Send"
"AppId":"00000002-0000-0ff1-ce00-000000000000"
"ClientProcessName":"OUTLOOK.EXE"
"ClientVersion":"16.0.18129.20158"
"Item":{"Id":"Unknown","InternetMessageId":"<{{hex:16}}@{{domain}}>","ParentFolder":{"Id":"LgAAAA{{base64:24}}","Path":"\\Drafts"},"SizeInBytes":{{num:2000-900000}},"Subject":"{{subject}}","Attachments":"{{file}} ({{num#a:2000-90000}}b)"}
"SaveToSentItems":true
`)},
		kind{16, compile(mailboxHead + `
"RecordType":{{type:2}}
"Operation":"{{pick:Create|Update|Create}}"
"AppId":"00000002-0000-0ff1-ce00-000000000000"
"Item":{"Id":"RgAAAA{{base64:30}}","InternetMessageId":"<{{hex:16}}@{{domain}}>","ParentFolder":{"Id":"LgAAAA{{base64:24}}","Path":"\\{{pick:Calendar|Drafts|Inbox}}"},"SizeInBytes":{{num:900-40000}},"Subject":"{{subject}}"}
"ModifiedProperties":["RecipientCollection","ItemClass","SubjectProperty"]
`)},
		kind{14, compile(mailboxHead + `
"RecordType":{{type:3}}
"Operation":"{{pick:SoftDelete|HardDelete|MoveToDeletedItems|Move}}"
"AppId":"00000002-0000-0ff1-ce00-000000000000"
"CrossMailboxOperation":false
"AffectedItems":[{"Id":"RgAAAA{{base64:30}}","InternetMessageId":"<{{hex:16}}@partner.example>","ParentFolder":{"Id":"LgAAAA{{base64:24}}","Path":"\\Inbox"},"Subject":"{{subject}}"}]
"Folder":{"Id":"LgAAAA{{base64:24}}","Path":"\\Inbox"}
"DestFolder":{"Id":"LgAAAB{{base64:24}}","Path":"\\Deleted Items"}
`)},
		kind{2, compile(mailboxHead + `
"RecordType":{{type:2}}
"Operation":"{{pick:SendAs|SendOnBehalf|MailboxLogin}}"
"AppId":"00000002-0000-0ff1-ce00-000000000000"
"LogonUserDisplayName":"{{name}}"
"SendAsUserSmtp":"{{other}}"
"Item":{"Id":"Unknown","InternetMessageId":"<{{hex:16}}@{{domain}}>","Subject":"{{subject}}"}
`)},
		kind{2, compile(adminCmdlet + `
"Operation":"{{step:New-InboxRule|Set-InboxRule|Remove-InboxRule}}"
"ObjectId":"AUSPR01A001.PROD.OUTLOOK.COM/{{domain}}/{{oid}}\\{{num:10000000-99999999}}"
"Parameters":[{"Name":"AlwaysDeleteOutlookRulesBlob","Value":"False"},{"Name":"Name","Value":"{{subject}}"},{"Name":"SubjectContainsWords","Value":"newsletter"},{"Name":"MoveToFolder","Value":"{{slug}}:\\{{site}}"}]
`)},
		kind{8, compile(adminCmdlet + `
"Operation":"{{pick:Set-Mailbox|Set-CASMailbox|Set-MailboxCalendarConfiguration|Set-UserPhoto}}"
"ObjectId":"{{other}}"
"Parameters":[{"Name":"Identity","Value":"{{other}}"},{"Name":"DeliverToMailboxAndForward","Value":"False"}]
`)},
		kind{3, compile(adminCmdlet + `
"Operation":"{{step:Add-MailboxPermission|Add-RecipientPermission|Remove-MailboxPermission}}"
"ObjectId":"{{other}}"
"Parameters":[{"Name":"Identity","Value":"{{other}}"},{"Name":"User","Value":"{{user}}"},{"Name":"AccessRights","Value":"{{step:FullAccess|SendAs|FullAccess}}"},{"Name":"InheritanceType","Value":"All"}]
`)},
		kind{1, compile(adminCmdlet + `
"Operation":"{{pick:New-TransportRule|Set-TransportRule|Set-AdminAuditLogConfig}}"
"ObjectId":"Block executable attachments"
"Parameters":[{"Name":"Name","Value":"Block executable attachments"},{"Name":"Enabled","Value":"True"}]
`)},
		kind{2, compile(exchangeHead + `
"RecordType":{{type:1}}
"ResultStatus":"True"
"UserType":{{n:3}}
"Operation":"Set-ConditionalAccessPolicy"
"ObjectId":"{{domain}}\\{{guid:15}}"
"AppId":""
"Parameters":[{"Name":"Identity","Value":"{{domain}}\\{{guid:15}}"},{"Name":"PolicyLastUpdatedTime","Value":"{{timez}}"}]
`)},
	),
	AuditSharePoint: newCatalogue(
		kind{62, fileOperation},
		kind{16, compile(sharePointHead + `
"RecordType":{{type:6}}
"Workload":"OneDrive"
"Operation":"{{pick:FileAccessed|FileModified|FileSyncUploadedFull|FileDownloaded|FileRecycled}}"
"ItemType":"File"
"ListId":"{{guid:10}}"
"ListItemUniqueId":"{{guid:11}}"
"SourceFileExtension":"{{ext}}"
"SiteUrl":"https://kaurifreight-my.sharepoint.example/personal/{{slug}}_kaurifreight_example/"
"SourceFileName":"{{file}}"
"SourceRelativeUrl":"Documents"
"ObjectId":"https://kaurifreight-my.sharepoint.example/personal/{{slug}}_kaurifreight_example/Documents/{{file}}"
`)},
		kind{6, compile(sharePointHead + `
"RecordType":{{type:14}}
"Workload":"SharePoint"
"Operation":"{{pick:SharingSet|AddedToSecureLink|SecureLinkCreated|SharingInvitationCreated|AnonymousLinkCreated|CompanyLinkCreated}}"
"ItemType":"File"
"ListId":"{{guid:10}}"
"SiteUrl":"https://kaurifreight.sharepoint.example/sites/{{site}}/"
"SourceFileExtension":"{{ext}}"
"SourceFileName":"{{file}}"
"SourceRelativeUrl":"Shared Documents"
"TargetUserOrGroupName":"{{step:guest_partner.example#ext#@kaurifreight.example|buyer@partner.example|Limited Access System Group}}"
"TargetUserOrGroupType":"{{step:Guest|Guest|SharePointGroup}}"
"EventData":"<Permissions granted>{{pick:Contribute|Read|Edit}}</Permissions granted>"
"UniqueSharingId":"{{guid:16}}"
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}/Shared Documents/{{file}}"
`)},
		kind{8, compile(sharePointHead + `
"RecordType":{{type:4}}
"Workload":"SharePoint"
"Operation":"{{pick:PageViewed|PageViewed|PagePrefetched|SearchQueryPerformed}}"
"ItemType":"Page"
"CustomUniqueId":true
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}/SitePages/Home.aspx"
`)},
		kind{4, compile(sharePointHead + `
"RecordType":{{type:36}}
"Workload":"SharePoint"
"Operation":"{{pick:ListViewed|ListUpdated|ListCreated}}"
"ItemType":"List"
"ListId":"{{guid:10}}"
"ListTitle":"{{site}} tasks"
"ListBaseType":"GenericList"
"ListBaseTemplateType":"100"
"IsDocLib":false
"ItemCount":{{num:0-4000}}
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}/Lists/Tasks"
`)},
		kind{2, compile(`
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:4}}
"Workload":"SharePoint"
"UserType":{{n:0}}
"Version":1
"UserKey":"SHAREPOINT\\system"
"UserId":"{{pick:SHAREPOINT\\system|app@sharepoint}}"
"ClientIP":""
"EventSource":"SharePoint"
"ItemType":"Site"
"Operation":"{{pick:SiteCollectionAdminAdded|GroupAdded|GroupUpdated|SharingPolicyChanged}}"
"Site":"{{guid:8}}"
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}"
"EventData":"<Group>{{site}} Owners</Group>"
"ModifiedProperties":[{"Name":"SiteAdmin","NewValue":"i:0#.f|membership|{{other}}","OldValue":""}]
`)},
	),
	AuditGeneral: newCatalogue(
		kind{24, compile(teamsHead + `
"Operation":"{{pick:MessageSent|MessageSent|MessageCreatedHasLink|ReactedToMessage|MessageUpdated|MessageDeleted}}"
"CommunicationType":"{{pick:Team|GroupChat|OneOnOne}}"
"MessageId":"{{num:1764000000000-1764999999999}}"
"MessageVersion":"{{num:1764000000000-1764999999999}}"
"ChatThreadId":"19:{{hex:32}}@thread.v2"
"ParticipantInfo":{"HasForeignTenantUsers":false,"HasGuestUsers":{{pick:true|false|false}},"HasOtherGuestUsers":false,"HasUnauthenticatedUsers":false,"ParticipatingTenantIds":["{{tenant}}"]}
"ExtraProperties":[{"Key":"TimeZone","Value":"Pacific/Auckland"},{"Key":"OsName","Value":"windows"},{"Key":"Country","Value":"nz"}]
"ResourceTenantId":"{{tenant}}"
`)},
		kind{8, compile(teamsHead + `
"Operation":"TeamsSessionStarted"
"ObjectId":"Unknown (Unknown)"
"ExtraProperties":[{"Key":"TimeZone","Value":"Pacific/Auckland"},{"Key":"ClientName","Value":"skypeteams"},{"Key":"ClientVersion","Value":"49/24102001316"}]
`)},
		kind{8, compile(teamsHead + `
"Operation":"{{step:MemberAdded|MemberRemoved|MemberRoleChanged}}"
"CommunicationType":"Team"
"ItemName":"{{team}}"
"TeamGuid":"19:{{teamid}}@thread.tacv2"
"TeamName":"{{team}}"
"AADGroupId":"{{guid:17}}"
"Members":[{"DisplayName":"{{othername}}","Role":{{step:1|0|1}},"UPN":"{{other}}"},{"DisplayName":"Guest User","Role":2,"UPN":"guest_partner.example#EXT#@{{domain}}"}]
`)},
		kind{6, compile(teamsHead + `
"Operation":"{{pick:ChannelAdded|TeamCreated|TabAdded|ChannelSettingChanged|AppInstalled}}"
"TeamGuid":"19:{{teamid}}@thread.tacv2"
"TeamName":"{{team}}"
"ChannelGuid":"19:{{hex:32}}@thread.tacv2"
"ChannelName":"{{site}}"
"ChannelType":"{{pick:Standard|Private}}"
"AddOnName":"Freight Tracker"
"AddOnType":{{n:3}}
"Name":"Allow guests"
"NewValue":"True"
"OldValue":"False"
`)},
		kind{8, alertTriggered},
		kind{9, compile(serviceHead + `
"RecordType":{{type:28}}
"Operation":"TIMailData"
"UserKey":"ThreatIntel"
"UserId":"ThreatIntel"
"Workload":"ThreatIntelligence"
"ObjectId":"{{guid:18}}"
"AttachmentData":[{"FileName":"{{file}}","FileType":"{{ext}}","FileVerdict":1,"MalwareFamily":"Trojan:Win32/Example","SHA256":"{{hex:64}}"}]
"AuthDetails":[{"Name":"SPF","Value":"{{pick:Pass|Fail|None}}"},{"Name":"DKIM","Value":"{{pick#d:Pass|Fail}}"},{"Name":"DMARC","Value":"{{pick:Best guess pass|Fail}}"}]
"DeliveryAction":"{{step:Blocked|DeliveredAsSpam|Delivered}}"
"DetectionMethod":"{{pick:URL detonation|Impersonation domain|File reputation}}"
"DetectionType":"Inline"
"Directionality":"Inbound"
"EventDeepLink":"https://security.example/?hash=/viewalerts?id={{guid:18}}"
"InternetMessageId":"<{{hex:16}}@evil.example>"
"LatestDeliveryLocation":"{{step:Quarantine|JunkFolder|Inbox}}"
"MessageTime":"{{ago:120}}"
"NetworkMessageId":"{{guid:19}}"
"OriginalDeliveryLocation":"{{step:Quarantine|JunkFolder|Inbox}}"
"P1Sender":"bounce@evil.example"
"P2Sender":"billing@evil.example"
"PhishConfidenceLevel":"{{pick:High|Normal}}"
"Policy":{{pick:4|7|9}}
"PolicyAction":{{step:5|0|6}}
"Recipients":["{{user}}"]
"SenderIp":"198.51.100.{{num:1-254}}"
"Subject":"{{subject}}"
"SystemOverrides":[]
"ThreatsAndDetectionTech":["Phish: [URL detonation]"]
"Verdict":"{{pick:Phish|Malware|Spam}}"
`)},
		kind{5, compile(serviceHead + `
"RecordType":{{type:41}}
"Operation":"TIUrlClickData"
"UserKey":"ThreatIntel"
"UserId":"{{user}}"
"Workload":"ThreatIntelligence"
"AppName":"Mail"
"AppVersion":"0.0.0000"
"EventDeepLink":"https://security.example/?hash=/urlclick/{{guid:18}}"
"SourceId":"{{guid:19}}"
"TimeOfClick":"{{ago:60}}"
"Url":"https://login.evil.example/{{hex:8}}/index.html"
"URLClickAction":{{pick:2|2|3|4}}
"UserIp":"{{bareip}}"
`)},
		kind{2, compile(serviceHead + `
"RecordType":{{type:47}}
"Operation":"AtpDetection"
"UserKey":"ThreatIntel"
"UserId":"ThreatIntel"
"Workload":"ThreatIntelligence"
"DetectionMethod":"AntiMalware"
"EventDeepLink":"https://security.example/?hash=/files/{{guid:18}}"
"FileData":{"DocumentId":"{{guid:18}}","FileName":"{{file}}","FilePath":"https://kaurifreight.sharepoint.example/sites/{{site}}/{{file}}","FileSize":"{{num:2000-900000}}","FileVerdict":1,"MalwareFamily":"Trojan:Win32/Example","SHA256":"{{hex:64}}"}
"LastModifiedBy":"{{user}}"
"LastModifiedDate":"{{ago:86400}}"
"SourceWorkload":{{pick:0|1|2}}
`)},
		kind{2, compile(serviceHead + `
"RecordType":{{type:64}}
"Operation":"AirInvestigationData"
"UserKey":"AirInvestigation"
"UserId":"AirInvestigation"
"Workload":"AirInvestigation"
"InvestigationId":"urn:ZappedUrlInvestigation:{{hex:32}}"
"InvestigationName":"Clicked URL was weaponized"
"InvestigationType":"ZappedUrlInvestigation"
"StartTimeUtc":"{{ago:900}}"
"LastUpdateTimeUtc":"{{time}}"
"EndTimeUtc":"{{time}}"
"RunningTime":{{num:10-900}}
"Status":"{{pick:Remediated|Running|Partially Investigated}}"
"DeepLinkUrl":"https://security.example/airinvestigation?id={{hex:32}}"
"Actions":[]
"Data":"{\"Version\":\"3.0\",\"VendorName\":\"Microsoft\",\"ProviderName\":\"OATP\",\"Entities\":[{\"$id\":\"1\",\"Upn\":\"{{user}}\",\"Type\":\"mailbox\"}]}"
`)},
		kind{12, compile(`
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:20}}
"UserKey":"{{puid}}"
"UserType":{{n:0}}
"Workload":"PowerBI"
"UserId":"{{user}}"
"ClientIP":{{ip}}
"UserAgent":"{{agent}}"
"Operation":"{{step:ViewReport|ExportReport|ShareReport|ViewDashboard|RefreshDataset}}"
"Activity":"{{step:ViewReport|ExportReport|ShareReport|ViewDashboard|RefreshDataset}}"
"ItemName":"{{site}} overview"
"WorkSpaceName":"{{department}}"
"DatasetName":"{{site}} overview"
"ReportName":"{{site}} overview"
"WorkspaceId":"{{guid:21}}"
"ReportId":"{{guid:22}}"
"ReportType":"PowerBIReport"
"DistributionMethod":"Workspace"
"IsSuccess":true
"RequestId":"{{guid:23}}"
"ActivityId":"{{guid:24}}"
`)},
		kind{8, compile(`
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:261}}
"UserKey":"{{oid}}"
"UserType":{{n:0}}
"Version":1
"Workload":"Copilot"
"UserId":"{{user}}"
"ClientIP":{{ip}}
"Operation":"CopilotInteraction"
"ClientRegion":"nz"
"CopilotEventData":{"AISystemPlugin":[{"Id":"BingWebSearch","Name":""}],"AccessedResources":[{"Action":"Read","ID":"{{guid:25}}","Name":"{{file}}","SiteUrl":"https://kaurifreight.sharepoint.example/sites/{{site}}/Shared Documents/{{file}}","Type":"{{ext}}"}],"AppHost":"{{pick:Teams|Word|Outlook|BizChat}}","Contexts":[{"Id":"https://kaurifreight.sharepoint.example/sites/{{site}}","Type":"docx"}],"MessageIds":[],"Messages":[{"Id":"{{num:1764000000000-1764999999999}}","isPrompt":true},{"Id":"{{num#2:1764000000000-1764999999999}}","isPrompt":false}],"ModelTransparencyDetails":[{"ModelName":"DEEP_LEO"}],"ThreadId":"19:{{base64:40}}@thread.v2"}
`)},
		kind{3, compile(`
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:65}}
"UserKey":"{{user}}"
"UserType":{{n:0}}
"Version":1
"Workload":"Quarantine"
"UserId":"{{user}}"
"Operation":"{{step:QuarantinePreviewMessage|QuarantineDeleteMessage|QuarantineReleaseMessage}}"
"NetworkMessageId":"{{guid:19}}"
"RequestType":{{step:0|1|2}}
"RequestSource":{{pick:0|2}}
"ReleaseTo":"{{user}}"
`)},
		kind{3, compile(serviceHead + `
"RecordType":{{type:18}}
"Operation":"{{pick:New-ComplianceSearch|Get-ComplianceSearch|Set-DlpCompliancePolicy|New-ComplianceSearchAction}}"
"ResultStatus":"Success"
"UserKey":"{{user}}"
"UserId":"{{user}}"
"ClientIP":"{{bareip}}"
"Workload":"SecurityComplianceCenter"
"ObjectId":"Search {{num:1-90}}"
"SecurityComplianceCenterEventType":{{n:0}}
"ClientApplication":"EMC"
"CmdletVersion":""
"EffectiveOrganization":"{{domain}}"
"NonPIIParameters":"-Name \"<SNIP-PII>\" -Force \"True\""
"Parameters":"-Name \"Search {{num:1-90}}\" -ExchangeLocation \"All\" -ContentMatchQuery \"from:{{other}}\""
"StartTime":"{{ago:3}}"
"UserServicePlan":""
`)},
		kind{2, compile(`
"CreationTime":"{{time}}"
"Id":"{{id}}"
"OrganizationId":"{{tenant}}"
"RecordType":{{type:66}}
"UserKey":"{{puid}}"
"UserType":{{n:0}}
"Version":1
"Workload":"MicrosoftForms"
"UserId":"{{user}}"
"ClientIP":{{ip}}
"Operation":"{{pick:CreateForm|ViewForm|SubmitResponse|EditForm}}"
"FormName":"{{site}} survey"
"FormId":"{{base64:60}}"
"FormsUserTypes":[0]
"SourceApp":"https://forms.example"
"ActivityParameters":"{\"FormId\":\"{{base64:60}}\"}"
`)},
	),
	DLPAll: newCatalogue(
		kind{50, compile(serviceHead + `
"RecordType":{{type:13}}
"Operation":"{{pick:DlpRuleMatch|DlpRuleMatch|DlpRuleUndo|DlpInfo}}"
"Workload":"Exchange"
"ObjectId":"<{{hex:16}}@{{domain}}>"
"UserKey":"1153801120000000001"
"UserId":"DlpAgent"
"ExchangeMetaData":{"MessageID":"<{{hex:16}}@{{domain}}>","From":"{{user}}","To":["x@partner.example"],"CC":[],"BCC":[],"Subject":"{{subject}}","Sent":"{{ago:30}}","RecipientCount":1,"UniqueID":"{{guid:26}}"}
` + dlpTail)},
		kind{40, compile(serviceHead + `
"RecordType":{{type:11}}
"Operation":"DlpRuleMatch"
"Workload":"{{pick:SharePoint|OneDrive}}"
"ObjectId":"https://kaurifreight.sharepoint.example/sites/{{site}}/Shared Documents/{{file}}"
"UserKey":"1153801120000000001"
"UserId":"DlpAgent"
"SharePointMetaData":{"From":"{{user}}","itemCreationTime":"{{ago:900000}}","SiteCollectionGuid":"{{guid:8}}","SiteCollectionUrl":"https://kaurifreight.sharepoint.example/sites/{{site}}","FileName":"{{file}}","FileOwner":"{{name}}","FilePathUrl":"https://kaurifreight.sharepoint.example/sites/{{site}}/Shared Documents/{{file}}","FileID":"","DocumentLastModifier":"{{user}}","DocumentSharer":"","UniqueID":"{{guid:26}}","LastModifiedTime":"{{ago:9000}}","IsViewableByExternalUsers":{{pick:true|false}}}
` + dlpTail)},
		kind{10, compile(serviceHead + `
"RecordType":{{type:63}}
"Operation":"DLPRuleMatch"
"Workload":"Endpoint"
"ObjectId":"C:\\Users\\{{slug}}\\Downloads\\{{file}}"
"UserKey":"{{oid}}"
"UserId":"{{user}}"
"ClientIP":"{{bareip}}"
"Application":"explorer.exe"
"DeviceName":"{{device}}"
"EndpointMetaData":{"EndpointOperation":"{{pick:FileCopiedToRemovableMedia|FileUploadedToCloud|FilePrinted}}","EnforcementMode":"{{pick:1|2|3}}","FileExtension":"{{ext}}","FileType":"{{ext}}","DeviceName":"{{device}}","SensitiveInfoTypeData":[]}
` + dlpTail)},
	),
}

// kind is one template and its weight within its feed.
type kind struct {
	weight int
	*template
}

// catalogue picks kinds by weight.
type catalogue struct {
	kinds []kind
	slots []uint8 // index into kinds, once per unit of weight
}

func newCatalogue(kinds ...kind) *catalogue {
	c := &catalogue{kinds: kinds}
	for i, k := range kinds {
		for range k.weight {
			c.slots = append(c.slots, uint8(i))
		}
	}
	return c
}

func (c *catalogue) pick(h uint64) *template {
	return c.kinds[c.slots[h%uint64(len(c.slots))]].template
}
