package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
)

func right(group, resource, verb string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: names}
}

// TestPolicies: what OCM's webhooks refuse is refused, in words that name the right that is missing.
func TestPolicies(t *testing.T) {
	h := started(t)
	const group = clusterv1.GroupName
	edits := []rbacv1.PolicyRule{
		{APIGroups: []string{group}, Resources: []string{"managedclusters", "managedclustersetbindings"}, Verbs: []string{"*"}},
		{APIGroups: []string{workv1.GroupName}, Resources: []string{"manifestworks"}, Verbs: []string{"create", "update", "delete"}},
		{APIGroups: []string{workv1.GroupName}, Resources: []string{"manifestworkreplicasets"}, Verbs: []string{"create"}},
		{APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: []string{"create"}},
	}
	weak := h.user("weak", edits...)
	strong := h.user("strong", append(edits,
		right(clusterv1.RegisterGroupName, "managedclusters/accept", "update"),
		right(group, "managedclustersets/join", "create", "edge"),
		right(group, "managedclustersets/bind", "create", "edge"),
		right(workv1.GroupName, "manifestworks", "execute-as", "system:serviceaccount:shop:deployer"),
	)...)
	h.create(namespace("team-policies"), namespace("policies"))
	awaitPolicies(t, weak)

	inSet := func(set string) func(*clusterv1.ManagedCluster) {
		return func(c *clusterv1.ManagedCluster) { c.Labels = map[string]string{clusterv1beta2.ClusterSetLabel: set} }
	}
	identity := func(c *clusterv1.ManagedCluster) {
		c.Annotations = map[string]string{musterv1alpha1.JoinIdentityAnnotation: "me"}
	}
	plain := func(c *clusterv1.ManagedCluster) {
		c.Spec.ManagedClusterClientConfigs = []clusterv1.ClientConfig{{URL: "http://edge.example"}}
	}
	for name, test := range map[string]struct {
		why    string
		who    client.Client
		object client.Object
		wrong  string // empty: allowed
	}{
		"create":                      {why: "what every joiner does", who: weak, object: managed("policies")},
		"create accepted":             {why: "else joining would be accepting", who: weak, object: managed("policies", acceptedCluster), wrong: "may not accept the cluster policies"},
		"create accepted, strong":     {why: "with the right", who: strong, object: managed("policies", acceptedCluster)},
		"name the identity":           {why: "else a joiner could name itself before Git does", who: weak, object: managed("policies", identity), wrong: "who may join"},
		"name the identity, strong":   {why: "with the right", who: strong, object: managed("policies", identity)},
		"create tainted":              {why: "a joiner says nothing of where it is chosen, and no agent does", who: weak, object: managed("policies", tainted), wrong: "create it with taints"},
		"create tainted, strong":      {why: "with the right", who: strong, object: managed("policies", tainted)},
		"join a set":                  {why: "sets give rights to namespaces", who: weak, object: managed("policies", inSet("edge")), wrong: "managedclustersets/join"},
		"join a set, strong":          {why: "with the right", who: strong, object: managed("policies", inSet("edge"))},
		"join another set":            {why: "the right is for one set", who: strong, object: managed("policies", inSet("prod")), wrong: "managedclustersets/join"},
		"plain http":                  {why: "as in OCM", who: strong, object: managed("policies", plain), wrong: "https://"},
		"a name that is no namespace": {why: "OCM checks it only beside client configs", who: strong, object: managed("policies.example"), wrong: "name of its namespace"},
		"bind":                        {why: "binding opens the set to a namespace", who: weak, object: binding("edge", "edge"), wrong: "may not bind"},
		"bind, strong":                {why: "with the right", who: strong, object: binding("edge", "edge")},
		"bind under another name":     {why: "name and set are one", who: strong, object: binding("mine", "edge"), wrong: "the name of its set"},
		"work":                        {why: "the plain case", who: weak, object: work("policies", "w")},
		"work without manifests":      {why: "as in OCM", who: weak, object: manifests(), wrong: "at least one manifest"},
		"work with a nameless one":    {why: "as in OCM", who: weak, object: manifests(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"x"}}`), wrong: "has a name"},
		"work with one twice":         {why: "as in OCM", who: weak, object: manifests(configMap(1), configMap(2), configMap(1)), wrong: "twice"},
		"work with many":              {why: "the check of all against all must not cost too much", who: weak, object: manifests(many(300)...)},
		"work with very many":         {why: "nor must it refuse them", who: weak, object: manifests(many(900)...)},
		"execute as":                  {why: "works would run with others' rights", who: weak, object: as("deployer"), wrong: "may not let works run as system:serviceaccount:shop:deployer"},
		"execute as, strong":          {why: "with the right", who: strong, object: as("deployer")},
		"mark a cluster":              {why: "muster.dev marks say whose a cluster is and how it leaves", who: weak, object: managed("policies", marked), wrong: "annotations under muster.dev"},
		"mark a cluster, strong":      {why: "with the right", who: strong, object: managed("policies", marked)},
		"execute as, in a set":        {why: "the hub writes the works with its own rights", who: weak, object: setAs("deployer"), wrong: "may not let works run as system:serviceaccount:shop:deployer"},
		"execute as, set, strong":     {why: "with the right", who: strong, object: setAs("deployer")},
		"set":                         {why: "the agent's own account needs no right", who: weak, object: setAs("")},
		"run as":                      {why: "the hub writes the works with its own rights", who: weak, object: application("shop/deployer"), wrong: "may not let the application run as system:serviceaccount:shop:deployer"},
		"run as, strong":              {why: "with the right", who: strong, object: application("shop/deployer")},
		"run as one of the target":    {why: "a plain name is in the destination", who: strong, object: application("admin"), wrong: "system:serviceaccount:shop:admin"},
		"run as the agent":            {why: "no account is the agent's own, as in OCM", who: weak, object: application("")},
		"execute as another":          {why: "the right is for one account", who: strong, object: as("admin"), wrong: "system:serviceaccount:shop:admin"},
	} {
		t.Run(name, func(t *testing.T) {
			expectAnswer(t, test.why, test.wrong, func() error {
				return test.who.Create(t.Context(), test.object.DeepCopyObject().(client.Object), client.DryRunAll)
			})
		})
	}
	t.Run("updates", func(t *testing.T) {
		policiesOnUpdate(t, &hub{Client: h.Client, ControlPlane: h.ControlPlane, t: t}, weak, strong)
	})
}

func policiesOnUpdate(t *testing.T, h *hub, weak, strong client.Client) {
	h.create(binding("edge", "edge"), as("deployer"), managed("policies", func(c *clusterv1.ManagedCluster) {
		c.Labels = map[string]string{clusterv1beta2.ClusterSetLabel: "prod"}
	}))
	t.Run("a time in another spelling", func(t *testing.T) { timeAddedInAnotherSpelling(t, h) })
	patch := func(who client.Client, o client.Object, json string) func() error {
		return func() error {
			return who.Patch(t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch("application/merge-patch+json", []byte(json)), client.DryRunAll)
		}
	}
	for name, test := range map[string]struct {
		why   string
		ask   func() error
		wrong string
	}{
		"accept":       {why: "needs the right", ask: patch(weak, managed("policies"), `{"spec":{"hubAcceptsClient":true}}`), wrong: "may not accept"},
		"leave a set":  {why: "needs the right for the old one too", ask: patch(strong, managed("policies"), `{"metadata":{"labels":{"cluster.open-cluster-management.io/clusterset":"edge"}}}`), wrong: "managedclustersets/join"},
		"label":        {why: "anything else is free", ask: patch(weak, managed("policies"), `{"metadata":{"labels":{"env":"prod"}}}`)},
		"rebind":       {why: "a binding does not change", ask: patch(strong, binding("edge", "edge"), `{"spec":{"clusterSet":"prod"}}`), wrong: "does not change"},
		"same account": {why: "who keeps the account needs no right", ask: patch(h.Client, as("deployer"), `{"metadata":{"labels":{"a":"b"}}}`)},
	} {
		expectAnswer(t, name+", "+test.why, test.wrong, test.ask)
	}
}

// timeAddedInAnotherSpelling: the API server takes a time that Go refuses, and the list of all clusters is read all the same.
func timeAddedInAnotherSpelling(t *testing.T, h *hub) {
	const taints = `{"spec":{"taints":[{"key":"k","effect":"NoSelect","timeAdded":"2026-01-02t03:04:05z"}]}}`
	if err := h.Client.Patch(t.Context(), managed("policies"), client.RawPatch("application/merge-patch+json", []byte(taints))); err != nil {
		t.Fatal(err)
	}
	var all clusterv1.ManagedClusterList
	if err := h.Client.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
}

// expectAnswer asks until the answer is an error about what is wrong, or none: the API server learns of rights and of
// policies a moment after they were made.
func expectAnswer(t *testing.T, why, wrong string, ask func() error) {
	t.Helper()
	eventually(t, func() string {
		err := ask()
		if (wrong == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), wrong) {
			return fmt.Sprintf("%s: got %v, want an error about %q", why, err, wrong)
		}
		return ""
	})
}

// awaitPolicies returns when the API server heeds all policies, which it does a moment after they were made.
func awaitPolicies(t *testing.T, weak client.Client) {
	t.Helper()
	for _, o := range []client.Object{managed("policies", acceptedCluster), binding("mine", "edge"), manifests(), application("shop/deployer")} {
		expectAnswer(t, "a policy is not heeded yet", "ValidatingAdmissionPolicy", func() error {
			return weak.Create(t.Context(), o.DeepCopyObject().(client.Object), client.DryRunAll)
		})
	}
}

func binding(name, set string) *clusterv1beta2.ManagedClusterSetBinding {
	return &clusterv1beta2.ManagedClusterSetBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-policies", Name: name},
		Spec:       clusterv1beta2.ManagedClusterSetBindingSpec{ClusterSet: set},
	}
}

func manifests(all ...string) *workv1.ManifestWork {
	w := work("policies", "w")
	w.Spec.Workload.Manifests = nil
	for _, m := range all {
		w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(m)}})
	}
	return w
}

func configMap(i int) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a-name-of-some-length-%d","namespace":"default"}}`, i)
}

func many(n int) []string {
	var all []string
	for i := range n {
		all = append(all, configMap(i))
	}
	return all
}

func as(account string) *workv1.ManifestWork {
	w := work("policies", "w")
	w.Spec.Executor = &workv1.ManifestWorkExecutor{Subject: workv1.ManifestWorkExecutorSubject{
		Type: workv1.ExecutorSubjectTypeServiceAccount, ServiceAccount: &workv1.ManifestWorkSubjectServiceAccount{Namespace: "shop", Name: account},
	}}
	return w
}

func setAs(account string) *workv1alpha1.ManifestWorkReplicaSet {
	set := &workv1alpha1.ManifestWorkReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "team-policies", Name: "set"}}
	set.Spec.PlacementRefs = []workv1alpha1.LocalPlacementReference{{Name: "p"}}
	set.Spec.ManifestWorkTemplate = as(account).Spec
	if account == "" {
		set.Spec.ManifestWorkTemplate.Executor = nil
	}
	return set
}

func marked(c *clusterv1.ManagedCluster) {
	c.Annotations = map[string]string{musterv1alpha1.DetachAnnotation: musterv1alpha1.DetachClean}
}

func tainted(c *clusterv1.ManagedCluster) {
	c.Spec.Taints = []clusterv1.Taint{{Key: "k", Effect: clusterv1.TaintEffectNoSelect}}
}

func application(account string) *musterv1alpha1.Application {
	return &musterv1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-policies", Name: "app"},
		Spec: musterv1alpha1.ApplicationSpec{
			PlacementRef: musterv1alpha1.LocalReference{Name: "p"}, Source: musterv1alpha1.Source{Path: "x"},
			Destination: musterv1alpha1.Destination{Namespace: "shop"}, ServiceAccountName: account,
		},
	}
}
