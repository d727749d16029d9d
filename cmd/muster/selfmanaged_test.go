package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/muster-io/muster/charts"
)

// TestChartsAreDeliveredAsApplications: the hub's renderer takes both charts, as any other content of a fleet repository.
func TestChartsAreDeliveredAsApplications(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fleet")
	if _, err := writeStarter(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "charts"), charts.FS); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"clusters/edge-1.yaml": "apiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\nmetadata: {name: edge-1}\nspec: {hubAcceptsClient: true}\n",
		"applications/demo/klusterlet/application.yaml": `apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: klusterlet, namespace: demo}
spec:
  placementRef: {name: everywhere}
  source: {path: charts/klusterlet}
  helm:
    releaseName: klusterlet
    values: {clusterName: '${{ cluster.name }}', bootstrap: {existingSecret: klusterlet-bootstrap}, uninstall: {job: false}}
  destination: {namespace: muster-agent}
`,
		"applications/demo/hub/application.yaml": `apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: hub, namespace: demo}
spec:
  placementRef: {name: everywhere}
  source: {path: charts/muster-hub}
  helm: {releaseName: muster-hub, values: {hubCluster: edge-1}}
  destination: {namespace: muster-system}
`,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for application, want := range map[string]string{"demo/klusterlet": "--spoke-cluster-name=edge-1", "demo/hub": "--hub-cluster=edge-1"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"render", "--application", application, "--cluster", "edge-1"}, &out, &errs); code != 0 {
			t.Errorf("muster render %s: exit code %d\n%s", application, code, errs.String())
			continue
		}
		expectOutput(t, application, out.String(), want, "CustomResourceDefinition")
	}
}
