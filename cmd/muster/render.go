package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// rendered is one object of an application on a cluster.
type rendered struct {
	File   string         `json:"file,omitempty"`
	Work   string         `json:"work"`
	Object map[string]any `json:"object"`
}

func renderCommand(c *cli) *cobra.Command {
	var (
		flags                          worldFlags
		application, cluster, revision string
		explain                        bool
	)
	cmd := &cobra.Command{
		Use:   "render --application NAMESPACE/NAME --cluster NAME [DIR]",
		Short: "Print the manifests of an application on a cluster as they would be delivered, values of Secrets hashed",
		Long: "Print the manifests of an application on a cluster as they would be delivered, values of Secrets hashed.\n\n" +
			"Other applications are planned only if this one needs what they bring: that two want one object is what validate and diff find.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, files, err := folderOrCommit(args, revision)
			if err != nil {
				return err
			}
			p, head, err := c.render(cmd.Context(), s, files, flags, application, cluster)
			if err != nil {
				return err
			}
			if explain {
				return c.explainValues(p, head, application, cluster)
			}
			objects, err := renderedOn(p, application, cluster)
			if err != nil {
				return err
			}
			return c.printRendered(objects, head)
		},
	}
	cmd.Flags().StringVar(&application, "application", "", "namespace/name of the application")
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster")
	cmd.Flags().BoolVar(&explain, "explain", false, "instead of the manifests, name the layer, file and line that set each value of the chart")
	cmd.Flags().StringVar(&revision, "revision", "", "commit, branch or tag (default: the files as they are)")
	for _, name := range []string{"application", "cluster"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	flags.add(cmd)
	return cmd
}

func folderOrCommit(args []string, revision string) (fleet.Snapshot, place, error) {
	if revision == "" {
		return folderOf(args)
	}
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	r, err := openRepository(dir, "")
	if err != nil {
		return fleet.Snapshot{}, place{}, exitError{code: exitTrouble, message: err.Error()}
	}
	commit, err := r.commit(revision)
	if err != nil {
		return fleet.Snapshot{}, place{}, err
	}
	s, err := r.snapshot(commit)
	if err != nil {
		return s, place{}, exitError{code: exitTrouble, message: err.Error()}
	}
	return s, place{r.urls, r.path}, nil
}

// render gives the plan, and a line for people that says of what and in which world.
func (c *cli) render(ctx context.Context, s fleet.Snapshot, files place, flags worldFlags, application, cluster string) (*plan.Plan, string, error) {
	w, note, err := c.worldOf(ctx, flags, files)
	if err != nil {
		return nil, "", err
	}
	dir := s.Repository
	s.Repository = note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	p, sources, err := flags.sources.planned(ctx, &w.World, func(w fleet.World) (*plan.Plan, error) {
		return planner.On(ctx, s, w, application, cluster)
	})
	if err != nil {
		return nil, "", err
	}
	if err := noFleet(p, s.Tree, dir); err != nil {
		return nil, "", err
	}
	c.warn(note)
	head := fmt.Sprintf("%s on %s · %s · %s", application, cluster, note.text(c.now()), renderingOf(planner.Renderer))
	for _, n := range sources {
		head += " · " + fleet.SourceText(n)
	}
	return p, head, nil
}

// plannedOn is an application on a cluster, or why it is not there.
func plannedOn(p *plan.Plan, application, cluster string) (*plan.Application, *plan.Cluster, error) {
	a, err := applicationOf(p, application)
	if err != nil {
		return nil, nil, err
	}
	on := a.On(cluster)
	if on == nil {
		return nil, nil, notPlanned(p, a, cluster)
	}
	return a, on, nil
}

// explainValues prints which layer set each value of the chart, and never a value.
func (c *cli) explainValues(p *plan.Plan, head, application, cluster string) error {
	_, on, err := plannedOn(p, application, cluster)
	if err != nil {
		return err
	}
	content, err := on.Content()
	if err != nil {
		return err
	}
	return c.print(content.Values, func(p *printer) {
		if len(on.Overrides) > 0 {
			head += " · overrides: " + strings.Join(on.Overrides, ", ")
		}
		p.line(head)
		if content.Values == nil {
			p.line("no values: it is no chart")
		}
		var rows [][]string
		for _, path := range slices.Sorted(maps.Keys(content.Values)) {
			rows = append(rows, []string{path, content.Values[path]})
		}
		p.columns(rows)
	})
}

// renderedOn are the objects of an application on a cluster, values of Secrets hashed.
func renderedOn(p *plan.Plan, application, cluster string) ([]rendered, error) {
	a, on, err := plannedOn(p, application, cluster)
	if err != nil {
		return nil, err
	}
	set, err := a.Works(*on)
	if err != nil {
		return nil, err
	}
	content, err := on.Content()
	if err != nil {
		return nil, err
	}
	files := map[fleet.ObjectKey]string{}
	for _, m := range content.Manifests {
		files[m.Key.Identity()] = m.File
	}
	redact := fleet.Redactor{Key: []byte(rand.Text())}
	var objects []rendered
	for _, w := range set.Works {
		for _, m := range w.Spec.Workload.Manifests {
			var object map[string]any
			if err := utiljson.Unmarshal(m.Raw, &object); err != nil { // whole numbers stay whole
				return nil, fmt.Errorf("read a manifest of %s: %w", application, err)
			}
			objects = append(objects, rendered{File: files[identityOf(object)], Work: w.Name, Object: redact.Redact(object)})
		}
	}
	return objects, nil
}

// applicationOf finds an application of a plan.
func applicationOf(p *plan.Plan, key string) (*plan.Application, error) {
	if a := p.Find(key); a != nil {
		return a, nil
	}
	for _, f := range p.Faults {
		if f.Object == "Application "+key {
			return nil, f
		}
	}
	var known []string
	for _, a := range p.Applications {
		known = append(known, a.Key())
	}
	return nil, overview.Unknown("application", key, known)
}

// notPlanned says why an application is not planned for a cluster: a fault, a decision, or a name that nothing has.
func notPlanned(p *plan.Plan, a *plan.Application, cluster string) error {
	for _, f := range a.Faults {
		if f.Cluster == cluster || f.Cluster == "" {
			return f
		}
	}
	for _, d := range a.Decisions {
		if d.Cluster == cluster {
			return fmt.Errorf("%s does not belong on %s: %s", a.Key(), cluster, d.Reason)
		}
	}
	var known []string
	for _, m := range p.World.Clusters {
		known = append(known, m.Name)
	}
	if slices.Contains(known, cluster) {
		return fmt.Errorf("%s does not belong on %s: it is in none of the cluster sets of placement %s", a.Key(), cluster, strings.Join(a.Application.PlacementNames(), ", "))
	}
	return overview.Unknown("cluster", cluster, known)
}

func identityOf(object map[string]any) fleet.ObjectKey {
	u := unstructured.Unstructured{Object: object}
	gvk := u.GroupVersionKind()
	return fleet.ObjectKey{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// printRendered prints YAML for people too: it is what kubectl takes.
func (c *cli) printRendered(objects []rendered, head string) error {
	if c.output == "json" {
		return c.print(objects, nil)
	}
	if err := write(c.out, []byte("# "+oneLine(head)+"\n")); err != nil {
		return err
	}
	texts := make([][]byte, len(objects))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, o := range objects {
		group.Go(func() (err error) {
			if texts[i], err = yaml.Marshal(o.Object); err != nil { // of JSON's types, which need no way over JSON
				err = fmt.Errorf("encode a manifest: %w", err)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var text bytes.Buffer
	for i, o := range objects {
		text.WriteString("---\n")
		if o.File != "" {
			text.WriteString("# Source: " + oneLine(o.File) + "\n")
		}
		text.WriteString("# Work: " + o.Work + "\n")
		text.Write(texts[i])
	}
	return write(c.out, text.Bytes())
}
