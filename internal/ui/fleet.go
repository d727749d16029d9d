package ui

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
)

// fleetView is the first page: what needs a person, the clusters as a map, and as a table.
type fleetView struct {
	Hub          overview.Hub          `json:"hub"`
	NeedsYou     []overview.Need       `json:"needsYou"`
	States       []stateCount          `json:"states"`
	Repositories []overview.Repository `json:"repositories"`
	Clusters     list[clusterRow]      `json:"clusters"`
	// GroupBy is the label, or set, that the map is grouped by; Groups are its parts.
	GroupBy   string         `json:"groupBy"`
	Groupings []string       `json:"groupings"`
	Groups    []clusterGroup `json:"groups"`
	// Folded says that the map has more clusters than there is room for, so that each group is a bar.
	Folded       bool `json:"folded,omitempty"`
	Applications struct {
		Total   int `json:"total"`
		Ready   int `json:"ready"`
		Drifted int `json:"drifted"`
		Held    int `json:"held"`
		OnHold  int `json:"onHold"`
	} `json:"applications"`
}

type stateCount struct {
	State string `json:"state"`
	Count int    `json:"count"`
}

// clusterRow is a cluster in a list.
type clusterRow struct {
	Name       string            `json:"name"`
	State      string            `json:"state"`
	Message    string            `json:"message,omitempty"`
	Set        string            `json:"set,omitempty"`
	Kubernetes string            `json:"kubernetes,omitempty"`
	CPU        string            `json:"cpu,omitempty"`
	Memory     string            `json:"memory,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Taints     int               `json:"taints,omitempty"`
}

// clusterGroup is a part of the map.
type clusterGroup struct {
	Name     string       `json:"name"`
	Total    int          `json:"total"`
	States   []stateCount `json:"states"`
	Clusters []clusterDot `json:"clusters,omitempty"`
}

type clusterDot struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// mapRoom is how many clusters the map shows one by one: a page stays below 300 KB.
const mapRoom = 1500

func (s *Server) fleet(ctx context.Context, p *Person, r *http.Request) (any, error) {
	facts, err := s.facts(ctx)
	if err != nil {
		return nil, err
	}
	facts = p.visible(ctx, facts)
	v := fleetView{Hub: facts.Hub, NeedsYou: overview.NeedsOf(facts, s.Now()), Repositories: []overview.Repository{}}
	for i := range facts.Repositories {
		v.Repositories = append(v.Repositories, overview.RepositoryOf(&facts.Repositories[i]))
	}
	for i := range facts.Applications {
		a := &facts.Applications[i]
		v.Applications.Total++
		if overview.ApplicationReady(a) {
			v.Applications.Ready++
		}
		if a.Status.Summary.Drifted > 0 {
			v.Applications.Drifted++
		}
		if a.Status.Held != nil {
			v.Applications.Held++
		}
		if len(a.Status.OnHold) > 0 {
			v.Applications.OnHold++
		}
	}
	rows := make([]clusterRow, 0, len(facts.Clusters))
	for i := range facts.Clusters {
		rows = append(rows, clusterRowOf(&facts.Clusters[i]))
	}
	slices.SortFunc(rows, func(a, b clusterRow) int { return cmp.Compare(a.Name, b.Name) })
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	state := r.URL.Query().Get("state")
	var matching []clusterRow
	v.Clusters = part(r, rows, func(c *clusterRow) bool {
		if state != "" && c.State != state || !c.matches(query) {
			return false
		}
		matching = append(matching, *c)
		return true
	})
	v.States = statesOf(rows, overview.ClusterStates)
	v.GroupBy, v.Groupings = groupings(rows, r.URL.Query().Get("group"))
	v.Folded = len(matching) > mapRoom
	v.Groups = grouped(matching, v.GroupBy, v.Folded, overview.ClusterStates)
	return v, nil
}

// matches looks for a text in the name, the set, the version and the labels of a cluster.
func (c *clusterRow) matches(query string) bool {
	if contains(c.Name, query) || contains(c.Set, query) || contains(c.Kubernetes, query) {
		return true
	}
	for key, value := range c.Labels {
		if contains(key+"="+value, query) {
			return true
		}
	}
	return false
}

func clusterRowOf(m *clusterv1.ManagedCluster) clusterRow {
	row := clusterRow{
		Name: m.Name, Set: m.Labels[clusterv1beta2.ClusterSetLabel], Kubernetes: m.Status.Version.Kubernetes, Labels: m.Labels, Taints: len(m.Spec.Taints),
	}
	row.State, row.Message = overview.ClusterState(m)
	row.CPU = quantity(m.Status.Capacity, clusterv1.ResourceCPU)
	row.Memory = quantity(m.Status.Capacity, clusterv1.ResourceMemory)
	return row
}

// quantity is an amount as people read it: memory in GiB.
func quantity(list clusterv1.ResourceList, name clusterv1.ResourceName) string {
	q, ok := list[name]
	if !ok {
		return ""
	}
	if name == clusterv1.ResourceMemory {
		q = *resource.NewQuantity(q.Value()>>30<<30, resource.BinarySI)
	}
	return q.String()
}

func statesOf(rows []clusterRow, order []string) []stateCount {
	counts := map[string]int{}
	for i := range rows {
		counts[rows[i].State]++
	}
	var states []stateCount
	for _, state := range order {
		if n := counts[state]; n > 0 {
			states = append(states, stateCount{state, n})
		}
	}
	return states
}

// groupBySet groups clusters by their set.
const groupBySet = "set"

// groupings are the labels that divide the clusters: those that have few values and that most clusters have.
func groupings(rows []clusterRow, asked string) (chosen string, labels []string) {
	values, having := map[string]map[string]bool{}, map[string]int{}
	for i := range rows {
		for key, value := range rows[i].Labels {
			if key == clusterv1beta2.ClusterSetLabel {
				continue
			}
			if values[key] == nil {
				values[key] = map[string]bool{}
			}
			values[key][value] = true
			having[key]++
		}
	}
	labels = []string{groupBySet}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if having[key]*2 >= len(rows) && len(values[key]) <= 40 {
			labels = append(labels, key)
		}
	}
	if !slices.Contains(labels, asked) {
		asked = groupBySet
	}
	return asked, labels
}

func grouped(rows []clusterRow, by string, folded bool, states []string) []clusterGroup {
	parts := map[string][]clusterRow{}
	for _, row := range rows {
		name := row.Labels[by]
		if by == groupBySet {
			name = row.Set
		}
		parts[name] = append(parts[name], row)
	}
	groups := make([]clusterGroup, 0, len(parts))
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		g := clusterGroup{Name: cmp.Or(name, "none"), Total: len(parts[name]), States: statesOf(parts[name], states)}
		if !folded {
			for _, row := range parts[name] {
				g.Clusters = append(g.Clusters, clusterDot{row.Name, row.State})
			}
		}
		groups = append(groups, g)
	}
	return groups
}

// facts reads what the overview is made of from the cache. Drift is read where it is shown: it stands in the works.
func (s *Server) facts(ctx context.Context) (overview.Facts, error) {
	var (
		clusters     clusterv1.ManagedClusterList
		applications musterv1alpha1.ApplicationList
		repositories musterv1alpha1.FleetRepositoryList
	)
	for _, l := range []client.ObjectList{&clusters, &applications, &repositories} {
		if err := s.Reader.List(ctx, l, client.UnsafeDisableDeepCopy); err != nil {
			return overview.Facts{}, err
		}
	}
	return overview.Facts{
		Hub: overview.LookAtHub(ctx, s.Reader, s.Now()), Clusters: clusters.Items, Applications: applications.Items, Repositories: repositories.Items,
	}, nil
}

// visible leaves of the facts what the person may see.
func (p *Person) visible(ctx context.Context, f overview.Facts) overview.Facts {
	f.Applications = only(ctx, p, "applications", f.Applications)
	f.Repositories = only(ctx, p, "fleetrepositories", f.Repositories)
	return f
}

// only keeps the objects of namespaces in which the person may list the resource of muster.dev.
func only[T any, P interface {
	*T
	client.Object
}](ctx context.Context, p *Person, resource string, all []T) []T {
	if p.May(ctx, musterv1alpha1.GroupVersion.Group, resource, "") {
		return all
	}
	allowed := map[string]bool{}
	var kept []T
	for i := range all {
		namespace := P(&all[i]).GetNamespace()
		may, known := allowed[namespace]
		if !known {
			may = p.May(ctx, musterv1alpha1.GroupVersion.Group, resource, namespace)
			allowed[namespace] = may
		}
		if may {
			kept = append(kept, all[i])
		}
	}
	return kept
}
