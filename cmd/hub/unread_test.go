package main

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/muster-io/muster/internal/hub"
)

// TestSecretsThatMayNotBeRead: where a team has not let the hub read its Secrets, the row says how, and the delivery begins by itself after that.
func TestSecretsThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge")+withPassword, func(o *Options) { o.SourceInterval = time.Second })
	f.deliver()
	f.join("one")
	f.push("")
	f.expectRow("retail/web", "one", "Secret retail/db, which valuesFrom names, is not read: the hub may not: kubectl -n retail create rolebinding muster:repositories")
	f.secretIn("retail", "db", map[string][]byte{"password": []byte("hunter22-first")})
	f.expectRow("retail/web", "one", "ConfigMap retail/settings, which valuesFrom names, is not on the hub")
	if err := f.client.Delete(f.ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: hub.RepositoryRole}}); err != nil {
		t.Fatal(err)
	}
	f.expectRow("retail/web", "one", "the hub may not")
}
