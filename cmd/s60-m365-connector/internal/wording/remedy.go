package wording

import "strings"

// AuditOff is the cause that SwitchAuditOn mends.
const AuditOff = "the tenant's audit log is switched off"

// What mends errors that feeds meet, and that nobody mends in the tenant.
const (
	SwitchAuditOn = "switch the audit log on, in Exchange Online PowerShell: Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true; it takes up to a day"
	LetResolve    = "let this host (in a container: its network) ask a DNS server that knows the name, and compare the name with the settings"
	LetTrust      = "write the certificate of the authority that signed it into SSL_CERT_FILE, if a proxy of yours looks into TLS; else find out who answers in the service's place"
	SetClock      = "set the clock of this host, if it is wrong; else find out who answers in the service's place"
	LetReach      = "let this host reach it over HTTPS: DNS, firewall, HTTPS_PROXY behind a proxy, SSL_CERT_FILE for a private certificate authority"
)

// Remedied reports whether the text of an error ends with what mends the error, where that is not in the
// hands of the tenant's administrators.
func Remedied(text string) bool {
	if strings.HasPrefix(text, "the proxy ") {
		return true
	}
	for _, remedy := range []string{LetResolve, LetReach, LetTrust, SetClock, SwitchAuditOn} {
		if strings.Contains(text, Sentence(remedy)) {
			return true
		}
	}
	return false
}
