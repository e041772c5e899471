# erwik: `make` prints the targets.
SHELL := /bin/bash
GO ?= go
DOCKER ?= docker
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
DATA ?= data
# What the tests run, and the Debian package that has it.
TOOLS := git:git ip:iproute2 tc:iproute2 nft:nftables pgrep:procps unshare:util-linux nsenter:util-linux \
	dockerd:docker.io docker:docker.io iptables:iptables docker-compose:docker-compose

# Each decoder of what comes from outside: event, node record, link set (the
# table's deltas), frame, pull answer, commit, page name, body of the HTTP API,
# bundle.
DECODERS := events:FuzzEvent events:FuzzRecord events:FuzzLinkSet cluster/mesh:FuzzFrame cluster:FuzzRecords \
	storage:FuzzParse wiki/page:FuzzName wiki:FuzzParsePut wiki/gitsource:FuzzBundle

.PHONY: help build image run test test-deps race sim mutants scale bench fuzz fuzz-decoders nightly nightly-mesh nightly-disk nightly-idle lint cover clean

help: ## print the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/erwik
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/erwik ./cmd/erwik

image: build .env ## build the container image erwik (Docker); then: docker-compose up
	@mkdir -p bin/image/data && cp bin/erwik bin/image/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/image/erwik-shape ./cmd/erwik-shape
	$(DOCKER) build -t erwik .

.env: ## make the secret by which the nodes in containers join one another
	@umask 077 && printf 'ERWIK_SECRET=%s\n' "$$(head -c 24 /dev/urandom | base64)" >.env

run: build ## build, and serve a wiki on :8000 from the folder data
	./bin/erwik serve --data $(DATA)

test-deps: ## install what the tests need (Debian, as root)
	@need=; for t in $(TOOLS); do command -v $${t%%:*} >/dev/null || need="$$need $${t##*:}"; done; \
	if [ -n "$$need" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q $$need; \
	  else echo "The tests need$$need. As root: make test-deps" >&2; exit 1; fi; fi
	@[ "$$(id -u)" = 0 ] || { echo "The tests in network namespaces and containers need root: sudo make test" >&2; exit 1; }

test: test-deps lint build ## run every test, verbosely; nothing is skipped
	CGO_ENABLED=0 $(GO) test -v -count=1 -parallel 8 -timeout 40m ./...
	$(MAKE) fuzz-decoders

race: ## run the unit tests under the race detector
	$(GO) test -race -count=1 ./storage/... ./events/... ./wiki/... ./cluster/... ./cmd/...

sim: ## simulate the mesh and crash the store: make sim SEEDS=10000
	$(GO) test -v -count=1 -timeout 24h -run 'TestSeeds' ./cluster/mesh -seeds $(or $(SEEDS),1000)
	ERWIK_SEEDS=$(or $(SEEDS),1000) $(GO) test -v -count=1 -timeout 24h -run 'TestCrashSeeds' ./storage

mutants: ## build each planted mistake into the mesh, and print what finds it and how soon
	$(GO) test -v -count=1 -timeout 1h -run 'TestPlantedBugs' ./cluster/mesh -mutant-seeds $(or $(SEEDS),1000) $(if $(MUTANT),-mutant $(MUTANT))

scale: ## count what a save costs as the simulated mesh grows, as a table and curves: make scale SIZES=10,30,100,300,1000
	@mkdir -p bin
	$(GO) test -v -count=1 -timeout 2h -run 'TestScale$$' ./cluster/mesh -scale $(or $(SIZES),10,30,100,300) -scale-out $(CURDIR)/bin/scale.md

bench: build ## run the benchmarks beside their limits
	$(GO) run ./integration/bench -erwik bin/erwik

fuzz-decoders: ## run the fuzz targets of what comes from outside for 20 s each, two at a time
	@printf './%s\n' $(DECODERS) | GO=$(GO) xargs -P 2 -I{} .ci/fuzz {} 20s

nightly: build ## 10,000 seeds, 1,000 kills, 10,000 damaged directories, a slow link for 15 minutes, all fuzz targets for 2 minutes
	$(MAKE) -j3 -Otarget nightly-mesh nightly-disk nightly-idle
	ERWIK_KILLS=1000 $(GO) test -v -count=1 -timeout 2h -run 'TestKillNine|TestFifty' ./integration
	$(MAKE) fuzz FUZZTIME=2m

nightly-mesh: # the parts of nightly that run beside one another
	$(MAKE) sim SEEDS=10000

nightly-disk:
	ERWIK_CORRUPTIONS=10000 $(GO) test -v -count=1 -timeout 1h -run 'TestCorruption' ./storage
	ERWIK_PARTITIONS=10000 $(GO) test -v -count=1 -timeout 1h -run 'TestPartitions' ./wiki/page

nightly-idle:
	ERWIK_IDLE_MINUTES=15 $(GO) test -v -count=1 -timeout 1h -run 'TestIdleSlowLink' ./integration

fuzz: ## run each fuzz target for 20 s (FUZZTIME), two at a time
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do echo "$$p:$$f"; done; done | \
	  GO=$(GO) xargs -P 2 -I{} .ci/fuzz {} $(or $(FUZZTIME),20s)

lint: ## gofmt and vet find nothing to change
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change: $$out"; exit 1; }
	$(GO) vet ./...

cover: ## test coverage of each package
	$(GO) test -cover ./storage/... ./events/... ./wiki/... ./cluster/...

clean: ## remove what build made
	rm -rf bin
