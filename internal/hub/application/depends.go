package application

import (
	"context"
	"fmt"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/rollout"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// dependencyFault is what is wrong with what an application depends on, as the hub has the applications now.
func (r *Applications) dependencyFault(ctx context.Context, app *musterv1alpha1.Application, d *fleet.Definition) (*fleet.Fault, error) {
	if len(app.Spec.DependsOn) == 0 && app.Spec.Follows == nil {
		return nil, nil
	}
	var list musterv1alpha1.ApplicationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	all := map[string]*musterv1alpha1.Application{}
	for i := range list.Items {
		all[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	return plan.DependencyFault(app, d.File, d.Line, d.LineOf, func(key string) *musterv1alpha1.Application { return all[key] }), nil
}

// dependencyPending says, of each cluster that is to change, what the application depends on and what is not ready there.
func (r *Applications) dependencyPending(ctx context.Context, app *musterv1alpha1.Application, out *report) map[string]string {
	if len(app.Spec.DependsOn) == 0 {
		return nil
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
		behind := planned != nil && wants != "" && !r.contains(ctx, repository, revision, wants)
		for cluster := range out.pending {
			if pending[cluster] != "" {
				continue
			}
			switch {
			case planned == nil:
				pending[cluster] = fmt.Sprintf("depends on %s, which is not planned yet", key)
			case behind:
				pending[cluster] = fmt.Sprintf("depends on %s, which is not planned at %s yet", key, fleet.ShortRevision(wants))
			default:
				if why := notReady(planned, cluster, r.Works.On(cluster, planned.Owner())); why != "" {
					pending[cluster] = fmt.Sprintf("depends on %s, which %s", key, why)
				}
			}
		}
	}
	return pending
}

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

// dependents are the applications that wait for an owner to be ready.
func (s *states) dependents(owner fleet.Owner) []reconcile.Request {
	key := owner.Namespace + "/" + owner.Name
	return s.whose(func(out *report) bool {
		return owner.IsApplication() && slices.ContainsFunc(out.app.Spec.DependsOn, func(d musterv1alpha1.Dependency) bool { return plan.DependencyKey(out.app, d) == key })
	})
}

// waitsForDependency is true while something that the application depends on is not ready.
func (o *report) waitsForDependency() bool {
	return slices.ContainsFunc(o.step.Held, func(h rollout.Held) bool { return h.Reason == rollout.DependencyPending })
}
