package main

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

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/embedded"
)

// demoClusters are clusters of the example that the demo runs: one like eks, one like ocp, one like k3s.
var demoClusters = []string{"eks-prod-1", "ocp-prod-1", "k3s-edge-1"}

// demoApplications are those of the example.
var demoApplications = []string{"platform/baseline", "platform/ingress", "platform/ledger", "retail/orders", "retail/storefront"}

// demo tells the story of a fleet on the terminal, with the commands that a person would type. What it tells it has checked:
// it ends with an error at the first thing that does not happen.
type demo struct {
	ctx     context.Context
	out     io.Writer
	dir     string // everything is below it
	example string // the fleet repository that the story begins with
	fleet   *embedded.Fleet
	hub     client.Client
	self    string // this program
	began   time.Time
}

func demoCommand(*cli) *cobra.Command {
	var keep bool
	d := demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a hub with three clusters and show what Muster does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.ctx, d.out = cmd.Context(), cmd.OutOrStdout()
			return d.run(keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the fleet running when the story has been told")
	cmd.Flags().StringVar(&d.dir, "dir", "", "folder for the fleet; left out, a temporary one")
	cmd.Flags().StringVar(&d.example, "fleet", "examples/fleet-repo", "fleet repository to begin with")
	return cmd
}

// run tells the story. Only a fleet whose story came to its end is kept; a folder is, when somebody may want to look into it.
func (d *demo) run(keep bool) error {
	d.began = time.Now()
	temporary := d.dir == ""
	if err := d.exampleFound(); err != nil {
		return err
	}
	if err := d.folder(); err != nil {
		return err
	}
	defer context.AfterFunc(d.ctx, func() { d.say("\nInterrupted: ending what was started …") })()
	err := d.tell(keep)
	if err == nil && keep {
		d.lookAround()
		return nil
	}
	err = errors.Join(err, d.stop(keep))
	switch {
	case d.ctx.Err() != nil:
		err = errors.New("interrupted; what was started has been ended")
	case err != nil && !d.started():
		return errors.Join(err, d.forget(temporary))
	case err != nil:
		return fmt.Errorf("%w\nEverything has been ended; what the programs said is in %s", err, filepath.Join(d.dir, "logs"))
	}
	return errors.Join(err, d.forget(temporary))
}

// forget removes a temporary folder.
func (d *demo) forget(temporary bool) error {
	if !temporary {
		return nil
	}
	return os.RemoveAll(d.dir)
}

// started: a program ran, whose log somebody may want to read.
func (d *demo) started() bool {
	_, err := os.Stat(filepath.Join(d.dir, "etcd"))
	return err == nil
}

// stop ends what was started. A fleet that is to be kept outlives even its own failure to start.
func (d *demo) stop(keep bool) error {
	if d.fleet == nil && keep && d.started() {
		return embedded.Down(d.dir)
	}
	if d.fleet == nil {
		return nil
	}
	return d.fleet.Stop()
}

// folder is where the fleet will be: a new one.
func (d *demo) folder() (err error) {
	if d.dir == "" {
		d.dir, err = os.MkdirTemp("", "muster-demo-")
	}
	if err != nil {
		return err
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	if _, err := os.Stat(d.worktree()); err == nil {
		return fmt.Errorf("%s has the fleet of an earlier demo: end it with muster down --state %s, and remove the folder or name another with --dir", d.dir, d.dir)
	}
	d.self, err = os.Executable()
	return err
}

func (d *demo) tell(keep bool) error {
	if err := d.begin(keep); err != nil {
		return err
	}
	for i, chapter := range []struct {
		title string
		tell  func() error
	}{
		{"A push reaches the clusters", d.push},
		{"A change is reviewed before it is made", d.review},
		{"A typo would empty every cluster, and is held", d.typo},
		{"Somebody edits a live object", d.drift},
		{"A value breaks the chart on one cluster", d.breakage},
		{"A cluster goes offline and comes back", d.offline},
	} {
		d.say("\n%d. %s", i+1, chapter.title)
		if err := chapter.tell(); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(chapter.title), err)
		}
	}
	d.say("\nThat was the story, told and checked in %.0f seconds.", time.Since(d.began).Seconds())
	if !keep {
		d.say("make demo KEEP=1 tells it again and leaves the fleet running, to look around.")
	}
	return nil
}

// begin starts the fleet and makes the bare repository that it watches.
func (d *demo) begin(keep bool) error {
	if err := d.repository(); err != nil {
		return err
	}
	d.say("Starting a hub and three clusters: each is a Kubernetes API server, and KWOK plays the nodes.")
	var err error
	d.fleet, err = embedded.Up(d.ctx, embedded.Options{
		Dir: d.dir, Clusters: demoClusters, Repositories: []string{d.bare()}, Detached: keep,
		StatusInterval: 500 * time.Millisecond, HealthPeriod: 2 * time.Second,
		Progress: func(line string) { d.say("   %s", line) },
	})
	if err != nil {
		return err
	}
	if d.hub, err = clientOf(embedded.HubKubeconfig(d.dir)); err != nil {
		return err
	}
	d.say("\nWhat follows is what a person types, and what it answers. The terminal is set up with")
	d.typed("export DIR=%s PATH=%s:$PATH", d.dir, filepath.Dir(d.self))
	d.typed("export KUBECONFIG=$DIR/hub/kubeconfig; cd $DIR/fleet")
	return nil
}

func (d *demo) bare() string     { return filepath.Join(d.dir, "fleet.git") }
func (d *demo) worktree() string { return filepath.Join(d.dir, "fleet") }

// bareURL is the repository's address, whatever the characters of the folder's name.
func (d *demo) bareURL() string { return (&url.URL{Scheme: "file", Path: d.bare()}).String() }

// exampleFound is looked at before there is anything to end, or to forget.
func (d *demo) exampleFound() error {
	if _, err := os.Stat(d.example); err != nil {
		return fmt.Errorf("the example fleet repository is not there: %w; run the demo in a clone of Muster, where examples/ is, or name it with --fleet", err)
	}
	return nil
}

// repository makes a clone with the example in it, and the bare repository it pushes to. The clusters' leases are short, so
// that the story need not wait minutes for one that goes offline.
func (d *demo) repository() error {
	if err := os.MkdirAll(d.worktree(), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(d.worktree(), os.DirFS(d.example)); err != nil {
		return err
	}
	for _, name := range demoClusters {
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
		return name + ".yaml" // reading it says that it is not there
	}
	return found[0]
}

// lookAround ends a demo whose fleet runs on.
func (d *demo) lookAround() {
	d.say("\nThe fleet runs on. Look around:")
	d.typed("export DIR=%s KUBECONFIG=%s", d.dir, embedded.HubKubeconfig(d.dir))
	d.typed("bin/muster status")
	d.typed("bin/muster why retail/storefront k3s-edge-1")
	d.typed("kubectl --kubeconfig $DIR/clusters/k3s-edge-1/kubeconfig get deployments -A")
	d.say("Edit the fleet repository in $DIR/fleet, commit and push. To end it and forget it:")
	d.typed("bin/muster down --state $DIR && rm -r $DIR")
}
