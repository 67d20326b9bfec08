# `make help` says what there is. Needed: Go 1.26, and git if there is a history to
# tell the version from. `make test` adds the race detector where there is a C
# compiler.

SHELL := /bin/sh
.DEFAULT_GOAL := build

GO ?= go
# The programs are static and need no C compiler.
export CGO_ENABLED = 0

VERSION  := $(shell test -e .git && git describe --always --dirty --tags 2>/dev/null)
flags    := -trimpath -buildvcs=false
ldflags  := -s -w -X github.com/reeve-cloud/reeve/pkg/version.stamped=$(VERSION)
# Every build tag in use. What is checked is checked with all of them.
tags     := e2e,fakecollector

# Prints the path of the engine's library, and fetches it first if need be. Built
# as tests are, so that there is less to compile; what has built the programs uses those.
fetch := $(GO) run ./aggregator engine fetch

buf         := github.com/bufbuild/buf/cmd/buf@v1.75.0
golangci    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
govulncheck := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Arguments for tests, as in `make test ARGS=-v` and `make e2e ARGS='-run Chaos'`.
ARGS ?=
FUZZTIME ?= 1m
FUZZ ?= .

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-21s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: need-go ## Build the programs into bin/
	@mkdir -p bin
	$(GO) build $(flags) -ldflags '$(ldflags)' -o bin/reeve ./tui
	$(GO) build $(flags) -ldflags '$(ldflags)' -o bin/reeve-agent ./agent
	$(GO) build $(flags) -ldflags '$(ldflags)' -o bin/reeve-aggregator ./aggregator

.PHONY: run
run: build build-dev ## Build, and run an aggregator and an agent here (REEVE_RUN_PORT=8443)
	@exec bin/reeve-dev

# What `make run` runs the programs with.
.PHONY: build-dev
build-dev: need-go
	$(GO) build $(flags) -ldflags '$(ldflags)' -o bin/reeve-dev ./deploy/dev

.PHONY: engine
engine: need-go ## Fetch the ClickHouse engine into the cache (once for all checkouts)
	@$(fetch)

# One pass over everything, with the race detector where there is a C compiler,
# and without it otherwise. What calls into the engine is tested in both ways of
# linking: the programs are built without C.
engine-tests := ./aggregator ./aggregator/centre/... ./aggregator/warehouse/... ./aggregator/sqlgate/...

.PHONY: test
test: need-go ## Run the tests (ARGS=-v)
	@engine=$$($(fetch)) && export CHDB_LIB_PATH="$$engine" REEVE_ENGINE_REQUIRED=1 && set -e && \
	if cc=$$($(GO) env CC) && command -v "$$cc" >/dev/null; then \
	  echo "$(GO) test -race ./..."; CGO_ENABLED=1 $(GO) test -race -timeout 20m ./... $(ARGS); \
	  echo "$(GO) test $(engine-tests) (without C, as shipped)"; $(GO) test -timeout 20m $(engine-tests) $(ARGS); \
	else \
	  echo "there is no C compiler ($$cc): testing without the race detector"; \
	  echo "$(GO) test ./..."; $(GO) test -timeout 20m ./... $(ARGS); \
	fi

# What runs in a process of its own beside the other end-to-end tests: it mostly
# waits. Its output comes when it has ended.
beside := ^TestOpenStack
e2e    := $(GO) test -tags $(tags) -count=1 -timeout 60m -v -artifacts
define e2e-all
	others=0 cloud=0; mkdir -p test/e2e/_artifacts/beside; \
	$(e2e) -outputdir test/e2e/_artifacts/beside ./test/e2e -run '$(beside)' >test/e2e/_artifacts/beside.log 2>&1 & beside=$$!; \
	$(e2e) -outputdir test/e2e ./test/e2e -skip '$(beside)' || others=$$?; \
	echo "what ran beside that:"; wait $$beside || cloud=$$?; cat test/e2e/_artifacts/beside.log; \
	[ $$others = 0 ] && [ $$cloud = 0 ]
endef

.PHONY: e2e
e2e: build build-dev ## Run the end-to-end tests of the built programs (ARGS='-run Chaos')
	@rm -rf test/e2e/_artifacts
	@engine=$$(bin/reeve-aggregator engine fetch) && export CHDB_LIB_PATH="$$engine" && \
	$(if $(ARGS),$(e2e) -outputdir test/e2e ./test/e2e $(ARGS),$(e2e-all))

.PHONY: e2e-long
e2e-long: need-go ## Run what is longer than that, one after the other (a night)
	@.ci/long

.PHONY: chaos
chaos: build build-dev ## Kill processes and break links for longer than `make e2e` does (ARGS='-kills 500 -faults 50 -seed 7')
	@rm -rf test/e2e/_artifacts
	engine=$$(bin/reeve-aggregator engine fetch) && \
	CHDB_LIB_PATH="$$engine" $(GO) test -tags $(tags) -count=1 -timeout 6h -v -artifacts -outputdir test/e2e ./test/e2e -run 'TestChaos$$' $(ARGS)

.PHONY: fleet
fleet: build ## Hold an aggregator against many agents (ARGS='-agents 200 -assets 400')
	@engine=$$(bin/reeve-aggregator engine fetch) && CHDB_LIB_PATH="$$engine" $(GO) run ./test/fleet $(ARGS)

.PHONY: bench-query
bench-query: build ## Ask a large warehouse what people ask, beside SQL by hand (ARGS='-sites 2000 -queries 200 -dir /tmp/estate')
	@engine=$$(bin/reeve-aggregator engine fetch) && CHDB_LIB_PATH="$$engine" $(GO) run ./test/querybench $(ARGS)

# A real Kubernetes control plane with made-up nodes; see deploy/lab/kubernetes.
lab := deploy/lab/kubernetes

.PHONY: lab-kubernetes
lab-kubernetes: need-go ## Start a Kubernetes cluster here, in .reeve/lab (K8S_LAB_PORT=26443)
	@$(lab)/k8s-up.sh $(ARGS)

.PHONY: lab-kubernetes-build
lab-kubernetes-build: need-go ## Build what it takes into the cache (once for all checkouts)
	@$(lab)/k8s-build.sh

.PHONY: lab-kubernetes-seed
lab-kubernetes-seed: need-go ## Fill it (ARGS='-nodes 100 -pods 2000')
	@$(lab)/k8s-seed.sh $(ARGS)

.PHONY: lab-kubernetes-down
lab-kubernetes-down: ## Stop it (WIPE=1 removes its state)
	@$(lab)/k8s-down.sh $(if $(filter 1,$(WIPE)),--wipe)

# A real OpenStack with made-up hypervisors, from Debian's packages; see
# deploy/lab/openstack.
oslab := deploy/lab/openstack

.PHONY: lab-openstack
lab-openstack: ## Start an OpenStack cloud here, in .reeve/lab (Debian 12; OPENSTACK_LAB_PORT=25000)
	@$(oslab)/openstack-up.sh

.PHONY: lab-openstack-install
lab-openstack-install: ## Install the packages that it takes (as root)
	@$(oslab)/openstack-up.sh install

.PHONY: lab-openstack-seed
lab-openstack-seed: need-go ## Fill it (ARGS='-servers 200 -projects 20')
	@$(oslab)/openstack-seed.sh $(ARGS)

.PHONY: lab-openstack-down
lab-openstack-down: ## Stop it (WIPE=1 removes its state)
	@$(oslab)/openstack-down.sh $(if $(filter 1,$(WIPE)),--purge)

.PHONY: lint
lint: need-go check-reference ## Vet, and check what .golangci.yml says: format, errors, logs, imports; and the API's reference
	$(GO) vet ./...
	$(GO) run $(golangci) run

# The reference of the API is made of the protobuf files, with their comments.
reference := aggregator/reference/openapi.json
.PHONY: check-reference
check-reference: need-go
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(GO) run $(buf) generate -o "$$made" && \
	{ cmp -s "$$made/$(reference)" $(reference) || \
	  { echo "$(reference) is not what the protobuf files say: run make generate, and commit what it changes" >&2; exit 1; }; }

# The database is https://vuln.go.dev, or what GOVULNDB names.
.PHONY: vuln
vuln: need-go ## Look for known vulnerabilities in what is called (needs their database)
	$(GO) run $(govulncheck) -tags $(tags) ./...

.PHONY: bench
bench: need-go ## Run the benchmarks (ARGS='-bench Flatten')
	engine=$$($(fetch)) && \
	CHDB_LIB_PATH="$$engine" REEVE_ENGINE_REQUIRED=1 $(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./... $(ARGS)

# Every target in its turn, and the first that finds something ends it.
.PHONY: fuzz
fuzz: need-go ## Fuzz every decoder (FUZZTIME=10m for each; FUZZ='wire FuzzBatch|FuzzFrame' for some)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' agent aggregator pkg plugins tui | \
	sed -E 's|^(.*)/[^/]*:func (.*)|./\1 \2|' | grep -E '$(FUZZ)' | \
	while read -r package name; do \
	  echo "==> $$name of $$package"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $(ARGS) "$$package" || exit 1; \
	done

.PHONY: generate
generate: need-go ## Check the protobuf files and generate code from them
	$(GO) run $(buf) lint
	$(GO) run $(buf) generate

.PHONY: clean
clean: ## Remove what was built, and the state of `make run` and the lab in .reeve/
	@if [ -d .reeve/lab/kubernetes ]; then env -u K8S_LAB $(lab)/k8s-down.sh; fi
	@if [ -d .reeve/lab/openstack ]; then env -u OPENSTACK_LAB $(oslab)/openstack-down.sh; fi
	rm -rf bin .reeve test/e2e/_artifacts coverage.out

.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or newer from https://go.dev/dl/" >&2; exit 1; }
	@have=$$($(GO) env GOVERSION 2>&1) || { echo "this Go cannot build Reeve, which needs Go 1.26 or newer: $$have" >&2; exit 1; }; \
	minor=$${have#go1.}; minor=$${minor%%[!0-9]*}; case $$have in devel*) minor=999;; esac; \
	[ "$${minor:-0}" -ge 26 ] || { echo "Go is too old: this is $$have, Reeve needs Go 1.26 or newer, from https://go.dev/dl/" >&2; exit 1; }
