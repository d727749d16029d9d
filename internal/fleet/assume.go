package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	kubeversion "k8s.io/apimachinery/pkg/util/version"
	kjson "sigs.k8s.io/json"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// assumption is what the file of a cluster says of it, until it reports that itself.
type assumption struct {
	KubernetesVersion string                       `json:"kubernetesVersion,omitempty"`
	APIs              []musterv1alpha1.APIResource `json:"apis,omitempty"`
	Claims            map[string]string            `json:"claims,omitempty"`
}

// assumptions are those that were read, by their text: sets of APIs are told apart by where they lie.
var assumptions sync.Map

// assumptionOf reads the annotation of a cluster; nil is none, or one that cannot be read: loading a repository says why.
func assumptionOf(c *clusterv1.ManagedCluster) *assumption {
	text := c.Annotations[musterv1alpha1.AssumeAnnotation]
	if text == "" {
		return nil
	}
	if known, ok := assumptions.Load(text); ok {
		return known.(*assumption)
	}
	a, _ := readAssumption(text)
	known, _ := assumptions.LoadOrStore(text, a)
	return known.(*assumption)
}

// readAssumption reads it strictly. The kinds that Kubernetes itself serves are added to the APIs.
func readAssumption(text string) (*assumption, error) {
	var a assumption
	problems, err := kjson.UnmarshalStrict([]byte(text), &a)
	if err == nil && len(problems) > 0 {
		err = problems[0]
	}
	if err != nil {
		return nil, fmt.Errorf("is no JSON of kubernetesVersion, apis and claims: %w", err)
	}
	if a.KubernetesVersion != "" {
		v, err := kubeversion.ParseSemantic(a.KubernetesVersion)
		if err != nil {
			return nil, fmt.Errorf("kubernetesVersion is no version: give one such as v1.31.0")
		}
		a.KubernetesVersion = "v" + v.String()
	}
	if len(a.APIs) > 0 {
		a.APIs = WithBuiltin(a.APIs)
	}
	return &a, nil
}

// WithBuiltin adds the kinds that Kubernetes itself serves, and sorts.
func WithBuiltin(apis []musterv1alpha1.APIResource) []musterv1alpha1.APIResource {
	apis = append(slices.Clone(apis), NewAPIs("", nil).Resources()...)
	byKind := func(a, b musterv1alpha1.APIResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	}
	slices.SortStableFunc(apis, byKind)
	return slices.CompactFunc(apis, func(a, b musterv1alpha1.APIResource) bool { return byKind(a, b) == 0 })
}

// AssumeClaims gives a cluster that has reported no claims those that its file assumes. Where there is a hub, placements are decided by what
// it knows: there nothing is assumed.
func AssumeClaims(c *clusterv1.ManagedCluster) {
	a := assumptionOf(c)
	if a == nil || len(c.Status.ClusterClaims) > 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(a.Claims)) {
		c.Status.ClusterClaims = append(c.Status.ClusterClaims, clusterv1.ManagedClusterClaim{Name: name, Value: a.Claims[name]})
	}
}

// wrongAssumption says why the annotation in a file cannot be read.
func wrongAssumption(metadata map[string]any) string {
	annotations, _ := metadata["annotations"].(map[string]any)
	text, _ := annotations[musterv1alpha1.AssumeAnnotation].(string)
	if text == "" {
		return ""
	}
	if _, err := readAssumption(text); err != nil {
		return err.Error()
	}
	return ""
}
