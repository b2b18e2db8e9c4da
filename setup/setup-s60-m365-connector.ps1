#Requires -Version 5.1
<#
.SYNOPSIS
Registers the Secure60 Microsoft 365 connector in Microsoft Entra ID.

.DESCRIPTION
Makes an app of this tenant only, grants it the application permissions that the connector's feeds can use with
the tenant's licences, and makes a client secret or uploads a certificate. Run again it adds what is missing and
changes nothing else. What is not granted is no fault: the connector shows those feeds as "not consented".

Runs in Windows PowerShell 5.1 and PowerShell 7, on Windows, macOS and Linux. Needs an administrator who may
grant application permissions (Global Administrator or Privileged Role Administrator) and version 2 of the module
Microsoft.Graph.Authentication, a part of Microsoft.Graph:

    Install-Module Microsoft.Graph.Authentication -Scope CurrentUser

Windows marks what was downloaded, and by its execution policy runs no script that is marked. For this file alone,
and for this window alone:

    Unblock-File .\setup-s60-m365-connector.ps1
    Set-ExecutionPolicy -Scope Process -ExecutionPolicy RemoteSigned

.PARAMETER Pack
Also ask for what these packs of feeds need (email, defender and the others of docs/packs.md), and put them into
FEEDS, which switches them on.

.PARAMETER Permission
Also ask for these application permissions, by name, as "check" of the connector prints them.

.PARAMETER IdentityProtection
Also ask for risk detections and risky users, whatever the licences say. Without it they are asked for where the
tenant has Entra ID P2.

.PARAMETER DlpDetail
Also ask for what DLP rules matched, sensitive content included.

.PARAMETER WorkloadIdentities
Also ask for risky service principals (needs Workload Identities Premium).

.PARAMETER Provisioning
Also ask for provisioning logs.

.PARAMETER SecurityAlerts
Also ask for Defender alerts and incidents.

.PARAMETER Archive
Also ask for audit records older than seven days, for backfill.

.PARAMETER Intune
Also ask for Intune audit events.

.PARAMETER SecretMonths
How many months a new secret is valid: 1 to 24.

.PARAMETER CertificatePath
A certificate file (PEM or DER). It is uploaded instead of making a secret; a private key never is.

.PARAMETER RotateSecret
Add a new secret. The newest former one stays valid, so that the connector goes on until it has the new one;
older and expired ones are removed. Permissions are left as they are.

.PARAMETER WriteEnv
Write the values to the file of EnvPath and keep its other lines. Only you may read the file afterwards.

.PARAMETER EnvPath
The file for WriteEnv.

.PARAMETER TenantId
Sign in to this tenant.

.PARAMETER Environment
The cloud: Global, GCC, USGov (GCC High), USGovDoD, China.

.PARAMETER UseDeviceCode
Sign in with a code, on a machine without a browser. Many tenants block this flow by Conditional Access, as it is
a way to phish: run the script on a machine with a browser then, instead of taking the policy away.

.PARAMETER DisplayName
The name of the app.

.PARAMETER ClientId
Use this existing app, whatever its name.

.PARAMETER Remove
Delete the app. Asks before it does; -Confirm:$false does not.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -WriteEnv

Registers the connector with what the tenant's licences let it use, and writes .env.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -Pack email,defender -WriteEnv

Registers it with the permissions of two packs, too.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -RotateSecret -WriteEnv

Makes a new secret and puts it into .env.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -CertificatePath connector.pem -Environment USGov

Registers the connector in GCC High, with a certificate.

.NOTES
Version 1.1

.LINK
https://github.com/secure60/s60-m365-connector
#>
[CmdletBinding(DefaultParameterSetName = 'Secret', SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [string[]]$Pack = @(),

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [ValidatePattern('^[A-Za-z0-9.,-]+$')]
    [string[]]$Permission = @(),

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$IdentityProtection,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$DlpDetail,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$WorkloadIdentities,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$Provisioning,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$SecurityAlerts,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$Archive,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [switch]$Intune,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Rotate')]
    [ValidateRange(1, 24)]
    [int]$SecretMonths = 12,

    [Parameter(ParameterSetName = 'Certificate', Mandatory = $true)]
    [string]$CertificatePath,

    [Parameter(ParameterSetName = 'Rotate', Mandatory = $true)]
    [switch]$RotateSecret,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [Parameter(ParameterSetName = 'Rotate')]
    [switch]$WriteEnv,

    [Parameter(ParameterSetName = 'Secret')]
    [Parameter(ParameterSetName = 'Certificate')]
    [Parameter(ParameterSetName = 'Rotate')]
    [string]$EnvPath = '.env',

    [string]$TenantId,

    [ValidateSet('Global', 'GCC', 'USGov', 'USGovDoD', 'China')]
    [string]$Environment = 'Global',

    [switch]$UseDeviceCode,

    [ValidatePattern('^[A-Za-z0-9 ._-]+$')]
    [string]$DisplayName = 's60-m365-connector',

    [ValidatePattern('^[0-9A-Fa-f-]{36}$')]
    [string]$ClientId,

    [Parameter(ParameterSetName = 'Remove', Mandatory = $true)]
    [switch]$Remove
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
if ($WhatIfPreference -and -not $Remove) { throw '-WhatIf goes with -Remove only.' }

# <permissions> written by: go generate ./setup
$Permissions = @(
    [pscustomobject]@{ Set = 'default'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLog.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'default'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Directory.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'default'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskEvent.Read.All'; Plans = 'eec0eb4f-6444-4f95-aba0-50c24d67f998'; Licence = 'Entra ID P2' }
    [pscustomobject]@{ Set = 'default'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyUser.Read.All'; Plans = 'eec0eb4f-6444-4f95-aba0-50c24d67f998'; Licence = 'Entra ID P2' }
    [pscustomobject]@{ Set = 'default'; Resource = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'; Name = 'ActivityFeed.Read'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'archive'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLogsQuery.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'dlp-detail'; Resource = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'; Name = 'ActivityFeed.ReadDlp'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity-protection'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskEvent.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity-protection'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyUser.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'intune'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'DeviceManagementApps.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'provisioning'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ProvisioningLog.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityAlert.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityIncident.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ThreatHunting.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'workload-identities'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyServicePrincipal.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'defender'; Resource = 'fc780465-2017-40d4-a0c5-307022471b92'; Name = 'Machine.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'defender'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ThreatHunting.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'defender'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityAlert.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'defender'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityIncident.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'email'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ExchangeMessageTrace.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyAgent.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'CustomSecAttributeAuditLogs.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ProvisioningLog.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLog.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Directory.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyServicePrincipal.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyUser.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'identity'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskEvent.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Policy.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Application.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLog.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Domain.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Directory.Read.All'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'RoleManagement.Read.Directory'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'RoleEligibilitySchedule.Read.Directory'; Plans = ''; Licence = '' }
    [pscustomobject]@{ Set = 'posture'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityEvents.Read.All'; Plans = ''; Licence = '' }
)
$PackNames = @('defender', 'email', 'identity', 'posture')
# </permissions>

$GraphApp = '00000003-0000-0000-c000-000000000000'
$ManagementApp = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'
$MessageTraceApp = '8bd644d1-64a1-4d4b-ae52-2e0cbf64e373'
$SecretName = 's60-m365-connector'
$Clouds = @{
    Global   = @{ Connect = 'Global'; Setting = 'commercial'; Login = 'https://login.microsoftonline.com' }
    GCC      = @{ Connect = 'Global'; Setting = 'gcc'; Login = 'https://login.microsoftonline.com' }
    USGov    = @{ Connect = 'USGov'; Setting = 'gcchigh'; Login = 'https://login.microsoftonline.us' }
    USGovDoD = @{ Connect = 'USGovDoD'; Setting = 'dod'; Login = 'https://login.microsoftonline.us' }
    China    = @{ Connect = 'China'; Setting = 'china'; Login = 'https://login.partner.microsoftonline.cn' }
}
$Cloud = $Clouds[$Environment]

# What is only said to the reader goes to the host; the values themselves go to the output.
function Write-Step([string]$What, [string]$Detail) {
    Write-Host ('  {0,-9} {1}' -f $What, $Detail)
}

# A day and a time as the service writes them, whatever the calendar and the separators of this machine.
function Format-Day($Date) {
    return ([datetime]$Date).ToUniversalTime().ToString('yyyy-MM-dd', [Globalization.CultureInfo]::InvariantCulture)
}

function Format-Time($Date) {
    return ([datetime]$Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", [Globalization.CultureInfo]::InvariantCulture)
}

# What the service said: the body of its answer, where the module kept it.
function Get-Answer($Failure) {
    if ($Failure.ErrorDetails -and $Failure.ErrorDetails.Message) { return $Failure.ErrorDetails.Message }
    return $Failure.Exception.Message
}

function Test-Refused($Failure) {
    return (Get-Answer $Failure) -match 'Authorization_RequestDenied|Forbidden|Insufficient privileges'
}

# Calls Microsoft Graph. What was just made is not yet everywhere in the directory, so with -Patient a call
# is repeated while it is not found: that takes seconds, at worst a minute.
function Invoke-Graph {
    param([string]$Method, [string]$Path, $Body, [switch]$Patient)
    $call = @{ Method = $Method; Uri = "/v1.0$Path"; OutputType = 'PSObject' }
    if ($null -ne $Body) {
        $call.Body = ConvertTo-Json $Body -Depth 10 -Compress
        $call.ContentType = 'application/json'
    }
    for ($try = 1; ; $try++) {
        try {
            return Invoke-MgGraphRequest @call
        }
        catch {
            $missing = (Get-Answer $_) -match 'Request_ResourceNotFound|NotFound|does not exist|NoBackingApplicationObject|not present in the directory'
            if (-not $Patient -or -not $missing -or $try -ge 10) { throw }
            if ($try -eq 2) { Write-Host '  ...waiting for the directory to replicate' }
            Start-Sleep -Seconds 6
        }
    }
}

# --- what is asked for ---

$switched = @()
if ($IdentityProtection) { $switched += 'identity-protection' }
if ($DlpDetail) { $switched += 'dlp-detail' }
if ($WorkloadIdentities) { $switched += 'workload-identities' }
if ($Provisioning) { $switched += 'provisioning' }
if ($SecurityAlerts) { $switched += 'security-alerts' }
if ($Archive) { $switched += 'archive' }
if ($Intune) { $switched += 'intune' }
$packs = @($Pack | ForEach-Object { $_ -split ',' } | Where-Object { $_ })
foreach ($name in $packs) {
    if ($PackNames -notcontains $name) { throw "There is no pack $name; there are: $($PackNames -join ', ')." }
}

# --- sign in ---

$install = 'Install-Module Microsoft.Graph.Authentication -Scope CurrentUser'
$module = Get-Command -Name Connect-MgGraph -ErrorAction SilentlyContinue
if (-not $module) { throw "The module Microsoft.Graph.Authentication is missing. Install it and run this again: $install" }
if ($module.Version.Major -lt 2) {
    throw "The module Microsoft.Graph.Authentication is of version $($module.Version); it takes 2.0 or later. Install that, open a new window, and run this again: $install -Force"
}

$certificate = $null
if ($CertificatePath) {
    $file = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($CertificatePath)
    if (-not (Test-Path -LiteralPath $file -PathType Leaf)) { throw "There is no file $file." }
    $bytes = [IO.File]::ReadAllBytes($file)
    $text = [Text.Encoding]::ASCII.GetString($bytes)
    if ($text -match '-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----') {
        $bytes = [Convert]::FromBase64String(($Matches[1] -replace '\s', ''))
    }
    # A key that the file may hold is read no further: what follows has the certificate alone.
    $certificate = New-Object -TypeName Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList (, $bytes)
    if ($certificate.NotAfter -lt (Get-Date)) { throw "The certificate in $file has expired on $(Format-Day $certificate.NotAfter)." }
}

$connect = @{
    Scopes       = @('Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All', 'LicenseAssignment.Read.All')
    Environment  = $Cloud.Connect
    ContextScope = 'Process'
    NoWelcome    = $true
}
if ($TenantId) { $connect.TenantId = $TenantId }
if ($UseDeviceCode) {
    $connect.UseDeviceCode = $true
    Write-Warning 'Many tenants block the device code flow by Conditional Access. If the sign-in is refused, run this without -UseDeviceCode on a machine with a browser. Enter a code only if you asked for it yourself.'
}
Connect-MgGraph @connect
# A tenant may be given by its domain; what counts from here is its id.
$TenantId = (Get-MgContext).TenantId
Write-Host "Tenant $TenantId ($($Cloud.Setting))"

# --- the app ---

try {
    if ($ClientId) { $filter = "appId eq '$ClientId'" } else { $filter = "displayName eq '$DisplayName'" }
    $found = @((Invoke-Graph -Method GET -Path ('/applications?$filter={0}&$select=id,appId' -f [Uri]::EscapeDataString($filter))).value)
}
catch {
    throw "Looking for the app failed: $(Get-Answer $_)"
}
if ($found.Count -gt 1) {
    throw "$($found.Count) apps are named $DisplayName. Say which with -ClientId: $(($found | ForEach-Object { $_.appId }) -join ' ')"
}
if ($found.Count -eq 0 -and $ClientId) { throw "No app in this tenant has the client id $ClientId." }

if ($Remove) {
    if ($found.Count -eq 0) {
        Write-Host "There is no app $($DisplayName): nothing to remove."
        return
    }
    if ($PSCmdlet.ShouldProcess("the app $($found[0].appId); the connector stops at once", 'Delete')) {
        Invoke-Graph -Method DELETE -Path "/applications/$($found[0].id)" | Out-Null
        Write-Step 'removed' "the app $($found[0].appId) (Entra ID keeps it for 30 days under Deleted applications)"
    }
    return
}

if ($found.Count -eq 1) {
    $app = $found[0]
    Write-Step 'found' "app $DisplayName, client id $($app.appId)"
}
else {
    if ($RotateSecret) { throw "There is no app $DisplayName to rotate the secret of. Run without -RotateSecret first." }
    try {
        $app = Invoke-Graph -Method POST -Path '/applications' -Body @{ displayName = $DisplayName; signInAudience = 'AzureADMyOrg' }
    }
    catch {
        if (Test-Refused $_) { throw "Your account may not register apps; it takes an Application Administrator. The service said: $(Get-Answer $_)" }
        throw "Creating the app failed: $(Get-Answer $_)"
    }
    Write-Step 'created' "app $DisplayName, client id $($app.appId)"
}

# --- permissions and consent; a rotation leaves them alone ---

$consentRefused = $false

# The service principal of an app; it is made where the tenant lacks it, as some do that of the Office 365
# Management APIs. A service that this cloud does not have is nothing.
function Get-ServicePrincipal([string]$AppId, [switch]$Patient) {
    $filter = [Uri]::EscapeDataString("appId eq '$AppId'")
    $there = @((Invoke-Graph -Method GET -Path ('/servicePrincipals?$filter={0}&$select=id,appId,appRoles' -f $filter)).value)
    if ($there.Count -gt 0) { return $there[0] }
    try {
        return Invoke-Graph -Method POST -Path '/servicePrincipals' -Body @{ appId = $AppId } -Patient:$Patient
    }
    catch {
        # Its own app was made just now, that of a service is there or is not.
        if ($Patient -or (Get-Answer $_) -notmatch 'NoBackingApplicationObject|does not reference a valid application|Request_ResourceNotFound') { throw }
        return $null
    }
}

# The ids of the service plans that the tenant has: of subscriptions that are not over, where the plan is not
# switched off. Nothing if they cannot be read.
function Get-Plan {
    try {
        $skus = @((Invoke-Graph -Method GET -Path '/subscribedSkus?$select=capabilityStatus,servicePlans').value)
    }
    catch {
        Write-Warning "The tenant's licences could not be read, so the permissions of all feeds that are on by default are asked for. The service said: $(Get-Answer $_)"
        return
    }
    $plans = @('none')
    foreach ($sku in $skus) {
        if ($sku.capabilityStatus -ne 'Enabled' -and $sku.capabilityStatus -ne 'Warning') { continue }
        foreach ($plan in @($sku.servicePlans)) {
            if ($plan.provisioningStatus -ne 'Disabled') { $plans += $plan.servicePlanId }
        }
    }
    return $plans
}

# What is asked for: names and services, each once. What nobody asked for is left out where its licence is missing.
function Get-Wanted([string[]]$Sets, [string[]]$Names) {
    $plans = @(Get-Plan)
    $wanted = @()
    $left = @()
    foreach ($row in $Permissions) {
        if ($Sets -notcontains $row.Set) { continue }
        if (@($wanted | Where-Object { $_.Name -eq $row.Name }).Count -gt 0) { continue }
        if ($row.Set -eq 'default' -and $row.Plans -and $plans.Count -gt 0) {
            if (@($row.Plans -split ',' | Where-Object { $plans -contains $_ }).Count -eq 0) {
                $left += $row
                continue
            }
        }
        $wanted += [pscustomobject]@{ Name = $row.Name; Resource = $row.Resource }
    }
    foreach ($name in $Names) {
        if (@($wanted | Where-Object { $_.Name -eq $name }).Count -gt 0) { continue }
        # One of a feed of your own may be of any service.
        $known = @($Permissions | Where-Object { $_.Name -eq $name })
        $resource = ''
        if ($known.Count -gt 0) { $resource = $known[0].Resource }
        $wanted += [pscustomobject]@{ Name = $name; Resource = $resource }
    }
    foreach ($row in $left) {
        if (@($wanted | Where-Object { $_.Name -eq $row.Name }).Count -gt 0) { continue }
        Write-Step 'left out' "$($row.Name): the tenant has no $($row.Licence). Its feeds show as not consented; -Permission $($row.Name) grants it all the same"
    }
    return $wanted
}

# Finds the roles asked for among those that the services of this cloud offer: their ids are looked up by name.
# A name that may be of any service is that of the first which offers it.
function Find-Role($Wanted, $Services) {
    $roles = @()
    foreach ($permission in $Wanted) {
        $role = $null
        foreach ($service in $Services) {
            if ($role -or ($permission.Resource -and $permission.Resource -ne $service.appId)) { continue }
            foreach ($offered in @($service.appRoles)) {
                if ($offered.value -eq $permission.Name) {
                    $role = [pscustomobject]@{ Name = $permission.Name; Id = $offered.id; AppId = $service.appId; ServiceId = $service.id }
                }
            }
        }
        if ($role) { $roles += $role }
        else { Write-Warning "This cloud does not offer $($permission.Name): the feeds that need it stay off." }
    }
    return $roles
}

# Adds what is missing to the permissions that the app asks for, as the portal shows them; what else it asks
# for stays.
function Add-RequiredAccess($Roles) {
    $now = @((Invoke-Graph -Method GET -Path ('/applications/{0}?$select=requiredResourceAccess' -f $app.id) -Patient).requiredResourceAccess)
    $resources = @($Roles | ForEach-Object { $_.AppId } | Select-Object -Unique)
    $list = @($now | Where-Object { $resources -notcontains $_.resourceAppId })
    $added = $false
    foreach ($resource in $resources) {
        $access = @()
        foreach ($entry in @($now | Where-Object { $_.resourceAppId -eq $resource })) {
            foreach ($one in @($entry.resourceAccess)) { $access += @{ id = $one.id; type = $one.type } }
        }
        foreach ($role in @($Roles | Where-Object { $_.AppId -eq $resource })) {
            if (@($access | Where-Object { $_.id -eq $role.Id }).Count -gt 0) { continue }
            $access += @{ id = $role.Id; type = 'Role' }
            $added = $true
        }
        if ($access.Count -gt 0) { $list += @{ resourceAppId = $resource; resourceAccess = $access } }
    }
    if ($added) {
        Invoke-Graph -Method PATCH -Path "/applications/$($app.id)" -Body @{ requiredResourceAccess = $list } -Patient | Out-Null
    }
}

# Gives the app the roles asked for, which is what the portal calls admin consent. Says whether it was refused.
function Grant-Consent($Roles) {
    $refused = $false
    $principal = Get-ServicePrincipal $app.appId -Patient
    $granted = @((Invoke-Graph -Method GET -Path ('/servicePrincipals/{0}/appRoleAssignments?$top=999' -f $principal.id) -Patient).value | ForEach-Object { $_.appRoleId })
    foreach ($role in $Roles) {
        if ($granted -contains $role.Id) {
            Write-Step 'granted' "$($role.Name) (before)"
            continue
        }
        $body = @{ principalId = $principal.id; resourceId = $role.ServiceId; appRoleId = $role.Id }
        try {
            Invoke-Graph -Method POST -Path "/servicePrincipals/$($principal.id)/appRoleAssignments" -Body $body -Patient | Out-Null
            Write-Step 'granted' $role.Name
        }
        catch {
            if ((Get-Answer $_) -match 'already exists') {
                Write-Step 'granted' "$($role.Name) (before)"
            }
            elseif (Test-Refused $_) {
                $refused = $true
                Write-Step 'REFUSED' $role.Name
            }
            else {
                throw "Granting $($role.Name) failed: $(Get-Answer $_)"
            }
        }
    }
    return $refused
}

if (-not $RotateSecret) {
    $names = @($Permission | ForEach-Object { $_ -split ',' } | Where-Object { $_ })
    $wanted = @(Get-Wanted (@('default') + $switched + $packs) $names)
    # Those of the default, those named, and all that feeds use where a name may be of any.
    $resources = @($ManagementApp, $GraphApp) + @($wanted | Where-Object { $_.Resource } | ForEach-Object { $_.Resource })
    if (@($wanted | Where-Object { -not $_.Resource }).Count -gt 0) { $resources += @($Permissions | ForEach-Object { $_.Resource }) }
    $services = @()
    foreach ($resource in @($resources | Select-Object -Unique)) {
        $service = Get-ServicePrincipal $resource
        if ($service) { $services += $service }
    }
    $roles = @(Find-Role $wanted $services)
    Add-RequiredAccess $roles
    $consentRefused = Grant-Consent $roles
    if (@($roles | Where-Object { $_.Name -eq 'ExchangeMessageTrace.Read.All' }).Count -gt 0) {
        # The service behind message trace answers only where the tenant has its service principal.
        if (-not (Get-ServicePrincipal $MessageTraceApp)) { Write-Warning 'This cloud has no message trace: its feed stays off.' }
    }
}

# --- the credential ---

$secret = ''

function Add-Certificate {
    $now = @((Invoke-Graph -Method GET -Path ('/applications/{0}?$select=keyCredentials' -f $app.id) -Patient).keyCredentials)
    $key = [Convert]::ToBase64String($certificate.RawData)
    if (@($now | Where-Object { $_.PSObject.Properties['key'] -and $_.key -eq $key }).Count -gt 0) {
        Write-Step 'found' 'the certificate, uploaded before'
        return
    }
    # The list is replaced as a whole: those that are there go with it, their times as text, since Windows
    # PowerShell 5.1 would write them in a form of its own.
    $list = @()
    foreach ($old in $now) {
        $copy = @{}
        foreach ($property in $old.PSObject.Properties) {
            if ($null -eq $property.Value) { continue }
            if ($property.Value -is [datetime]) { $copy[$property.Name] = Format-Time $property.Value }
            else { $copy[$property.Name] = $property.Value }
        }
        $list += $copy
    }
    $list += @{ type = 'AsymmetricX509Cert'; usage = 'Verify'; displayName = $SecretName; key = $key }
    Invoke-Graph -Method PATCH -Path "/applications/$($app.id)" -Body @{ keyCredentials = $list } -Patient | Out-Null
    Write-Step 'uploaded' "the certificate, valid until $(Format-Day $certificate.NotAfter)"
}

# Adds a secret where there is no valid one of ours, or to rotate. After a rotation the newest former one
# stays; older and expired ones go. Secrets that others made are left alone. Gives the secret, or nothing.
function Add-Secret {
    $now = (Get-Date).ToUniversalTime()
    $ours = @(@((Invoke-Graph -Method GET -Path ('/applications/{0}?$select=passwordCredentials' -f $app.id) -Patient).passwordCredentials) |
            Where-Object { $_.displayName -eq $SecretName } |
            Sort-Object -Property { ([datetime]$_.startDateTime).ToUniversalTime() } -Descending)
    $valid = @($ours | Where-Object { ([datetime]$_.endDateTime).ToUniversalTime() -gt $now })
    if ($valid.Count -gt 0 -and -not $RotateSecret) {
        Write-Step 'found' "a secret, valid until $(Format-Day $valid[0].endDateTime)"
        return
    }
    $expires = $now.AddMonths($SecretMonths)
    $body = @{ passwordCredential = @{ displayName = $SecretName; endDateTime = (Format-Time $expires) } }
    try {
        $made = Invoke-Graph -Method POST -Path "/applications/$($app.id)/addPassword" -Body $body -Patient
    }
    catch {
        if ((Get-Answer $_) -match 'policy|CredentialType') {
            throw "This tenant's policy does not allow such a secret (try fewer -SecretMonths, or -CertificatePath): $(Get-Answer $_)"
        }
        throw "Making the secret failed: $(Get-Answer $_)"
    }
    Write-Step 'created' "a secret, valid until $(Format-Day $expires)"
    $kept = $false
    foreach ($old in $ours) {
        if (-not $kept -and ([datetime]$old.endDateTime).ToUniversalTime() -gt $now) {
            $kept = $true
            Write-Step 'kept' "the former secret of $(Format-Day $old.startDateTime), until it expires or the next rotation"
            continue
        }
        Invoke-Graph -Method POST -Path "/applications/$($app.id)/removePassword" -Body @{ keyId = $old.keyId } | Out-Null
        Write-Step 'removed' "the secret of $(Format-Day $old.startDateTime)"
    }
    return $made.secretText
}

if ($certificate) { Add-Certificate } else { $secret = [string](Add-Secret) }

# --- the result ---

# Puts NAME=value into the lines, in place of the one there.
function Set-Line([string[]]$Lines, [string]$Name, [string]$Value) {
    $out = @()
    $done = $false
    foreach ($line in $Lines) {
        if ($line.StartsWith("$Name=", [StringComparison]::Ordinal)) {
            if ($done) { continue }
            $line = "$Name=$Value"
            $done = $true
        }
        $out += $line
    }
    if (-not $done) { $out += "$Name=$Value" }
    return , $out
}

function Get-Line([string[]]$Lines, [string]$Name) {
    foreach ($line in $Lines) {
        if ($line.StartsWith("$Name=", [StringComparison]::Ordinal)) { return $line.Substring($Name.Length + 1) }
    }
    return ''
}

# Only the owner may read the file; done while it is still empty.
function Protect-File([string]$File) {
    if ($env:OS -eq 'Windows_NT') {
        & icacls.exe $File /inheritance:r /grant:r "*$([Security.Principal.WindowsIdentity]::GetCurrent().User.Value):F" | Out-Null
    }
    else {
        & chmod 600 $File
    }
    if ($LASTEXITCODE -ne 0) { throw "The permissions of $File could not be set; nothing was written to it." }
}

[string[]]$lines = @()
$target = $null
if ($WriteEnv) {
    $target = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($EnvPath)
    $example = Join-Path -Path (Split-Path -Path $target -Parent) -ChildPath '.env.example'
    if (Test-Path -LiteralPath $target) { $lines = @([IO.File]::ReadAllLines($target)) }
    elseif (Test-Path -LiteralPath $example) { $lines = @([IO.File]::ReadAllLines($example)) }
}

$lines = Set-Line $lines 'TENANT_ID' $TenantId
# A secret that is there does not go with another app, nor with a certificate.
if ((Get-Line $lines 'CLIENT_SECRET') -and ($certificate -or (Get-Line $lines 'CLIENT_ID') -ne $app.appId)) {
    $lines = Set-Line $lines 'CLIENT_SECRET' ''
}
$lines = Set-Line $lines 'CLIENT_ID' $app.appId
if ($secret) {
    $lines = Set-Line $lines 'CLIENT_SECRET' $secret
    if (Get-Line $lines 'CLIENT_CERTIFICATE_FILE') { $lines = Set-Line $lines 'CLIENT_CERTIFICATE_FILE' '' }
}
if ($certificate) {
    $lines = Set-Line $lines 'CLIENT_CERTIFICATE_FILE' $CertificatePath
}
if ($packs.Count -gt 0) {
    $feeds = @((Get-Line $lines 'FEEDS') -split ',' | Where-Object { $_ })
    $lines = Set-Line $lines 'FEEDS' (($feeds + @($packs | Where-Object { $feeds -notcontains $_ })) -join ',')
}
if ($Environment -ne 'Global' -or (Get-Line $lines 'MS_CLOUD')) { $lines = Set-Line $lines 'MS_CLOUD' $Cloud.Setting }

if ($WriteEnv) {
    # Written beside its place and moved there: never half a file, never readable by others.
    $new = "$target.$PID.new"
    [IO.File]::WriteAllText($new, '')
    try {
        Protect-File $new
        [IO.File]::WriteAllText($new, (($lines -join "`n") + "`n"), (New-Object -TypeName Text.UTF8Encoding -ArgumentList $false))
        Move-Item -LiteralPath $new -Destination $target -Force
    }
    finally {
        if (Test-Path -LiteralPath $new) { Remove-Item -LiteralPath $new -Force }
    }
    Write-Step 'wrote' $target
}
else {
    Write-Host ''
    $lines | Write-Output
}

Write-Host ''
if (-not $certificate -and -not (Get-Line $lines 'CLIENT_SECRET')) {
    Write-Host 'A secret that exists cannot be read again. If you do not have it: -RotateSecret makes a new one.'
}
if ($certificate) {
    Write-Host 'CLIENT_CERTIFICATE_FILE must name a PEM file with the private key and the certificate, where the connector runs.'
}
if ($consentRefused) {
    Write-Host 'Consent is missing. A Privileged Role Administrator or Global Administrator runs this script again, or opens'
    Write-Host "  $($Cloud.Login)/$TenantId/adminconsent?client_id=$($app.appId)"
    exit 1
}
Write-Host 'Done. Put the Secure60 destination into .env, let the connector look for itself, and start it:'
Write-Host '  docker compose run --rm s60-m365-connector check'
Write-Host '  docker compose up -d'
