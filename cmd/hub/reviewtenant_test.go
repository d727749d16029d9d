package main

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test"
	"github.com/muster-io/muster/internal/test/forge"
)

// vault is a cluster, in a set of its own, that no tenant may learn of, with what another team runs there.
const vault = `-- clustersets/secret.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: secret}
-- clusters/vault.yaml --
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: vault, labels: {cluster.open-cluster-management.io/clusterset: secret, tier: hidden, vendor: acme-bank}}
spec: {hubAcceptsClient: true}
-- tenants/bank.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: secret, namespace: bank}
spec: {clusterSet: secret}
---
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: bank, namespace: bank}
spec: {clusterSets: [secret]}
---
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: ledger, namespace: bank}
spec: {placementRef: {name: bank}, source: {path: manifests/ledger}, destination: {namespace: ledger}}
-- manifests/ledger/config.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: ledger}
data: {account: "4711"}
`

// reach is what a tenant would write to see more: it binds itself to the set, writes the cluster's definition and places into both.
const reach = `-- tenants/reach.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: secret, namespace: retail}
spec: {clusterSet: secret}
---
apiVersion: cluster.open-cluster-management.io/v1
kind: ManagedCluster
metadata: {name: vault, labels: {cluster.open-cluster-management.io/clusterset: edge, tier: edge}}
spec: {hubAcceptsClient: true}
---
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: ledger, namespace: bank}
spec: {placementRef: {name: bank}, source: {path: manifests/shop}, destination: {namespace: ledger}}
-- placements/own.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: own, namespace: retail}
spec: {clusterSets: [edge, secret], predicates: [{requiredClusterSelector: {labelSelector: {matchExpressions: [{key: tier, operator: In, values: [edge, hidden]}]}}}]}
`

// TestTenantsPullRequest: the check and the comment on a team's pull request are of the clusters that the team's sets have, whatever it
// writes, and say of others neither names nor how many there are.
func TestTenantsPullRequest(t *testing.T) {
	t.Parallel()
	host := forge.New()
	server := httptest.NewServer(host.GitHub())
	t.Cleanup(server.Close)
	f := newFleet(t, tenant+team+vault+clusterFile("one", "tier: edge")+clusterFile("two", "tier: other"), func(o *Options) { o.ReplanInterval = 100 * time.Millisecond })
	f.deliver()
	f.push("")
	for _, name := range []string{"one", "two", "vault"} {
		f.available(name, true)
	}
	f.eventually(func() string {
		if n := len(f.worksOf("bank/ledger")); n != 1 {
			return fmt.Sprintf("the other team has %d works", n)
		}
		return ""
	})
	repo := test.NewRepository(t, placementFile("own", everyEdge)+applicationFile("shop", "own", "manifests/shop", "shop", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "forge"}, StringData: map[string]string{"token": "good"}})
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: "file://" + repo.Dir, Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "repository", Interval: metav1.Duration{Duration: time.Second},
			Review: &musterv1alpha1.ReviewSpec{
				Host: musterv1alpha1.HostGitHub, APIURL: server.URL + "/api/v3", Repository: "acme/fleet", SecretRef: &musterv1alpha1.LocalReference{Name: "forge"},
			},
		},
	})
	f.eventually(func() string {
		if n := len(f.worksOf("retail/shop")); n != 1 {
			return fmt.Sprintf("the team has %d works", n)
		}
		return ""
	})
	reviewed := func(number int, archive, state string, parts ...string) {
		t.Helper()
		repo.Git("checkout", "--quiet", "-B", fmt.Sprint("change-", number), "main")
		head := repo.Commit(archive)
		repo.Git("checkout", "--quiet", "main")
		host.Do(func() { host.Open(number, head, false) })
		f.eventually(func() (problem string) {
			host.Do(func() {
				check := host.Checks[head]["muster/retail/shops"]
				if check.State != state || len(host.Pulls[number].Notes) != 1 {
					problem = fmt.Sprintf("check %+v, want %s; %d comments", check, state, len(host.Pulls[number].Notes))
					return
				}
				said := check.Description + "\n" + host.Pulls[number].Notes[0].Body
				problem = has("what is said", said, parts...)
				for _, secret := range []string{"acme-bank", "4711", "has tier=hidden", "· 3 clusters"} {
					if strings.Contains(said, secret) {
						t.Errorf("pull request %d tells %q:\n%s", number, secret, said)
					}
				}
			})
			return problem
		})
	}
	reviewed(1, configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"), "success", "1 of 1 application", "1 update", "data.color: blue")
	reviewed(2, reach, "failure", "+0 −0 clusters", "3 faults", "ManagedClusterSetBinding retail/secret", "ManagedCluster vault", "Application bank/ledger")
	// The platform's rule stands, whatever the team's branch says under its name.
	f.create(reviewPolicy("platform", "plan.updated == 0"))
	branch := repo.Commit("-- tenants/policy.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ReviewPolicy\nmetadata: {name: platform, namespace: muster-system}\n" +
		"spec: {action: Deny, validations: [{expression: \"true\"}]}\n")
	f.eventually(func() string {
		var r musterv1alpha1.FleetRepository
		if err := f.client.Get(f.ctx, shops, &r); err != nil || r.Status.FetchedRevision != branch {
			return fmt.Sprintf("%s is fetched, want %s: %v", r.Status.FetchedRevision, branch, err)
		}
		return ""
	})
	reviewed(3, configMapFile("manifests/shop/config.yaml", "shop", "color", "green"), "failure", "denied by muster-system/platform")
	if n := len(f.worksOf("retail/shop")); n != 1 {
		t.Errorf("%d works of the team: a pull request changed the fleet", n)
	}
}

// reviewPolicy is one of the platform's, on the hub.
func reviewPolicy(name, expression string) *musterv1alpha1.ReviewPolicy {
	return &musterv1alpha1.ReviewPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: name},
		Spec:       musterv1alpha1.ReviewPolicySpec{Action: musterv1alpha1.ReviewDeny, Validations: []musterv1alpha1.ReviewValidation{{Expression: expression}}},
	}
}
