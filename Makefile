# Muster: build, test, try. `make help` lists what there is.
#
# Needed: GNU Make, a POSIX shell, Go and git. Everything else is a Go module that is pinned here.

GO ?= go
# One set of flags for programs and tests, so that nothing is compiled twice. The version is linked in, and not the VCS's.
export CGO_ENABLED = 0
export GOFLAGS := -trimpath -buildvcs=false $(filter-out -trimpath -buildvcs=%,$(GOFLAGS))

# How many packages are compiled and tested at a time. A test that needs a control plane starts its own, of about 0.5 GB.
JOBS ?= 2
FUZZTIME ?= 20s

# The version is the commit's tag without its v; without a tag, that of VERSION as a pre-release that names the commit.
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
TAG := $(patsubst v%,%,$(shell git describe --exact-match --match 'v[0-9]*' 2>/dev/null))
VERSION := $(or $(TAG),$(shell cat VERSION)-dev.g$(COMMIT))$(shell git diff --quiet HEAD 2>/dev/null || echo .dirty)
# gRPC's trace pages import html/template, which makes the linker keep every method there is: 20 MB of a klusterlet.
LINK := -tags grpcnotrace -ldflags "-s -w -X main.version=$(VERSION)"
PROGRAMS := muster hub klusterlet
TOOL := $(GO) tool -modfile=tools/go.mod

# $(call compile,output,flags,packages) compiles, and tells about every tenth of the packages how far it is. Compiler
# messages pass through. What is compiled already is not counted, so that the last line may come early.
define compile
	{ echo "all $$($(GO) list -deps $(3) | wc -l)"; $(GO) build -v -p $(JOBS) -o $(1) $(2) $(3); echo "exit $$?"; } 2>&1 | { \
	all=1; done=0; shown=0; fetched=0; \
	while read -r line; do case $$line in \
	"all "*) all=$${line#all } ;; \
	"exit 0") exit 0 ;; \
	"exit "*) exit 1 ;; \
	"go: downloading "*) fetched=$$((fetched + 1)); [ $$((fetched % 50)) -ne 0 ] || echo "  $$fetched modules fetched" ;; \
	*" "*) echo "$$line" ;; \
	*) done=$$((done + 1)); [ $$((done * 10 / all)) -le $$shown ] || { shown=$$((done * 10 / all)); echo "  $$done of $$all packages compiled"; } ;; \
	esac; done; }
endef

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r target what; do printf '  %-18s %s\n' "$$target" "$$what"; done

# ---- build

.PHONY: build
build: ## bin/muster, bin/hub and bin/klusterlet
	@mkdir -p bin
	@echo "building $(PROGRAMS) (minutes the first time, seconds later)"
	@$(call compile,bin/,$(LINK),$(PROGRAMS:%=./cmd/%))

# The control plane is one program that runs as the one that it is called as. Links of these names beside it make the
# folder one that KUBEBUILDER_ASSETS can name.
CONTROLPLANE := bin/controlplane/controlplane
CONTROLPLANE_LINKS := etcd kube-apiserver kube-controller-manager kube-scheduler kwok
CONTROLPLANE_SOURCES := $(wildcard controlplane/*.go controlplane/stages/*.yaml) controlplane/go.mod controlplane/go.sum

# Clients ask a control plane for its version, and the linker sets it: that of k8s.io/kubernetes in controlplane/go.mod.
KUBERNETES := $(shell sed -n 's/^[[:space:]]*k8s.io\/kubernetes \(v[0-9.]*\)$$/\1/p' controlplane/go.mod)
KUBERNETES_PARTS := $(subst ., ,$(KUBERNETES:v%=%))
KUBERNETES_FLAGS := $(foreach package,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(package).gitVersion=$(KUBERNETES) -X $(package).gitTreeState=clean \
	-X $(package).gitMajor=$(word 1,$(KUBERNETES_PARTS)) -X $(package).gitMinor=$(word 2,$(KUBERNETES_PARTS)))

.PHONY: controlplane
controlplane: $(CONTROLPLANE) ## bin/controlplane: etcd, the Kubernetes servers and KWOK in one program

$(CONTROLPLANE): $(CONTROLPLANE_SOURCES)
	@mkdir -p $(@D)
	@echo "building the Kubernetes $(KUBERNETES) control plane from its modules (about 7 minutes on two cores, once)"
	@cd controlplane && $(call compile,$(CURDIR)/$@,-ldflags "-s -w $(KUBERNETES_FLAGS)",.)
	@cd $(@D) && for name in $(CONTROLPLANE_LINKS); do ln -sf controlplane $$name; done
	@touch $@

# Programs that are there already are used as they are. The demo runs workloads and needs all of them, tests say what they miss.
have = $(and $(KUBEBUILDER_ASSETS),$(if $(filter-out $(wildcard $(KUBEBUILDER_ASSETS)/*),$(1:%=$(KUBEBUILDER_ASSETS)/%)),,yes))
TEST_ASSETS := $(if $(call have,etcd kube-apiserver),,$(CONTROLPLANE))
WITH_TEST_ASSETS := $(if $(TEST_ASSETS),KUBEBUILDER_ASSETS=)
DEMO_ASSETS := $(if $(call have,$(CONTROLPLANE_LINKS)),,$(CONTROLPLANE))

# ---- release

# $(call cross,os,architecture,programs) compiles programs of another platform into bin/programs/<os>_<architecture>.
define cross
	@echo "building $(3) for $(1)/$(2)"
	@mkdir -p bin/programs/$(1)_$(2)
	@(export GOOS=$(1) GOARCH=$(2); $(call compile,bin/programs/$(1)_$(2)/,$(LINK),$(addprefix ./cmd/,$(3))))
endef
PACK = cd tools && $(GO) run ./pack
PACKED = --version $(VERSION) --revision $(COMMIT) --epoch $(EPOCH) --license ../LICENSE --programs ../bin/programs

.PHONY: images
images: ## bin/images: container images of hub and klusterlet for amd64 and arm64, as OCI layouts and as tars for containerd
	$(call cross,linux,amd64,hub klusterlet)
	$(call cross,linux,arm64,hub klusterlet)
	@mkdir -p bin/images
	@$(PACK) images $(PACKED) --out ../bin/images hub klusterlet

.PHONY: release
release: images ## bin/release: programs, charts, images, SPDX and checksums of a release; nothing is pushed
	$(call cross,linux,amd64,muster)
	$(call cross,linux,arm64,muster)
	$(call cross,darwin,amd64,muster)
	$(call cross,darwin,arm64,muster)
	$(call cross,windows,amd64,muster)
	@rm -rf bin/release && mkdir -p bin/release
	@$(PACK) archives $(PACKED) --out ../bin/release
	@$(PACK) charts $(PACKED) --charts ../charts --out ../bin/release
	@cp bin/images/*-$(VERSION).tar bin/release/
	@$(PACK) sbom $(PACKED) --out ../bin/release/muster-$(VERSION).spdx.json $(foreach program,$(PROGRAMS),../bin/programs/linux_amd64/$(program))
	@$(PACK) sums --out ../bin/release
	@echo "bin/release has:" && ls bin/release

# ---- test

# The Git host of tests: Gitea with SQLite, for which there has to be a C compiler.
GITEA := $(if $(shell command -v gcc),bin/gitea)
.PHONY: gitea
gitea: $(GITEA) ## bin/gitea: the Git host that tests of reviews start
bin/gitea: gitea/go.mod gitea/go.sum
	@echo "building Gitea from its module (about 3 minutes on two cores, once)"
	@cd gitea && export CGO_ENABLED=1 && $(call compile,../$@,-ldflags "-s -w" -tags "sqlite sqlite_unlock_notify",code.gitea.io/gitea)

# A real node: containerd, its shim and ctr from their modules, the kubelet of the control plane's version, and an image that waits.
NODE := bin/node/kubelet
ARCHITECTURE := $(shell $(GO) env GOARCH)
.PHONY: node
node: $(NODE) ## bin/node: kubelet and containerd, for clusters whose pods are real containers (Linux)
$(NODE): node/go.mod node/go.sum controlplane/go.mod controlplane/go.sum $(wildcard node/*/*.go)
	@mkdir -p bin/node/programs/linux_$(ARCHITECTURE)
	@echo "building containerd from its module (minutes, once)"
	@cd node && $(call compile,../bin/node/,-ldflags "-s -w",$(foreach program,containerd containerd-shim-runc-v2 ctr,github.com/containerd/containerd/v2/cmd/$(program)))
	@cd node && $(GO) build -ldflags "-s -w" -o ../bin/node/programs/linux_$(ARCHITECTURE)/pause ./pause
	@$(PACK) images --version 1 --license ../LICENSE --programs ../bin/node/programs --architectures $(ARCHITECTURE) --out ../bin/node pause
	@echo "building the kubelet of Kubernetes $(KUBERNETES) from its module (minutes, once)"
	@cd controlplane && $(call compile,$(CURDIR)/$@,-ldflags "-s -w $(KUBERNETES_FLAGS)",k8s.io/kubernetes/cmd/kubelet)
	@touch $@

# What a real node needs of the machine, in the order in which it is said to be missing.
NODE_MISSING := $(strip $(if $(filter Linux,$(shell uname -s)),,Linux) $(if $(filter 0,$(shell id -u)),,root) \
	$(foreach program,runc ip,$(if $(shell command -v $(program)),,$(program))) \
	$(if $(wildcard /usr/lib/cni/ptp /opt/cni/bin/ptp /usr/libexec/cni/ptp),,containernetworking-plugins))

.PHONY: node-test
ifeq ($(NODE_MISSING),)
node-test: $(DEMO_ASSETS) $(NODE) ## both charts on a real node: images, pods, logs, a hub that dies, upgrade and uninstall (root, Linux, runc)
	$(call cross,linux,$(ARCHITECTURE),hub klusterlet)
	@mkdir -p bin/node/images
	@$(PACK) images $(PACKED) --architectures $(ARCHITECTURE) --out ../bin/node/images hub klusterlet
	@echo "testing both charts on a real node (minutes)"
	@$(if $(DEMO_ASSETS),KUBEBUILDER_ASSETS=) MUSTER_NODE=$(CURDIR)/bin/node MUSTER_VERSION=$(VERSION) $(GO) test -count=1 -v -timeout 15m ./internal/test/node
else
node-test:
	@echo "the test on a real node is not run: this machine lacks $(NODE_MISSING)"
	@[ -z "$$MUSTER_NODE_REQUIRED" ]
endif

# An add-on on OCM's own framework, which a test runs against hub and agent.
ADDONFRAMEWORK := bin/addonframework
.PHONY: addonframework
addonframework: $(ADDONFRAMEWORK) ## bin/addonframework: an add-on on OCM's addon-framework, which a test starts
$(ADDONFRAMEWORK): addonframework/main.go addonframework/go.mod addonframework/go.sum
	@mkdir -p $(@D)
	@echo "building an add-on on OCM's addon-framework (about a minute on two cores, once)"
	@cd addonframework && $(call compile,../$@,-ldflags "-s -w",.)

# Packages that have tests: a line each, with what they and their tests import.
tested = list=$$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{join .Deps " "}} {{join .TestImports " "}} {{join .XTestImports " "}} {{end}}' ./...) || exit 1

.PHONY: unit
unit: ## the tests that need no API server
	@echo "testing what needs no API server"
	@$(tested); $(GO) test -p $(JOBS) $$(echo "$$list" | grep -Ev '/muster/internal/(controlplane|test) ' | sed 's/ .*//')

.PHONY: test
test: $(TEST_ASSETS) $(GITEA) $(ADDONFRAMEWORK) build ## everything; builds what it needs first; on a real node too where root and runc are there
	@echo "testing everything (a few minutes; a line per package)"
	@$(tested); $(WITH_TEST_ASSETS) $(GO) test -p $(JOBS) -timeout 20m $$(echo "$$list" | sed 's/ .*//')
	@cd tools && $(GO) test ./pack
	@$(MAKE) --no-print-directory node-test

.PHONY: golden
golden: ## rewrite the golden files; read the diff before you commit it
	@echo "rewriting golden files"
	@$(GO) test $$(git grep -l --untracked 'flag.Bool("update"' -- '*_test.go' | sed 's|/[^/]*$$||; s|^|./|' | sort -u) -update

# What the bench compares with, at pinned versions: an old kubectl is throttled to a few requests a second.
RIVALS := bin/rivals/helm bin/rivals/kubectl
bin/rivals/helm: RIVAL := helm.sh/helm/v4/cmd/helm
bin/rivals/kubectl: RIVAL := ./kubectl

bin/rivals/%: tools/go.mod tools/go.sum
	@mkdir -p $(@D)
	@echo "building $* from its module, to compare with (minutes the first time)"
	@cd tools && $(call compile,$(CURDIR)/$@,,$(RIVAL))
	@touch $@

.PHONY: bench
bench: $(TEST_ASSETS) $(RIVALS) $(GITEA) build ## ratios against a floor measured in the same run
	@echo "measuring (several minutes)"
	@PATH="$(CURDIR)/bin/rivals:$$PATH" $(WITH_TEST_ASSETS) $(GO) test -p 1 -run '^$$' -bench . -timeout 60m \
		$$(git grep -l --untracked '^func Benchmark' -- '*_test.go' | sed 's|/[^/]*$$||; s|^|./|' | sort -u)

# The size of the fleet of hollow clusters that a hub is measured with; the benchmarks have defaults of their own.
CLUSTERS ?=
APPLICATIONS ?=
export CLUSTERS APPLICATIONS

.PHONY: bench-fleet
bench-fleet: $(TEST_ASSETS) ## a hub with CLUSTERS hollow clusters: the time of a change, memory
	@echo "measuring a hub with hollow clusters (minutes)"
	@$(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkFleet$$' -benchtime 1x -timeout 120m ./internal/test/hollow

.PHONY: bench-applications
bench-applications: $(TEST_ASSETS) ## a hub with APPLICATIONS applications on CLUSTERS hollow clusters: first delivery, usage reports, start
	@echo "measuring a hub with hollow clusters (minutes)"
	@$(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkApplications$$' -benchtime 1x -timeout 120m ./internal/test/hollow

.PHONY: bench-addons
bench-addons: $(TEST_ASSETS) ## 5 add-ons on CLUSTERS hollow clusters: installed and upgraded, against a bare client; memory
	@echo "measuring add-ons on hollow clusters (minutes)"
	@$(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkAddOns$$' -benchtime 1x -timeout 120m ./internal/test/hollow

.PHONY: bench-rollout
bench-rollout: $(TEST_ASSETS) ## a rollout over CLUSTERS (1000) hollow clusters in ten groups: processor time, requests, time between groups
	@echo "measuring a rollout over hollow clusters (minutes)"
	@$(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkRollout$$' -benchtime 1x -timeout 120m ./internal/test/hollow

.PHONY: bench-review
bench-review: $(TEST_ASSETS) $(GITEA) ## from a webhook of Gitea to check and comment, with APPLICATIONS (100) applications on CLUSTERS (1000) hollow clusters
	@echo "measuring a review with hollow clusters (minutes)"
	@CLUSTERS=$${CLUSTERS:-1000} APPLICATIONS=$${APPLICATIONS:-100} $(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkReview$$' -benchtime 1x -timeout 120m ./internal/test/hollow

.PHONY: bench-acceptance
bench-acceptance: $(TEST_ASSETS) ## CLUSTERS hollow clusters are accepted while others are delivered to; and against a bare client
	@echo "measuring how clusters are accepted (minutes)"
	@$(WITH_TEST_ASSETS) $(GO) test -run '^$$' -bench '^BenchmarkAccept' -benchtime 1x -timeout 120m -p 1 ./internal/hub/cluster ./internal/test/hollow

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (20s)
	@git grep --untracked -o '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's|/[^/]*:func | |' | while read -r folder target; do \
		echo "fuzzing $$target in $$folder for $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$folder" < /dev/null || exit 1; \
	done

# ---- keep in order

.PHONY: lint
lint: ## vet and golangci-lint (built from its module the first time, in minutes)
	@echo "vet"
	@$(GO) vet ./... && cd controlplane && $(GO) vet ./... && cd ../node && $(GO) vet ./...
	@echo "golangci-lint"
	@$(TOOL) golangci-lint run ./...

.PHONY: generate
generate: ## deepcopy functions and CRDs from api/, and the charts' copies of what the code says
	@echo "generating deepcopy functions and CRDs, and the charts' files"
	@$(TOOL) controller-gen object crd paths=./api/... output:crd:artifacts:config=api/crds
	@$(GO) run charts/generate.go

# What generate and tidy write.
GENERATED := api charts go.mod go.sum controlplane/go.mod controlplane/go.sum addonframework/go.mod addonframework/go.sum gitea/go.mod gitea/go.sum node/go.mod node/go.sum tools/go.mod tools/go.sum

.PHONY: verify
verify: generate ## generated files and modules are as committed
	@for module in . addonframework controlplane gitea node tools; do echo "go mod tidy in $$module"; (cd $$module && $(GO) mod tidy) || exit 1; done
	@git diff --stat --exit-code -- $(GENERATED)
	@new=$$(git ls-files --others --exclude-standard -- $(GENERATED)); [ -z "$$new" ] || { echo "not committed: $$new"; exit 1; }

# ---- try

.PHONY: demo
demo: $(DEMO_ASSETS) build ## a hub and three clusters, and what happens on a push; KEEP=1 leaves them running
	@$(if $(DEMO_ASSETS),KUBEBUILDER_ASSETS=) bin/muster demo $(if $(KEEP),--keep)

.PHONY: clean
clean: ## remove bin/
	rm -rf bin
