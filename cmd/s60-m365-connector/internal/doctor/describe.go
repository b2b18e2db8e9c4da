package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// This file says what an error of a service means, and what mends it.

// InWords gives the cause and the remedy of an error that a feed met, where
// they are known; the error's own text otherwise.
func InWords(err error) string {
	if cause, remedy := unreached(err); remedy != "" {
		return cause + ". " + wording.Sentence(remedy)
	}
	if auth, ok := errors.AsType[*extract.AuthError](err); ok {
		return explain(auth)
	}
	if refused, ok := errors.AsType[*extract.StatusError](err); ok && auditLogOff(refused.Code, refused.Message) {
		// Without the words of the service, and its code: they hold the ids of the request.
		return fmt.Sprintf("%s. %s (HTTP %d)", wording.AuditOff, wording.Sentence(wording.SwitchAuditOn), refused.Status)
	}
	return err.Error()
}

// unreached says why a request did not reach the service, and what mends that; the empty remedy
// for an error of another kind.
func unreached(err error) (cause, remedy string) {
	if refused, ok := errors.AsType[*transport.ProxyError](err); ok {
		return refused.Text, refused.Remedy
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("%s cannot be resolved: %s", name.Name, name.Err), wording.LetResolve
	}
	if transport.OutOfDate(err) {
		return err.Error(), wording.SetClock
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return err.Error(), wording.LetTrust
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "dial" {
		return err.Error(), wording.LetReach
	}
	return "", ""
}

// consentCodes are error codes of Graph and the Management Activity API that
// stand for missing consent.
var consentCodes = []string{"AF10001", "Authentication_MSGraphPermissionMissing", "Authorization_RequestDenied", "Authentication_ApplicationHasNoDirectoryReadAccess"}

// describe says what an error means and what mends it. t is the feed that met it, nil for none.
func (d *Doctor) describe(err error, t *target) (Finding, int) {
	fail := func(cause, remedy string) (Finding, int) {
		return Finding{Status: Failed, Cause: cause, Remedy: remedy}, program.Failed
	}
	if cause, remedy := unreached(err); remedy != "" {
		return fail(cause, remedy)
	}
	if auth, ok := errors.AsType[*extract.AuthError](err); ok {
		return describeRefusal(auth)
	}
	if gated, ok := errors.AsType[*extract.Gated](err); ok {
		cause, remedy := "this service does not offer it to the tenant: "+gated.Reason, "nothing, if the cloud lacks it: the feed rests, is tried again by itself, and holds up no other"
		if gated.Requires != "" {
			cause = fmt.Sprintf("the tenant lacks the licence, %s: %s", gated.Requires, gated.Reason)
			remedy = "nothing, if that is intended: the feed rests, and opens by itself once the licence is there"
		}
		return Finding{Status: Warned, Cause: cause, Remedy: remedy}, program.Done
	}
	if auditLogOff("", err.Error()) {
		return fail(wording.AuditOff+": "+err.Error(), wording.SwitchAuditOn)
	}
	throttled := func(said string) (Finding, int) {
		return Finding{Status: Warned, Cause: "the service throttles: " + said, Remedy: "nothing: the connector waits as it is told; see whether other programs use the same app"}, program.Done
	}
	refused, ok := errors.AsType[*extract.StatusError](err)
	if !ok {
		switch {
		case errors.Is(err, extract.ErrThrottled):
			return throttled("it has requests wait for longer than this check does")
		case errors.Is(err, context.DeadlineExceeded):
			return fail("no answer in time", wording.LetReach)
		case errors.Is(err, context.Canceled):
			return fail("stopped", "run the check again")
		}
		return fail(err.Error(), wording.LetReach)
	}
	said := strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", refused.Status, refused.Code, refused.Message))
	switch {
	case refused.Code == "AF20022":
		return Finding{Status: Warned, Cause: "not started, or no longer: " + said, Remedy: "start the connector: it starts the subscription, too; first content can take hours"}, program.Done
	case refused.Code == "AF20023":
		return Finding{Status: Warned, Cause: "an administrator disabled it: " + said, Remedy: "nothing, if the connector runs: it starts it again, within 15 minutes; what happened meanwhile is not listed any more. Find out who disabled it"}, program.Done
	case auditLogOff(refused.Code, refused.Message):
		return fail(wording.AuditOff+": "+said, wording.SwitchAuditOn)
	case refused.Code == "AF20010" || refused.Code == "AF20013":
		return fail("the service takes TENANT_ID for another tenant than that of the token: "+said, "write the Directory (tenant) ID into TENANT_ID")
	case refused.Code == "AF20030" || refused.Code == "AF20055":
		return fail("the service does not take the times asked for: "+said, "set the clock of this host (NTP)")
	case t != nil && (slices.Contains(consentCodes, refused.Code) || refused.Status == 403 && strings.Contains(refused.Message, "required scopes are missing")):
		return fail("consent is missing: "+said, d.grant(t.scope, t.feed.Permissions...)+"; a new consent counts from the next token on")
	case refused.Status == 401:
		return fail("the service does not take the token: "+said, "compare MS_CLOUD with the cloud the tenant is in, and see whether a Conditional Access policy blocks the app")
	case refused.Status == 429 || refused.Status == 503 || refused.Code == "AF429":
		return throttled(said)
	case refused.Status >= 500:
		return fail("the service fails: "+said, "try again later; the connector does so by itself, and loses nothing")
	case refused.Status == 403:
		remedy := "see whether the app is blocked"
		if t != nil {
			remedy = d.grant(t.scope, t.feed.Permissions...)
		}
		return fail("the service refuses access: "+said, remedy)
	}
	remedy := "see that the feed's request is right"
	if t != nil && t.feed.Docs != "" {
		remedy += ": " + t.feed.Docs
	}
	return fail("the service refuses the request: "+said, remedy)
}

func describeRefusal(auth *extract.AuthError) (Finding, int) {
	f := Finding{Status: Failed, Cause: auth.Error()}
	known, ok := refusalOf(auth)
	switch {
	case ok:
		f.Cause, f.Remedy = fmt.Sprintf("AADSTS%d: %s", auth.Code, known.cause), known.remedy
		if auth.Temporary {
			return f, program.Failed
		}
		return f, program.Credentials
	case auth.Temporary && auth.Status == 0:
		f.Remedy = wording.LetReach
		return f, program.Failed
	case auth.Temporary:
		f.Remedy = "try again later; the connector does so by itself"
		return f, program.Failed
	case auth.Err != nil && auth.Status == 0: // of a file, or of the endpoint's URL
		f.Remedy = "correct what it names"
		return f, program.Credentials
	}
	f.Remedy = "look the code up at https://login.microsoftonline.com/error"
	return f, program.Credentials
}

// auditLogOff recognises a tenant whose audit log is switched off. The service
// has no code for it: starting a subscription fails with free text.
func auditLogOff(code, message string) bool {
	return code == "AF20011" || strings.Contains(message, "Tenant ") && strings.Contains(message, " does not exist")
}
