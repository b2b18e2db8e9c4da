#!/usr/bin/env bash
# Registers the connector in Microsoft Entra ID with the Azure CLI: one app of
# this tenant only, with the application permissions that its feeds can use with
# the tenant's licences, consent, a secret or a certificate. Run again it adds
# what is missing and changes nothing else. Runs in bash 3.2 and later (macOS, Linux, Azure Cloud Shell).
set -euo pipefail

usage() {
	cat <<'USAGE'
Usage: setup-s60-m365-connector.sh [options]

Registers the Secure60 Microsoft 365 connector in your tenant. Needs the Azure
CLI (az) and an administrator who may grant application permissions: Global
Administrator or Privileged Role Administrator.

It asks for the permissions that the feeds can use that are on by default, with
the licences of the tenant. What is not granted is no fault: the connector shows
those feeds as "not consented". Beyond that:
  --pack NAME[,NAME]      what packs of feeds need (email, defender, ... of
                          docs/packs.md), and put them into FEEDS
  --permission NAME[,NAME] application permissions by name, as check prints them
  --identity-protection   risk detections and risky users, whatever the licences
  --dlp-detail            what DLP rules matched, sensitive content included
  --workload-identities   risky service principals (Workload Identities Premium)
  --provisioning          provisioning logs
  --security-alerts       Defender alerts and incidents
  --archive               audit records older than seven days, for backfill
  --intune                Intune audit events

Credential, a secret unless a certificate is given:
  --secret-months N       how long a new secret is valid: 1 to 24, default 12
  --certificate-path FILE PEM file; its certificate is uploaded, a key never is
  --rotate-secret         add a new secret; the newest former one stays valid

Result:
  --write-env             write the values to .env, keep its other lines
  --env-path FILE         the file for --write-env, default ./.env

Where:
  --tenant-id ID          sign in to this tenant
  --cloud NAME            commercial (default), gcc, gcchigh, dod, china
  --use-device-code       sign in with a code, on a machine without a browser;
                          many tenants block that by Conditional Access
  --display-name NAME     name of the app, default s60-m365-connector
  --client-id ID          use this existing app, whatever its name

  --remove                delete the app (asks; --yes does not)
  --help                  this text

Examples:
  setup-s60-m365-connector.sh --write-env
  setup-s60-m365-connector.sh --pack email,defender --write-env
  setup-s60-m365-connector.sh --rotate-secret --write-env
USAGE
}

# <permissions> set, resource, name, plans that include it, licence; written by: go generate ./setup
permissions='default 00000003-0000-0000-c000-000000000000 AuditLog.Read.All -
default 00000003-0000-0000-c000-000000000000 Directory.Read.All -
default 00000003-0000-0000-c000-000000000000 IdentityRiskEvent.Read.All eec0eb4f-6444-4f95-aba0-50c24d67f998 Entra ID P2
default 00000003-0000-0000-c000-000000000000 IdentityRiskyUser.Read.All eec0eb4f-6444-4f95-aba0-50c24d67f998 Entra ID P2
default c5393580-f805-4401-95e8-94b7a6ef2fc2 ActivityFeed.Read -
archive 00000003-0000-0000-c000-000000000000 AuditLogsQuery.Read.All -
dlp-detail c5393580-f805-4401-95e8-94b7a6ef2fc2 ActivityFeed.ReadDlp -
identity-protection 00000003-0000-0000-c000-000000000000 IdentityRiskEvent.Read.All -
identity-protection 00000003-0000-0000-c000-000000000000 IdentityRiskyUser.Read.All -
intune 00000003-0000-0000-c000-000000000000 DeviceManagementApps.Read.All -
provisioning 00000003-0000-0000-c000-000000000000 ProvisioningLog.Read.All -
security-alerts 00000003-0000-0000-c000-000000000000 SecurityAlert.Read.All -
security-alerts 00000003-0000-0000-c000-000000000000 SecurityIncident.Read.All -
security-alerts 00000003-0000-0000-c000-000000000000 ThreatHunting.Read.All -
workload-identities 00000003-0000-0000-c000-000000000000 IdentityRiskyServicePrincipal.Read.All -
defender fc780465-2017-40d4-a0c5-307022471b92 Machine.Read.All -
defender 00000003-0000-0000-c000-000000000000 ThreatHunting.Read.All -
defender 00000003-0000-0000-c000-000000000000 SecurityAlert.Read.All -
defender 00000003-0000-0000-c000-000000000000 SecurityIncident.Read.All -
email 00000003-0000-0000-c000-000000000000 ExchangeMessageTrace.Read.All -
identity 00000003-0000-0000-c000-000000000000 IdentityRiskyAgent.Read.All -
identity 00000003-0000-0000-c000-000000000000 CustomSecAttributeAuditLogs.Read.All -
identity 00000003-0000-0000-c000-000000000000 ProvisioningLog.Read.All -
identity 00000003-0000-0000-c000-000000000000 AuditLog.Read.All -
identity 00000003-0000-0000-c000-000000000000 Directory.Read.All -
identity 00000003-0000-0000-c000-000000000000 IdentityRiskyServicePrincipal.Read.All -
identity 00000003-0000-0000-c000-000000000000 IdentityRiskyUser.Read.All -
identity 00000003-0000-0000-c000-000000000000 IdentityRiskEvent.Read.All -
posture 00000003-0000-0000-c000-000000000000 Policy.Read.All -
posture 00000003-0000-0000-c000-000000000000 Application.Read.All -
posture 00000003-0000-0000-c000-000000000000 AuditLog.Read.All -
posture 00000003-0000-0000-c000-000000000000 Domain.Read.All -
posture 00000003-0000-0000-c000-000000000000 Directory.Read.All -
posture 00000003-0000-0000-c000-000000000000 RoleManagement.Read.Directory -
posture 00000003-0000-0000-c000-000000000000 RoleEligibilitySchedule.Read.Directory -
posture 00000003-0000-0000-c000-000000000000 SecurityEvents.Read.All -'
pack_names='defender email identity posture'
# </permissions>

graph_app=00000003-0000-0000-c000-000000000000
management_app=c5393580-f805-4401-95e8-94b7a6ef2fc2
message_trace_app=8bd644d1-64a1-4d4b-ae52-2e0cbf64e373
secret_name=s60-m365-connector

say() { printf '%s\n' "$*" >&2; }
step() { printf '  %-9s %s\n' "$1" "$2" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
bad_usage() { printf 'error: %s\nTry --help.\n' "$*" >&2; exit 2; }

sets=" default " packs='' names=''
secret_months=12 certificate_path='' rotate=no write_env=no env_path=.env
tenant='' cloud=commercial device_code=no display_name=s60-m365-connector client_id='' remove=no yes=no

while [ $# -gt 0 ]; do
	case $1 in
	--pack | --permission | --secret-months | --certificate-path | --env-path | --tenant-id | --cloud | --display-name | --client-id)
		[ $# -ge 2 ] && [ -n "$2" ] || bad_usage "$1 needs a value"
		;;
	esac
	case $1 in
	--identity-protection | --dlp-detail | --workload-identities | --provisioning | --security-alerts | --archive | --intune)
		sets="$sets${1#--} " ;;
	--pack) packs="$packs ${2//,/ }"; shift ;;
	--permission) names="$names ${2//,/ }"; shift ;;
	--secret-months) secret_months=$2; shift ;;
	--certificate-path) certificate_path=$2; shift ;;
	--rotate-secret) rotate=yes ;;
	--write-env) write_env=yes ;;
	--env-path) env_path=$2; shift ;;
	--tenant-id) tenant=$2; shift ;;
	--cloud) cloud=$2; shift ;;
	--use-device-code) device_code=yes ;;
	--display-name) display_name=$2; shift ;;
	--client-id) client_id=$2; shift ;;
	--remove) remove=yes ;;
	--yes) yes=yes ;;
	-h | --help) usage; exit 0 ;;
	*) bad_usage "unknown option $1" ;;
	esac
	shift
done

case $secret_months in '' | *[!0-9]*) bad_usage "--secret-months is a number from 1 to 24, not $secret_months" ;; esac
[ "$secret_months" -ge 1 ] && [ "$secret_months" -le 24 ] || bad_usage "--secret-months is a number from 1 to 24, not $secret_months"
case $names in *[!A-Za-z0-9.\ -]*) bad_usage "--permission takes names such as AuditLog.Read.All, not$names" ;; esac
for name in $packs; do
	case " $pack_names " in *" $name "*) sets="$sets$name " ;; *) bad_usage "there is no pack $name; there are: $pack_names" ;; esac
done
case $display_name in *[!A-Za-z0-9\ ._-]*) bad_usage "--display-name may hold letters, digits, space, dot, - and _" ;; esac
case $tenant$client_id in *[!A-Za-z0-9.-]*) bad_usage "--tenant-id and --client-id are ids as the portal shows them" ;; esac
[ "$rotate" = no ] || [ -z "$certificate_path" ] || bad_usage "--rotate-secret and --certificate-path exclude each other"
if [ "$remove" = yes ] && { [ "$rotate" = yes ] || [ -n "$certificate_path" ] || [ "$write_env" = yes ]; }; then
	bad_usage "--remove goes with no other action"
fi

case $cloud in
commercial | gcc) az_cloud=AzureCloud graph=https://graph.microsoft.com login=https://login.microsoftonline.com ;;
gcchigh) az_cloud=AzureUSGovernment graph=https://graph.microsoft.us login=https://login.microsoftonline.us ;;
dod) az_cloud=AzureUSGovernment graph=https://dod-graph.microsoft.us login=https://login.microsoftonline.us ;;
china) az_cloud=AzureChinaCloud graph=https://microsoftgraph.chinacloudapi.cn login=https://login.partner.microsoftonline.cn ;;
*) bad_usage "--cloud is commercial, gcc, gcchigh, dod or china, not $cloud" ;;
esac

certificate=''
if [ -n "$certificate_path" ]; then
	[ -r "$certificate_path" ] || die "cannot read $certificate_path"
	# The first certificate of the file; a private key beside it is never read further.
	certificate=$(sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p' "$certificate_path" |
		awk '/BEGIN/ {n++} n == 1 && !/-----/ {printf "%s", $0}' | tr -d '\r')
	[ -n "$certificate" ] || die "$certificate_path holds no PEM certificate (-----BEGIN CERTIFICATE-----). Convert it: openssl x509 -inform der -in FILE -out FILE.pem"
fi

command -v az >/dev/null || die "the Azure CLI (az) is not installed: https://learn.microsoft.com/cli/azure/install-azure-cli"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# graph METHOD PATH QUERY [BODY] calls Microsoft Graph and prints what the
# JMESPath QUERY finds as tab-separated lines; az writes None for null.
graph() {
	local method=$1 path=$2 query=$3
	set -- --method "$method" --url "$graph/v1.0$path" --resource "$graph" --output "${output:-tsv}" --only-show-errors \
		${query:+--query "$query"} ${4:+--headers 'Content-Type=application/json' --body "$4"}
	az rest "$@" </dev/null 2>"$scratch/error" | sed 's/^None$//'
}

# refused says whether the last call failed for missing rights.
refused() { grep -Eq 'Forbidden|Authorization_RequestDenied' "$scratch/error"; }

graph_failed() { # graph_failed WHAT: ends with the service's own words
	if refused; then
		die "$1: your account may not do this. It takes an Application Administrator; to grant consent a Privileged Role Administrator or Global Administrator. The service said: $(tail -c 600 "$scratch/error")"
	fi
	die "$1: $(tail -c 800 "$scratch/error")"
}

# patiently repeats a call while what was just made is not yet everywhere in
# the directory: that takes seconds, at worst a minute.
patiently() {
	local try=1
	until "$@"; do
		grep -Eq 'Not Found|Request_ResourceNotFound|does not exist|NoBackingApplicationObject|not present in the directory' "$scratch/error" || return 1
		[ $try -lt 10 ] || return 1
		[ $try -gt 1 ] || say "  ...waiting for the directory to replicate"
		sleep "${SETUP_RETRY_SECONDS:-6}"
		try=$((try + 1))
	done
}

# --- sign in ---

[ "$(az cloud show --query name --output tsv --only-show-errors)" = "$az_cloud" ] ||
	az cloud set --name "$az_cloud" --only-show-errors >/dev/null || die "az cloud set --name $az_cloud failed"
signed_in=$(az account show --query tenantId --output tsv --only-show-errors 2>/dev/null || true)
if [ -z "$signed_in" ] || { [ -n "$tenant" ] && [ "$signed_in" != "$tenant" ]; }; then
	set -- --allow-no-subscriptions --output none --only-show-errors
	[ -z "$tenant" ] || set -- "$@" --tenant "$tenant"
	if [ "$device_code" = yes ]; then
		set -- "$@" --use-device-code
		warn 'many tenants block the device code flow by Conditional Access. If the sign-in is refused, run this without --use-device-code on a machine with a browser. Enter a code only if you asked for it yourself.'
	fi
	say 'Signing in to Microsoft...'
	az login "$@" || die 'the sign-in failed'
	signed_in=$(az account show --query tenantId --output tsv --only-show-errors) || die 'az is signed in but names no tenant'
fi
# A tenant may be given by its domain; what counts from here is its id.
tenant=$signed_in
say "Tenant $tenant ($cloud)"

# --- the app ---

if [ -n "$client_id" ]; then
	filter="appId%20eq%20'$client_id'"
else
	filter="displayName%20eq%20'$(printf %s "$display_name" | sed 's/ /%20/g')'"
fi
found=$(graph get "/applications?\$filter=$filter&\$select=id,appId" 'value[].[id,appId]') || graph_failed 'looking for the app'
count=$(printf '%s' "$found" | grep -c . || true)
[ "$count" -le 1 ] || die "$count apps are named $display_name; say which with --client-id: $(printf '%s\n' "$found" | cut -f2 | tr '\n' ' ')"
app=$(printf '%s' "$found" | cut -f1)
[ -z "$found" ] || client_id=$(printf '%s' "$found" | cut -f2)
[ -n "$app" ] || [ -z "$client_id" ] || die "no app in this tenant has the client id $client_id"

if [ "$remove" = yes ]; then
	if [ -z "$app" ]; then say "There is no app $display_name: nothing to remove."; exit 0; fi
	if [ "$yes" = no ]; then
		[ -t 0 ] || die 'not asked for: add --yes'
		printf 'Delete the app %s? The connector stops at once. [y/N] ' "$client_id" >&2
		read -r answer
		case $answer in y | Y | yes) ;; *) die 'nothing was removed' ;; esac
	fi
	graph delete "/applications/$app" '' || graph_failed 'deleting the app'
	step removed "the app $client_id (Entra ID keeps it for 30 days under Deleted applications)"
	exit 0
fi

if [ -z "$app" ]; then
	[ "$rotate" = no ] || die "there is no app $display_name to rotate the secret of; run without --rotate-secret first"
	found=$(graph post /applications '[[id,appId]]' "{\"displayName\": \"$display_name\", \"signInAudience\": \"AzureADMyOrg\"}") ||
		graph_failed 'creating the app'
	app=$(printf '%s' "$found" | cut -f1)
	client_id=$(printf '%s' "$found" | cut -f2)
	step created "app $display_name, client id $client_id"
else
	step found "app $display_name, client id $client_id"
fi

# --- permissions and consent; a rotation leaves them alone ---

consent_refused=no

# service_principal APPID [new] prints its object id; it is made where the tenant
# lacks it, as some do that of the Office 365 Management APIs. Its own app was
# made just now (new); a service is there or is not: then it prints nothing.
service_principal() {
	local id
	id=$(graph get "/servicePrincipals?\$filter=appId%20eq%20'$1'&\$select=id" 'value[0].id') || return 1
	if [ -z "$id" ] && [ "${2:-}" = new ]; then
		id=$(patiently graph post /servicePrincipals id "{\"appId\": \"$1\"}") || return 1
	elif [ -z "$id" ]; then
		id=$(graph post /servicePrincipals id "{\"appId\": \"$1\"}") ||
			grep -Eq 'NoBackingApplicationObject|does not reference a valid application|Request_ResourceNotFound' "$scratch/error" || return 1
	fi
	printf '%s' "$id"
}

# find_permissions writes what is asked for to $scratch/wanted, a line each: name
# and the service it is of, - where it may be of any. What nobody asked for is
# left out where its licence is missing.
find_permissions() {
	local plans='' known=yes set resource name of licence plan has
	# Of subscriptions that are not over, the plans that are not switched off.
	plans=$(graph get '/subscribedSkus?$select=capabilityStatus,servicePlans' \
		"value[?capabilityStatus=='Enabled' || capabilityStatus=='Warning'].servicePlans[] | [?provisioningStatus!='Disabled'].[servicePlanId]") || {
		known=no
		warn "the tenant's licences could not be read, so the permissions of all feeds that are on by default are asked for. The service said: $(tail -c 600 "$scratch/error")"
	}
	: >"$scratch/wanted"
	: >"$scratch/left"
	while read -r set resource name of licence; do
		case $sets in *" $set "*) ;; *) continue ;; esac
		if [ "$set" = default ] && [ "$of" != - ] && [ "$known" = yes ]; then
			has=no
			for plan in ${of//,/ }; do
				case $plans in *"$plan"*) has=yes ;; esac
			done
			if [ "$has" = no ]; then
				printf '%s %s\n' "$name" "$licence" >>"$scratch/left"
				continue
			fi
		fi
		grep -q "^$name " "$scratch/wanted" || printf '%s %s\n' "$name" "$resource" >>"$scratch/wanted"
	done <<<"$permissions"
	for name in $names; do
		grep -q "^$name " "$scratch/wanted" && continue
		resource=$(printf '%s\n' "$permissions" | awk -v name="$name" '$3 == name {print $2; exit}')
		printf '%s %s\n' "$name" "${resource:--}" >>"$scratch/wanted"
	done
	while read -r name licence; do
		grep -q "^$name " "$scratch/wanted" ||
			step 'left out' "$name: the tenant has no $licence. Its feeds show as not consented; --permission $name grants it all the same"
	done <"$scratch/left"
}

# services prints the services that what is asked for may be of: those of the
# default, those named, and all that feeds use where a name may be of any.
services() {
	printf '%s\n' "$management_app" "$graph_app"
	awk '$2 != "-" {print $2}' "$scratch/wanted"
	! grep -q ' -$' "$scratch/wanted" || printf '%s\n' "$permissions" | awk '{print $2}'
}

# find_roles writes to $scratch/roles, a line each, name, id, app and object id of
# the service, for what is asked for: ids are looked up among the roles that the
# services of this cloud offer.
find_roles() {
	local resource service offered name of id
	: >"$scratch/roles"
	for resource in $(services | awk '!seen[$0]++'); do
		service=$(service_principal "$resource") || graph_failed "looking up the service $resource"
		[ -n "$service" ] || continue
		offered=$(graph get "/servicePrincipals/$service?\$select=appRoles" 'appRoles[].[value,id]') || graph_failed "reading the roles of $resource"
		while read -r name of; do
			case $of in
			"$resource") ;;
			-) ! grep -q "^$name " "$scratch/roles" || continue ;; # an earlier service has it
			*) continue ;;
			esac
			id=$(printf '%s\n' "$offered" | awk -F '\t' -v name="$name" '$1 == name {print $2; exit}')
			[ -z "$id" ] || printf '%s %s %s %s\n' "$name" "$id" "$resource" "$service" >>"$scratch/roles"
		done <"$scratch/wanted"
	done
	while read -r name of; do
		grep -q "^$name " "$scratch/roles" || warn "this cloud does not offer $name: the feeds that need it stay off"
	done <"$scratch/wanted"
}

# declare_permissions adds what is missing to the permissions that the app asks
# for, as the portal shows them; what else it asks for stays.
declare_permissions() {
	local at="/applications/$app?\$select=requiredResourceAccess" resources resource service name id role type now access list added=no
	resources=$(awk '!seen[$3]++ {print $3}' "$scratch/roles")
	list=$(output=json graph get "$at" "requiredResourceAccess[?!contains('$(printf %s "$resources" | tr '\n' ' ')', resourceAppId)]") ||
		graph_failed 'reading what the app asks for'
	list=$(printf '%s' "$list" | tr -d '\n' | sed 's/^ *\[//; s/\] *$//; s/^ *$//')
	for resource in $resources; do
		now=$(graph get "$at" "requiredResourceAccess[?resourceAppId=='$resource'].resourceAccess[].[id,type]") ||
			graph_failed 'reading what the app asks for'
		access=''
		while IFS=$'\t' read -r role type; do
			[ -z "$role" ] || access="${access:+$access, }{\"id\": \"$role\", \"type\": \"$type\"}"
		done <<<"$now"
		while read -r name id role service; do
			[ "$role" = "$resource" ] || continue
			case $now in *"$id"*) continue ;; esac
			access="${access:+$access, }{\"id\": \"$id\", \"type\": \"Role\"}"
			added=yes
		done <"$scratch/roles"
		[ -z "$access" ] || list="${list:+$list, }{\"resourceAppId\": \"$resource\", \"resourceAccess\": [$access]}"
	done
	[ "$added" = yes ] || return 0
	graph patch "/applications/$app" '' "{\"requiredResourceAccess\": [$list]}" || graph_failed 'setting what the app asks for'
}

# grant gives the app the roles asked for, which is what the portal calls admin
# consent.
grant() {
	local principal resource service granted name id
	principal=$(service_principal "$client_id" new) || graph_failed "making the app's service principal"
	granted=$(patiently graph get "/servicePrincipals/$principal/appRoleAssignments?\$top=999" 'value[].[appRoleId]') ||
		graph_failed 'reading the granted permissions'
	while read -r name id resource service; do
		case $granted in *"$id"*) step granted "$name (before)"; continue ;; esac
		if patiently graph post "/servicePrincipals/$principal/appRoleAssignments" id \
			"{\"principalId\": \"$principal\", \"resourceId\": \"$service\", \"appRoleId\": \"$id\"}" >/dev/null; then
			step granted "$name"
		elif grep -q 'already exists' "$scratch/error"; then
			step granted "$name (before)"
		elif refused; then
			consent_refused=yes
			step REFUSED "$name"
		else
			graph_failed "granting $name"
		fi
	done <"$scratch/roles"
}

if [ "$rotate" = no ]; then
	find_permissions
	find_roles
	declare_permissions
	grant
	if grep -q '^ExchangeMessageTrace.Read.All ' "$scratch/roles"; then
		# The service behind message trace answers only where the tenant has its service principal.
		trace=$(service_principal "$message_trace_app") || graph_failed 'making the service principal of message trace'
		[ -n "$trace" ] || warn 'this cloud has no message trace: its feed stays off'
	fi
fi

# --- the credential ---

secret=''

in_months() { # GNU date, else BSD date
	date -u -d "+$1 months" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -v "+$1m" +%Y-%m-%dT%H:%M:%SZ
}

upload_certificate() {
	local at="/applications/$app?\$select=keyCredentials" there list
	there=$(graph get "$at" "keyCredentials[?key=='$certificate'].keyId") || graph_failed 'reading the certificates'
	if [ -n "$there" ]; then
		step found 'the certificate, uploaded before'
		return
	fi
	if command -v openssl >/dev/null && ! openssl x509 -in "$certificate_path" -noout -checkend 0 >/dev/null; then
		die "the certificate in $certificate_path has expired"
	fi
	# The list is replaced as a whole: those that are there go with it.
	list=$(output=json graph get "$at" keyCredentials) || graph_failed 'reading the certificates'
	list=$(printf '%s' "$list" | tr -d '\n' | sed 's/^ *\[//; s/\] *$//; s/^ *$//')
	list="${list:+$list, }{\"type\": \"AsymmetricX509Cert\", \"usage\": \"Verify\", \"displayName\": \"$secret_name\", \"key\": \"$certificate\"}"
	graph patch "/applications/$app" '' "{\"keyCredentials\": [$list]}" || graph_failed 'uploading the certificate'
	step uploaded "the certificate in $certificate_path"
}

# make_secret adds a secret where there is no valid one of ours, or to rotate.
# After a rotation the newest former one stays, so that the connector goes on
# until it has the new one; older and expired ones go. Secrets that others made
# are left alone.
make_secret() {
	local now ours valid expires start key kept=''
	now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	ours=$(graph get "/applications/$app?\$select=passwordCredentials" \
		"passwordCredentials[?displayName=='$secret_name'].[startDateTime,endDateTime,keyId]") || graph_failed 'reading the secrets'
	valid=$(printf '%s\n' "$ours" | awk -F '\t' -v now="$now" '$2 > now' | sort -r)
	if [ -n "$valid" ] && [ "$rotate" = no ]; then
		step found "a secret, valid until $(printf '%s\n' "$valid" | head -1 | cut -f2)"
		return
	fi
	expires=$(in_months "$secret_months")
	secret=$(graph post "/applications/$app/addPassword" secretText \
		"{\"passwordCredential\": {\"displayName\": \"$secret_name\", \"endDateTime\": \"$expires\"}}") || {
		grep -Eqi 'policy|CredentialType' "$scratch/error" && die "this tenant's policy does not allow such a secret (try fewer --secret-months, or --certificate-path): $(tail -c 600 "$scratch/error")"
		graph_failed 'making the secret'
	}
	[ -n "$secret" ] || die 'the service made a secret but did not say it; run again with --rotate-secret'
	step created "a secret, valid until $expires"
	while IFS=$'\t' read -r start expires key; do
		[ -n "$key" ] || continue
		if [ -z "$kept" ] && [[ $expires > $now ]]; then
			kept=$key
			step kept "the former secret of ${start%%T*}, until $expires or the next rotation"
			continue
		fi
		graph post "/applications/$app/removePassword" '' "{\"keyId\": \"$key\"}" || graph_failed 'removing an old secret'
		step removed "the secret of ${start%%T*}"
	done <<<"$(printf '%s\n' "$ours" | sort -r)"
}

if [ -n "$certificate" ]; then upload_certificate; else make_secret; fi

# --- the result ---

# set_env NAME VALUE puts the line into $scratch/env, in place of the one there.
set_env() {
	local line done=no
	: >"$scratch/env.new"
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		"$1="*)
			[ "$done" = no ] || continue
			line="$1=$2"
			done=yes
			;;
		esac
		printf '%s\n' "$line" >>"$scratch/env.new"
	done <"$scratch/env"
	[ "$done" = yes ] || printf '%s=%s\n' "$1" "$2" >>"$scratch/env.new"
	mv "$scratch/env.new" "$scratch/env"
}

get_env() { sed -n "s/^$1=//p" "$scratch/env" | head -1; }

values() {
	set_env TENANT_ID "$tenant"
	# A secret that is there does not go with another app, nor with a certificate.
	if [ -n "$(get_env CLIENT_SECRET)" ] && { [ -n "$certificate" ] || [ "$(get_env CLIENT_ID)" != "$client_id" ]; }; then
		set_env CLIENT_SECRET ''
	fi
	set_env CLIENT_ID "$client_id"
	[ -z "$secret" ] || set_env CLIENT_SECRET "$secret"
	if [ -n "$certificate" ]; then
		set_env CLIENT_CERTIFICATE_FILE "$certificate_path"
	elif [ -n "$(get_env CLIENT_CERTIFICATE_FILE)" ] && [ -n "$secret" ]; then
		set_env CLIENT_CERTIFICATE_FILE ''
	fi
	for name in $packs; do
		case ",$(get_env FEEDS)," in *",$name,"*) continue ;; esac
		feeds=$(get_env FEEDS)
		set_env FEEDS "${feeds:+$feeds,}$name"
	done
	if [ "$cloud" != commercial ] || [ -n "$(get_env MS_CLOUD)" ]; then set_env MS_CLOUD "$cloud"; fi
}

umask 077
: >"$scratch/env"
if [ "$write_env" = yes ]; then
	if [ -e "$env_path" ]; then
		cat "$env_path" >"$scratch/env"
	elif [ -e "$(dirname "$env_path")/.env.example" ]; then
		cat "$(dirname "$env_path")/.env.example" >"$scratch/env"
	fi
	values
	# Written beside its place and moved there: never half a file, never readable by others.
	new=$(mktemp "$(dirname "$env_path")/.env.XXXXXX") || die "cannot write beside $env_path"
	cat "$scratch/env" >"$new"
	chmod 600 "$new"
	mv "$new" "$env_path"
	step wrote "$env_path"
else
	values
	say
	cat "$scratch/env"
fi

if [ -z "$certificate" ] && [ -z "$(get_env CLIENT_SECRET)" ]; then
	say
	say 'A secret that exists cannot be read again. If you do not have it: --rotate-secret makes a new one.'
elif [ -n "$certificate" ] && ! grep -q 'PRIVATE KEY' "$certificate_path"; then
	say
	say "CLIENT_CERTIFICATE_FILE must name a PEM file with the private key and the certificate; $certificate_path has no key."
fi
if [ "$consent_refused" = yes ]; then
	say
	say 'Consent is missing. A Privileged Role Administrator or Global Administrator runs this script again, or opens'
	say "  $login/$tenant/adminconsent?client_id=$client_id"
	exit 1
fi
say
say 'Done. Put the Secure60 destination into .env, let the connector look for itself, and start it:'
say '  docker compose run --rm s60-m365-connector check'
say '  docker compose up -d'
