package plan

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// FieldManager is the field manager under which the hub applies definitions from Git.
const FieldManager = "muster-fleet"

// Overlay is the world as a snapshot changes it: what the snapshot defines replaces what the hub has, status and history
// stay the hub's, what came from the same repository and is no longer defined is gone, if that is proven, and the works of an
// application that the snapshot renames are those of the one that has its place. Everything in it is sorted.
func Overlay(w fleet.World, repository string, defs *fleet.Definitions, renames fleet.Renames) *fleet.World {
	out := w
	gone := func(o fleet.Object, group, kind string) bool {
		key := fleet.ObjectKey{Group: group, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
		return defs.AbsenceProven && o.GetAnnotations()[musterv1alpha1.RepositoryAnnotation] == repository && !defs.Named[key]
	}
	const group = "cluster.open-cluster-management.io"
	out.ClusterSets = merge(w.ClusterSets, defs.ClusterSets(), gone, group, "ManagedClusterSet",
		func(live, defined *clusterv1beta2.ManagedClusterSet) { defined.Status = live.Status })
	out.Bindings = merge(w.Bindings, defs.Bindings(), gone, group, "ManagedClusterSetBinding",
		func(live, defined *clusterv1beta2.ManagedClusterSetBinding) { defined.Status = live.Status })
	out.Placements = merge(w.Placements, defs.Placements(), gone, group, "Placement",
		func(live, defined *clusterv1beta1.Placement) { defined.Status = live.Status })
	out.Applications = merge(w.Applications, defs.Applications(), gone, "muster.dev", "Application",
		overlayApplication)
	out.ClusterValues = merge(w.ClusterValues, defs.ClusterValues(), gone, "muster.dev", "ClusterValues",
		func(_, _ *musterv1alpha1.ClusterValues) {})
	for i := range out.Applications {
		out.Applications[i].Status.RecentRemovals = renames.RecentRemovals(&out.Applications[i], w.Applications)
		out.Applications[i].Status.Settled = renames.Settled(&out.Applications[i], w.Applications)
	}
	out.Works = renames.Works(w.Works)
	out.Accounts = overlayAccounts(w.Accounts, defs)
	// A cluster whose file is gone is released and never removed by a commit.
	never := func(fleet.Object, string, string) bool { return false }
	out.Clusters = merge(w.Clusters, defs.Clusters(), never, group, "ManagedCluster", overlayCluster)
	if w.FromRepository {
		for i := range out.Clusters {
			fleet.AssumeClaims(&out.Clusters[i])
		}
	}
	return &out
}

// overlayAccounts follows the namespaces that a snapshot defines. One whose file is gone is released, and stays as it is.
func overlayAccounts(live map[string]string, defs *fleet.Definitions) map[string]string {
	out := maps.Clone(live)
	for i := range defs.All {
		d := &defs.All[i]
		if d.Key.Group != "" || d.Key.Kind != "Namespace" {
			continue
		}
		account := fleet.DefaultAccount(d.Key.Name, d.Source.GetAnnotations())
		switch {
		case account == "":
			delete(out, d.Key.Name)
		case out == nil:
			out = map[string]string{d.Key.Name: account}
		default:
			out[d.Key.Name] = account
		}
	}
	return out
}

// overlayApplication keeps what the hub knows: how the application does, how old it is, and what a person approved.
func overlayApplication(live, defined *musterv1alpha1.Application) {
	defined.Status, defined.CreationTimestamp = live.Status, live.CreationTimestamp
	if approved := live.Annotations[musterv1alpha1.ApprovedPlanAnnotation]; approved != "" {
		defined.Annotations = maps.Clone(defined.Annotations)
		if defined.Annotations == nil {
			defined.Annotations = map[string]string{}
		}
		defined.Annotations[musterv1alpha1.ApprovedPlanAnnotation] = approved
	}
}

// object is a pointer to a T that is a Kubernetes object.
type object[T any] interface {
	*T
	fleet.Object
}

func merge[T any, P object[T]](
	live []T, defined []P, gone func(fleet.Object, string, string) bool, group, kind string, keep func(live, defined *T),
) []T {
	byName := map[string]P{}
	for _, d := range defined {
		byName[d.GetNamespace()+"/"+d.GetName()] = d
	}
	var out []T
	for i := range live {
		l := P(&live[i])
		d, ok := byName[l.GetNamespace()+"/"+l.GetName()]
		if ok {
			c := d.DeepCopyObject().(P)
			keep(&live[i], (*T)(c))
			out = append(out, *c)
			delete(byName, l.GetNamespace()+"/"+l.GetName())
			continue
		}
		if !gone(l, group, kind) {
			out = append(out, live[i])
		}
	}
	for _, d := range byName {
		out = append(out, *d)
	}
	sort.Slice(out, func(i, j int) bool { // by index: slices.SortFunc would copy two objects for each comparison
		x, y := P(&out[i]), P(&out[j])
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName())) < 0
	})
	return out
}

// overlayCluster merges as the hub does: Git owns the labels, annotations and taints that it declares; what the hub, the
// agent or a person put there stays.
func overlayCluster(live, defined *clusterv1.ManagedCluster) {
	declared := defined.DeepCopy()
	ownedLabels, ownedAnnotations := ownedByGit(live)
	defined.ObjectMeta = *live.ObjectMeta.DeepCopy()
	defined.Labels = mergeOwned(live.Labels, declared.Labels, ownedLabels)
	defined.Annotations = mergeOwned(live.Annotations, declared.Annotations, ownedAnnotations)
	defined.Spec = *live.Spec.DeepCopy()
	defined.Spec.HubAcceptsClient = declared.Spec.HubAcceptsClient
	defined.Spec.LeaseDurationSeconds = declared.Spec.LeaseDurationSeconds
	defined.Spec.Taints = MergeTaints(live.Spec.Taints, declared.Spec.Taints, live.Annotations[GitTaintsAnnotation])
	defined.Status = live.Status
}

func mergeOwned(live, declared map[string]string, owned []string) map[string]string {
	out := maps.Clone(live)
	for _, k := range owned {
		delete(out, k)
	}
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, declared)
	return out
}

// ownedByGit are the keys of labels and annotations that were applied from Git.
func ownedByGit(c *clusterv1.ManagedCluster) (labels, annotations []string) {
	return gitFields(c, "metadata", "labels"), gitFields(c, "metadata", "annotations")
}

// GitOwns says whether a field of a cluster is held by what was applied from Git: whoever writes another value takes it over.
func GitOwns(c *clusterv1.ManagedCluster, path ...string) bool {
	return slices.Contains(gitFields(c, path[:len(path)-1]...), path[len(path)-1])
}

// gitFields are the fields below a path that were applied from Git.
func gitFields(c *clusterv1.ManagedCluster, path ...string) []string {
	var names []string
	for _, entry := range c.ManagedFields {
		if entry.Manager != FieldManager || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for _, p := range path {
			fields, _ = fields["f:"+p].(map[string]any)
		}
		for k := range fields {
			if name, ok := strings.CutPrefix(k, "f:"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// GitTaintsAnnotation on a ManagedCluster lists, as key:effect joined by commas, the taints that Git declared last: it tells
// them from the hub's own and from a person's.
const GitTaintsAnnotation = "muster.dev/git-taints"

// MergeTaints gives the taints of a cluster on which Git declares some: those are set, those that Git declared before and
// does not any more are gone, all others stay. spec.taints is an atomic list, so nothing but a merge of the whole keeps
// the hub's own unreachable taint. The time of a taint that stays is kept.
func MergeTaints(live, declared []clusterv1.Taint, before string) []clusterv1.Taint {
	id := func(t clusterv1.Taint) string { return t.Key + ":" + string(t.Effect) }
	mine := map[string]bool{}
	for _, k := range strings.Split(before, ",") {
		mine[k] = true
	}
	for _, t := range declared {
		mine[id(t)] = true
	}
	var out []clusterv1.Taint
	times := map[string]clusterv1.Taint{}
	for _, t := range live {
		if !mine[id(t)] {
			out = append(out, t)
		}
		times[id(t)] = t
	}
	for _, t := range declared {
		if t.TimeAdded.IsZero() {
			t.TimeAdded = times[id(t)].TimeAdded
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b clusterv1.Taint) int { return compare(id(a), id(b)) })
	return out
}

// GitTaints is the value of GitTaintsAnnotation for the taints that Git declares.
func GitTaints(declared []clusterv1.Taint) string {
	var ids []string
	for _, t := range declared {
		ids = append(ids, t.Key+":"+string(t.Effect))
	}
	slices.Sort(ids)
	return strings.Join(ids, ",")
}
