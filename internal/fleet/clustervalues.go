package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// SharedNamespace is the namespace whose ClusterValues are for the applications of all namespaces.
const SharedNamespace = "muster-system"

// ValuesIndex finds the values that ClusterValues give a cluster. Clusters that the same objects match share them. It is safe for
// concurrent use.
type ValuesIndex struct {
	objects []valuesObject  // by priority, namespace, name
	own     map[string]bool // the namespaces that have some

	mu     sync.Mutex
	merged map[string]*Values // by namespace and the objects that match
	found  map[string]*Values // by namespace and cluster
}

// valuesObject is one ClusterValues, ready to be matched.
type valuesObject struct {
	*musterv1alpha1.ClusterValues
	labels, claims labels.Selector
	values         map[string]any
	problem        string // why it cannot be used
	lineOf         func(field string) (file string, line int)
}

// NewValuesIndex indexes ClusterValues. The place says where in a repository a field of one stands; it may be nil, or give no file.
func NewValuesIndex(list []musterv1alpha1.ClusterValues, place func(o *musterv1alpha1.ClusterValues, field string) (file string, line int)) *ValuesIndex {
	x := &ValuesIndex{own: map[string]bool{}, merged: map[string]*Values{}, found: map[string]*Values{}}
	for i := range list {
		o := valuesObject{ClusterValues: &list[i], lineOf: func(string) (string, int) { return "", 0 }}
		if place != nil {
			o.lineOf = func(field string) (string, int) { return place(&list[i], field) }
		}
		var err error
		if o.labels, o.claims, err = ClusterSelectors(o.Spec.Selector); err != nil {
			o.problem = "spec.selector is invalid: " + err.Error()
		}
		if err := json.Unmarshal(o.Spec.Values.Raw, &o.values); err != nil {
			o.problem = "spec.values is no map"
		}
		x.objects = append(x.objects, o)
		x.own[o.Namespace] = true
	}
	slices.SortFunc(x.objects, func(a, b valuesObject) int {
		return cmp.Or(cmp.Compare(a.Spec.Priority, b.Spec.Priority), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return x
}

// ClusterSelectors are the selectors over the labels and the claims of clusters.
func ClusterSelectors(s clusterv1beta1.GroupClusterSelector) (ofLabels, ofClaims labels.Selector, err error) {
	if ofLabels, err = metav1.LabelSelectorAsSelector(&s.LabelSelector); err != nil {
		return nil, nil, err
	}
	ofClaims, err = metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: s.ClaimSelector.MatchExpressions})
	return ofLabels, ofClaims, err
}

// Selects tells whether a selector matches a cluster; an empty one matches all.
func Selects(selector musterv1alpha1.ClusterSelector, cluster *clusterv1.ManagedCluster) (bool, error) {
	matches, err := Matcher(selector)
	return err == nil && matches(cluster), err
}

// Matcher is Selects for many clusters: the selector is parsed once.
func Matcher(selector musterv1alpha1.ClusterSelector) (func(*clusterv1.ManagedCluster) bool, error) {
	var s clusterv1beta1.GroupClusterSelector
	if selector.LabelSelector != nil {
		s.LabelSelector = *selector.LabelSelector
	}
	if selector.ClaimSelector != nil {
		s.ClaimSelector = *selector.ClaimSelector
	}
	ofLabels, ofClaims, err := ClusterSelectors(s)
	if err != nil {
		return nil, err
	}
	return func(c *clusterv1.ManagedCluster) bool {
		return ofLabels.Matches(labels.Set(c.Labels)) && (ofClaims.Empty() || ofClaims.Matches(labels.Set(ClaimsOf(c))))
	}, nil
}

// ValuesMatch tells whether ClusterValues are for a cluster; nil are for none.
func ValuesMatch(o *musterv1alpha1.ClusterValues, c *clusterv1.ManagedCluster) bool {
	if o == nil {
		return false
	}
	ofLabels, ofClaims, err := ClusterSelectors(o.Spec.Selector)
	return err != nil || ofLabels.Matches(labels.Set(c.Labels)) && ofClaims.Matches(labels.Set(ClaimsOf(c)))
}

// ClaimsOf are the claims of a cluster by name.
func ClaimsOf(c *clusterv1.ManagedCluster) map[string]string {
	claims := make(map[string]string, len(c.Status.ClusterClaims))
	for _, claim := range c.Status.ClusterClaims {
		claims[claim.Name] = claim.Value
	}
	return claims
}

func (o *valuesObject) isFor(namespace string) bool {
	return o.Namespace == SharedNamespace || o.Namespace == namespace
}

// matches: one that cannot be used matches every cluster, so that nobody goes on without it.
func (o *valuesObject) matches(c *clusterv1.ManagedCluster, claims labels.Set) bool {
	return o.problem != "" || o.labels.Matches(labels.Set(c.Labels)) && o.claims.Matches(claims)
}

// Of gives the values that applications of a namespace see on a cluster.
func (x *ValuesIndex) Of(namespace string, c *clusterv1.ManagedCluster) *Values {
	if x == nil || len(x.objects) == 0 {
		return &Values{}
	}
	if !x.own[namespace] {
		namespace = SharedNamespace
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	id := namespace + "/" + c.Name
	if known := x.found[id]; known != nil {
		return known
	}
	var matching []*valuesObject
	key := namespace
	claims := labels.Set(ClaimsOf(c))
	for i := range x.objects {
		if o := &x.objects[i]; o.isFor(namespace) && o.matches(c, claims) {
			matching = append(matching, o)
			key += fmt.Sprintf(" %d", i)
		}
	}
	if x.merged[key] == nil {
		x.merged[key] = mergeClusterValues(matching)
	}
	x.found[id] = x.merged[key]
	return x.found[id]
}

// Namespaces that see values of their own beside the shared ones, and the shared one, sorted.
func (x *ValuesIndex) Namespaces() []string {
	names := maps.Clone(x.own)
	names[SharedNamespace] = true
	return slices.Sorted(maps.Keys(names))
}

// Has tells whether any ClusterValues for a namespace says something at a path.
func (x *ValuesIndex) Has(namespace, path string) bool {
	return x != nil && slices.ContainsFunc(x.objects, func(o valuesObject) bool {
		_, ok := valueAt(o.values, path)
		return ok && o.isFor(namespace)
	})
}

// Values are what ClusterValues give one cluster. They are shared and must not be changed.
type Values struct {
	// Table is what they say, without what they delete.
	Table map[string]any
	// Layer is the same with null for what they delete: of a chart's own values it deletes those too.
	Layer map[string]any
	// File of the ones that go over all others, for a value that is missing; empty where that is not known.
	File string

	places    map[string]ValuePlace // by the dotted path of a leaf
	conflicts []ValueConflict       // by path
	digest    func() string         // once
}

// Digest identifies what they say, and where each value is set: what is made of values with equal digests is the same.
func (v *Values) Digest() string {
	if v == nil || v.digest == nil {
		return ""
	}
	return v.digest()
}

func (v *Values) sum() string {
	h := sha256.New()
	data, err := CanonicalJSON(v.Layer)
	if err != nil {
		panic(fmt.Sprintf("encode values: %v", err)) // they were JSON
	}
	h.Write(data)
	fmt.Fprintf(h, "\n%q", v.File)
	for _, path := range slices.Sorted(maps.Keys(v.places)) {
		at := v.places[path]
		fmt.Fprintf(h, "\n%q %q %q %d", path, at.Object, at.File, at.Line)
	}
	for _, c := range v.conflicts {
		fmt.Fprintf(h, "\n%q %q %q %d", c.Path, c.Error(), c.A.File, c.A.Line)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ValuePlace is where a value is set.
type ValuePlace struct {
	Object string // ClusterValues namespace/name
	File   string
	Line   int
}

// String is the place in the repository, or the object where that is not known.
func (p ValuePlace) String() string {
	if p.File == "" {
		return p.Object
	}
	return Fault{File: p.File, Line: p.Line}.Position()
}

// ValueConflict is a value of which two ClusterValues of equal priority say different things, or one that cannot be used.
type ValueConflict struct {
	Path     string
	Priority int32
	A, B     ValuePlace
	Problem  string // of one that cannot be used, A
}

// Error says what is wrong and the next step.
func (c ValueConflict) Error() string {
	if c.Problem != "" {
		return fmt.Sprintf("%s cannot be used: %s", c.A.Object, c.Problem)
	}
	return fmt.Sprintf("%s in %s and %s in %s set %s to different values at priority %d: give one of them a higher spec.priority, or take the value out of one",
		c.A.Object, c.A, c.B.Object, c.B, c.Path, c.Priority)
}

// Conflicts of the values, sorted by path.
func (v *Values) Conflicts() []ValueConflict { return v.conflicts }

// Conflict finds a conflict at, above or below a path; "" is all.
func (v *Values) Conflict(path string) *ValueConflict {
	for i := range v.conflicts {
		if c := &v.conflicts[i]; c.Problem != "" || path == "" || c.Path == path || strings.HasPrefix(c.Path, path+".") || strings.HasPrefix(path, c.Path+".") {
			return c
		}
	}
	return nil
}

// Place is where the value at a path is set, or the nearest one above it.
func (v *Values) Place(path string) (ValuePlace, bool) {
	for path != "" {
		if place, ok := v.places[path]; ok {
			return place, true
		}
		path = ParentPath(path)
	}
	return ValuePlace{}, false
}

// At is the part of the layer at a dotted path; "." is all of it.
func (v *Values) At(path string) (any, bool) {
	if path == "." {
		return v.Layer, len(v.Layer) > 0
	}
	return valueAt(v.Layer, path)
}

func valueAt(table map[string]any, path string) (any, bool) {
	if path == "." {
		return table, len(table) > 0
	}
	var here any = table
	for key := range strings.SplitSeq(path, ".") {
		below, ok := here.(map[string]any)
		if !ok {
			return nil, false
		}
		if here, ok = below[key]; !ok {
			return nil, false
		}
	}
	return here, true
}

// mergeClusterValues merges objects that are sorted by priority: those of one priority must agree, and go over those before.
func mergeClusterValues(objects []*valuesObject) *Values {
	v := &Values{Layer: map[string]any{}, places: map[string]ValuePlace{}}
	conflicts := map[string]ValueConflict{}
	for first := 0; first < len(objects); {
		next := first
		same := level{values: map[string]any{}, places: map[string]ValuePlace{}, conflicts: map[string]ValueConflict{}}
		for ; next < len(objects) && objects[next].Spec.Priority == objects[first].Spec.Priority; next++ {
			same.add(objects[next])
			v.File, _ = objects[next].lineOf("spec.values")
		}
		MergeValues(v.Layer, same.values, "", func(path string, set bool) {
			DropBelow(v.places, path)
			DropBelow(conflicts, path)
			if set {
				v.places[path] = same.places[path]
			}
		})
		maps.Copy(conflicts, same.conflicts)
		first = next
	}
	for _, path := range slices.Sorted(maps.Keys(conflicts)) {
		v.conflicts = append(v.conflicts, conflicts[path])
	}
	v.Table = withoutNulls(v.Layer)
	v.digest = sync.OnceValue(v.sum)
	return v
}

// level are the values of one priority.
type level struct {
	values    map[string]any
	places    map[string]ValuePlace
	conflicts map[string]ValueConflict
}

func (l *level) add(o *valuesObject) {
	if o.problem != "" {
		name := "ClusterValues " + o.Namespace + "/" + o.Name
		file, line := o.lineOf("spec")
		l.conflicts[" "+name] = ValueConflict{A: ValuePlace{Object: name, File: file, Line: line}, Problem: o.problem}
		return
	}
	l.unify(l.values, o.values, "", o)
}

// unify adds what an object says. What others of the same priority say otherwise is a conflict.
func (l *level) unify(dst, src map[string]any, prefix string, o *valuesObject) {
	for _, key := range slices.Sorted(maps.Keys(src)) {
		path := prefix + key
		value := src[key]
		there, isThere := dst[key]
		table, isTable := value.(map[string]any)
		if !isThere && isTable && len(table) > 0 {
			there, isThere = map[string]any{}, true
			dst[key] = there
		}
		below, hasTable := there.(map[string]any)
		switch {
		case !isThere:
			dst[key] = CloneValue(value)
			l.places[path] = o.place(path)
		case isTable && hasTable:
			l.unify(below, table, path+".", o)
		case !reflect.DeepEqual(there, value):
			l.conflicts[path] = ValueConflict{Path: path, Priority: o.Spec.Priority, A: l.placeOf(path), B: o.place(path)}
		}
	}
}

func (o *valuesObject) place(path string) ValuePlace {
	file, line := o.lineOf("spec.values." + path)
	return ValuePlace{Object: "ClusterValues " + o.Namespace + "/" + o.Name, File: file, Line: line}
}

// placeOf is where a path, or something below it, is set.
func (l *level) placeOf(path string) ValuePlace {
	for _, p := range slices.Sorted(maps.Keys(l.places)) {
		if p == path || strings.HasPrefix(p, path+".") {
			return l.places[p]
		}
	}
	return ValuePlace{}
}

func withoutNulls(table map[string]any) map[string]any {
	out := make(map[string]any, len(table))
	for key, value := range table {
		switch v := value.(type) {
		case nil:
		case map[string]any:
			out[key] = withoutNulls(v)
		default:
			out[key] = v
		}
	}
	return out
}
