package simulator

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"
)

// The feeds of the simulated tenant: the five content types of the Management
// Activity API, and the logs of Graph. Volumes, faults and reports name them so.
const (
	AuditEntra      = "Audit.AzureActiveDirectory"
	AuditExchange   = "Audit.Exchange"
	AuditSharePoint = "Audit.SharePoint"
	AuditGeneral    = "Audit.General"
	DLPAll          = "DLP.All"

	SignInsInteractive      = "signIns/interactiveUser"
	SignInsNonInteractive   = "signIns/nonInteractiveUser"
	SignInsServicePrincipal = "signIns/servicePrincipal"
	SignInsManagedIdentity  = "signIns/managedIdentity"
	DirectoryAudits         = "directoryAudits"
	Provisioning            = "provisioning"
	DeviceAudits            = "auditEvents"

	RiskDetections                 = "riskDetections"
	RiskyUsers                     = "riskyUsers"
	RiskyServicePrincipals         = "riskyServicePrincipals"
	ServicePrincipalRiskDetections = "servicePrincipalRiskDetections"
	Alerts                         = "alerts_v2"
	Incidents                      = "incidents"
)

// feeds are those of a tenant. A feed's place here is its number, which is part of record ids.
var feeds = []struct {
	name  string
	share int           // of a tenant's records, in thousandths
	clock string        // the property that is a row's time, or tells when it changed last; "": a content type
	unit  time.Duration // times are cut to it
	table bool          // its rows change
}{
	{AuditEntra, 150, "", time.Nanosecond, false},
	{AuditExchange, 180, "", time.Nanosecond, false},
	{AuditSharePoint, 220, "", time.Nanosecond, false},
	{AuditGeneral, 110, "", time.Nanosecond, false},
	{DLPAll, 15, "", time.Nanosecond, false},
	{SignInsInteractive, 100, "createdDateTime", time.Second, false},
	{SignInsNonInteractive, 130, "createdDateTime", time.Second, false},
	{SignInsServicePrincipal, 25, "createdDateTime", time.Second, false},
	{SignInsManagedIdentity, 10, "createdDateTime", time.Second, false},
	{DirectoryAudits, 30, "activityDateTime", 100 * time.Nanosecond, false},
	{Provisioning, 6, "activityDateTime", time.Second, false},
	{DeviceAudits, 4, "activityDateTime", 100 * time.Nanosecond, false},
	{RiskDetections, 6, "lastUpdatedDateTime", 100 * time.Nanosecond, true},
	{RiskyUsers, 4, "riskLastUpdatedDateTime", 100 * time.Nanosecond, true},
	{RiskyServicePrincipals, 1, "riskLastUpdatedDateTime", 100 * time.Nanosecond, true},
	{ServicePrincipalRiskDetections, 1, "lastUpdatedDateTime", 100 * time.Nanosecond, true},
	{Alerts, 5, "lastUpdateDateTime", 100 * time.Nanosecond, true},
	{Incidents, 3, "lastUpdateDateTime", 100 * time.Nanosecond, true},
}

var feedNames = func() (names []string) {
	for _, f := range feeds {
		names = append(names, f.name)
	}
	return names
}()

// ContentTypes are the five content types of the Management Activity API.
var ContentTypes = feedNames[:5:5]

// Volume is how much a feed holds.
type Volume struct {
	History int     `json:"history"`  // records spread over the history
	PerHour float64 `json:"per_hour"` // records an hour from then on
}

// Licences a tenant can have.
const (
	Free = "Free"
	P1   = "P1"
	P2   = "P2"
)

// Options describe a simulated tenant. The zero value is a small licensed
// tenant with a day of history.
type Options struct {
	Seed uint64 // of everything made up; the same seed makes the same tenant

	TenantID     string // default: a GUID out of the seed
	ClientID     string
	ClientSecret string
	// Certificate, when set, verifies client assertions (PS256 or RS256).
	Certificate *x509.Certificate
	// FederatedToken, when set, is the one assertion accepted as coming from a
	// trusted identity provider.
	FederatedToken string
	// SecretExpires is the end of the secret's life as /applications tells it;
	// default 180 days from now.
	SecretExpires time.Time

	Now func() time.Time // default time.Now

	// Listen is where the services listen: "address:port", the first service at
	// the port and each further one, in the order of their names, at the next.
	// Port 0 is any, for each. Default 127.0.0.1:0.
	Listen string
	// Host is what answers call the host of the services, where its address is not
	// what clients reach; default: the address.
	Host string
	// TLS, when set, makes them serve https.
	TLS *tls.Config

	// History is how far back records reach. The default of 23 h is within the
	// reach of a client that looks back a day, however long it takes to start.
	History time.Duration
	// Quiet is how long before now the history ends; default 0. With it, a client
	// that keeps a distance to now can read all of the history at once.
	Quiet     time.Duration
	Records   int               // records of the history, over all feeds; default 5000, negative: none
	PerMinute float64           // live records a minute, over all feeds; default 0: none
	Volumes   map[string]Volume // feeds that differ from their share

	// Tenants is how many tenants the services serve, each with its own ids, credentials, project,
	// limits and records, in the volume that these options say; default 1. The options that
	// name a tenant, its credentials and its project are those of the first.
	Tenants int

	Licence string   // Free, P1, P2; default P2
	Roles   []string // granted application permissions; nil: DefaultRoles
	// Subscribed content types are enabled from the start, with their whole
	// history.
	Subscribed []string

	TokenLifetime   time.Duration // default 1 h
	ExpiresAsString bool          // expires_in as text, as older endpoints answer

	PageSize  int // Graph rows a page at most, below what $top asks; 0: as asked
	ListPage  int // blobs a page of the content listing; default 100
	BlobMin   int // records in a blob; default 1
	BlobMax   int // default 40
	BlobEvery time.Duration
	// MaxWalk is how many rows one walk of pages gets before the service gives up
	// on it with 504, as deep walks end; 0: any number.
	MaxWalk    int
	PartialFor time.Duration // how long a new blob holds only its first half; default 0

	SearchTakes time.Duration // how long an audit search runs; default 1 s
	SearchLimit int           // records of one audit search; default 1,000,000

	Late      float64       // share of blobs and rows that become visible late
	LateBy    time.Duration // at most this late; default 90 m
	Repeated  float64       // share of records repeated within or across blobs, also days apart, with other key order
	Revised   float64       // share of sign-ins published again with other content
	RevisedBy time.Duration // at most this long after the first time; default 2 h
	Odd       float64       // share of records with stringly numbers, null or ip:port addresses, unknown record types

	Calm bool // nothing alarming among the made-up records

	Throttle bool // enforce the documented rate limits
	NoGzip   bool // never compress

	ProjectID string // Secure60 project; default 301
	Token     string // Secure60 ingest token; default out of the seed
	MaxBody   int64  // answers 413 above it; default 10 MiB

	// OnEvent sees every event the destination accepted, as it came, possibly
	// from several goroutines at once. The bytes are only valid during the call.
	OnEvent func(event []byte)
	// KeepEvents is how many of the last accepted events Events returns.
	KeepEvents int

	Logger *slog.Logger // default: discards
}

// DefaultRoles are the application permissions that the shipped feeds need.
var DefaultRoles = []string{
	"ActivityFeed.Read", "ActivityFeed.ReadDlp",
	"AuditLog.Read.All", "Directory.Read.All",
	"IdentityRiskEvent.Read.All", "IdentityRiskyUser.Read.All", "IdentityRiskyServicePrincipal.Read.All",
	"SecurityAlert.Read.All", "SecurityIncident.Read.All", "DeviceManagementApps.Read.All",
	"ProvisioningLog.Read.All", "AuditLogsQuery.Read.All",
	"Application.Read.All", "Domain.Read.All", "Policy.Read.All", "RoleManagement.Read.Directory", "RoleEligibilitySchedule.Read.Directory", "SecurityEvents.Read.All",
	"IdentityRiskyAgent.Read.All", "CustomSecAttributeAuditLogs.Read.All",
	"ExchangeMessageTrace.Read.All", "ThreatHunting.Read.All", "Machine.Read.All",
}

func (o Options) withDefaults() Options {
	text := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	span := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	number := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	text(&o.TenantID, guidText(o.Seed^0x7e4a47))
	text(&o.ClientID, guidText(o.Seed^0xc11e47))
	text(&o.ClientSecret, "Sim8Q~"+string(appendHex(nil, mix(o.Seed^0x5ec4e7), 16)))
	text(&o.Licence, P2)
	text(&o.Listen, "127.0.0.1:0")
	text(&o.ProjectID, "301")
	text(&o.Token, "sim-ingest-"+string(appendHex(nil, mix(o.Seed^0x10ce47), 16)))
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SecretExpires.IsZero() {
		o.SecretExpires = o.Now().Add(180 * 24 * time.Hour).UTC().Truncate(time.Second)
	}
	span(&o.History, 23*time.Hour)
	span(&o.TokenLifetime, time.Hour)
	span(&o.LateBy, 90*time.Minute)
	span(&o.RevisedBy, 2*time.Hour)
	span(&o.SearchTakes, time.Second)
	span(&o.BlobEvery, 20*time.Second)
	number(&o.Records, 5000)
	number(&o.ListPage, 100)
	number(&o.SearchLimit, 1_000_000)
	number(&o.BlobMin, 1)
	number(&o.BlobMax, max(40, o.BlobMin))
	if o.MaxBody == 0 {
		o.MaxBody = 10 << 20
	}
	if o.Roles == nil {
		o.Roles = DefaultRoles
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// volumes spreads the total over the feeds, exactly: what rounding leaves goes
// to the largest feeds.
func (o Options) volumes() []Volume {
	const total = 1000
	vs := make([]Volume, len(feeds))
	records := max(o.Records, 0)
	left := records
	for i, f := range feeds {
		vs[i] = Volume{History: records * f.share / total, PerHour: o.PerMinute * 60 * float64(f.share) / total}
		left -= vs[i].History
	}
	for i := 0; left > 0; i, left = (i+1)%5, left-1 {
		vs[i].History++
	}
	for i, n := range feedNames {
		if v, ok := o.Volumes[n]; ok {
			vs[i] = v
		}
	}
	return vs
}
