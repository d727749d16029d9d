package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/embedded"
)

// demoClusters are clusters of the example that the demo runs: one like eks, one like ocp, one like k3s.
var demoClusters = []string{"eks-prod-1", "ocp-prod-1", "k3s-edge-1"}

// demo tells the story of a fleet on the terminal, with the commands that a person would type.
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
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the fleet running")
	cmd.Flags().StringVar(&d.dir, "dir", "", "folder for the fleet; left out, a temporary one")
	cmd.Flags().StringVar(&d.example, "fleet", "examples/fleet-repo", "fleet repository to begin with")
	return cmd
}

func (d *demo) run(keep bool) (err error) {
	d.began = time.Now()
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "muster-demo-"); err != nil {
			return err
		}
		if !keep {
			defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
		}
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	if err := d.begin(keep); err != nil {
		return err
	}
	if !keep {
		defer func() { err = errors.Join(err, d.fleet.Stop()) }()
	}
	for i, chapter := range []struct {
		title string
		tell  func() error
	}{
		{"A push reaches the clusters", d.push},
		{"A change is reviewed before it is made", d.review},
		{"A typo would empty most clusters, and is held", d.typo},
		{"Somebody edits a live object", d.drift},
		{"A value breaks the chart on one cluster", d.breakage},
		{"A cluster goes offline and comes back", d.offline},
	} {
		fmt.Fprintf(d.out, "\n%d. %s (%.0fs)\n\n", i+1, chapter.title, time.Since(d.began).Seconds())
		if err := chapter.tell(); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(chapter.title), err)
		}
	}
	d.end(keep)
	return nil
}

// begin starts the fleet and makes the bare repository that it watches.
func (d *demo) begin(keep bool) error {
	d.say("Starting a hub and three clusters, each with a control plane of its own.")
	if err := d.repository(); err != nil {
		return err
	}
	var err error
	d.fleet, err = embedded.Up(d.ctx, embedded.Options{
		Dir: d.dir, Clusters: demoClusters, Repositories: []string{d.bare()}, Detached: keep,
		StatusInterval: 500 * time.Millisecond, HealthPeriod: 2 * time.Second,
		Progress: func(line string) { fmt.Fprintln(d.out, "   "+line) },
	})
	if err != nil {
		return err
	}
	d.hub, err = clientOf(embedded.HubKubeconfig(d.dir))
	return err
}

func (d *demo) bare() string     { return filepath.Join(d.dir, "fleet.git") }
func (d *demo) worktree() string { return filepath.Join(d.dir, "fleet") }

// repository makes a clone with the example in it, and the bare repository it pushes to. The clusters' leases are short, so
// that the story need not wait minutes for one that goes offline.
func (d *demo) repository() error {
	if _, err := os.Stat(d.example); err != nil {
		return fmt.Errorf("the example fleet repository is not there: %w; run the demo where examples/ is, or name it with --fleet", err)
	}
	if err := os.MkdirAll(d.worktree(), 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(d.worktree(), os.DirFS(d.example)); err != nil {
		return err
	}
	for _, name := range demoClusters {
		err := d.editFile(d.clusterFile(name), "hubAcceptsClient: true", "hubAcceptsClient: true\n  leaseDurationSeconds: 2")
		if err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", d.bare()},
		{"-C", d.worktree(), "init", "--quiet", "--initial-branch=main"},
		{"-C", d.worktree(), "remote", "add", "origin", d.bare()},
	} {
		if _, err := d.exec("git", args...); err != nil {
			return err
		}
	}
	return nil
}

// clusterFile finds the file of a cluster below clusters/.
func (d *demo) clusterFile(name string) string {
	found, _ := filepath.Glob(filepath.Join(d.worktree(), "clusters", "*", name+".yaml"))
	if len(found) == 0 {
		return name + ".yaml" // reading it says that it is not there
	}
	file, err := filepath.Rel(d.worktree(), found[0])
	if err != nil {
		return found[0]
	}
	return file
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, format+"\n", args...)
}

// show prints a command as a person would type it, and what it answered.
func (d *demo) show(line string, output string) {
	fmt.Fprintf(d.out, "$ %s\n", line)
	for _, l := range strings.Split(strings.TrimRight(output, "\n"), "\n") {
		fmt.Fprintln(d.out, strings.TrimRight("  "+l, " "))
	}
}

// exec runs a program in the clone; its environment leads to the demo's hub.
func (d *demo) exec(program string, args ...string) (string, error) {
	cmd := exec.CommandContext(d.ctx, program, args...)
	cmd.Dir = d.worktree()
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+embedded.HubKubeconfig(d.dir), "NO_COLOR=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// muster runs this program and shows it. The exit codes given are as good as 0.
func (d *demo) muster(args []string, good ...int) error {
	out, err := d.exec(d.self, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		for _, code := range good {
			if exit.ExitCode() == code {
				err = nil
			}
		}
	}
	d.show("muster "+strings.Join(args, " "), out)
	return err
}

// commit commits everything and pushes; it returns the commit.
func (d *demo) commit(message string) (string, error) {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", message}, {"push", "--quiet", "--set-upstream", "origin", "HEAD"}} {
		if _, err := d.exec("git", args...); err != nil {
			return "", err
		}
	}
	revision, err := d.exec("git", "rev-parse", "HEAD")
	d.show(fmt.Sprintf("git commit -am %q && git push", message), "")
	return strings.TrimSpace(revision), err
}

// editFile replaces a text in a file of the clone; it must be there.
func (d *demo) editFile(file, before, after string) error {
	name := filepath.Join(d.worktree(), file)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), before) {
		return fmt.Errorf("%s does not say %q any more: the demo wants the example as it was", file, before)
	}
	return os.WriteFile(name, []byte(strings.Replace(string(data), before, after, 1)), 0o644)
}

// edit is editFile, told.
func (d *demo) edit(file, before, after string) error {
	d.show("$EDITOR "+file, "- "+before+"\n+ "+after)
	return d.editFile(file, before, after)
}

// delivered waits until a commit is on the clusters that can be reached.
func (d *demo) delivered(revision string, since time.Time) error {
	if _, err := d.exec(d.self, "wait", "--revision", revision, "--timeout", "2m"); err != nil {
		return err
	}
	d.show("muster wait --revision "+revision[:7], fmt.Sprintf("applied and healthy %.1fs after the push", time.Since(since).Seconds()))
	return nil
}

// until waits for a condition of an object.
func (d *demo) until(what string, check func() (bool, error)) error {
	deadline := time.Now().Add(90 * time.Second)
	for {
		ok, err := check()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %s", what)
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *demo) application(name string) (*musterv1alpha1.Application, error) {
	var a musterv1alpha1.Application
	namespace, name, _ := strings.Cut(name, "/")
	return &a, d.hub.Get(d.ctx, client.ObjectKey{Namespace: namespace, Name: name}, &a)
}

func (d *demo) end(keep bool) {
	d.say("\nThat was the story, told in %.0f seconds.", time.Since(d.began).Seconds())
	if !keep {
		d.say("make demo KEEP=1 leaves the fleet running, to look around: muster status, muster why, kubectl --kubeconfig …")
		return
	}
	d.say("The fleet runs on. Look around:")
	d.say("  export KUBECONFIG=%s", embedded.HubKubeconfig(d.dir))
	d.say("  bin/muster status")
	d.say("  bin/muster why retail/storefront k3s-edge-1")
	d.say("  kubectl --kubeconfig %s get deployments -A", embedded.ClusterKubeconfig(d.dir, demoClusters[0]))
	d.say("  the fleet repository: %s", d.worktree())
	d.say("  bin/muster down --state %s", d.dir)
}

// fleetRepository is what tells the hub to watch the repository.
func (d *demo) fleetRepository() *musterv1alpha1.FleetRepository {
	return &musterv1alpha1.FleetRepository{
		TypeMeta:   metav1.TypeMeta{APIVersion: musterv1alpha1.GroupVersion.String(), Kind: "FleetRepository"},
		ObjectMeta: metav1.ObjectMeta{Namespace: embedded.SystemNamespace, Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: "file://" + d.bare(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root",
			Interval: metav1.Duration{Duration: time.Second},
		},
	}
}
