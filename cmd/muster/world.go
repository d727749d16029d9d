package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeversion "k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/plan"
)

// savedWorld is a world with the names that its repositories have there. It is what muster world save writes.
type savedWorld struct {
	fleet.World
	Repositories []repositoryName `json:"repositories,omitempty"`
}

// repositoryName is a FleetRepository of a hub.
type repositoryName struct {
	Name string `json:"name"` // namespace/name
	URL  string `json:"url"`  // without credentials
	Path string `json:"path,omitempty"`
}

// worldNote says where the facts come from.
type worldNote struct {
	Source string `json:"source"` // repository, hub or file
	From   string `json:"from,omitempty"`
	// Time at which the facts were true; left out for a repository.
	Time *metav1.Time `json:"time,omitempty"`
	// Repository is the FleetRepository that the files stand for.
	Repository string `json:"repository,omitempty"`
	// Assumed is what clusters are assumed to serve that have not reported it; left out when all have.
	Assumed *assumption `json:"assumed,omitempty"`
	// guess says why it is that one, where neither a person nor the files say so.
	guess string
}

// assumption is what clusters are assumed to serve.
type assumption struct {
	KubernetesVersion string `json:"kubernetesVersion"`
	// APIs is the file that names the kinds; left out for Kubernetes' own.
	APIs string `json:"apis,omitempty"`
}

func (a *assumption) text() string {
	if a == nil {
		return ""
	}
	kinds := "its own kinds"
	if a.APIs != "" {
		kinds = "the kinds of " + a.APIs
	}
	return fmt.Sprintf(" · assumes Kubernetes %s with %s", a.KubernetesVersion, kinds)
}

// text is the note for people.
func (n worldNote) text(now time.Time) string {
	if n.Source == "repository" {
		return "world: repository, decided without history" + n.Assumed.text()
	}
	from := n.Source
	if n.From != "" {
		from += " " + n.From
	}
	return fmt.Sprintf("world: %s, %s old, as %s", from, age(now.Sub(n.Time.Time)), n.Repository) + n.Assumed.text()
}

// worldFlags say which world a command plans in.
type worldFlags struct {
	sources     sourceFlags
	manifest    int // KiB
	world       string
	repository  string
	kubeVersion string
	apiSet      string
}

func (f *worldFlags) add(cmd *cobra.Command) {
	f.sources.add(cmd)
	cmd.Flags().IntVar(&f.manifest, "manifest-limit", 0, "how large one manifest may be, in KiB, as the hub's flag says (default: what every hub takes)")
	cmd.Flags().StringVar(&f.world, "world", "", "file that muster world save wrote, or hub; by default the hub of --kubeconfig, or the repository alone")
	cmd.Flags().StringVar(&f.kubeVersion, "kube-version", "", "Kubernetes version to assume of clusters that have not reported one (default "+fleet.DefaultKubernetesVersion+")")
	cmd.Flags().StringVar(&f.apiSet, "api-set", "", "file with an APISet, as kubectl get apiset NAME -o yaml writes it: the kinds to assume of clusters that have not reported theirs (default: Kubernetes' own)")
	cmd.Flags().StringVar(&f.repository, "repository", "", "namespace/name of the FleetRepository that the files stand for (default: by URL and path, then the only one, then muster-system/fleet)")
}

// assume sets what clusters serve that have not reported it, and notes it.
func (f *worldFlags) assume(w *fleet.World, note *worldNote) error {
	set := &musterv1alpha1.APISet{}
	if f.apiSet != "" {
		data, err := os.ReadFile(f.apiSet)
		if err != nil {
			return fmt.Errorf("read the kinds to assume: %w", err)
		}
		if err := yaml.UnmarshalStrict(data, set); err != nil || set.Kind != "APISet" || len(set.Resources) == 0 {
			return fmt.Errorf("%s holds no APISet: kubectl get apiset NAME -o yaml writes one", f.apiSet)
		}
		set.Resources = fleet.WithBuiltin(set.Resources)
	}
	if f.kubeVersion != "" {
		kube, err := kubeversion.ParseSemantic(f.kubeVersion)
		if err != nil {
			return fmt.Errorf("--kube-version %s is no version: give one such as v1.31.0", f.kubeVersion)
		}
		set.KubernetesVersion = "v" + kube.String()
	}
	if set.KubernetesVersion == "" {
		set.KubernetesVersion = fleet.DefaultKubernetesVersion
	}
	w.Assumed = set
	w.ManifestLimit = max(w.ManifestLimit, f.manifest<<10)
	silent := func(cluster clusterv1.ManagedCluster) bool { return !w.ReportsAPIs(&cluster) }
	if w.FromRepository || slices.ContainsFunc(w.Clusters, silent) {
		note.Assumed = &assumption{KubernetesVersion: set.KubernetesVersion, APIs: f.apiSet}
	}
	return nil
}

// defaultRepository stands for files when no FleetRepository matches.
const defaultRepository = "muster-system/fleet"

// place is where a fleet's folder is: the URLs of its Git repository, none outside of one, and the folder in it.
type place struct {
	urls []string
	path string
}

// placeOf finds out where a folder is.
func placeOf(dir string) place {
	r, err := openRepository(dir, ".")
	if err != nil {
		return place{}
	}
	p := place{urls: r.urls, path: "."}
	here, err := realPath(dir)
	root, err2 := realPath(r.root)
	if r.root == "" || err != nil || err2 != nil {
		return p
	}
	if relative, err := filepath.Rel(root, here); err == nil && filepath.IsLocal(relative) {
		p.path = filepath.ToSlash(relative)
	}
	return p
}

// worldOf finds the world to plan in, and which of its repositories the files at a place stand for.
func (c *cli) worldOf(ctx context.Context, f worldFlags, files place) (savedWorld, worldNote, error) {
	var w savedWorld
	note := worldNote{Source: "repository"}
	var err error
	switch {
	case f.world == "hub" || f.world == "" && c.kubeconfig != "":
		note.Source = "hub"
		w, err = c.hubWorld(ctx)
	case f.world != "":
		note.Source, note.From = "file", f.world
		w, err = readWorld(f.world)
	default:
		w.World = fleet.World{Origin: "repository", Time: c.now(), FromRepository: true}
	}
	if err == nil {
		err = f.assume(&w.World, &note)
	}
	if err != nil {
		return w, note, err
	}
	if note.Source != "repository" {
		taken := metav1.NewTime(w.Time)
		note.Time = &taken
	}
	if note.Source == "hub" {
		note.From = strings.TrimPrefix(w.Origin, "hub ")
	}
	if note.Source == "repository" {
		note.Repository = firstOf(f.repository, defaultRepository)
		return w, note, nil
	}
	note.Repository, note.guess, err = repositoryOfFiles(w.Repositories, f.repository, files)
	return w, note, err
}

// warn says which repository the files were taken for when that is a guess: the plan for a wrong repository looks right.
func (c *cli) warn(n worldNote) {
	if n.guess != "" {
		fmt.Fprintln(c.errs, "muster: "+oneLine(n.guess))
	}
}

// warnEmpty says that nothing was rendered: a repository without clusters looks as if nothing were wrong with it.
func (c *cli) warnEmpty(n worldNote, p *plan.Plan) {
	if n.Source == "repository" && len(p.World.Clusters) == 0 && len(p.Applications) > 0 {
		fmt.Fprintln(c.errs, "muster: no cluster is in the repository, so that nothing is rendered: --world hub plans with the clusters of the hub, --world FILE with those that muster world save wrote")
	}
}

func (c *cli) hubWorld(ctx context.Context) (savedWorld, error) {
	client, config, err := c.hub()
	if err != nil {
		return savedWorld{}, err
	}
	observed, err := hub.Observe(ctx, client, c.now())
	if err != nil {
		return savedWorld{}, err
	}
	observed.Origin = "hub " + config.Host
	pulse, err := hub.ReadPulse(ctx, client, c.now())
	if err != nil {
		fmt.Fprintf(c.errs, "muster: which cluster the hub itself is cannot be seen, so that what tenants may not deliver to it is not in the plan: %s\n", oneLine(err.Error()))
	}
	observed.HubCluster = pulse.HubCluster
	w := savedWorld{World: *observed}
	var repositories musterv1alpha1.FleetRepositoryList
	if err := client.List(ctx, &repositories); err != nil {
		return w, fmt.Errorf("list the fleet repositories: %w", err)
	}
	for _, r := range repositories.Items {
		w.Repositories = append(w.Repositories, repositoryName{
			Name: r.Namespace + "/" + r.Name, URL: withoutCredentials(r.Spec.URL), Path: r.Spec.Path,
		})
	}
	return w, nil
}

func readWorld(file string) (savedWorld, error) {
	var w savedWorld
	data, err := os.ReadFile(file)
	if err != nil {
		return w, fmt.Errorf("read the world: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&w); err != nil {
		return w, fmt.Errorf("%s is no world that muster world save wrote: %w", file, err)
	}
	if w.Time.IsZero() {
		return w, fmt.Errorf("%s is no world that muster world save wrote: it has no time", file)
	}
	return w, nil
}

// repositoryOfFiles is the repository that files at a place stand for: the one that is named, else the one with a URL and the path of
// theirs, else the only one, else the default. A guess is a sentence.
func repositoryOfFiles(repositories []repositoryName, named string, files place) (name, guess string, err error) {
	var known, same []string
	for _, r := range repositories {
		known = append(known, r.Name)
		is := func(u string) bool { return sameURL(r.URL, u) }
		if slices.ContainsFunc(files.urls, is) && path.Clean("/"+r.Path) == path.Clean("/"+files.path) {
			same = append(same, r.Name)
		}
	}
	slices.Sort(same)
	switch {
	case named != "" && !slices.Contains(known, named):
		return "", "", overview.Unknown("FleetRepository", named, known)
	case named != "":
		return named, "", nil
	case len(same) == 1:
		return same[0], "", nil
	case len(same) > 1:
		return "", "", fmt.Errorf("the files have the URL and the path of %s: say with --repository which of them they stand for", strings.Join(same, ", "))
	}
	name = defaultRepository
	if len(known) == 1 {
		name = known[0]
	}
	guess = fmt.Sprintf("no FleetRepository has the URL and the path of these files, so that they stand for %s", name)
	if !slices.Contains(known, name) {
		guess += ", which is not there"
	}
	return name, guess + ": --repository names another", nil
}

func sameURL(a, b string) bool { return plainURL(a) == plainURL(b) }

// plainURL is host and path of a repository, without scheme, user and port: a server has a port for each scheme.
func plainURL(u string) string {
	u = withoutCredentials(u)
	if scheme, rest, ok := strings.Cut(u, "://"); ok {
		if scheme == "file" {
			return strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ".git")
		}
		u = rest
	} else if host, rest, ok := strings.Cut(u, ":"); ok && !strings.Contains(host, "/") {
		u = host + "/" + rest
	}
	if _, rest, ok := strings.Cut(u, "@"); ok {
		u = rest
	}
	if host, rest, ok := strings.Cut(u, "/"); ok && host != "" {
		if name, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") == "" {
			host = name
		}
		u = strings.ToLower(host) + "/" + rest
	}
	return strings.TrimSuffix(strings.TrimSuffix(u, "/"), ".git")
}

func withoutCredentials(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}

func worldCommand(c *cli) *cobra.Command {
	parent := &cobra.Command{
		Use: "world", Short: "Keep what a hub knows in a file",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(&cobra.Command{
		Use:   "save FILE",
		Short: "Write the facts that plans are made in, without manifests and applications' values, for diff --world FILE",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := c.hubWorld(cmd.Context())
			if err != nil {
				return err
			}
			strip(&w.World)
			data, err := json.MarshalIndent(w, "", " ")
			if err != nil {
				return fmt.Errorf("encode the world: %w", err)
			}
			if err := os.WriteFile(args[0], append(data, '\n'), 0o600); err != nil {
				return fmt.Errorf("save the world: %w", err)
			}
			summary := map[string]any{"file": args[0], "clusters": len(w.Clusters), "applications": len(w.Applications), "works": len(w.Works)}
			return c.print(summary, func(p *printer) {
				p.linef("%s: %s, %s, %s of %s", args[0], count(len(w.Clusters), "cluster"),
					count(len(w.Applications), "application"), count(len(w.Works), "work"), w.Origin)
			})
		},
	})
	return parent
}

// strip removes what a plan does not need and a file must not have: values of applications, which may be secret, the last-applied
// annotations of kubectl, and the messages of clusters.
func strip(w *fleet.World) {
	for i := range w.Applications {
		a := &w.Applications[i]
		delete(a.Annotations, corev1.LastAppliedConfigAnnotation)
		a.ManagedFields = nil
		withoutValues(a.Spec.Helm)
		for j := range a.Spec.Overrides {
			withoutValues(a.Spec.Overrides[j].Helm)
		}
	}
	for i := range w.ClusterValues {
		delete(w.ClusterValues[i].Annotations, corev1.LastAppliedConfigAnnotation)
		w.ClusterValues[i].ManagedFields = nil
	}
	for i := range w.Clusters {
		delete(w.Clusters[i].Annotations, corev1.LastAppliedConfigAnnotation)
	}
	for i := range w.Placements {
		delete(w.Placements[i].Annotations, corev1.LastAppliedConfigAnnotation)
	}
	for i := range w.Works {
		for j := range w.Works[i].Status.Waits {
			w.Works[i].Status.Waits[j].Message = ""
		}
		for j := range w.Works[i].Status.Problems {
			w.Works[i].Status.Problems[j].Message = ""
		}
	}
}

func withoutValues(h *musterv1alpha1.Helm) {
	if h != nil {
		h.Values = nil
	}
}
