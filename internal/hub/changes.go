package hub

import (
	"context"
	"fmt"
	"maps"
	"sync"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/placement"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Changes counts, for each fleet repository, the changes of what its last plan read. While the count stays, so does what comes
// of a commit: a controller that keeps the count from before it observes need not plan again.
type Changes struct {
	reader client.Reader // of cluster sets

	mu sync.Mutex
	of map[types.NamespacedName]*counted
}

type counted struct {
	Count
	// planning says that the repository is being planned: every change counts, since what the plan will read is not known.
	planning bool
	// reads is what its last plan read; nil before the first.
	reads *Reads
}

// Count is how many changes there were so far.
type Count struct {
	// Plan counts changes of what the plan of the repository reads.
	Plan uint64
	// Marks counts changes of what the marks of first complete plans depend on: namespaces of clusters, and works.
	Marks uint64
}

// Count of a repository.
func (c *Changes) Count(repository types.NamespacedName) Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counted(repository).Count
}

// Begin counts every change from now on, until Settle says what the plan reads, and returns the count so far.
func (c *Changes) Begin(repository types.NamespacedName) Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.counted(repository)
	of.planning = true
	return of.Count
}

// Settle counts from now on the changes of what a plan reads.
func (c *Changes) Settle(repository types.NamespacedName, reads *Reads) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.counted(repository)
	of.planning, of.reads = false, reads
}

// Add counts a change of one repository.
func (c *Changes) Add(repository types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted(repository).Plan++
}

// Forget drops a repository that is gone.
func (c *Changes) Forget(repository types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, repository)
}

func (c *Changes) counted(repository types.NamespacedName) *counted {
	if c.of == nil {
		c.of = map[types.NamespacedName]*counted{}
	}
	if c.of[repository] == nil {
		c.of[repository] = &counted{}
	}
	return c.of[repository]
}

// note counts a change for the repositories that are being planned, and for those whose plan reads it.
func (c *Changes) note(read func(types.NamespacedName, *Reads) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for repository, of := range c.of {
		if of.planning || of.reads == nil || read(repository, of.reads) {
			of.Plan++
		}
	}
}

// mark counts a change for the marks of all repositories.
func (c *Changes) mark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range c.of {
		of.Marks++
	}
}

func all(types.NamespacedName, *Reads) bool { return true }

// Watch counts what changes in a cache and in the index of works, after they have it.
func (c *Changes) Watch(ctx context.Context, informers cache.Cache, works *Works) error {
	c.reader = informers
	if _, err := works.Handle(c.work); err != nil {
		return err
	}
	for _, w := range []struct {
		kind   client.Object
		change func(before, after client.Object)
	}{
		{&clusterv1.ManagedCluster{}, c.cluster},
		{&clusterv1beta2.ManagedClusterSet{}, c.clusterSet},
		{&clusterv1beta2.ManagedClusterSetBinding{}, c.inNamespace},
		{&clusterv1beta1.Placement{}, c.inNamespace},
		{&clusterv1beta1.PlacementDecision{}, c.inNamespace},
		{&clusterv1alpha1.AddOnPlacementScore{}, c.score},
		{&musterv1alpha1.Application{}, c.application},
		{&musterv1alpha1.ClusterValues{}, c.clusterValues},
		{&musterv1alpha1.APISet{}, func(client.Object, client.Object) { c.note(all) }},
		{&musterv1alpha1.FleetRepository{}, c.repository},
		{&corev1.Namespace{}, c.namespace},
	} {
		informer, err := informers.GetInformer(ctx, w.kind)
		if err != nil {
			return fmt.Errorf("watch %T: %w", w.kind, err)
		}
		if _, err = informer.AddEventHandler(handlerOf(w.change)); err != nil {
			return fmt.Errorf("watch %T: %w", w.kind, err)
		}
	}
	return nil
}

// handlerOf calls a function with an object before and after a change; nil is one that is not there.
func handlerOf(change func(before, after client.Object)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { change(nil, o.(client.Object)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			change(o.(client.Object), nil)
		},
		UpdateFunc: func(before, after any) {
			if b, a := before.(client.Object), after.(client.Object); b.GetResourceVersion() != a.GetResourceVersion() { // else the informer repeats what is known
				change(b, a)
			}
		},
	}
}

func either(before, after client.Object) client.Object {
	if after != nil {
		return after
	}
	return before
}

func (c *Changes) work(e WorkEvent) {
	if e.PlanChanged() {
		c.note(func(_ types.NamespacedName, r *Reads) bool { return r.work(e) })
		c.mark()
	}
}

func (c *Changes) cluster(before, after client.Object) {
	b, _ := before.(*clusterv1.ManagedCluster)
	a, _ := after.(*clusterv1.ManagedCluster)
	var sets []string
	changed := b == nil || a == nil || ClusterChanged(b, a)
	if changed {
		sets = c.setsOf(either(before, after).(*clusterv1.ManagedCluster))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range c.of {
		if changed && (of.planning || of.reads == nil) || of.reads != nil && of.reads.cluster(b, a, sets) {
			of.Plan++
		}
	}
}

// setsOf are the names of the sets that a cluster is in.
func (c *Changes) setsOf(cluster *clusterv1.ManagedCluster) []string {
	var list clusterv1beta2.ManagedClusterSetList
	if err := c.reader.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "list the cluster sets of a changed cluster", "cluster", cluster.Name)
		return nil
	}
	var names []string
	for i := range list.Items {
		if in, err := placement.InSet(&list.Items[i], cluster); in && err == nil {
			names = append(names, list.Items[i].Name)
		}
	}
	return names
}

func (c *Changes) clusterSet(before, after client.Object) {
	if before != nil && after != nil && before.GetGeneration() == after.GetGeneration() {
		return // its status counts its clusters
	}
	name := either(before, after).GetName()
	c.note(func(_ types.NamespacedName, r *Reads) bool { return r.sets[name] })
}

func (c *Changes) inNamespace(before, after client.Object) {
	namespace := either(before, after).GetNamespace()
	c.note(func(_ types.NamespacedName, r *Reads) bool { return r.namespaces[namespace] })
}

func (c *Changes) score(before, after client.Object) {
	empty := &clusterv1alpha1.AddOnPlacementScore{}
	b, a := empty, empty
	if before != nil {
		b = before.(*clusterv1alpha1.AddOnPlacementScore)
	}
	if after != nil {
		a = after.(*clusterv1alpha1.AddOnPlacementScore)
	}
	is := either(before, after)
	c.note(func(_ types.NamespacedName, r *Reads) bool {
		return r.score(is.GetNamespace(), func(i placement.Interest) bool { return i.InScore(is.GetName(), b, a) })
	})
}

// application: what the hub says of it is no change.
func (c *Changes) application(before, after client.Object) {
	if before != nil && after != nil && before.GetGeneration() == after.GetGeneration() &&
		maps.Equal(before.GetLabels(), after.GetLabels()) && maps.Equal(before.GetAnnotations(), after.GetAnnotations()) &&
		before.GetDeletionTimestamp().IsZero() == after.GetDeletionTimestamp().IsZero() {
		return
	}
	is := either(before, after)
	from, _ := RepositoryOf(is)
	c.note(func(repository types.NamespacedName, r *Reads) bool {
		return r.namespaces[is.GetNamespace()] || repository == from
	})
}

// clusterValues: they change a plan with an application that reads them and is on a cluster that they match, now or before, and one that
// defines others which they may contradict.
func (c *Changes) clusterValues(before, after client.Object) {
	b, _ := before.(*musterv1alpha1.ClusterValues)
	a, _ := after.(*musterv1alpha1.ClusterValues)
	if b != nil && a != nil && b.Generation == a.Generation && b.Annotations[musterv1alpha1.RepositoryAnnotation] == a.Annotations[musterv1alpha1.RepositoryAnnotation] {
		return
	}
	from, _ := RepositoryOf(either(before, after))
	c.note(func(repository types.NamespacedName, r *Reads) bool {
		return repository == from || r.clusterValues(b, a)
	})
}

// repository: of others it matters that they are there; what they deliver comes as objects.
func (c *Changes) repository(before, after client.Object) {
	if before == nil || after == nil {
		c.note(all)
	}
}

// namespace: applications run as the account that it names, and that of a cluster is marked.
func (c *Changes) namespace(before, after client.Object) {
	is := either(before, after)
	account := func(o client.Object) string {
		if o == nil {
			return ""
		}
		return fleet.DefaultAccount(o.GetName(), o.GetAnnotations())
	}
	if account(before) != account(after) {
		c.note(func(_ types.NamespacedName, r *Reads) bool { return r.namespaces[is.GetName()] })
	}
	if _, ofCluster := is.GetLabels()[clusterv1.ClusterNameLabelKey]; ofCluster {
		c.mark()
	}
}
