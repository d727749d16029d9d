// Package uninstall ends what an agent holds on its cluster, so that nothing hangs when the agent is gone.
//
// In this order: the agent's Deployment is scaled to zero and its pods are awaited, since a running agent would apply again;
// each object that the agent applied is released or deleted; each AppliedManifestWork loses its finalizer and goes; the credentials of
// add-ons and the service accounts of ManagedServiceAccounts go, which nobody renews or ends any more; the Secret with the agent's certificate
// goes last, so that an uninstall that was cut off can be repeated.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/klusterlet/registration"
	"github.com/muster-io/muster/klusterlet/work"
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
	scheme := runtime.NewScheme()
	if err := workv1.AddToScheme(scheme); err != nil {
		return err
	}
	records, err := client.New(o.Cluster, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	objects, err := work.NewUninstall(o.Cluster)
	if err != nil {
		return err
	}
	u := &uninstall{Options: o, clients: clients, records: records, objects: objects, log: logr.FromContextOrDiscard(ctx)}
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
	if err := u.endAddOns(ctx, hash); err != nil {
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
	records client.Client
	objects *work.Uninstall
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
	var list workv1.AppliedManifestWorkList
	err := u.records.List(ctx, &list)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list what the agent applied: %w", err)
	}
	var errs []error
	ended := 0
	for i := range list.Items {
		record := &list.Items[i]
		if record.Spec.HubHash != hash {
			continue
		}
		if err := u.end(ctx, record); err != nil {
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
	if err := u.release(ctx, record); err != nil {
		return err
	}
	err := u.records.Patch(ctx, record, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove its finalizer: %w", err)
	}
	return client.IgnoreNotFound(u.records.Delete(ctx, record, client.Preconditions{UID: &record.UID}))
}

// release returns when no object is left that the record owns, or with the error that says which are left when the context ends.
func (u *uninstall) release(ctx context.Context, record *workv1.AppliedManifestWork) error {
	var last []string
	for {
		left, err := u.look(ctx, record)
		if len(left) == 0 && err == nil {
			return nil
		}
		if ctx.Err() == nil { // a look that was cut off knows nothing
			last = left
		}
		if ended := pause(ctx); ended != nil {
			return fmt.Errorf("%w: left are %s", ended, strings.Join(last, "; "))
		}
	}
}

func (u *uninstall) look(ctx context.Context, record *workv1.AppliedManifestWork) (left []string, err error) {
	if u.Workloads == Keep {
		return u.objects.Orphan(ctx, record), nil
	}
	return u.objects.Delete(ctx, record)
}

// endAddOns deletes what the agent keeps for add-ons of its hub. Where it may not look everywhere, it has kept all in the namespace of add-ons.
func (u *uninstall) endAddOns(ctx context.Context, hash string) error {
	ours := metav1.ListOptions{LabelSelector: registration.AddOnHubLabel + "=" + registration.ShortHash(hash)}
	secrets, err := u.clients.CoreV1().Secrets("").List(ctx, ours)
	if apierrors.IsForbidden(err) {
		secrets, err = u.clients.CoreV1().Secrets(addonv1alpha1.DefaultInstallNamespace).List(ctx, ours)
	}
	if apierrors.IsForbidden(err) { // an agent without role addon, and with no rights for it, has kept none
		secrets, err = &corev1.SecretList{}, nil
	}
	if err != nil {
		return fmt.Errorf("list the credentials of add-ons: %w", err)
	}
	var errs []error
	for _, s := range secrets.Items {
		if err := u.clients.CoreV1().Secrets(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{}); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete Secret %s/%s of an add-on: %w", s.Namespace, s.Name, err))
		}
	}
	accounts, err := u.clients.CoreV1().ServiceAccounts(addonv1alpha1.DefaultInstallNamespace).List(ctx, ours)
	if apierrors.IsForbidden(err) { // the same, of role serviceaccount
		accounts, err = &corev1.ServiceAccountList{}, nil
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("list the service accounts of ManagedServiceAccounts: %w", err))
		return errors.Join(errs...)
	}
	for _, a := range accounts.Items {
		if err := u.clients.CoreV1().ServiceAccounts(a.Namespace).Delete(ctx, a.Name, metav1.DeleteOptions{}); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete service account %s/%s: %w", a.Namespace, a.Name, err))
		}
	}
	u.log.Info("ended what was kept for add-ons", "secrets", len(secrets.Items), "service accounts", len(accounts.Items))
	return errors.Join(errs...)
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}
