package clusterpermission

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

func TestStatus(t *testing.T) {
	objects := []object{{kind: "ClusterRole", name: "ops", manifest: 1}, {kind: "Role", namespace: "shop", name: "deployer"}}
	work := func(generation int64, found metav1.ConditionStatus) *workv1.ManifestWork {
		w := &workv1.ManifestWork{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		w.Status.Conditions = []metav1.Condition{{Type: workv1.WorkApplied, Status: metav1.ConditionTrue, Reason: "AppliedManifestWorkComplete", ObservedGeneration: generation}}
		w.Status.ResourceStatus.Manifests = []workv1.ManifestCondition{
			{ResourceMeta: workv1.ManifestResourceMeta{Kind: "ClusterRole", Name: "ops"}, Conditions: []metav1.Condition{{Type: workv1.ManifestApplied, Status: metav1.ConditionTrue, Reason: "Done"}}},
			{ResourceMeta: workv1.ManifestResourceMeta{Kind: "Role", Namespace: "shop", Name: "deployer"}, Conditions: []metav1.Condition{{Type: workv1.ManifestAvailable, Status: found, Reason: "Looked"}}},
		}
		return w
	}
	old := []metav1.Condition{
		{Type: rbacv1alpha1.ConditionValidation, Status: metav1.ConditionFalse, Reason: "Old"},
		{Type: rbacv1alpha1.ConditionValidateRolesExist, Status: metav1.ConditionTrue, Reason: "Old"},
	}
	tests := map[string]struct {
		why      string
		validate bool
		out      report
		want     []string
		roles    string
	}{
		"nobody is bound": {
			why: "a ClusterPermission that no work is made of says nothing of a work", out: report{invalid: "NoBindings", message: "m"},
			want: []string{"Validation False NoBindings m"},
		},
		"not built": {
			why: "the fault is told; Validation is over", out: report{failure: errors.New("twice")}, validate: true,
			want: []string{"ValidateRolesExist True Old ", "AppliedRBACManifestWork False FailedBuildManifestWork twice"},
		},
		"not reported yet": {
			why: "what a cluster says of another version of the work says nothing of this one", out: report{objects: objects, work: work(1, "True")}, validate: true,
			want: []string{
				"ValidateRolesExist True Old ",
				"AppliedRBACManifestWork False ApplyRBACManifestWorkNotComplete the cluster has not answered for this version of the rights yet",
			},
			roles: "ops True",
		},
		"applied": {
			why: "the work's own words", out: report{objects: objects, work: work(2, "True")},
			want:  []string{"AppliedRBACManifestWork True AppliedManifestWorkComplete "},
			roles: "ops True",
		},
		"a role is missing": {
			why: "it is named", out: report{objects: objects, work: work(2, "False")}, validate: true,
			want: []string{
				"ValidateRolesExist False RolesNotFound not on the cluster: Role shop/deployer",
				"AppliedRBACManifestWork True AppliedManifestWorkComplete ", "ValidateClusterRolesExist True AllClusterRolesFound ",
			},
			roles: "ops True",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := &rbacv1alpha1.ClusterPermission{Spec: rbacv1alpha1.ClusterPermissionSpec{Validate: ptr.To(tc.validate)}}
			p.Status.Conditions = old
			status := statusOf(p, tc.out)
			var got []string
			for _, c := range status.Conditions {
				got = append(got, fmt.Sprintf("%s %s %s %s", c.Type, c.Status, c.Reason, c.Message))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
			roles := ""
			if s := status.ResourceStatus; s != nil {
				for _, r := range s.ClusterRoles {
					roles += r.Name + " " + string(r.Conditions[0].Status)
				}
				if len(s.Roles) > 0 {
					t.Error("a role of somebody else is none of ours")
				}
			}
			if roles != tc.roles {
				t.Errorf("%s: ClusterRoles %q, want %q", tc.why, roles, tc.roles)
			}
		})
	}
}
