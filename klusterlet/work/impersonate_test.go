package work_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/klusterlet/work"
)

// TestExecutorOnly: an agent whose only right on objects is to act as accounts of one name applies, corrects and deletes what these may,
// on a real API server, and nothing else.
func TestExecutorOnly(t *testing.T) {
	s := newSite(t)
	user := "agent-of-" + s.namespace
	config, err := test.Hub(t).User(user)
	if err != nil {
		t.Fatal(err)
	}
	s.agent.Spoke, s.agent.ExecutorOnly = config, true
	create := func(o client.Object) {
		t.Helper()
		if err := s.spoke.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{workv1.GroupName}, Resources: []string{"appliedmanifestworks", "appliedmanifestworks/status", "appliedmanifestworks/finalizers"}, Verbs: []string{"*"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, ResourceNames: []string{"deployer"}, Verbs: []string{"impersonate"}},
	}})
	create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	})
	create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.target, Name: "deployer"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "update", "patch", "delete"}},
	}})
	create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.target, Name: "deployer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "deployer"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.target, Name: "deployer"}, {Kind: rbacv1.ServiceAccountKind, Namespace: s.target, Name: "other"}},
	})
	s.start()

	c := s.configMap("c", map[string]any{"k": "1"})
	s.put("web", objects{c}, serverSide(false), mode("Correct"), executor(s.target, "deployer"))
	s.expectApplied("web")
	record := &workv1.AppliedManifestWork{}
	recordKey := client.ObjectKey{Name: s.agent.HubHash + "-web"}
	if err := s.spoke.Get(context.Background(), recordKey, record); err != nil {
		t.Fatal(err)
	}
	if got, want := record.Annotations[musterv1alpha1.ExecutorAnnotation], "system:serviceaccount:"+s.target+":deployer"; got != want {
		t.Errorf("the record names executor %q, want %q", got, want)
	}

	// Drift is found without a watch, and undone.
	live := s.live(c)
	live.Object["data"] = map[string]any{"k": "2"}
	if err := s.spoke.Update(context.Background(), live, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	s.expectValue(c, "1", "data", "k")

	// What the account may not, and whom the agent may not act as.
	d := s.deployment("d", 1)
	s.put("more", objects{d}, serverSide(false), executor(s.target, "deployer"))
	s.expectManifest("more", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "deployer", "deployments"))
	s.put("stranger", objects{s.configMap("s", nil)}, serverSide(false), executor(s.target, "other"))
	s.expectManifest("stranger", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, user, "impersonate"))
	s.put("nobody", objects{s.configMap("n", nil)}, serverSide(false))
	s.expectManifest("nobody", 0, workv1.ManifestApplied, says("False", workv1.ReasonAppliedManifestFailed, "serviceAccountName"))
	for _, o := range []map[string]any{d, s.configMap("s", nil), s.configMap("n", nil)} {
		if s.live(o) != nil {
			t.Errorf("%v is applied", o["metadata"])
		}
	}

	// An object that leaves its work goes, and so do those of a work that is deleted.
	two := s.configMap("two", nil)
	s.put("web", objects{two}, serverSide(false), mode("Correct"), executor(s.target, "deployer"))
	s.expectGone(c)
	if err := s.hub.Delete(context.Background(), s.work("web")); err != nil {
		t.Fatal(err)
	}
	s.expectGone(two)
	s.eventually("the record is gone, and the work", func() error {
		if err := s.spoke.Get(context.Background(), recordKey, record); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		if s.work("web") != nil {
			return errors.New("its work is there")
		}
		return nil
	})

	// An uninstall acts as the record says.
	s.put("web", objects{c}, serverSide(false), executor(s.target, "deployer"))
	s.expectApplied("web")
	s.stop()
	if err := s.spoke.Get(context.Background(), recordKey, record); err != nil {
		t.Fatal(err)
	}
	u, err := work.NewUninstall(config)
	if err != nil {
		t.Fatal(err)
	}
	s.eventually("the uninstall", func() error {
		left, err := u.Delete(context.Background(), record)
		if err != nil || len(left) > 0 {
			return fmt.Errorf("left are %v, %w", left, err)
		}
		return nil
	})
	if s.live(c) != nil {
		t.Error("an object is left after the uninstall")
	}
}
