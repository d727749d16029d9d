package clusterpermission

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// serviceAccountNamespace is where the agent of ManagedServiceAccounts keeps their service accounts on a cluster: OCM's
// namespace of add-ons.
const serviceAccountNamespace = addonv1alpha1.DefaultInstallNamespace

// workName is OCM's name of the work of a ClusterPermission.
func workName(p *rbacv1alpha1.ClusterPermission) string {
	uid := string(p.UID)
	return p.Name + "-" + uid[:min(5, len(uid))]
}

// object is an RBAC object on the cluster.
type object struct {
	kind, namespace, name string
	resource              string
	// manifest is nil of a role that is only looked at.
	manifest any
}

func (o *object) String() string {
	if o.namespace == "" {
		return o.kind + " " + o.name
	}
	return o.kind + " " + o.namespace + "/" + o.name
}

func (o *object) is(kind, namespace, name string) bool {
	return o.kind == kind && o.namespace == namespace && o.name == name
}

// building collects the objects of one ClusterPermission.
type building struct {
	permission *rbacv1alpha1.ClusterPermission
	namespaces []corev1.Namespace // of the hub
	objects    []object
}

// objectsOf are the objects that a ClusterPermission asks for, and with spec.validate the roles of others that its bindings
// name. Namespaces are those that a namespaceSelector selects from. The same input gives the same objects in the same order.
func objectsOf(p *rbacv1alpha1.ClusterPermission, namespaces []corev1.Namespace) ([]object, error) {
	b := building{permission: p, namespaces: namespaces}
	if r := p.Spec.ClusterRole; r != nil {
		meta := metav1.ObjectMeta{Name: p.Name}
		b.add("ClusterRole", "clusterroles", meta, rbacv1.ClusterRole{TypeMeta: typeOf("ClusterRole"), ObjectMeta: meta, Rules: rulesOf(r.Rules)})
	}
	if c := p.Spec.ClusterRoleBinding; c != nil {
		if err := b.clusterRoleBinding("spec.clusterRoleBinding", c); err != nil {
			return nil, err
		}
	}
	for i := range list(p.Spec.ClusterRoleBindings) {
		if err := b.clusterRoleBinding(fmt.Sprintf("spec.clusterRoleBindings[%d]", i), &(*p.Spec.ClusterRoleBindings)[i]); err != nil {
			return nil, err
		}
	}
	if err := b.roles(); err != nil {
		return nil, err
	}
	for i := range list(p.Spec.RoleBindings) {
		if err := b.roleBinding(fmt.Sprintf("spec.roleBindings[%d]", i), &(*p.Spec.RoleBindings)[i]); err != nil {
			return nil, err
		}
	}
	if p.Spec.Validate != nil && *p.Spec.Validate {
		b.addReferenced()
	}
	return b.objects, nil
}

func (b *building) add(kind, resource string, meta metav1.ObjectMeta, manifest any) {
	b.objects = append(b.objects, object{kind: kind, namespace: meta.Namespace, name: meta.Name, resource: resource, manifest: manifest})
}

func (b *building) find(kind, namespace, name string) *object {
	for i := range b.objects {
		if b.objects[i].is(kind, namespace, name) {
			return &b.objects[i]
		}
	}
	return nil
}

// bind adds a binding. Two of one name would be one object on the cluster: one of them would give nobody its rights.
func (b *building) bind(path, kind, resource string, meta metav1.ObjectMeta, manifest any) error {
	if b.find(kind, meta.Namespace, meta.Name) != nil {
		return fmt.Errorf("%s: there is a %s %s already: give the bindings names of their own", path, kind, meta.Name)
	}
	b.add(kind, resource, meta, manifest)
	return nil
}

func (b *building) clusterRoleBinding(path string, c *rbacv1alpha1.ClusterRoleBinding) error {
	meta := metav1.ObjectMeta{Name: cmp.Or(c.Name, b.permission.Name)}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.permission.Name}
	if c.RoleRef != nil {
		ref = rbacv1.RoleRef{APIGroup: cmp.Or(c.RoleRef.APIGroup, rbacv1.GroupName), Kind: c.RoleRef.Kind, Name: c.RoleRef.Name}
	}
	return b.bind(path, "ClusterRoleBinding", "clusterrolebindings", meta, rbacv1.ClusterRoleBinding{
		TypeMeta: typeOf("ClusterRoleBinding"), ObjectMeta: meta, RoleRef: ref, Subjects: subjectsOf(c.Subject, c.Subjects),
	})
}

// roles adds one Role a namespace: it has the rules of every entry that the namespace is of.
func (b *building) roles() error {
	for i := range list(b.permission.Spec.Roles) {
		entry := &(*b.permission.Spec.Roles)[i]
		namespaces, err := b.selected(fmt.Sprintf("spec.roles[%d]", i), entry.Namespace, entry.NamespaceSelector)
		if err != nil {
			return err
		}
		for _, namespace := range namespaces {
			if o := b.find("Role", namespace, b.permission.Name); o != nil {
				role := o.manifest.(rbacv1.Role)
				role.Rules = append(role.Rules, rulesOf(entry.Rules)...)
				o.manifest = role
				continue
			}
			meta := metav1.ObjectMeta{Namespace: namespace, Name: b.permission.Name}
			b.add("Role", "roles", meta, rbacv1.Role{TypeMeta: typeOf("Role"), ObjectMeta: meta, Rules: rulesOf(entry.Rules)})
		}
	}
	return nil
}

func (b *building) roleBinding(path string, r *rbacv1alpha1.RoleBinding) error {
	namespaces, err := b.selected(path, r.Namespace, r.NamespaceSelector)
	if err != nil {
		return err
	}
	ref := rbacv1.RoleRef{APIGroup: cmp.Or(r.RoleRef.APIGroup, rbacv1.GroupName), Kind: r.RoleRef.Kind, Name: cmp.Or(r.RoleRef.Name, b.permission.Name)}
	for _, namespace := range namespaces {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: cmp.Or(r.Name, b.permission.Name)}
		if err := b.bind(path, "RoleBinding", "rolebindings", meta, rbacv1.RoleBinding{
			TypeMeta: typeOf("RoleBinding"), ObjectMeta: meta, RoleRef: ref, Subjects: subjectsOf(r.Subject, r.Subjects),
		}); err != nil {
			return err
		}
	}
	return nil
}

// selected are the namespaces of a role or binding, sorted. A selector looks at the hub's namespaces, as in OCM.
func (b *building) selected(path, namespace string, selector *metav1.LabelSelector) ([]string, error) {
	if selector == nil {
		if namespace == "" {
			return nil, fmt.Errorf("%s has no namespace and no namespaceSelector: give one of them", path)
		}
		return []string{namespace}, nil
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("%s.namespaceSelector: %w", path, err)
	}
	var names []string
	for i := range b.namespaces {
		if n := &b.namespaces[i]; n.DeletionTimestamp.IsZero() && s.Matches(labels.Set(n.Labels)) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// addReferenced adds the roles that bindings name and the ClusterPermission does not make, to be looked at.
func (b *building) addReferenced() {
	for _, o := range slices.Clone(b.objects) {
		var ref rbacv1.RoleRef
		switch binding := o.manifest.(type) {
		case rbacv1.ClusterRoleBinding:
			ref = binding.RoleRef
		case rbacv1.RoleBinding:
			ref = binding.RoleRef
		default:
			continue
		}
		namespace, resource := "", "clusterroles"
		if ref.Kind == "Role" {
			namespace, resource = o.namespace, "roles"
		}
		if b.find(ref.Kind, namespace, ref.Name) == nil {
			b.objects = append(b.objects, object{kind: ref.Kind, namespace: namespace, name: ref.Name, resource: resource})
		}
	}
}

// specOf is the spec of the work with these objects. Roles of others are only looked at.
func specOf(objects []object) (workv1.ManifestWorkSpec, error) {
	var spec workv1.ManifestWorkSpec
	for i := range objects {
		o := &objects[i]
		manifest := o.manifest
		if manifest == nil {
			manifest = metav1.PartialObjectMetadata{TypeMeta: typeOf(o.kind), ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name}}
			spec.ManifestConfigs = append(spec.ManifestConfigs, workv1.ManifestConfigOption{
				ResourceIdentifier: workv1.ResourceIdentifier{Group: rbacv1.GroupName, Resource: o.resource, Namespace: o.namespace, Name: o.name},
				FeedbackScrapeType: workv1.FeedbackPollType, // the default, which the API server would add
				UpdateStrategy:     &workv1.UpdateStrategy{Type: workv1.UpdateStrategyTypeReadOnly},
			})
		}
		raw, err := json.Marshal(manifest)
		if err != nil {
			return spec, fmt.Errorf("encode %s: %w", o, err)
		}
		spec.Workload.Manifests = append(spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	return spec, nil
}

// annotations of the work: the role of a binding cannot be changed, so that the binding is made again.
func annotations() map[string]string {
	return map[string]string{musterv1alpha1.OnImmutableAnnotation: string(musterv1alpha1.ImmutableRecreate)}
}

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

func rulesOf(rules []rbacv1alpha1.PolicyRule) []rbacv1.PolicyRule {
	out := make([]rbacv1.PolicyRule, len(rules))
	for i := range rules {
		out[i] = rbacv1.PolicyRule(rules[i])
	}
	return out
}

// subjectsOf are the subjects of a binding as Kubernetes knows them: the one and the several, each once.
func subjectsOf(one *rbacv1alpha1.Subject, several []rbacv1alpha1.Subject) []rbacv1.Subject {
	if one != nil {
		several = append([]rbacv1alpha1.Subject{*one}, several...)
	}
	var out []rbacv1.Subject
	for _, s := range several {
		subject := rbacv1.Subject{Kind: s.Kind, APIGroup: s.APIGroup, Name: s.Name, Namespace: s.Namespace}
		switch s.Kind {
		case rbacv1alpha1.KindManagedServiceAccount:
			subject = rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: serviceAccountNamespace, Name: s.Name}
		case rbacv1.UserKind, rbacv1.GroupKind:
			subject.APIGroup = cmp.Or(s.APIGroup, rbacv1.GroupName)
		}
		if !slices.Contains(out, subject) {
			out = append(out, subject)
		}
	}
	return out
}

// list is empty for a list that is left out.
func list[T any](l *[]T) []T {
	if l == nil {
		return nil
	}
	return *l
}
