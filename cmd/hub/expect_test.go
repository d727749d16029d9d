package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test/archive"
)

// says is "" when the condition has the status and reason and its message has every part; else what it says instead.
func says(conditions []metav1.Condition, kind string, status metav1.ConditionStatus, reason string, parts ...string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return "no condition " + kind
	}
	if c.Status != status || c.Reason != reason {
		return fmt.Sprintf("%s is %s %s: %s; want %s %s", kind, c.Status, c.Reason, c.Message, status, reason)
	}
	return has(kind, c.Message, parts...)
}

// has is "" when the text has every part.
func has(what, text string, parts ...string) string {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Sprintf("%s says %q, want %q in it", what, text, part)
		}
	}
	return ""
}

// expectRepository waits for a condition of the FleetRepository.
func (f *theFleet) expectRepository(kind string, status metav1.ConditionStatus, reason string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string { return says(f.repository().Status.Conditions, kind, status, reason, parts...) })
}

// expectApplication waits for a condition of an application.
func (f *theFleet) expectApplication(key, kind string, status metav1.ConditionStatus, reason string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string { return says(f.application(key).Status.Conditions, kind, status, reason, parts...) })
}

// expectRow waits for an application's row about a cluster; it is described as state, reason, file:line, message.
func (f *theFleet) expectRow(key, cluster string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		rows := f.application(key).Status.Clusters
		i := slices.IndexFunc(rows, func(r musterv1alpha1.ClusterStatus) bool { return r.Cluster == cluster })
		if i < 0 {
			return fmt.Sprintf("%s has no row about %s", key, cluster)
		}
		r := rows[i]
		return has("the row", fmt.Sprintf("%s %s %s:%d %s", r.State, r.Reason, r.File, r.Line, r.Message), parts...)
	})
}

// expectFault waits for a fault in the FleetRepository's status; it is described as reason, application, cluster, file:line, message.
func (f *theFleet) expectFault(parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		var all []string
		for _, fault := range f.repository().Status.Faults {
			text := fmt.Sprintf("%s %s %s %s:%d %s", fault.Reason, fault.Application, fault.Cluster, fault.File, fault.Line, fault.Message)
			if has("", text, parts...) == "" {
				return ""
			}
			all = append(all, text)
		}
		return fmt.Sprintf("no fault with %q among %q", parts, all)
	})
}

// expectReady waits until a revision is delivered and nothing is wrong with the application at it.
func (f *theFleet) expectReady(key string) {
	f.t.Helper()
	f.eventually(func() string {
		a, r := f.application(key), f.repository()
		if a.Status.Revision != r.Status.Revision || r.Status.Revision != r.Status.FetchedRevision {
			return fmt.Sprintf("%s is at %s, the repository at %s of %s", key, a.Status.Revision, r.Status.Revision, r.Status.FetchedRevision)
		}
		return says(a.Status.Conditions, "Ready", metav1.ConditionTrue, "Succeeded")
	})
}

// expectCurrent waits until every cluster has applied the newest commit, healthy or not.
func (f *theFleet) expectCurrent(key string) {
	f.t.Helper()
	f.eventually(func() string {
		a, r := f.application(key), f.repository()
		s := a.Status.Summary
		if a.Status.Revision != r.Status.FetchedRevision || s.Clusters == 0 || s.Current != s.Clusters {
			return fmt.Sprintf("%s is at %s: %+v", key, a.Status.Revision, s)
		}
		return ""
	})
}

// expectData waits for a value of a ConfigMap on a cluster; "" means that the ConfigMap is gone.
func (f *theFleet) expectData(cluster, namespace, name, key, want string) {
	f.t.Helper()
	f.eventually(func() string {
		if got := f.data(cluster, namespace, name, key); got != want {
			return fmt.Sprintf("ConfigMap %s/%s on %s has %s %q, want %q", namespace, name, cluster, key, got, want)
		}
		return ""
	})
}

func (f *theFleet) data(cluster, namespace, name, key string) string {
	f.t.Helper()
	var cm corev1.ConfigMap
	if !f.on(cluster, &cm, namespace, name) {
		return ""
	}
	return cm.Data[key]
}

// worksOf are the works of an application, by cluster/name.
func (f *theFleet) worksOf(key string) map[string]workv1.ManifestWork {
	f.t.Helper()
	var list workv1.ManifestWorkList
	if err := f.client.List(f.ctx, &list); err != nil {
		f.t.Fatal(err)
	}
	works := map[string]workv1.ManifestWork{}
	for _, w := range list.Items {
		if w.Annotations[musterv1alpha1.ApplicationAnnotation] == key {
			works[w.Namespace+"/"+w.Name] = w
		}
	}
	return works
}

// uids of an application's works, by cluster/name.
func (f *theFleet) uids(key string) map[string]types.UID {
	f.t.Helper()
	uids := map[string]types.UID{}
	for name, w := range f.worksOf(key) {
		uids[name] = w.UID
	}
	return uids
}

// change updates an object as a person would, again until nobody was in between.
func (f *theFleet) change(o client.Object, do func()) {
	f.t.Helper()
	f.eventually(func() string {
		if err := f.client.Get(f.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		do()
		if err := f.client.Update(f.ctx, o); err != nil {
			return err.Error()
		}
		return ""
	})
}

// annotate sets an annotation as a person would.
func (f *theFleet) annotate(o client.Object, key, value string) {
	f.t.Helper()
	f.change(o, func() {
		a := o.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a[key] = value
		o.SetAnnotations(a)
	})
}

// approve does what muster approve does.
func (f *theFleet) approve(o client.Object, held *musterv1alpha1.Held) {
	f.t.Helper()
	if held == nil {
		f.t.Fatalf("nothing is held\n%s", f.describe())
	}
	f.annotate(o, musterv1alpha1.ApprovedPlanAnnotation, held.Plan)
}

// deletions are the objects of a resource that were deleted, or whose deletion was asked for, while it was watched.
type deletions struct {
	mu    sync.Mutex
	names []string
}

func (d *deletions) list() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.names)
}

var works = schema.GroupVersionResource{Group: "work.open-cluster-management.io", Version: "v1", Resource: "manifestworks"}

// watchDeletions begins now and ends with the test.
func (f *theFleet) watchDeletions(config *rest.Config, resource schema.GroupVersionResource, namespace string) *deletions {
	f.t.Helper()
	c, err := metadata.NewForConfig(config)
	if err != nil {
		f.t.Fatal(err)
	}
	list, err := c.Resource(resource).Namespace(namespace).List(f.ctx, metav1.ListOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := c.Resource(resource).Namespace(namespace).Watch(f.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(w.Stop)
	d := &deletions{}
	go func() {
		for e := range w.ResultChan() {
			o, err := meta.Accessor(e.Object)
			if err != nil || e.Type != watch.Deleted && o.GetDeletionTimestamp() == nil {
				continue
			}
			d.mu.Lock()
			d.names = append(d.names, o.GetNamespace()+"/"+o.GetName())
			d.mu.Unlock()
		}
	}()
	return d
}

// Files of a test's repository.
const (
	tenant  = archive.Retail
	deleted = "deleted\n"
)

var (
	clusterFile     = archive.Cluster
	placementFile   = archive.Placement
	applicationFile = archive.Application
	configMapFile   = archive.ConfigMap
)
