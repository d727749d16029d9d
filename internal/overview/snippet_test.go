package overview

import (
	"testing"

	"github.com/muster-io/muster/internal/drift"
)

// TestSnippets: what a record says becomes what an application has to say.
func TestSnippets(t *testing.T) {
	for path, want := range map[string]string{
		"spec.replicas": "/spec/replicas",
		`metadata.labels["app.kubernetes.io/name"]`: "/metadata/labels/app.kubernetes.io~1name",
		`data["a~b"].c`: "/data/a~0b/c",
		"spec.template.spec.containers[name=web].image": "",
		"metadata.finalizers[=x]":                       "",
		"":                                              "",
		"spec.long…":                                    "",
	} {
		if got := pointerTo(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	r := Drift{Application: "shop/web", Record: drift.Record{Object: "Deployment shop/web", Path: "spec.replicas"}}
	if got, want := r.Ignore(), "spec:\n  sync:\n    ignore:\n    - jsonPointers:\n      - /spec/replicas\n      kind: Deployment\n      name: web\n"; got != want {
		t.Errorf("the rule is\n%swant\n%s", got, want)
	}
	if got, want := r.Heal(), "spec:\n  sync:\n    drift: Correct\n"; got != want {
		t.Errorf("healing is\n%swant\n%s", got, want)
	}
}
