// Package hollow stands in for the agents of a large fleet: it makes clusters, answers their works and reports their usage
// through an API server, and runs nothing.
//
// A hollow cluster writes what a klusterlet writes, in the same requests, so that a hub has the same work to do. What a
// thousand agents would cost on their own clusters is left out, and so are their thousand watches: one watch serves all.
package hollow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// Clusters are hollow clusters on one hub.
type Clusters struct {
	// Number of clusters, and the number in the name of the first one.
	Number, First int
	// Labels of each cluster.
	Labels map[string]string
	// Writers is how many requests run at once.
	Writers int

	client  client.WithWatch
	answers atomic.Int64
}

// New is a number of hollow clusters on a hub. Nothing is written yet.
func New(config *rest.Config, number int, labels map[string]string) (*Clusters, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clusterv1.AddToScheme, workv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client for hollow clusters: %w", err)
	}
	return &Clusters{Number: number, Labels: labels, Writers: 16, client: c}, nil
}

// Name of a cluster, from 0.
func Name(i int) string { return fmt.Sprintf("hollow-%05d", i) }

// each calls a function for every cluster, Writers at a time.
func (c *Clusters) each(ctx context.Context, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.Writers))
	for i := range c.Number {
		group.Go(func() error { return do(ctx, c.First+i) })
	}
	return group.Wait()
}

// Create creates the clusters as accepted ones, whose leases are good for a day, and returns when all of them say that they
// are available. The hub has not looked at them yet: see [Clusters.WaitForNamespaces].
func (c *Clusters) Create(ctx context.Context) error {
	return c.each(ctx, func(ctx context.Context, i int) error {
		cluster := &clusterv1.ManagedCluster{
			ObjectMeta: metav1.ObjectMeta{Name: Name(i), Labels: c.Labels},
			Spec:       clusterv1.ManagedClusterSpec{HubAcceptsClient: true, LeaseDurationSeconds: 24 * 3600},
		}
		if err := c.client.Create(ctx, cluster); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("create cluster %s: %w", cluster.Name, err)
		}
		return c.report(ctx, i)
	})
}

// WaitForNamespaces waits until the hub has made the namespaces of all clusters.
func (c *Clusters) WaitForNamespaces(ctx context.Context) error {
	return c.waitFor(ctx, time.Second, "the namespaces", c.Namespaces)
}

// Namespaces counts the clusters whose namespace the hub has made.
func (c *Clusters) Namespaces(ctx context.Context) (int, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := c.client.List(ctx, &list, client.HasLabels{clusterv1.ClusterNameLabelKey}); err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		if c.has(list.Items[i].Name) {
			n++
		}
	}
	return n, nil
}

// WaitForAcceptance waits until the hub has accepted all clusters: until each has its namespace, its rights and its lease, and says so.
func (c *Clusters) WaitForAcceptance(ctx context.Context) error {
	return c.waitFor(ctx, 100*time.Millisecond, "the acceptance", c.Accepted)
}

// Accepted counts the clusters that the hub has accepted.
func (c *Clusters) Accepted(ctx context.Context) (int, error) {
	var list clusterv1.ManagedClusterList
	if err := c.client.List(ctx, &list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}); err != nil {
		return 0, err
	}
	accepted := 0
	for i := range list.Items {
		if c.has(list.Items[i].Name) && meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted) {
			accepted++
		}
	}
	return accepted, nil
}

func (c *Clusters) has(name string) bool {
	return name >= Name(c.First) && name < Name(c.First+c.Number)
}

func (c *Clusters) waitFor(ctx context.Context, pause time.Duration, what string, count func(context.Context) (int, error)) error {
	for {
		n, err := count(ctx)
		if err != nil || n >= c.Number {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %d clusters, of which %d have it: %w", what, c.Number, n, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// CreateNamespaces makes the namespaces, where no hub does.
func (c *Clusters) CreateNamespaces(ctx context.Context) error {
	return c.each(ctx, func(ctx context.Context, i int) error {
		return client.IgnoreAlreadyExists(c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Name(i)}}))
	})
}

// ReportUsage writes the status of every cluster once a period, evenly spread, until the context ends: what is allocatable
// has changed each time, and nothing else has.
func (c *Clusters) ReportUsage(ctx context.Context, period time.Duration) error {
	ticker := time.NewTicker(period / time.Duration(c.Number))
	defer ticker.Stop()
	var group errgroup.Group
	group.SetLimit(max(1, c.Writers))
	for i := 0; ; i = (i + 1) % c.Number {
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-ticker.C:
			group.Go(func() error {
				if err := c.report(ctx, c.First+i); err != nil && ctx.Err() == nil {
					return err
				}
				return nil
			})
		}
	}
}

// report writes what an agent says of its cluster.
func (c *Clusters) report(ctx context.Context, i int) error {
	for {
		var cluster clusterv1.ManagedCluster
		if err := c.client.Get(ctx, types.NamespacedName{Name: Name(i)}, &cluster); err != nil {
			return err
		}
		put(&cluster.Status)
		err := c.client.Status().Update(ctx, &cluster)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// put is a status like that of a small cluster in a cloud.
func put(status *clusterv1.ManagedClusterStatus) {
	for kind, reason := range map[string]string{
		clusterv1.ManagedClusterConditionJoined:    clusterv1.ReasonManagedClusterJoined,
		clusterv1.ManagedClusterConditionAvailable: "ManagedClusterAvailable",
	} {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "hollow"})
	}
	quantity := func(n int64, format resource.Format) resource.Quantity { return *resource.NewQuantity(n, format) }
	status.Version.Kubernetes = "v1.36.3"
	status.Capacity = clusterv1.ResourceList{
		"cpu": quantity(32, resource.DecimalSI), "memory": quantity(128<<30, resource.BinarySI), "pods": quantity(440, resource.DecimalSI),
	}
	status.Allocatable = clusterv1.ResourceList{
		"cpu": quantity(31, resource.DecimalSI), "memory": quantity((100+rand.Int64N(20))<<30+rand.Int64N(1<<30), resource.BinarySI), "pods": quantity(440, resource.DecimalSI),
	}
	status.ClusterClaims = []clusterv1.ManagedClusterClaim{
		{Name: "id.k8s.io", Value: "8f7b1c1e-1111-4222-8333-444455556666"}, {Name: "kubeversion.open-cluster-management.io", Value: "v1.36.3"},
		{Name: "platform.open-cluster-management.io", Value: "AWS"}, {Name: "product.open-cluster-management.io", Value: "EKS"},
	}
}
