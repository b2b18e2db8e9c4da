package settings

// This file lists the settings. docs/configuration.md is made from it, and a
// test holds it to what settings.go reads, and to the defaults there.

// Setting is one environment variable.
type Setting struct {
	Name string
	// otherwise is the default; required and unset are texts of their own.
	Otherwise string
	Meaning   string
}

const (
	Required = "required"
	Unset    = "" // nothing, and nothing is missing then
)

// Group is a section of the page.
type Group struct {
	Title, About string
	process      bool // of the process: not in the file of a tenant
	Settings     []Setting
}

// Names are the names of all settings: those that a tenant of several may
// have of its own, and those of the process.
func Names() (tenant, process []string) {
	for _, g := range Groups {
		for _, s := range g.Settings {
			if g.process {
				process = append(process, s.Name)
			} else {
				tenant = append(tenant, s.Name)
			}
		}
	}
	return tenant, process
}

var Groups = []Group{
	{"The app registration", "Of the five credentials, set exactly one. A file is read again when it changes, so that a renewed credential takes effect without a restart.", false, []Setting{
		{"TENANT_ID", Required, "Directory (tenant) ID."},
		{"CLIENT_ID", Required, "Application (client) ID."},
		{"CLIENT_SECRET", Unset, "Value of a client secret (not its ID)."},
		{"CLIENT_SECRET_FILE", Unset, "File that holds the client secret."},
		{"CLIENT_CERTIFICATE_FILE", Unset, "PEM file with the private key and the certificate that is uploaded to the app."},
		{"FEDERATED_TOKEN_FILE", Unset, "File that holds a token of a federated identity (workload identity), renewed by its issuer."},
		{"MANAGED_IDENTITY", Unset, "Identity that the platform gives to the virtual machine or container the connector runs on: `true` for its own, or the client ID of one that was assigned to it, which `CLIENT_ID` then is, too. Its permissions are granted to it as to an app registration."},
		{"IDENTITY_ENDPOINT", Unset, "Where a container service gives tokens of a managed identity, and"},
		{"IDENTITY_HEADER", Unset, "what it wants to see with each request: the platform sets both."},
		{"AZURE_POD_IDENTITY_AUTHORITY_HOST", Unset, "Base URL of instance metadata, where it is not the link-local address of all platforms."},
	}},
	{"The destination", "Set exactly one of the three: `PROJECT_ID` with `TOKEN` or `TOKEN_FILE` (ingest mode), `S60_COLLECTOR_BASE` (collector mode), `OUTPUT` (NATS, Kafka, or a test without Secure60; the others are ignored then, and that is said).", false, []Setting{
		{"PROJECT_ID", Unset, "Number of the Secure60 project."},
		{"TOKEN", Unset, "Ingest token of the project."},
		{"TOKEN_FILE", Unset, "File that holds the token; read each time it is needed."},
		{"S60_INGEST_BASE", "https://ingest.secure60.io", "Base URL of the ingest service."},
		{"S60_COLLECTOR_BASE", Unset, "URL of a Secure60 Collector; used exactly as given, and no token is sent."},
		{"OUTPUT", Unset, "`nats://` or `tls://[user:password@]host[:4222][,host…]/subject`: a subject of NATS JetStream, see [NATS and Kafka](destinations.md#nats-and-kafka). `kafka://` or `kafka+tls://[user:password@]host[:9092][,host…]/topic`: a topic of Kafka. Else a file that events are appended to, one a line, or `-` for standard output."},
		{"OUTPUT_CREDENTIALS_FILE", Unset, "File with `user:password` on one line, or a `.creds` file of NATS, for `OUTPUT`; read at each connection."},
		{"DELIVERY_FORMAT", "object", "`object`: one event a request, the documented contract; `array` or `ndjson`: a batch a request."},
		{"DELIVERY_CONCURRENCY", "auto", "The most requests to the destination at once, from 1 to 256; each tenant's own. `auto`: as many as it takes without slowing down."},
		{"DELIVERY_TIMEOUT", "120", "The most that one request to Secure60 may take from its beginning to the end of the answer, in seconds or as a duration: `120`, `90s`, `2m`; from 1 second to 1 hour. It is then made again. (One that stands still, with nothing sent or answered, is made again after 20 seconds anyway.)"},
		{"DELIVERY_GZIP", "false", "Whether request bodies are compressed."},
		{"ENVIRONMENT", Unset, "The CIM field `environment` of each event, such as `Production`."},
	}},
	{"What is collected", "", false, []Setting{
		{"ENABLE_MGMT_ACTIVITY", "true", "Whether the Office 365 Management Activity API is read."},
		{"ENABLE_GRAPH", "true", "Whether the feeds of Microsoft Graph are read."},
		{"MGMT_CONTENT_TYPES", "Audit.AzureActiveDirectory,Audit.Exchange,Audit.SharePoint,Audit.General,DLP.All", "Content types of the Management Activity API, separated by commas."},
		{"FEEDS", Unset, "Names of further feeds that are shipped switched off, or of packs of them (`email`, `defender`, `identity`, `posture`: docs/packs.md), separated by commas; `s60-m365-connector feeds` lists them."},
		{"POLLING_INTERVAL_MINUTES", "5", "Between two rounds of a feed. Decimals are allowed here and below: `0.1` is six seconds."},
		{"INITIAL_LOOKBACK_MINUTES", "1440", "How far back a feed begins that never ran. Microsoft keeps 7 days: `10080`."},
		{"HEARTBEAT_INTERVAL_MINUTES", "15", "Between two `connector-heartbeat` events."},
	}},
	{"The cloud", "`MS_CLOUD` sets the four bases at once; each may be overridden. Scopes of tokens follow the bases.", false, []Setting{
		{"MS_CLOUD", "commercial", "`commercial`, `gcc`, `gcchigh`, `dod` or `china`."},
		{"MS_LOGIN_BASE", "of the cloud", "Base URL of the service that gives tokens."},
		{"MS_MANAGE_BASE", "of the cloud", "Base URL of the Management Activity API."},
		{"MS_GRAPH_BASE", "of the cloud", "Base URL of Microsoft Graph."},
		{"MS_DEFENDER_BASE", "of the cloud", "Base URL of the API of Defender for Endpoint."},
		{"PUBLISHER_ID", "`TENANT_ID`", "Whose quota of the Management Activity API requests count against."},
		{"TENANT_RATE_LIMIT", Unset, "The most requests to Microsoft in any span of time, of all feeds of the tenant: `500/10s`. Feeds have limits of their own beneath it."},
	}},
	{"Many tenants", "One process for several tenants; see [tenants.md](tenants.md). With `TENANTS_DIR` the settings above are the defaults of all tenants, and none is required here.", true, []Setting{
		{"TENANTS_DIR", Unset, "Folder with a YAML file for each tenant. Files that are added, changed or removed take effect within seconds."},
		{"APP_RATE_LIMIT", defaultAppRate.String(), "The most requests to Microsoft in any span of time, over all tenants. What Graph allows an app, unless you write less."},
		{"WORKERS", "64", "How many windows of all tenants may have requests under way or events in hand at once. Memory grows with it."},
	}},
	{"The process", "", true, []Setting{
		{"STATE_DIR", "/state", "Folder of the state: cursors, keys, ledger, dead letters. Has to outlive the container, and belongs to one connector."},
		{"STATE_URL", Unset, "Where several replicas share the state: NATS servers with JetStream, such as `nats://nats-1:4222,nats://nats-2:4222`, or `tls://…`. A path names the stream: `nats://nats-1:4222/contoso`; `s60-m365-` and `TENANT_ID` unless given. `STATE_DIR` then holds a copy that may be lost."},
		{"STATE_CREDENTIALS_FILE", Unset, "NATS credentials (`.creds`) for `STATE_URL`; or write user and password into it."},
		{"REPLICA_NAME", "name of the host", "What this replica is called in logs, `feeds` and the status page."},
		{"CONFIG_DIR", "/config", "Folder of your own `feeds/` and `mappings/`. A file of a shipped one's name changes it (`extends`) or replaces it. Need not exist."},
		{"PSEUDONYM_KEY_FILE", Unset, "File with the key of `redact: … with: pseudonym`: a long random text. Who has it can find out who is behind a pseudonym by trying names; another key gives other pseudonyms."},
		{"LISTEN_ADDR", "127.0.0.1:8080", "Where the status page, the mapping workbench, `/healthz`, `/readyz`, `/livez` and `/metrics` are. Read-only, no secret is on it. Set to nothing, it is off. It answers requests to `localhost` and, unless it is a loopback address, to any address and the name of the host."},
		{"LISTEN_HOSTS", Unset, "Further names by which the listener is reached, separated by commas, such as that of its service: `connector.monitoring.svc`. `*` is any; then pages of other sites may read what is served (DNS rebinding)."},
		{"SHOW_EVENTS", "false", "Whether the page of a feed shows the last events, and *Try now* what it reads, with the values: all that `redact` leaves of the records, to whoever reaches `LISTEN_ADDR`. They are held in memory only, 8 of at most 16 kB for each feed (2 where there are many tenants, and of all of them 32 MB). Without it, *Try now* shows the names of fields alone."},
		{"LOG_LEVEL", "INFO", "`INFO`, or `DEBUG`, which shows each request."},
		{"LOG_FORMAT", "text", "`text` or `json`."},
	}},
}

// PassedOn are the settings that libraries read by themselves.
var PassedOn = []Setting{
	{"HTTPS_PROXY", Unset, "Proxy for all requests, such as `http://proxy.internal:3128`."},
	{"NO_PROXY", Unset, "Hosts that are reached without it, separated by commas."},
	{"SSL_CERT_FILE", Unset, "PEM file of certificate authorities in place of the system's."},
	{"NO_COLOR", Unset, "Set to anything: `check` prints no colours."},
}
