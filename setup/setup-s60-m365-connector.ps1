#Requires -Version 5.1
<#
.SYNOPSIS
Registers the Secure60 Microsoft 365 connector in Microsoft Entra ID.

.DESCRIPTION
Makes an app of this tenant only, with the application permissions that the connector's feeds need, grants
consent, and makes a client secret or uploads a certificate. Run again it adds what is missing and changes
nothing else.

Runs in Windows PowerShell 5.1 and PowerShell 7, on Windows, macOS and Linux. Needs the module
Microsoft.Graph.Authentication (a part of Microsoft.Graph) and an administrator who may grant application
permissions: Global Administrator or Privileged Role Administrator.

.PARAMETER IdentityProtection
Also ask for risk detections and risky users (needs Entra ID P2).

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
Sign in with a code, on a machine without a browser.

.PARAMETER DisplayName
The name of the app.

.PARAMETER ClientId
Use this existing app, whatever its name.

.PARAMETER Remove
Delete the app. Asks before it does; -Confirm:$false does not.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -IdentityProtection -WriteEnv

Registers the connector with the permissions for risk detections too, and writes .env.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -RotateSecret -WriteEnv

Makes a new secret and puts it into .env.

.EXAMPLE
.\setup-s60-m365-connector.ps1 -CertificatePath connector.pem -Environment USGov

Registers the connector in GCC High, with a certificate.

.LINK
https://github.com/secure60/s60-m365-connector
#>
[CmdletBinding(DefaultParameterSetName = 'Secret', SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
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
    [pscustomobject]@{ Set = 'core'; Resource = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'; Name = 'ActivityFeed.Read'; Id = '594c1fb6-4f81-4475-ae41-0c394909246c' }
    [pscustomobject]@{ Set = 'core'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLog.Read.All'; Id = 'b0afded3-3588-46d8-8b3d-9842eff778da' }
    [pscustomobject]@{ Set = 'core'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'Directory.Read.All'; Id = '7ab1d382-f21e-4acd-a863-ba3e13f7da61' }
    [pscustomobject]@{ Set = 'identity-protection'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskEvent.Read.All'; Id = '6e472fd1-ad78-48da-a0f0-97ab2c6b769e' }
    [pscustomobject]@{ Set = 'identity-protection'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyUser.Read.All'; Id = 'dc5007c0-2d7d-4c42-879c-2dab87571379' }
    [pscustomobject]@{ Set = 'dlp-detail'; Resource = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'; Name = 'ActivityFeed.ReadDlp'; Id = '4807a72c-ad38-4250-94c9-4eabfe26cd55' }
    [pscustomobject]@{ Set = 'workload-identities'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'IdentityRiskyServicePrincipal.Read.All'; Id = '607c7344-0eed-41e5-823a-9695ebe1b7b0' }
    [pscustomobject]@{ Set = 'provisioning'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ProvisioningLog.Read.All'; Id = '091937d3-3e38-47a1-8649-b2f99d3035f1' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityAlert.Read.All'; Id = '472e4a4d-bb4a-4026-98d1-0b0d74cb74a5' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'SecurityIncident.Read.All'; Id = '45cc0394-e837-488b-a098-1918f48d186c' }
    [pscustomobject]@{ Set = 'security-alerts'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'ThreatHunting.Read.All'; Id = 'dd98c7f5-2d42-42d3-a0e4-633161547251' }
    [pscustomobject]@{ Set = 'archive'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'AuditLogsQuery.Read.All'; Id = '5e1e9171-754d-478c-812c-f1755a9a4c2d' }
    [pscustomobject]@{ Set = 'intune'; Resource = '00000003-0000-0000-c000-000000000000'; Name = 'DeviceManagementApps.Read.All'; Id = '7a6ee1e7-141e-4cec-ae74-d9db155731ff' }
)
# </permissions>

$GraphApp = '00000003-0000-0000-c000-000000000000'
$ManagementApp = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'
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

# --- sign in ---

if (-not (Get-Command -Name Connect-MgGraph -ErrorAction SilentlyContinue)) {
    throw 'The module Microsoft.Graph.Authentication is missing. Install it and run this again: Install-Module Microsoft.Graph.Authentication -Scope CurrentUser'
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
    if ($certificate.NotAfter -lt (Get-Date)) { throw "The certificate in $file has expired on $($certificate.NotAfter.ToString('yyyy-MM-dd'))." }
}

$connect = @{
    Scopes       = @('Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All')
    Environment  = $Cloud.Connect
    ContextScope = 'Process'
    NoWelcome    = $true
}
if ($TenantId) { $connect.TenantId = $TenantId }
if ($UseDeviceCode) { $connect.UseDeviceCode = $true }
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
$sets = @('core')
if ($IdentityProtection) { $sets += 'identity-protection' }
if ($DlpDetail) { $sets += 'dlp-detail' }
if ($WorkloadIdentities) { $sets += 'workload-identities' }
if ($Provisioning) { $sets += 'provisioning' }
if ($SecurityAlerts) { $sets += 'security-alerts' }
if ($Archive) { $sets += 'archive' }
if ($Intune) { $sets += 'intune' }
$wanted = @($Permissions | Where-Object { $sets -contains $_.Set })

# The service principal of an app; it is made where the tenant lacks it, as some do that of the Office 365
# Management APIs.
function Get-ServicePrincipal([string]$AppId) {
    $filter = [Uri]::EscapeDataString("appId eq '$AppId'")
    $there = @((Invoke-Graph -Method GET -Path ('/servicePrincipals?$filter={0}&$select=id,appRoles' -f $filter)).value)
    if ($there.Count -gt 0) { return $there[0] }
    return Invoke-Graph -Method POST -Path '/servicePrincipals' -Body @{ appId = $AppId } -Patient
}

# Adds what is missing to the permissions that the app asks for, as the portal shows them; what else it asks
# for stays.
function Add-RequiredAccess {
    $now = @((Invoke-Graph -Method GET -Path ('/applications/{0}?$select=requiredResourceAccess' -f $app.id) -Patient).requiredResourceAccess)
    $list = @($now | Where-Object { $_.resourceAppId -ne $ManagementApp -and $_.resourceAppId -ne $GraphApp })
    $added = $false
    foreach ($resource in @($ManagementApp, $GraphApp)) {
        $access = @($now | Where-Object { $_.resourceAppId -eq $resource } | ForEach-Object { $_.resourceAccess })
        foreach ($permission in @($wanted | Where-Object { $_.Resource -eq $resource })) {
            if (@($access | Where-Object { $_.id -eq $permission.Id }).Count -gt 0) { continue }
            $access += [pscustomobject]@{ id = $permission.Id; type = 'Role' }
            $added = $true
        }
        $list += [pscustomobject]@{ resourceAppId = $resource; resourceAccess = $access }
    }
    if ($added) {
        Invoke-Graph -Method PATCH -Path "/applications/$($app.id)" -Body @{ requiredResourceAccess = $list } -Patient | Out-Null
    }
}

# Gives the app the roles asked for, which is what the portal calls admin consent. Says whether it was refused.
function Grant-Consent {
    $refused = $false
    $principal = Get-ServicePrincipal $app.appId
    $granted = @((Invoke-Graph -Method GET -Path ('/servicePrincipals/{0}/appRoleAssignments?$top=999' -f $principal.id) -Patient).value | ForEach-Object { $_.appRoleId })
    foreach ($resource in @($ManagementApp, $GraphApp)) {
        $service = Get-ServicePrincipal $resource
        $offered = @($service.appRoles | ForEach-Object { $_.id })
        foreach ($permission in @($wanted | Where-Object { $_.Resource -eq $resource })) {
            if ($granted -contains $permission.Id) {
                Write-Step 'granted' "$($permission.Name) (before)"
                continue
            }
            if ($offered -notcontains $permission.Id) {
                Write-Warning "This cloud does not offer $($permission.Name): the feeds that need it stay off."
                continue
            }
            $body = @{ principalId = $principal.id; resourceId = $service.id; appRoleId = $permission.Id }
            try {
                Invoke-Graph -Method POST -Path "/servicePrincipals/$($principal.id)/appRoleAssignments" -Body $body -Patient | Out-Null
                Write-Step 'granted' $permission.Name
            }
            catch {
                if ((Get-Answer $_) -match 'already exists') {
                    Write-Step 'granted' "$($permission.Name) (before)"
                }
                elseif (Test-Refused $_) {
                    $refused = $true
                    Write-Step 'REFUSED' $permission.Name
                }
                else {
                    throw "Granting $($permission.Name) failed: $(Get-Answer $_)"
                }
            }
        }
    }
    return $refused
}

if (-not $RotateSecret) {
    Add-RequiredAccess
    $consentRefused = Grant-Consent
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
    # The list is replaced as a whole: those that are there go with it.
    $list = $now + [pscustomobject]@{ type = 'AsymmetricX509Cert'; usage = 'Verify'; displayName = $SecretName; key = $key }
    Invoke-Graph -Method PATCH -Path "/applications/$($app.id)" -Body @{ keyCredentials = @($list) } -Patient | Out-Null
    Write-Step 'uploaded' "the certificate, valid until $($certificate.NotAfter.ToString('yyyy-MM-dd'))"
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
        Write-Step 'found' ('a secret, valid until {0:yyyy-MM-dd}' -f ([datetime]$valid[0].endDateTime))
        return
    }
    $expires = $now.AddMonths($SecretMonths)
    $body = @{ passwordCredential = @{ displayName = $SecretName; endDateTime = $expires.ToString('yyyy-MM-ddTHH:mm:ssZ') } }
    try {
        $made = Invoke-Graph -Method POST -Path "/applications/$($app.id)/addPassword" -Body $body -Patient
    }
    catch {
        if ((Get-Answer $_) -match 'policy|CredentialType') {
            throw "This tenant's policy does not allow such a secret (try fewer -SecretMonths, or -CertificatePath): $(Get-Answer $_)"
        }
        throw "Making the secret failed: $(Get-Answer $_)"
    }
    Write-Step 'created' ('a secret, valid until {0:yyyy-MM-dd}' -f $expires)
    $kept = $false
    foreach ($old in $ours) {
        if (-not $kept -and ([datetime]$old.endDateTime).ToUniversalTime() -gt $now) {
            $kept = $true
            Write-Step 'kept' ('the former secret of {0:yyyy-MM-dd}, until it expires or the next rotation' -f ([datetime]$old.startDateTime))
            continue
        }
        Invoke-Graph -Method POST -Path "/applications/$($app.id)/removePassword" -Body @{ keyId = $old.keyId } | Out-Null
        Write-Step 'removed' ('the secret of {0:yyyy-MM-dd}' -f ([datetime]$old.startDateTime))
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
Write-Host 'Done. Put the Secure60 destination into .env, start the connector, and let it look for itself:'
Write-Host '  docker compose up -d'
Write-Host '  docker compose exec s60-m365-connector /s60-m365-connector check'
