package application

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// dependencyFault is what is wrong with what an application depends on, as the hub has the applications now.
func (r *Applications) dependencyFault(ctx context.Context, app *musterv1alpha1.Application, d *fleet.Definition) (*fleet.Fault, error) {
	if len(app.Spec.DependsOn) == 0 && app.Spec.Follows == nil {
		return nil, nil
	}
	all, err := r.byKey(ctx)
	if err != nil {
		return nil, err
	}
	return plan.DependencyFault(app, d.File, d.Line, d.LineOf, func(key string) *musterv1alpha1.Application { return all[key] }), nil
}

// byKey are the applications of the hub by namespace/name. They are the cache's.
func (r *Applications) byKey(ctx context.Context) (map[string]*musterv1alpha1.Application, error) {
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	all := map[string]*musterv1alpha1.Application{}
	for i := range list.Items {
		all[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	return all, nil
}

// dependentsPending says, of clusters that an application is to leave, which one that depends on it has to go from there first, because it
// leaves them too. One that stays keeps nobody: its own fault says what it lacks. Revision is what the application is planned at, "" when it
// is deleted.
func (r *Applications) dependentsPending(ctx context.Context, app *musterv1alpha1.Application, revision string, clusters []string) (map[string]string, error) {
	if len(clusters) == 0 {
		return nil, nil
	}
	all, err := r.byKey(ctx)
	if err != nil {
		return nil, err
	}
	find := func(key string) *musterv1alpha1.Application { return all[key] }
	pending := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		other := all[key]
		if !plan.DependsOn(other, app) || plan.Needs(app, other, find) {
			continue // in a circle each would wait for the other
		}
		for _, cluster := range clusters {
			if pending[cluster] == "" && len(r.Works.On(cluster, fleet.OwnerOf(other))) > 0 {
				pending[cluster] = r.stillToGo(ctx, app, revision, other, cluster)
			}
		}
	}
	return pending, nil
}

// stillToGo says that an application which depends on another one has to leave a cluster before it; "" when it stays there.
func (r *Applications) stillToGo(ctx context.Context, app *musterv1alpha1.Application, revision string, other *musterv1alpha1.Application, cluster string) string {
	key := client.ObjectKeyFromObject(other)
	goes := fmt.Sprintf("%s depends on it, and goes from here first", key)
	if !other.DeletionTimestamp.IsZero() {
		return goes
	}
	planned, at, repository := r.states.plannedNow(key)
	if planned == nil {
		return fmt.Sprintf("%s depends on it, and is not planned yet", key)
	}
	mine, _ := hub.RepositoryOf(app)
	if revision != "" && mine == repository && other.Spec.Follows == nil && !r.states.keptBack(key) && !r.contains(ctx, repository, at, revision) {
		return fmt.Sprintf("%s depends on it, and is not planned at %s yet", key, fleet.ShortRevision(revision))
	}
	faulty := slices.ContainsFunc(planned.Faults, func(f fleet.Fault) bool { return f.Cluster == "" || f.Cluster == cluster })
	if planned.On(cluster) != nil || faulty {
		return ""
	}
	return goes
}

// toLeave are the clusters of which a step is to remove the application.
func (o *report) toLeave() []string {
	var clusters []string
	for cluster, changes := range o.pending {
		if o.planned.On(cluster) == nil && slices.ContainsFunc(changes, func(c work.Change) bool { return c.Action == work.Delete || c.Action == work.Orphan }) {
			clusters = append(clusters, cluster)
		}
	}
	return clusters
}

// dependencyPending says, of each cluster that is to change, what the application depends on and what is not ready there: applications,
// and add-ons that it requires.
func (r *Applications) dependencyPending(ctx context.Context, app *musterv1alpha1.Application, out *report) (map[string]string, error) {
	if len(app.Spec.DependsOn)+len(app.Spec.Requires) == 0 {
		return nil, nil
	}
	pending := map[string]string{}
	for _, d := range app.Spec.DependsOn {
		key := plan.DependencyKey(app, d)
		namespace, name, _ := strings.Cut(key, "/")
		planned, revision, repository := r.states.plannedNow(types.NamespacedName{Namespace: namespace, Name: name})
		wants := d.Revision
		if mine, _ := hub.RepositoryOf(app); wants == "" && repository == mine {
			wants = out.revision
		}
		outdated := planned != nil && wants != "" && !r.contains(ctx, repository, revision, wants)
		for cluster := range out.pending {
			if pending[cluster] != "" {
				continue
			}
			switch {
			case planned == nil:
				pending[cluster] = fmt.Sprintf("depends on %s, which is not planned yet", key)
			case outdated:
				pending[cluster] = fmt.Sprintf("depends on %s, which is not planned at %s yet", key, fleet.ShortRevision(wants))
			default:
				if why := notReady(planned, cluster, r.Works.On(cluster, planned.Owner())); why != "" {
					pending[cluster] = fmt.Sprintf("depends on %s, which %s", key, why)
				}
			}
		}
	}
	for _, name := range app.Spec.Requires {
		for cluster := range out.pending {
			if pending[cluster] != "" {
				continue
			}
			mca := &addonv1alpha1.ManagedClusterAddOn{}
			if err := r.Client.Get(ctx, types.NamespacedName{Namespace: cluster, Name: name}, mca); client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read add-on %s of cluster %s: %w", name, cluster, err)
			}
			if why := notAvailable(mca, cluster); why != "" {
				pending[cluster] = fmt.Sprintf("requires add-on %s, which %s", name, why)
			}
		}
	}
	return pending, nil
}

// notAvailable says why an add-on is not available on a cluster; "" when it is. An empty one is not there.
func notAvailable(mca *addonv1alpha1.ManagedClusterAddOn, cluster string) string {
	available := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionAvailable)
	switch {
	case mca.Name == "":
		return "is not installed here: enable it, or let its placement choose " + cluster
	case !mca.DeletionTimestamp.IsZero():
		return "is being removed from here"
	case available == nil:
		return "has not said here whether it is available"
	case available.Status == metav1.ConditionTrue:
		return ""
	case available.Message == "":
		return "is not available here: " + available.Reason
	}
	return "is not available here: " + available.Message
}

// ofAddOn wakes the applications that require an add-on and wait for it.
func (r *Applications) ofAddOn(_ context.Context, o client.Object) []reconcile.Request {
	return r.states.whose(func(out *report) bool {
		return slices.Contains(out.app.Spec.Requires, o.GetName()) && out.waitsForDependency()
	})
}

// availabilityChanged lets through the add-ons that begin or cease to be available.
var availabilityChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*addonv1alpha1.ManagedClusterAddOn), e.ObjectNew.(*addonv1alpha1.ManagedClusterAddOn)
	return notAvailable(before, before.Namespace) != notAvailable(after, after.Namespace)
}}

// contains is true when a commit of a repository is another one or comes after it. One that the hub does not have is another one.
func (r *Applications) contains(ctx context.Context, repository types.NamespacedName, revision, wants string) bool {
	if revision == wants {
		return true
	}
	var repo musterv1alpha1.FleetRepository
	if err := r.Client.Get(ctx, repository, &repo); err != nil {
		return false
	}
	is, err := r.Deliveries.Store.IsAncestor(repo.Spec.URL, wants, revision)
	return err == nil && is
}

// notReady says why an application is not ready on a cluster; "" when it is, with what it is planned to be there.
func notReady(planned *plan.Application, cluster string, live []fleet.LiveWork) string {
	c := planned.On(cluster)
	if c == nil {
		faulty := slices.ContainsFunc(planned.Faults, func(f fleet.Fault) bool { return f.Cluster == "" || f.Cluster == cluster })
		if faulty {
			return "could not be planned here: correct that first"
		}
		return "its placement does not put here: add the cluster to it, or take the dependency out"
	}
	switch r := rowOfWorks(cluster, live, c.SetDigest, false, nil); {
	case r.healthy:
		return ""
	case !r.current && r.Message != "":
		return "is not applied here: " + r.Message
	case !r.current:
		return "is not applied here yet"
	case r.Message != "":
		return "is not healthy here: " + r.Message
	}
	return "is not healthy here yet"
}

// plannedNow is the plan that an application has now, and the commit and the repository that it is of; nil while it has none.
func (s *states) plannedNow(app types.NamespacedName) (planned *plan.Application, revision string, repository types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.of[app]
	if st == nil || st.report == nil || st.planNeeded {
		return nil, "", repository
	}
	repository, _ = hub.RepositoryOf(st.report.app)
	return st.report.planned, st.report.revision, repository
}

// keptBack is true for an application that stays at a revision which its repository has left: it is pinned, or a change has failed.
func (s *states) keptBack(app types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.of[app]
	return st != nil && st.report != nil && (st.report.pin != nil || st.report.returning || st.report.rolledBack != nil)
}

// dependents are the applications that wait for an owner to be ready.
func (s *states) dependents(owner fleet.Owner) []reconcile.Request {
	key := owner.Namespace + "/" + owner.Name
	return s.whose(func(out *report) bool {
		return owner.IsApplication() && slices.ContainsFunc(out.app.Spec.DependsOn, func(d musterv1alpha1.Dependency) bool { return plan.DependencyKey(out.app, d) == key })
	})
}

// waitsForDependency is true while something that the application depends on is not ready, or something that depends on it has not gone.
func (o *report) waitsForDependency() bool {
	return slices.ContainsFunc(o.step.Held, func(h rollout.Held) bool {
		return h.Reason == rollout.DependencyPending || h.Reason == rollout.DependentsPending
	})
}
