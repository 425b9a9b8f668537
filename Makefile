# Everything here needs Go, gcc, make and git, and nothing that was installed by hand.

GO ?= go

.PHONY: all build test test-unit demo lab bench bench-quick bench-full bin/bench bin/bench-karpenter lint image clean demo-slack

all: build

build: ## the Action's binary, bin/upshift, and the bot's, bin/upshift-bot
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/upshift ./action
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/upshift-bot ./bot

# Scenarios mostly wait (for a lease to run out, for an API to come back), so there may be more of them than cores. Tests whose names end in Alone
# measure how quick something is: they come after the others.
test: build ## all tests, on real control planes
	$(GO) run ./internal/lab/cmd/lab -build-only
	$(GO) vet ./...
	$(GO) test -count=1 -timeout 25m -p 2 -parallel 5 -skip 'Alone$$' ./...
	$(GO) test -count=1 -timeout 5m -p 1 -run 'Alone$$' ./bot ./internal/preflight ./internal/session
	cd internal/lab/oracle && $(GO) test -count=1 -trimpath ./...
	cd internal/lab/bench && $(GO) test -count=1 ./...

test-unit: ## the tests that need no control plane
	$(GO) test -short ./...

demo: build ## a whole upgrade on this machine; what it wrote stays in demo-out/
	$(GO) run ./internal/lab/cmd/demo -upshift bin/upshift -out demo-out

demo-slack: build ## a whole conversation with the Slack bot on this machine
	$(GO) run ./internal/lab/cmd/demoslack -bot bin/upshift-bot -out demo-out/slack

lab: build ## a cluster to look at; Ctrl-C ends it
	$(GO) build -o bin/lab ./internal/lab/cmd/lab
	bin/lab

bin/bench:
	cd internal/lab/bench && $(GO) build -o ../../../bin/bench .

bin/bench-karpenter: ## Karpenter, as a peer to measure
	cd internal/lab/bench/karpenter && $(GO) build -o ../../../../bin/bench-karpenter .

bench: build bin/bench ## how fast it is, beside others and the shortest possible time, within an hour; writes docs/benchmark.md and bench-out/
	bin/bench -upshift bin/upshift -out bench-out -docs docs -limit 57m

bench-quick: build bin/bench ## the benchmark with a few pods, to see that it works
	bin/bench -upshift bin/upshift -out bench-out/quick -quick

bench-full: build bin/bench bin/bench-karpenter ## the same of more clusters, five times each, which takes a day; goes on where it was interrupted
	bin/bench -upshift bin/upshift -out bench-out/full -docs docs -full -resume

lint: ## golangci-lint and actionlint
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...
	cd internal/lab/controlplane && $(GO) vet ./...
	cd internal/lab/oracle && $(GO) vet ./...
	cd internal/lab/bench && $(GO) vet ./...
	cd internal/lab/bench/karpenter && $(GO) vet ./...
	$(GO) run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

image: ## the Action's image, and the bot's
	docker build -t upshift .
	docker build --target bot -t upshift-bot .

clean:
	rm -rf bin demo-out bench-out
