// Package internal_test holds which package may import which.
package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/muster-io/muster"

// table says, per folder of this module, which folders of it a package imports. A folder stands for what is below it.
// What is not listed is a folder that composes: it may import all others.
var table = map[string]struct {
	imports []string
	why     string
}{
	"api":                    {nil, "types that others can use alone"},
	"api/crds":               {[]string{"api"}, "definitions of the types"},
	"internal/fleet":         {[]string{"api"}, "the vocabulary that all others speak"},
	"internal/drift":         {[]string{"api"}, "shared by hub and agent"},
	"internal/generated":     {nil, "shared by the renderer and the agent"},
	"internal/health":        {[]string{"api", "internal/fleet"}, "shared by hub and agent"},
	"internal/source":        {[]string{"api", "internal/fleet", "internal/githubapp"}, "what is elsewhere becomes a file tree and nothing more"},
	"internal/expression":    {[]string{"api", "internal/fleet"}, "the CEL of placements and applications"},
	"internal/render":        {[]string{"api", "internal/expression", "internal/fleet"}, "content and one cluster become manifests"},
	"internal/render/engine": {[]string{"api", "internal/fleet", "internal/generated", "internal/render/memo"}, "runs a chart, an overlay or a folder, and knows nothing of applications"},
	"internal/render/memo":   {[]string{"internal/fleet"}, "remembers results, whatever they are"},
	"internal/renderworker":  {[]string{"api", "internal/fleet", "internal/render/engine"}, "runs an engine in processes"},
	"internal/placement":     {[]string{"api", "internal/expression", "internal/fleet", "internal/health"}, "decides in values"},
	"internal/work":          {[]string{"api", "internal/fleet", "internal/health"}, "decides in values"},
	"internal/addon":         {[]string{"api", "internal/fleet", "internal/health", "internal/work"}, "decides in values"},
	"internal/rollout":       {[]string{"api", "internal/expression", "internal/fleet", "internal/health", "internal/work"}, "filters the changes that work finds"},
	"internal/registration":  {[]string{"api", "internal/fleet", "internal/health"}, "decides in values, for hub and agent"},
	"internal/plan": {
		[]string{"api", "internal/fleet", "internal/placement", "internal/render", "internal/rollout", "internal/work"},
		"composes the pure packages",
	},
	"internal/review": {
		[]string{"api", "internal/expression", "internal/fleet", "internal/plan", "internal/rollout"},
		"tells what two plans differ in, for whoever shows it",
	},
	"internal/tracing":      {nil, "tells of commits on their way, for hub and agent"},
	"internal/access":       {nil, "whom a user of the hub is on a cluster, for hub and agent"},
	"internal/githubapp":    {nil, "a key becomes tokens, for sources and hosts"},
	"internal/githost":      {[]string{"internal/githubapp"}, "knows hosts and nothing of fleets"},
	"internal/notify":       {[]string{"api", "internal/expression"}, "events become messages"},
	"internal/controlplane": {nil, "starts programs and knows nothing of fleets"},
	"klusterlet": {
		[]string{"api", "internal/access", "internal/addonstatus", "internal/drift", "internal/fleet", "internal/generated", "internal/health", "internal/registration", "internal/tracing"},
		"the agent: nothing of what the hub decides with",
	},
}

// clients are modules that talk to an API server, or run controllers.
var clients = []string{"k8s.io/client-go", "k8s.io/kubectl", "sigs.k8s.io/controller-runtime", "helm.sh/helm/v4/pkg/action", "helm.sh/helm/v4/pkg/kube"}

// pure are the folders that take values and return values.
var pure = []string{
	"api", "internal/access", "internal/addon", "internal/drift", "internal/fleet", "internal/generated", "internal/health", "internal/placement", "internal/plan", "internal/registration",
	"internal/render", "internal/review", "internal/rollout", "internal/work",
}

func TestImportTable(t *testing.T) {
	for _, p := range list(t, "./...") {
		row, ok := table[rowOf(p.folder())]
		if !ok {
			continue
		}
		for _, imported := range p.Imports {
			folder, ours := strings.CutPrefix(imported, module+"/")
			if ours && !within(folder, append(row.imports, rowOf(p.folder()))...) {
				t.Errorf("%s imports %s; %s imports only %q: %s", p.folder(), folder, rowOf(p.folder()), row.imports, row.why)
			}
		}
	}
}

func TestPurePackagesHaveNoClient(t *testing.T) {
	for _, p := range list(t, "./api/...", "./internal/...") {
		if !within(p.folder(), pure...) {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, clients...) {
				t.Errorf("%s imports %s: a pure package takes what it needs as values", p.folder(), imported)
			}
		}
	}
}

func TestOnlyShellsRunControllers(t *testing.T) {
	for _, p := range list(t, "./internal/...") {
		if within(p.folder(), "internal/hub", "internal/test") {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, "sigs.k8s.io/controller-runtime") && !(within(p.folder(), "internal/addonstatus", "internal/demo", "internal/overview", "internal/ui") && within(imported, "sigs.k8s.io/controller-runtime/pkg/client")) {
				t.Errorf("%s imports %s: below internal/ only hub and test do, and what shows a fleet, or writes for hub and agent, its client", p.folder(), imported)
			}
		}
	}
}

func TestTypesBringOnlyApimachinery(t *testing.T) {
	outside := []string{"k8s.io/apimachinery"}
	for _, p := range list(t, "./api/...") {
		allowed := outside
		if p.folder() == "api/crds" {
			allowed = append(slices.Clone(outside), "k8s.io/apiextensions-apiserver/pkg/apis", "k8s.io/kube-openapi/pkg/validation")
		}
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || within(imported, module+"/api") {
				continue
			}
			if !within(imported, allowed...) {
				t.Errorf("%s imports %s: who uses our types gets %q and no more", p.folder(), imported, allowed)
			}
		}
	}
}

// agent asks for everything that the klusterlet is linked with.
var agent = []string{"-deps", module + "/klusterlet/...", module + "/cmd/klusterlet/..."}

func TestAgentsClosure(t *testing.T) {
	never := []string{
		"github.com/go-git", "helm.sh/helm", "sigs.k8s.io/kustomize",
		module + "/internal/hub", module + "/internal/plan", module + "/internal/render", module + "/internal/source", module + "/internal/placement",
	}
	for _, p := range list(t, agent...) {
		if within(p.ImportPath, never...) {
			t.Errorf("the klusterlet is linked with %s, needed by %q", p.ImportPath, importers(t, p.ImportPath))
		}
	}
}

// importers are those packages of the agent's closure that import a package themselves.
func importers(t *testing.T, path string) []string {
	var found []string
	for _, p := range list(t, agent...) {
		if slices.Contains(p.Imports, path) {
			found = append(found, p.ImportPath)
		}
	}
	return found
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func (p goPackage) folder() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// rowOf is the row of the table that a folder belongs to, or the folder itself.
func rowOf(folder string) string {
	for row := folder; row != ""; row = row[:max(strings.LastIndex(row, "/"), 0)] {
		if _, ok := table[row]; ok {
			return row
		}
	}
	return folder
}

// within says whether a path is one of the folders, or below one.
func within(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		return path == folder || strings.HasPrefix(path, folder+"/")
	})
}

// list asks the go command about packages.
func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	command.Dir = ".."
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list %q: %v\n%s", args, err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list %q: %v", args, err)
		}
		packages = append(packages, p)
	}
}
