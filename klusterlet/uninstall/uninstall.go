// Package uninstall ends what an agent holds on its cluster, so that nothing hangs when the agent is gone.
//
// In this order: the agent's Deployment is scaled to zero and its pods are awaited, since a running agent would apply again;
// each object that the agent applied is released or deleted; each AppliedManifestWork loses its finalizer and goes; the Secret
// with the agent's certificate goes last, so that an uninstall that was cut off can be repeated.
package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/klusterlet/registration"
)

// What becomes of the objects that the agent applied.
const (
	Keep   = "Keep"   // they stay as they are, and nothing owns them
	Delete = "Delete" // they are removed
)

// Options of an uninstall.
type Options struct {
	Cluster   *rest.Config
	Workloads string           // Keep or Delete
	Agent     client.ObjectKey // the agent's Deployment; empty: no agent runs
	HubSecret client.ObjectKey // the Secret that mirrors the agent's connection to its hub
}

var records = workv1.GroupVersion.WithResource("appliedmanifestworks")

// poll is the time between two looks at what is ending.
const poll = time.Second

// Run ends what the agent holds for its hub. What it holds for other hubs stays. When the context ends before, the error says
// which objects are left and what keeps them.
func Run(ctx context.Context, o Options) error {
	if o.Workloads != Keep && o.Workloads != Delete {
		return fmt.Errorf("--workloads takes %s or %s, not %q", Keep, Delete, o.Workloads)
	}
	clients, err := kubernetes.NewForConfig(o.Cluster)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(o.Cluster)
	if err != nil {
		return err
	}
	u := &uninstall{Options: o, clients: clients, objects: objects, log: logr.FromContextOrDiscard(ctx)}
	if err := u.stopAgent(ctx); err != nil {
		return err
	}
	hash, err := u.hubHash(ctx)
	if err != nil {
		return err
	}
	if hash == "" {
		u.log.Info("the agent has not joined: nothing is to be ended")
		return nil
	}
	if err := u.endRecords(ctx, hash); err != nil {
		return err
	}
	err = clients.CoreV1().Secrets(o.HubSecret.Namespace).Delete(ctx, o.HubSecret.Name, metav1.DeleteOptions{})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret %s: %w", o.HubSecret, err)
	}
	return nil
}

type uninstall struct {
	Options
	clients kubernetes.Interface
	objects dynamic.Interface
	log     logr.Logger
}

// stopAgent scales the agent to zero and waits until its pods are gone.
func (u *uninstall) stopAgent(ctx context.Context) error {
	if u.Agent.Name == "" {
		return nil
	}
	deployment, err := u.clients.AppsV1().Deployments(u.Agent.Namespace).Patch(ctx, u.Agent.Name, types.MergePatchType,
		[]byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the agent: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read the selector of the agent: %w", err)
	}
	for {
		pods, err := u.clients.CoreV1().Pods(u.Agent.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if err == nil && len(pods.Items) == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("pod %s still runs", pods.Items[0].Name)
		}
		if waitErr := pause(ctx); waitErr != nil {
			return fmt.Errorf("stop the agent: %w", errors.Join(waitErr, err))
		}
	}
}

// hubHash is the part of the records' names that stands for the hub; empty when the agent has not joined.
func (u *uninstall) hubHash(ctx context.Context) (string, error) {
	secret, err := u.clients.CoreV1().Secrets(u.HubSecret.Namespace).Get(ctx, u.HubSecret.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the hub: %w", err)
	}
	if len(secret.Data["kubeconfig"]) == 0 {
		return "", nil
	}
	config, err := clientcmd.Load(secret.Data["kubeconfig"])
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig in Secret %s: %w", u.HubSecret, err)
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil || config.Clusters[current.Cluster] == nil {
		return "", fmt.Errorf("the kubeconfig in Secret %s names no cluster", u.HubSecret)
	}
	return registration.HubHash(config.Clusters[current.Cluster].Server), nil
}

func (u *uninstall) endRecords(ctx context.Context, hash string) error {
	list, err := u.objects.Resource(records).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list what the agent applied: %w", err)
	}
	var errs []error
	ended := 0
	for i := range list.Items {
		var record workv1.AppliedManifestWork
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &record); err != nil {
			errs = append(errs, fmt.Errorf("read AppliedManifestWork %s: %w", list.Items[i].GetName(), err))
			continue
		}
		if record.Spec.HubHash != hash {
			continue
		}
		if err := u.end(ctx, &record); err != nil {
			errs = append(errs, fmt.Errorf("end AppliedManifestWork %s: %w", record.Name, err))
			continue
		}
		ended++
	}
	u.log.Info("ended what the agent applied", "works", ended, "objects", u.Workloads)
	return errors.Join(errs...)
}

// end lets go of the objects of one record, and then of the record.
func (u *uninstall) end(ctx context.Context, record *workv1.AppliedManifestWork) error {
	left := slices.Clone(record.Status.AppliedResources)
	slices.SortStableFunc(left, func(a, b workv1.AppliedManifestResourceMeta) int { return rank(a) - rank(b) })
	for begin := 0; begin < len(left); { // those of one rank together
		end := begin
		for end < len(left) && rank(left[end]) == rank(left[begin]) {
			end++
		}
		if err := u.endAll(ctx, record, left[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	resource := u.objects.Resource(records)
	_, err := resource.Patch(ctx, record.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove its finalizer: %w", err)
	}
	err = resource.Delete(ctx, record.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &record.UID}})
	return client.IgnoreNotFound(err)
}

// rank has what others are instances of, or live in, at the end.
func rank(entry workv1.AppliedManifestResourceMeta) int {
	switch entry.Resource {
	case "customresourcedefinitions":
		return 1
	case "namespaces":
		return 2
	}
	return 0
}

func (u *uninstall) endAll(ctx context.Context, record *workv1.AppliedManifestWork, entries []workv1.AppliedManifestResourceMeta) error {
	for {
		var left []string
		for _, entry := range entries {
			why, err := u.letGo(ctx, record, entry)
			if err != nil {
				why = err.Error()
			}
			if why != "" {
				left = append(left, fmt.Sprintf("%s %s/%s: %s", entry.Resource, entry.Namespace, entry.Name, why))
			}
		}
		if len(left) == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%w: left are %s", err, strings.Join(left, "; "))
		}
	}
}

// letGo ends the ownership of one object, and says why it is not over.
func (u *uninstall) letGo(ctx context.Context, record *workv1.AppliedManifestWork, entry workv1.AppliedManifestResourceMeta) (string, error) {
	gvr := schema.GroupVersionResource{Group: entry.Group, Version: entry.Version, Resource: entry.Resource}
	resource := u.objects.Resource(gvr).Namespace(entry.Namespace)
	live, err := resource.Get(ctx, entry.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	owners := live.GetOwnerReferences()
	others := slices.DeleteFunc(slices.Clone(owners), func(o metav1.OwnerReference) bool { return o.UID == record.UID })
	if len(others) == len(owners) {
		return "", nil // not ours: made anew by somebody, or given away
	}
	owned := slices.ContainsFunc(others, func(o metav1.OwnerReference) bool { return o.Kind == "AppliedManifestWork" })
	if u.Workloads == Keep || owned {
		return "", disown(ctx, resource, live, others)
	}
	if live.GetDeletionTimestamp() != nil {
		return stuck(live), nil
	}
	uid, background := live.GetUID(), metav1.DeletePropagationBackground
	err = resource.Delete(ctx, entry.Name, metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}})
	if client.IgnoreNotFound(err) != nil {
		return "", err
	}
	return "its deletion was asked for", nil
}

func stuck(live *unstructured.Unstructured) string {
	if finalizers := live.GetFinalizers(); len(finalizers) > 0 {
		return "it is being deleted and waits for its finalizers " + strings.Join(finalizers, ", ")
	}
	return "it is being deleted"
}

func disown(ctx context.Context, resource dynamic.ResourceInterface, live *unstructured.Unstructured, owners []metav1.OwnerReference) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": live.GetUID(), "resourceVersion": live.GetResourceVersion(), "ownerReferences": owners}})
	if err != nil {
		return err
	}
	_, err = resource.Patch(ctx, live.GetName(), types.MergePatchType, body, metav1.PatchOptions{FieldManager: workv1.DefaultFieldManager})
	return client.IgnoreNotFound(err)
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}
