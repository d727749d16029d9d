package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/controlplane"
	"github.com/muster-io/muster/internal/demo/charthost"
)

// ChartHost is the argument of muster demo that serves charts, and the name of the program that does.
const ChartHost = "charthost"

// sourcedApplication is an application whose chart is not in the fleet repository.
const sourcedApplication = `apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: platform}
spec:
  placementRef: {name: %[2]s}
  source:
    chart: {repo: %[3]s, name: %[1]s, version: %[4]q, secretRef: {name: charts}}
  helm:
    values: {%[5]s}
  destination: {namespace: %[1]s, createNamespace: true}
`

// chartSources: charts of a chart repository and of a registry are delivered in the newest version of a range.
func (d *demo) chartSources() error {
	host, err := d.serveCharts()
	if err != nil {
		return err
	}
	if err := d.chartSecret(host); err != nil {
		return err
	}
	metrics := fmt.Sprintf(sourcedApplication, charthost.Metrics, "everywhere", host.Repository(), "~1.4", `retention: 24h`)
	logs := fmt.Sprintf(sourcedApplication, charthost.Logs, "core", host.Registry(), "^0.9", `cluster: "${{ cluster.name }}"`)
	if err := d.addApplication("platform/"+charthost.Metrics, metrics); err != nil {
		return err
	}
	if err := d.addApplication("platform/"+charthost.Logs, logs); err != nil {
		return err
	}
	if err := d.deliver("Metrics and logs, whose charts are elsewhere"); err != nil {
		return err
	}
	for _, x := range []struct{ name, version, cluster string }{
		{charthost.Metrics, "1.4.2", "k3s-edge-1"},
		{charthost.Logs, "0.9.1", "ocp-prod-1"},
	} {
		if err := d.showSource(x.name, x.version, x.cluster); err != nil {
			return err
		}
	}
	return nil
}

// serveCharts starts the chart repository and the registry, as a program of the fleet that ends with it.
func (d *demo) serveCharts() (charthost.Access, error) {
	var host charthost.Access
	dir := filepath.Join(d.Dir, ChartHost)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return host, err
	}
	if _, _, err := controlplane.StartProgram(d.Dir, ChartHost, d.program, []string{"demo", ChartHost, dir}, d.Keep); err != nil {
		return host, err
	}
	err := d.until("the charts to be served", func() (err error) {
		host, err = charthost.Read(dir)
		return err
	})
	if err == nil {
		d.say("A chart repository and an OCI registry run at %s, with TLS and a password.", host.Address)
	}
	return host, err
}

// chartSecret makes the Secret that opens both.
func (d *demo) chartSecret(host charthost.Access) error {
	d.typed("kubectl -n platform create secret generic charts --from-literal=username=%s \\", charthost.User)
	d.say("    --from-literal=password=*** --from-file=ca.crt")
	err := d.hub.Create(d.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "charts"},
		Data:       map[string][]byte{"username": []byte(charthost.User), "password": []byte(host.Password), "ca.crt": host.CA},
	})
	if err == nil {
		d.answered("secret/charts created")
	}
	return err
}

// addApplication adds an application to the clone.
func (d *demo) addApplication(name, text string) error {
	file := filepath.Join("applications", name, "application.yaml")
	d.typed("$EDITOR %s", file)
	d.answered(text)
	path := filepath.Join(d.worktree(), file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	d.applications = append(slices.Clip(d.applications), name)
	return os.WriteFile(path, []byte(text), 0o644)
}

var archiveDigest = regexp.MustCompile(`sha256:[0-9a-f]{12}`)

// showSource shows what an application's chart resolved to, and checks that this very version runs.
func (d *demo) showSource(name, version, cluster string) error {
	answer, err := d.muster("why platform/"+name+" "+cluster, "source: ", name, version)
	if err != nil {
		return err
	}
	if !archiveDigest.MatchString(answer) {
		return fmt.Errorf("muster why does not say the digest of chart %s", name)
	}
	if err := d.areReady(cluster, name, []string{name}); err != nil {
		return err
	}
	live, err := d.deployment(cluster, name, name)
	if err != nil {
		return err
	}
	if is, want := live.Labels["helm.sh/chart"], name+"-"+version; is != want {
		return fmt.Errorf("%s runs chart %s, not %s", cluster, is, want)
	}
	return nil
}
