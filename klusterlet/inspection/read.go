package inspection

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
)

// Bounds of what is read of a cluster for one answer.
const (
	maxRoots      = 300
	maxNamespaces = 10
	pageSize      = 500
	maxPages      = 10        // of one kind in one namespace
	maxEvents     = 50        // in an answer
	logBytes      = 64 << 10  // in an answer
	logRead       = 4 << 20   // of a log, to find its end
	maxLive       = 256 << 10 // of an object in an answer
)

// owned are the kinds that an application's objects come to own, in the namespaces where it has objects.
var owned = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "batch", Version: "v1", Resource: "jobs"},
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "persistentvolumeclaims"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
}

var (
	manifestWorks = workv1.GroupVersion.WithResource("manifestworks")
	appliedWorks  = workv1.GroupVersion.WithResource("appliedmanifestworks")
)

func ctrlOptions() controller.Options { return controller.Options{MaxConcurrentReconciles: atOnce} }

// reader reads the managed cluster, and which works the hub has for an application.
type reader struct {
	works             metadata.Interface // of the hub
	namespace, prefix string             // of the cluster on the hub; of AppliedManifestWorks of this hub
	objects           dynamic.Interface
	clients           kubernetes.Interface
}

// facts are what an answer is made of.
type facts struct {
	roots  []node // what the application applied
	others []node // what may be owned by it
	// resources that the objects were read as, by UID.
	resources map[string]schema.GroupVersionResource
	notes     []string
}

// facts reads the objects of an application and those that they may own.
func (r *reader) facts(ctx context.Context, app musterv1alpha1.InspectedApplication) (*facts, error) {
	entries, err := r.applied(ctx, app)
	if err != nil {
		return nil, err
	}
	f := &facts{resources: map[string]schema.GroupVersionResource{}}
	if n := len(entries) - maxRoots; n > 0 {
		f.notes = append(f.notes, fmt.Sprintf("%d more objects that the application applied are not looked at", n))
		entries = entries[:maxRoots]
	}
	var namespaces []string
	for _, e := range entries {
		gvr := schema.GroupVersionResource{Group: e.Group, Version: e.Version, Resource: e.Resource}
		live, err := r.objects.Resource(gvr).Namespace(e.Namespace).Get(ctx, e.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			f.roots = append(f.roots, missing(e))
		case err != nil:
			f.notes = append(f.notes, shortened(fmt.Sprintf("read %s %s: %v", e.Resource, e.Name, err)))
		default:
			f.roots = append(f.roots, nodeOf(live))
			f.resources[string(live.GetUID())] = gvr
		}
		if e.Namespace != "" && !slices.Contains(namespaces, e.Namespace) {
			namespaces = append(namespaces, e.Namespace)
		}
	}
	if len(namespaces) > maxNamespaces {
		f.notes = append(f.notes, fmt.Sprintf("what the objects of %d more namespaces own is not looked at", len(namespaces)-maxNamespaces))
		namespaces = namespaces[:maxNamespaces]
	}
	for _, namespace := range namespaces {
		for _, gvr := range owned {
			if note := r.others(ctx, f, gvr, namespace); note != "" {
				f.notes = append(f.notes, shortened(note))
			}
		}
	}
	return f, ctx.Err()
}

// applied are the objects that the works of an application have applied, as their AppliedManifestWorks say.
func (r *reader) applied(ctx context.Context, app musterv1alpha1.InspectedApplication) ([]workv1.AppliedManifestResourceMeta, error) {
	label := musterv1alpha1.OwnerLabel + "=" + fleet.ApplicationOwner(app.Namespace, app.Name).Digest()
	works, err := r.works.Resource(manifestWorks).Namespace(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: label})
	if err != nil {
		return nil, fmt.Errorf("list the works of %s/%s: %w", app.Namespace, app.Name, err)
	}
	if len(works.Items) == 0 {
		return nil, none(musterv1alpha1.ReasonNotDelivered, "the cluster has no work of %s/%s: muster why %s/%s %s says why", app.Namespace, app.Name, app.Namespace, app.Name, r.namespace)
	}
	var entries []workv1.AppliedManifestResourceMeta
	for i := range works.Items {
		live, err := r.objects.Resource(appliedWorks).Get(ctx, r.prefix+works.Items[i].Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // not applied yet
		}
		record := &workv1.AppliedManifestWork{}
		if err == nil {
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, record)
		}
		if err != nil {
			return nil, fmt.Errorf("read AppliedManifestWork %s: %w", r.prefix+works.Items[i].Name, err)
		}
		entries = append(entries, record.Status.AppliedResources...)
	}
	return entries, nil
}

// others reads the objects of a kind in a namespace, some at a time, and keeps what is told of them.
func (r *reader) others(ctx context.Context, f *facts, gvr schema.GroupVersionResource, namespace string) (note string) {
	options := metav1.ListOptions{Limit: pageSize}
	for range maxPages {
		list, err := r.objects.Resource(gvr).Namespace(namespace).List(ctx, options)
		switch {
		case apierrors.IsNotFound(err): // a cluster without this kind
			return ""
		case err != nil:
			return fmt.Sprintf("list %s in %s: %v", gvr.Resource, namespace, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; len(o.GetOwnerReferences()) > 0 && !over(o) {
				f.others = append(f.others, nodeOf(o))
				f.resources[string(o.GetUID())] = gvr
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return ""
		}
	}
	return fmt.Sprintf("namespace %s has more than %d %s: the rest is not looked at", namespace, pageSize*maxPages, gvr.Resource)
}

// events are those of the objects, the newest first.
func (r *reader) events(ctx context.Context, objects []musterv1alpha1.InspectedObject) ([]musterv1alpha1.InspectedEvent, error) {
	var namespaces []string
	of := map[string]bool{}
	for _, o := range objects {
		of[o.UID] = o.UID != ""
		namespace := cmp.Or(o.Namespace, metav1.NamespaceDefault) // where events of objects without a namespace are
		if !slices.Contains(namespaces, namespace) {
			namespaces = append(namespaces, namespace)
		}
	}
	var events []musterv1alpha1.InspectedEvent
	for _, namespace := range namespaces {
		options := metav1.ListOptions{Limit: pageSize}
		for range maxPages {
			list, err := r.clients.EventsV1().Events(namespace).List(ctx, options)
			if err != nil {
				return events, fmt.Errorf("list events in %s: %w", namespace, err)
			}
			for i := range list.Items {
				if e := &list.Items[i]; of[string(e.Regarding.UID)] {
					events = append(events, eventOf(e))
				}
			}
			slices.SortStableFunc(events, func(a, b musterv1alpha1.InspectedEvent) int { return b.Last.Compare(a.Last.Time) })
			events = events[:min(len(events), maxEvents)]
			if options.Continue = list.Continue; options.Continue == "" {
				break
			}
		}
	}
	return events, nil
}

func eventOf(e *eventsv1.Event) musterv1alpha1.InspectedEvent {
	told := musterv1alpha1.InspectedEvent{
		Object: string(e.Regarding.UID), Type: e.Type, Reason: e.Reason, Message: shortened(e.Note), Count: max(1, e.DeprecatedCount),
		Last: metav1.NewTime(e.EventTime.Time),
	}
	if e.DeprecatedLastTimestamp.After(told.Last.Time) {
		told.Last = e.DeprecatedLastTimestamp
	}
	if e.Series != nil {
		told.Count, told.Last = e.Series.Count, metav1.NewTime(e.Series.LastObservedTime.Time)
	}
	return told
}

// live reads an object as it is, without what must not leave the cluster.
func (r *reader) live(ctx context.Context, gvr schema.GroupVersionResource, o musterv1alpha1.InspectedObject) (string, error) {
	live, err := r.objects.Resource(gvr).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read %s %s: %w", o.Kind, o.Name, err)
	}
	live.SetManagedFields(nil)
	data, err := json.Marshal(drift.Public(live.Object))
	if err != nil {
		return "", fmt.Errorf("tell of %s %s: %w", o.Kind, o.Name, err)
	}
	if len(data) > maxLive {
		return "", none(musterv1alpha1.ReasonUnreadable, "%s %s has %d KiB: an answer holds %d", o.Kind, o.Name, len(data)>>10, maxLive>>10)
	}
	return string(data), nil
}

// log reads the end of a container's log.
func (r *reader) log(ctx context.Context, of logOf) (*musterv1alpha1.InspectedLog, error) {
	stream, err := r.clients.CoreV1().Pods(of.namespace).GetLogs(of.pod, &corev1.PodLogOptions{
		Container: of.container, Previous: of.previous, TailLines: ptr.To(of.lines), LimitBytes: ptr.To[int64](logRead),
	}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s of pod %s/%s: %w", of.container, of.namespace, of.pod, err)
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s of pod %s/%s: %w", of.container, of.namespace, of.pod, err)
	}
	told := &musterv1alpha1.InspectedLog{Namespace: of.namespace, Pod: of.pod, Container: of.container}
	if told.Cut = len(text) > logBytes; told.Cut {
		text = text[len(text)-logBytes:]
		if _, whole, ok := bytes.Cut(text, []byte("\n")); ok && len(whole) > 0 {
			text = whole
		}
	}
	told.Text = strings.ToValidUTF8(string(text), "\uFFFD")
	return told, nil
}
