# build  the binary, in bin/          test   what the README promises
# lint   gofmt, vet, staticcheck      golden rewrite what tests compare with: look at the difference
# bench  the figures of docs/performance.md, in a quarter of an hour; FULL=1: with the full sizes;
#        BASE=REV: old → new, next to those of another commit in the same run
# demo   the whole connector against a simulated tenant
# chaos  the same with faults and kills for MINUTES=5 of SEED=1, and a count of what was lost
# replicas  three that share a state, with ROUNDS=4 faults of SEED=1, and what befalls them in years: twenty minutes
# simulate-years  whole engines in virtual time: YEARS=1 of SEED=1, and what was lost, repeated and claimed;
#        WALL=90s begins nothing more after that
# image  build the container image for both platforms and check what is in it
# docker run it with a Docker engine, as README and deploy/ say
# size   what each dependency costs in the binary
# release  what is handed out beside the image, in dist/: the set-up scripts, under the names of their version
# ci     all checks, as before a merge

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BINARY  := bin/s60-m365-connector

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.1

.PHONY: build test lint golden bench demo chaos replicas simulate-years image docker release size ci

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BINARY) ./cmd/s60-m365-connector

GO_TEST ?= go test

test:
	$(GO_TEST) ./...

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted" >&2; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

# Expected events and fields, problems of definitions, the permissions in the
# scripts, and the generated parts of pages: by the tests that write, and no others.
WRITERS := Golden|KnownFields|Drift|FieldsPage|DetectionsPage|Severe|Filters|Problems|Pages|ScriptsCarryTable|GeneratedParts|RefusalsAreDocumented|MetricsAreDocumented

golden:
	go test ./golden ./engine/definition ./schemas ./setup $(addprefix ./cmd/$(notdir $(BINARY))/,. internal/doctor internal/web) -run '^Test($(WRITERS))$$' -update
	go run ./cmd/$(notdir $(BINARY)) test --update .

bench:
	go run .ci/bench.go $(if $(FULL),-full) $(if $(BASE),-base $(BASE))

demo: build
	$(BINARY) demo

# The same seed makes the same schedule: a run that failed can be had again.
MINUTES ?= 5
SEED    ?= 1

chaos:
	go test ./cmd/$(notdir $(BINARY)) -run '^TestChaos$$' -count 1 -timeout 0 -v -chaos.minutes $(MINUTES) -chaos.seed $(SEED)

# Three replicas, each killed, paused, stopped and cut off in turn: ROUNDS faults. Then joins and ends, an upgrade, a lost NATS,
# and the way from one connector and back, each with the longest silence; ONLY='^TestReplicasSpread$$' is one of them.
ROUNDS ?= 4

replicas:
	go test ./cmd/$(notdir $(BINARY)) -run '$(or $(ONLY),^TestReplicas)' -count 1 -timeout 0 -v -replicas.rounds $(ROUNDS) -replicas.seed $(SEED)

# Whole engines in virtual time, with faults at every turn: YEARS of SEED.
YEARS ?= 1

simulate-years:
	go test ./engine -run '^TestYears$$' -count 1 -timeout 0 -v -years $(YEARS) -seed $(SEED) $(if $(WALL),-years.wall $(WALL))

image:
	.ci/image

docker:
	.ci/docker

# The version is the one that the script's help names.
SETUP         := setup-s60-m365-connector
SETUP_VERSION  = $(shell sed -n 's/^Version \([0-9.]*\)$$/\1/p' setup/$(SETUP).ps1)

release:
	mkdir -p dist
	for kind in ps1 sh; do cp -p setup/$(SETUP).$$kind dist/$(SETUP)-$(SETUP_VERSION).$$kind; done

size:
	CGO_ENABLED=0 go build -trimpath -o $(BINARY)-symbols ./cmd/$(notdir $(BINARY))
	go tool nm -size $(BINARY)-symbols | awk '$$3 ~ /^[tT]$$/ { of = "Go itself"; \
		if (match($$4, /^[a-z0-9.-]+\.[a-z]+\/[^.(]*/)) { split(substr($$4, 1, RLENGTH), part, "/"); of = part[1] "/" part[2] "/" part[3] } \
		size[of] += $$2 } END { for (of in size) printf "%8d kB  %s\n", size[of] / 1000, of }' | sort -rn

ci:
	.ci/run
