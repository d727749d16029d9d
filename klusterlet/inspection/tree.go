package inspection

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
)

// Bounds of an answer.
const (
	maxObjects  = 500
	maxSiblings = 50 // of one owner
	maxText     = 300
)

// healthMissing is the health of an object that was applied and is no longer there.
const healthMissing = "Missing"

// node is an object with the UIDs of its owners, the controller first.
type node struct {
	musterv1alpha1.InspectedObject
	owners []string
}

// nodeOf is what is told of a live object.
func nodeOf(live *unstructured.Unstructured) node {
	kind := live.GroupVersionKind()
	state, message := health.OfObject(&unstructured.Unstructured{Object: drift.Public(live.Object)})
	n := node{InspectedObject: musterv1alpha1.InspectedObject{
		Group: kind.Group, Kind: kind.Kind, Namespace: live.GetNamespace(), Name: live.GetName(), UID: string(live.GetUID()),
		Health: string(state), Message: shortened(message), Created: ptr.To(live.GetCreationTimestamp()),
	}}
	for _, o := range live.GetOwnerReferences() {
		if ptr.Deref(o.Controller, false) {
			n.owners = slices.Insert(n.owners, 0, string(o.UID))
		} else {
			n.owners = append(n.owners, string(o.UID))
		}
	}
	if kind.Group == "" && kind.Kind == "Pod" {
		n.Pod = podOf(live)
	}
	return n
}

// missing is an object that was applied and is not there. Its kind is not known, only the name of its resource.
func missing(e workv1.AppliedManifestResourceMeta) node {
	return node{InspectedObject: musterv1alpha1.InspectedObject{
		Group: e.Group, Kind: e.Resource, Namespace: e.Namespace, Name: e.Name, Health: healthMissing, Message: "it is not on the cluster",
	}}
}

// over is a ReplicaSet of an earlier version, which has no pods.
func over(o *unstructured.Unstructured) bool {
	wanted, set, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	has, _, _ := unstructured.NestedInt64(o.Object, "status", "replicas")
	return o.GetKind() == "ReplicaSet" && set && wanted == 0 && has == 0
}

func podOf(live *unstructured.Unstructured) *musterv1alpha1.InspectedPod {
	var pod corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &pod); err != nil {
		return nil // an API server that serves another kind of pod: its health is told all the same
	}
	told := &musterv1alpha1.InspectedPod{Phase: string(pod.Status.Phase), Node: pod.Spec.NodeName}
	statuses := map[string]corev1.ContainerStatus{}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		statuses[s.Name] = s
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		s := statuses[c.Name]
		told.Containers = append(told.Containers, musterv1alpha1.InspectedContainer{Name: c.Name, Ready: s.Ready, Restarts: s.RestartCount, State: stateOf(s)})
	}
	return told
}

func stateOf(s corev1.ContainerStatus) string {
	switch {
	case s.State.Running != nil:
		return "Running"
	case s.State.Waiting != nil:
		return s.State.Waiting.Reason
	case s.State.Terminated != nil:
		return cmp.Or(s.State.Terminated.Reason, "Terminated")
	}
	return ""
}

// arrange puts below each root what it owns, and below that what that owns. Of siblings those that do worst come first, and more than
// an answer holds are counted.
func arrange(roots, others []node) (objects []musterv1alpha1.InspectedObject, omitted int32) {
	seen := map[string]bool{}
	for _, r := range roots {
		seen[r.UID] = true
	}
	below := map[string][]node{}
	for _, o := range others {
		if !seen[o.UID] {
			for _, owner := range o.owners {
				below[owner] = append(below[owner], o)
			}
		}
	}
	var add func(owner string, siblings []node)
	add = func(owner string, siblings []node) {
		slices.SortStableFunc(siblings, func(a, b node) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		told := 0
		for _, n := range siblings {
			if owner != "" && seen[n.UID] {
				continue // owned by two
			}
			if owner != "" && told == maxSiblings || len(objects) == maxObjects {
				omitted++
				continue
			}
			told++
			seen[n.UID] = true
			n.Owner = owner
			objects = append(objects, n.InspectedObject)
			if n.UID != "" {
				add(n.UID, below[n.UID])
			}
		}
	}
	add("", roots)
	return objects, omitted
}

// rank orders by how bad an object is.
func rank(n node) int {
	return slices.Index([]string{healthMissing, string(fleet.HealthDegraded), string(fleet.HealthProgressing), string(fleet.HealthUnknown), string(fleet.HealthHealthy)}, n.Health)
}

// logOf says which log is read.
type logOf struct {
	namespace, pod, container string
	lines                     int64
	previous                  bool
}

// find is the object that a question is about, among those of the application: another one is nobody's to read here.
func find(asked musterv1alpha1.InspectionObject, objects []musterv1alpha1.InspectedObject) (musterv1alpha1.InspectedObject, error) {
	for _, o := range objects {
		if o.UID != "" && o.Group == asked.Group && o.Kind == asked.Kind && o.Namespace == asked.Namespace && o.Name == asked.Name {
			return o, nil
		}
	}
	return musterv1alpha1.InspectedObject{}, none(musterv1alpha1.ReasonNoObject, "the application has no %s %s on the cluster", asked.Kind, asked.Name)
}

// choose finds the container that a question is about, among the pods of the application: another pod's log is nobody's to read here.
func choose(asked musterv1alpha1.InspectionLogs, objects []musterv1alpha1.InspectedObject) (logOf, error) {
	var chosen *musterv1alpha1.InspectedObject
	var names []string
	for i := range objects {
		o := &objects[i]
		if o.Pod == nil || asked.Namespace != "" && asked.Namespace != o.Namespace {
			continue
		}
		names = append(names, o.Name)
		if asked.Pod == o.Name || asked.Pod == "" && (chosen == nil || rank(node{InspectedObject: *o}) < rank(node{InspectedObject: *chosen})) {
			chosen = o
		}
	}
	switch {
	case len(names) == 0:
		return logOf{}, none(musterv1alpha1.ReasonNoPod, "the application has no pod on the cluster")
	case chosen == nil:
		return logOf{}, none(musterv1alpha1.ReasonNoPod, "the application has no pod %s; it has %s", asked.Pod, listed(names))
	}
	of := logOf{namespace: chosen.Namespace, pod: chosen.Name, lines: cmp.Or(asked.Lines, 100), previous: asked.Previous}
	names = nil
	for _, c := range chosen.Pod.Containers {
		names = append(names, c.Name)
		if c.Name == asked.Container {
			of.container = c.Name
		}
	}
	switch {
	case of.container != "":
	case asked.Container != "":
		return logOf{}, none(musterv1alpha1.ReasonNoPod, "pod %s has no container %s; it has %s", of.pod, asked.Container, listed(names))
	case len(names) == 0:
		return logOf{}, none(musterv1alpha1.ReasonNoPod, "pod %s has no container", of.pod)
	default:
		of.container = worstContainer(chosen.Pod.Containers)
	}
	return of, nil
}

// worstContainer is the first that does not run and has not come to its end well, else the last one that is ready: init containers come first.
func worstContainer(all []musterv1alpha1.InspectedContainer) string {
	for _, c := range all {
		if !c.Ready && c.State != "Completed" {
			return c.Name
		}
	}
	for _, c := range all {
		if c.State == "Running" {
			return c.Name
		}
	}
	return all[len(all)-1].Name
}

func listed(names []string) string {
	if len(names) > 10 {
		names = append(slices.Clone(names[:10]), "more")
	}
	return strings.Join(names, ", ")
}

// shortened is a text as an answer holds it.
func shortened(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
