# The verbs of this project. "make lab" shows what it does, "make test" shows that it works; on a fresh Debian machine
# with Go, as root, either of them is the first thing to type.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: build lab test conformance bench soak lint fmt proto docs clean help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
MODULE  := $(shell awk '$$1 == "module" {print $$2}' go.mod)

export CGO_ENABLED = 0

# Tests make namespaces, bridges and processes: more than two packages at a time only slow each other down.
TEST_FLAGS ?= -p 2 -timeout 10m

build: ## build bin/neutrino
	@command -v $(GO) >/dev/null || { echo "make build: needs Go (see go.mod for the version): https://go.dev/dl/"; exit 1; }
	$(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X $(MODULE)/internal/cli.version=$(VERSION)" -o bin/neutrino ./cmd/neutrino

lab: ## build, bring up a cloud of four hosts on this machine, and walk through what it can do (root)
	@tools/require lab
	@$(MAKE) --no-print-directory build
	bin/neutrino lab run

test: ## all tests (root; installs what they need)
	@tools/require test
	@$(MAKE) --no-print-directory build
	$(GO) vet ./...
	NEUTRINO_BIN=$(CURDIR)/bin/neutrino $(GO) test $(TEST_FLAGS) $$($(GO) list ./... | grep -v /test/vm) || \
		{ echo "make test: FAILED"; exit 1; }
	$(GO) test $(TEST_FLAGS) ./test/vm || { echo "make test: FAILED"; exit 1; } # it emulates a processor: nothing beside it
	@echo "make test: all tests passed"

conformance: ## Tempest's own tests of the networking API, all of them (root; installs Tempest; takes some minutes)
	@tools/require conformance
	@$(MAKE) --no-print-directory build
	NEUTRINO_BIN=$(CURDIR)/bin/neutrino NEUTRINO_TEMPEST=1 $(GO) test -count 1 -timeout 60m -v ./test/conformance/...

bench: ## the benchmarks: each one prints what it measured, and fails when it does not keep its bound (root)
	@tools/require bench
	@$(MAKE) --no-print-directory build
	NEUTRINO_BIN=$(CURDIR)/bin/neutrino \
		$(GO) test -p 1 -timeout 60m -count 1 -run '^$$' -bench . -benchtime 2s ./test/bench ./test/e2e ./test/lab ./internal/compile \
		./internal/agent/l3 ./internal/agent/filter ./internal/agent/ctsync ./internal/agent/gateway

soak: ## the long runs: kills at random moments, a minute without the server, fuzzing (root; takes some hours)
	@tools/require test
	@$(MAKE) --no-print-directory build
	NEUTRINO_BIN=$(CURDIR)/bin/neutrino NEUTRINO_SOAK=1 NEUTRINO_KILL_ROUNDS=$${NEUTRINO_KILL_ROUNDS:-500} \
		$(GO) test -p 1 -timeout 6h -count 1 -v -run 'Kill|HostsGoOn|WhileTraffic|KernelDecides|LeavesADead|ScheduleOfFaults' \
		./internal/lab/ ./internal/agent/filter ./internal/agent/gateway ./test/...
	$(GO) test -run '^$$' -fuzz FuzzRequest -fuzztime $${NEUTRINO_FUZZ_TIME:-30m} ./internal/rest
	$(GO) test -run '^$$' -fuzz FuzzEverything -fuzzminimizetime 1x -fuzztime $${NEUTRINO_FUZZ_TIME:-60m} ./internal/app
	$(GO) test -run '^$$' -fuzz Fuzz -fuzztime $${NEUTRINO_FUZZ_TIME:-30m} ./internal/policy

lint: ## the linters (the first run builds them: about 5 minutes)
	$(GO) tool -modfile=tools/go.mod golangci-lint run --config tools/golangci.yml ./...

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go' | grep -v '\.pb\.go$$')

proto: ## generate the Go code of the contracts between server and hosts, and between hosts
	@tools/require proto
	mkdir -p .cache/bin
	GOBIN=$(CURDIR)/.cache/bin $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH=$(CURDIR)/.cache/bin:$$PATH protoc --go_out=. --go_opt=paths=source_relative \
		--go-grpc_out=. --go-grpc_opt=paths=source_relative proto/southbound/v1/southbound.proto proto/hostsync/v1/hostsync.proto

docs: ## write the generated pages below docs anew
	$(GO) test -count 1 -run TestPageIsUpToDate ./internal/parity -update

clean: ## remove what was built
	rm -rf bin .cache

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
