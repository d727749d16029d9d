package clusterpermission

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// report is how far the rights of one ClusterPermission are.
type report struct {
	// invalid is a reason of the condition Validation, with message, when no work is made.
	invalid, message string
	// failure says why the work could not be made or written.
	failure error
	objects []object
	work    *workv1.ManifestWork // nil before there is one
}

// statusOf says in OCM's conditions what the report says.
//
//	no work is made    Validation False; the other conditions go
//	it cannot be made  AppliedRBACManifestWork False FailedBuildManifestWork; what objects were stays
//	it is made         AppliedRBACManifestWork as the work's Applied, once the cluster has answered for its generation
func statusOf(p *rbacv1alpha1.ClusterPermission, out report) rbacv1alpha1.ClusterPermissionStatus {
	status := *p.Status.DeepCopy()
	say := func(c metav1.Condition) {
		c.ObservedGeneration = p.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	if out.invalid != "" {
		status = rbacv1alpha1.ClusterPermissionStatus{Conditions: slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool {
			return c.Type != rbacv1alpha1.ConditionValidation
		})}
		say(metav1.Condition{Type: rbacv1alpha1.ConditionValidation, Status: metav1.ConditionFalse, Reason: out.invalid, Message: out.message})
		return status
	}
	meta.RemoveStatusCondition(&status.Conditions, rbacv1alpha1.ConditionValidation)
	applied := metav1.Condition{
		Type: rbacv1alpha1.ConditionAppliedRBACManifestWork, Status: metav1.ConditionFalse,
		Reason: rbacv1alpha1.ReasonApplyRBACManifestWorkNotComplete, Message: "the cluster has not answered for this version of the rights yet",
	}
	if out.failure != nil {
		applied.Reason, applied.Message = rbacv1alpha1.ReasonFailedBuildManifestWork, out.failure.Error()
		say(applied)
		return status
	}
	if c := said(out.work, workv1.WorkApplied); c != nil {
		applied.Status, applied.Reason, applied.Message = c.Status, c.Reason, c.Message
	}
	say(applied)
	status.ResourceStatus = resourceStatus(out)
	for _, referenced := range []struct{ condition, kind, found, missing string }{
		{rbacv1alpha1.ConditionValidateRolesExist, "Role", rbacv1alpha1.ReasonAllRolesFound, rbacv1alpha1.ReasonRolesNotFound},
		{rbacv1alpha1.ConditionValidateClusterRolesExist, "ClusterRole", rbacv1alpha1.ReasonAllClusterRolesFound, rbacv1alpha1.ReasonClusterRolesNotFound},
	} {
		if p.Spec.Validate == nil || !*p.Spec.Validate {
			meta.RemoveStatusCondition(&status.Conditions, referenced.condition)
			continue
		}
		if said(out.work, workv1.WorkApplied) == nil {
			continue // what was found stays until the cluster answers
		}
		c := metav1.Condition{Type: referenced.condition, Status: metav1.ConditionTrue, Reason: referenced.found}
		if missing := out.missing(referenced.kind); len(missing) > 0 {
			c.Status, c.Reason = metav1.ConditionFalse, referenced.missing
			c.Message = "not on the cluster: " + strings.Join(missing, ", ")
		}
		say(c)
	}
	return status
}

// said is a condition of the work if it is of the work's generation.
func said(w *workv1.ManifestWork, condition string) *metav1.Condition {
	if w == nil {
		return nil
	}
	c := meta.FindStatusCondition(w.Status.Conditions, condition)
	if c == nil || c.ObservedGeneration != w.Generation {
		return nil
	}
	return c
}

// of are the conditions that the work reports of an object.
func (r *report) of(o *object) []metav1.Condition {
	if r.work == nil {
		return nil
	}
	for i := range r.work.Status.ResourceStatus.Manifests {
		m := &r.work.Status.ResourceStatus.Manifests[i]
		if o.is(m.ResourceMeta.Kind, m.ResourceMeta.Namespace, m.ResourceMeta.Name) {
			return m.Conditions
		}
	}
	return nil
}

// missing are the roles of others, of one kind, that the cluster does not have.
func (r *report) missing(kind string) []string {
	var names []string
	for i := range r.objects {
		o := &r.objects[i]
		if o.manifest == nil && o.kind == kind && !meta.IsStatusConditionTrue(r.of(o), workv1.ManifestAvailable) {
			names = append(names, o.String())
		}
	}
	return names
}

func resourceStatus(out report) *rbacv1alpha1.ResourceStatus {
	var s rbacv1alpha1.ResourceStatus
	for i := range out.objects {
		o := &out.objects[i]
		if o.manifest == nil {
			continue
		}
		var conditions []metav1.Condition
		if c := meta.FindStatusCondition(out.of(o), workv1.ManifestApplied); c != nil {
			conditions = []metav1.Condition{*c}
		}
		switch o.kind {
		case "ClusterRole":
			s.ClusterRoles = append(s.ClusterRoles, rbacv1alpha1.ClusterRoleStatus{Name: o.name, Conditions: conditions})
		case "ClusterRoleBinding":
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, rbacv1alpha1.ClusterRoleBindingStatus{Name: o.name, Conditions: conditions})
		case "Role":
			s.Roles = append(s.Roles, rbacv1alpha1.RoleStatus{Name: o.name, Namespace: o.namespace, Conditions: conditions})
		case "RoleBinding":
			s.RoleBindings = append(s.RoleBindings, rbacv1alpha1.RoleBindingStatus{Name: o.name, Namespace: o.namespace, Conditions: conditions})
		}
	}
	return &s
}
