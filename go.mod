module github.com/secure60/s60-m365-connector

go 1.26.8

// What the program is made of, and why.
require (
	github.com/KimMachineGun/automemlimit v1.0.1 // the memory of the container, whatever its cgroup version, as the heap's limit
	github.com/alecthomas/kong v1.17.0 // subcommands and flags from one struct, with help
	github.com/cockroachdb/pebble/v2 v2.1.7 // the state: atomic durable commits that cost what they bring, and filters for keys never seen
	github.com/expr-lang/expr v1.17.8 // the language of feeds and mappings
	github.com/fsnotify/fsnotify v1.10.1 // tells of changes in TENANTS_DIR, by what each system has for it; 53 kB
	github.com/go-json-experiment/json v1.27.2 // its jsontext reads JSON as a stream, three times as fast as the standard library
	github.com/golang-jwt/jwt/v5 v5.3.1 // client assertions (PS256)
	github.com/joho/godotenv v1.5.1 // .env files
	github.com/klauspost/compress v1.20.4 // gzip for deliveries; Pebble brings it along
	github.com/nats-io/nats.go v1.55.0 // the state that replicas share, in JetStream; events to JetStream
	github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // feeds and mappings against their schemas, which are the one description of both languages
	github.com/tidwall/gjson v1.20.1 // paths into records and answers
	github.com/twmb/franz-go v1.22.3 // events to Kafka: idempotent, in pure Go
	golang.org/x/oauth2 v0.37.0 // the client-credentials grant
	golang.org/x/term v0.47.0 // whether somebody is looking
	gopkg.in/yaml.v3 v3.0.1 // YAML with the place of every value
)

// Test dependencies.
require (
	github.com/chromedp/cdproto v0.159.0 // the pages in a real browser
	github.com/chromedp/chromedp v0.23.0 // the pages in a real browser
	github.com/jmespath/go-jmespath v0.4.0 // the queries that the set-up script gives to the Azure CLI
	github.com/nats-io/jwt/v2 v2.8.3 // credentials as an operator of NATS gives them
	github.com/nats-io/nats-server/v2 v2.15.3 // a real NATS server in the test's process
	github.com/nats-io/nkeys v0.4.17 // credentials as an operator of NATS gives them
	github.com/prometheus/client_golang v1.25.0 // what is wrong with /metrics, as Prometheus sees it
	github.com/prometheus/client_model v0.6.3 // what /metrics says, as values
	github.com/prometheus/common v0.72.0 // reads /metrics
	github.com/rogpeppe/go-internal v1.16.0 // testscript: whole sessions of the binary
	github.com/sebdah/goldie/v2 v2.8.0 // golden files
	github.com/twmb/franz-go/pkg/kfake v0.0.0-20260918054303-01f206a7e32c // a broker of Kafka in the test's process
	github.com/twmb/franz-go/pkg/kmsg v1.15.1 // what that broker is told to answer
)

require github.com/nats-io/nuid v1.0.1 // indirect

require (
	github.com/DataDog/zstd v1.5.7 // indirect
	github.com/RaduBerinde/axisds v0.1.0 // indirect
	github.com/RaduBerinde/btreemap v0.0.0-20250419174037-3d62b7205d54 // indirect
	github.com/antithesishq/antithesis-sdk-go v0.9.0-default-no-op // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cockroachdb/crlib v0.0.0-20241112164430-1264a2edc35b // indirect
	github.com/cockroachdb/errors v1.11.3 // indirect
	github.com/cockroachdb/logtags v0.0.0-20230118201751-21c54148d20b // indirect
	github.com/cockroachdb/redact v1.1.5 // indirect
	github.com/cockroachdb/swiss v0.0.0-20260820225851-333444432258 // indirect
	github.com/cockroachdb/tokenbucket v0.0.0-20230807174530-cc333fc44b06 // indirect
	github.com/getsentry/sentry-go v0.27.0 // indirect
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/snappy v0.0.5-0.20231225225746-43d5d4cd4e0e // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/minio/minlz v1.0.1-0.20250507153514-87eb42fe8882 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pbnjay/memory v0.0.0-20210728143218-7b4eea64cf58 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/sergi/go-diff v1.0.0 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20230626212559-97b1e661b5df // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
