// Package demo shows on a terminal what Muster does with a fleet: the commands that a person would type, and their answers. Each
// result is checked: the demo ends with an error at the first one that is not as promised.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/embedded"
)

// clusters are those of the example that the demo runs: one like EKS, one like OpenShift, one like k3s.
var clusters = []string{"eks-prod-1", "ocp-prod-1", "k3s-edge-1"}

// applications are those of the example.
var applications = []string{"platform/baseline", "platform/ingress", "platform/ledger", "retail/orders", "retail/storefront"}

// Options of a demo.
type Options struct {
	// Out is where the demo prints.
	Out io.Writer
	// Dir is the folder for the fleet; empty is a temporary one.
	Dir string
	// Example is the fleet repository to begin with.
	Example string
	// Keep leaves the fleet running at the end.
	Keep bool
}

type demo struct {
	Options
	ctx     context.Context
	fleet   *embedded.Fleet
	hub     client.Client
	program string // the running muster
	began   time.Time
	// host of the repository's pull requests; nil until it serves.
	host *gitHost
	// applications that the fleet repository has.
	applications []string
}

// Run starts the fleet, shows each scene, and ends the fleet unless it is to be kept. Only a fleet whose demo succeeded is
// kept running; after a failure its folder is kept, for the logs in it.
func Run(ctx context.Context, o Options) error {
	d := &demo{Options: o, ctx: ctx, began: time.Now(), applications: applications}
	temporary := d.Dir == ""
	if err := d.checkExample(); err != nil {
		return err
	}
	if err := d.makeFolder(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { d.say("\nInterrupted: ending what was started …") })()
	err := d.show()
	if err == nil && d.Keep {
		d.lookAround()
		return nil
	}
	err = errors.Join(err, d.stop())
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted; what was started has been ended")
	case err != nil && !d.started():
		return errors.Join(err, d.removeFolder(temporary))
	case err != nil:
		return fmt.Errorf("%w\nEverything has been ended; the logs of the programs are in %s", err, filepath.Join(d.Dir, "logs"))
	}
	return errors.Join(err, d.removeFolder(temporary))
}

// removeFolder removes a temporary folder.
func (d *demo) removeFolder(temporary bool) error {
	if !temporary {
		return nil
	}
	return os.RemoveAll(d.Dir)
}

// started says whether a program ran, whose log somebody may want to read.
func (d *demo) started() bool {
	_, err := os.Stat(filepath.Join(d.Dir, "etcd"))
	return err == nil
}

// stop ends what was started. The programs of a fleet that is to be kept run on even after the fleet failed to start.
func (d *demo) stop() error {
	if d.host != nil {
		_ = d.host.server.Close()
	}
	if d.fleet == nil && d.Keep && d.started() {
		return embedded.Down(d.Dir)
	}
	if d.fleet == nil {
		return nil
	}
	return d.fleet.Stop()
}

// makeFolder makes the folder of the fleet, which holds no other fleet.
func (d *demo) makeFolder() (err error) {
	if d.Dir == "" {
		d.Dir, err = os.MkdirTemp("", "muster-demo-")
	}
	if err != nil {
		return err
	}
	if d.Dir, err = filepath.Abs(d.Dir); err != nil {
		return err
	}
	if _, err := os.Stat(d.worktree()); err == nil {
		return fmt.Errorf("%s has the fleet of an earlier demo: end it with muster down --state %s, and remove the folder or name another with --dir", d.Dir, d.Dir)
	}
	d.program, err = os.Executable()
	return err
}

func (d *demo) show() error {
	if err := d.begin(); err != nil {
		return err
	}
	for i, scene := range []struct {
		title string
		show  func() error
	}{
		{"A push reaches the clusters", d.push},
		{"A change is reviewed before it is made", d.review},
		{"A typo would empty every cluster, and is held", d.typo},
		{"Somebody edits a live object", d.drift},
		{"A value breaks the chart on one cluster", d.breakage},
		{"A cluster goes offline and comes back", d.offline},
		{"A bad image stops at the canary and returns", d.canary},
		{"Charts come from a repository and from a registry", d.chartSources},
		{"One cluster gets an add-on", d.addOn},
	} {
		d.say("\n%d. %s", i+1, scene.title)
		if err := scene.show(); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(scene.title), err)
		}
	}
	d.say("\nThat was the demo, shown and checked in %.0f seconds.", time.Since(d.began).Seconds())
	if !d.Keep {
		d.say("make demo KEEP=1 shows it again and leaves the fleet running, to look around.")
		return nil
	}
	return d.endReviews()
}

// begin starts the fleet and makes the bare repository that it watches.
func (d *demo) begin() error {
	if err := d.repository(); err != nil {
		return err
	}
	d.say("Starting a hub and three clusters: each is a Kubernetes API server, and KWOK plays the nodes.")
	var err error
	d.fleet, err = embedded.Up(d.ctx, embedded.Options{
		Dir: d.Dir, Clusters: clusters, Repositories: []string{d.bare()}, Detached: d.Keep,
		StatusInterval: 500 * time.Millisecond, HealthPeriod: 2 * time.Second,
		Progress: func(line string) { d.say("   %s", line) },
	})
	if err != nil {
		return err
	}
	if d.hub, err = client.New(d.fleet.Hub.Config(), client.Options{Scheme: scheme()}); err != nil {
		return err
	}
	d.say("\nWhat follows is what a person types, and what it answers. The terminal is set up with")
	d.typed("export DIR=%s PATH=%s:$PATH", d.Dir, filepath.Dir(d.program))
	d.typed("export KUBECONFIG=$DIR/hub/kubeconfig; cd $DIR/fleet")
	return nil
}

func (d *demo) bare() string     { return filepath.Join(d.Dir, "fleet.git") }
func (d *demo) worktree() string { return filepath.Join(d.Dir, "fleet") }

// bareURL is the repository's address, whatever the characters of the folder's name.
func (d *demo) bareURL() string { return (&url.URL{Scheme: "file", Path: d.bare()}).String() }

// checkExample comes before anything is started or made.
func (d *demo) checkExample() error {
	if _, err := os.Stat(d.Example); err != nil {
		return fmt.Errorf("the example fleet repository is missing: %w; run the demo in a clone of Muster, where examples/ is, or name it with --fleet", err)
	}
	return nil
}

// repository makes a clone with the example in it, and the bare repository it pushes to. The clusters' leases are short, so
// that the demo need not wait minutes for one that goes offline.
func (d *demo) repository() error {
	if err := os.MkdirAll(d.worktree(), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(d.worktree(), os.DirFS(d.Example)); err != nil {
		return err
	}
	for _, name := range clusters {
		err := d.replace(d.clusterFile(name), "hubAcceptsClient: true", "hubAcceptsClient: true\n  leaseDurationSeconds: 2")
		if err != nil {
			return err
		}
	}
	return d.git(
		[]string{"init", "--quiet", "--bare", "--initial-branch=main", d.bare()},
		[]string{"init", "--quiet", "--initial-branch=main"},
		[]string{"remote", "add", "origin", d.bare()},
	)
}

// clusterFile finds the file of a cluster below clusters/.
func (d *demo) clusterFile(name string) string {
	found, err := fs.Glob(os.DirFS(d.worktree()), "clusters/*/"+name+".yaml")
	if err != nil || len(found) == 0 {
		return name + ".yaml" // the error of reading it names it
	}
	return found[0]
}

// lookAround says how to look around in a fleet that runs on.
func (d *demo) lookAround() {
	d.say("\nThe fleet runs on. Look around:")
	d.typed("export DIR=%s KUBECONFIG=%s", d.Dir, embedded.HubKubeconfig(d.Dir))
	d.typed("bin/muster status")
	d.typed("bin/muster why retail/storefront k3s-edge-1")
	d.typed("kubectl --kubeconfig $DIR/clusters/k3s-edge-1/kubeconfig get deployments -A")
	d.say("Edit the fleet repository in $DIR/fleet, commit and push. To end it and forget it:")
	d.typed("bin/muster down --state $DIR && rm -r $DIR")
}

// scheme has the kinds that the demo reads and writes on the hub.
func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, clusterv1.AddToScheme, musterv1alpha1.AddToScheme, workv1.AddToScheme, addonv1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // two types of one name: a mistake of ours
		}
	}
	return s
}
