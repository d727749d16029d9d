package main

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/embedded"
	"github.com/muster-io/muster/internal/hub"
	"sigs.k8s.io/yaml"
)

// push: every application is applied and healthy on the clusters that its placement chose.
func (d *demo) push() error {
	repository := d.fleetRepository()
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": repository.APIVersion, "kind": repository.Kind,
		"metadata": map[string]string{"namespace": repository.Namespace, "name": repository.Name},
		"spec":     map[string]any{"url": repository.Spec.URL, "ref": repository.Spec.Ref, "serviceAccountName": "root", "interval": "1s"},
	})
	if err != nil {
		return err
	}
	revision, err := d.commit("The fleet")
	if err != nil {
		return err
	}
	begin := time.Now()
	d.show("kubectl apply -f -", string(text))
	if err := d.until("the hub to serve its kinds", func() (bool, error) {
		return d.hub.Create(d.ctx, repository.DeepCopy()) == nil, nil
	}); err != nil {
		return err
	}
	d.say("The repository names the clusters and who may join as them, so their requests are approved without a hand.")
	for _, name := range demoClusters {
		if _, err := joined(d.ctx, d.hub, name, false); err != nil {
			return err
		}
	}
	d.say("All three have joined after %.1fs.", time.Since(begin).Seconds())
	if err := d.delivered(revision, begin); err != nil {
		return err
	}
	return d.muster([]string{"status"})
}

// review: a branch changes a placement and a value; the diff says what would happen, and after the merge it does.
func (d *demo) review() error {
	if _, err := d.exec("git", "checkout", "--quiet", "-b", "branch"); err != nil {
		return err
	}
	if err := d.edit("placements/shops.yaml", "{key: env, operator: In, values: [prod]}", "{key: tier, operator: In, values: [canary]}"); err != nil {
		return err
	}
	if err := d.edit("applications/retail/orders/values.yaml", "maxMemory: 64Mi", "maxMemory: 96Mi"); err != nil {
		return err
	}
	for _, args := range [][]string{{"commit", "--quiet", "--all", "--message", "Only canaries, with more memory"}} {
		if _, err := d.exec("git", args...); err != nil {
			return err
		}
	}
	if err := d.muster([]string{"diff", "--kubeconfig", embedded.HubKubeconfig(d.dir), "main...branch"}, 1); err != nil {
		return err
	}
	d.say("That is not what we want: the shops stay in production. The branch is changed, and merged.")
	if err := d.edit("placements/shops.yaml", "{key: tier, operator: In, values: [canary]}", "{key: env, operator: In, values: [prod]}\n        - {key: vendor, operator: In, values: [eks, k3s, ocp]}"); err != nil {
		return err
	}
	if _, err := d.exec("git", "commit", "--quiet", "--all", "--message", "Shops of these vendors, with more memory"); err != nil {
		return err
	}
	if err := d.muster([]string{"diff", "--kubeconfig", embedded.HubKubeconfig(d.dir), "main...branch"}, 1); err != nil {
		return err
	}
	for _, args := range [][]string{{"checkout", "--quiet", "main"}, {"merge", "--quiet", "branch"}, {"push", "--quiet", "origin", "main"}} {
		if _, err := d.exec("git", args...); err != nil {
			return err
		}
	}
	begin := time.Now()
	revision, err := d.exec("git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	d.show("git merge branch && git push", "")
	return d.delivered(strings.TrimSpace(revision), begin)
}

// typo: a predicate that would empty most clusters is held by the deletion guard, and the next commit resolves it.
func (d *demo) typo() error {
	if err := d.edit("placements/shops.yaml", "values: [prod]", "values: [prd]"); err != nil {
		return err
	}
	if err := d.edit("applications/retail/storefront/application.yaml", "banner: You see it first", "banner: New today"); err != nil {
		return err
	}
	if _, err := d.commit("Tidy the placement"); err != nil {
		return err
	}
	if err := d.until("the deletion to be held", func() (bool, error) {
		a, err := d.application("retail/storefront")
		return a.Status.Held != nil, err
	}); err != nil {
		return err
	}
	if err := d.muster([]string{"status"}); err != nil {
		return err
	}
	if err := d.edit("placements/shops.yaml", "values: [prd]", "values: [prod]"); err != nil {
		return err
	}
	begin := time.Now()
	revision, err := d.commit("Spell prod")
	if err != nil {
		return err
	}
	if err := d.delivered(revision, begin); err != nil {
		return err
	}
	return d.until("nothing to be held", func() (bool, error) {
		a, err := d.application("retail/storefront")
		return a.Status.Held == nil, err
	})
}

// drift: an edit on a cluster is reported with field, was, is and who, then healed.
func (d *demo) drift() error {
	const cluster, namespace, name = "eks-prod-1", "shop", "storefront"
	c, err := client.New(d.fleet.Clusters[cluster].Config(), client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		return err
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	var live appsv1.Deployment
	if err := c.Get(d.ctx, key, &live); err != nil {
		return err
	}
	was := *live.Spec.Replicas
	d.show(fmt.Sprintf("kubectl --kubeconfig %s -n %s edit deployment %s", embedded.ClusterKubeconfig(d.dir, cluster), namespace, name),
		fmt.Sprintf("- replicas: %d\n+ replicas: %d", was, was+5))
	begin := time.Now()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, was+5)
	if err := c.Patch(d.ctx, &live, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-edit")); err != nil {
		return err
	}
	if err := d.until("the drift to be on the hub", func() (bool, error) { return d.drifted(cluster) }); err != nil {
		return err
	}
	d.say("Reported on the hub after %.1fs.", time.Since(begin).Seconds())
	if err := d.muster([]string{"drift"}); err != nil {
		return err
	}
	if err := d.until("the drift to be healed", func() (bool, error) {
		err := c.Get(d.ctx, key, &live)
		return *live.Spec.Replicas == was, err
	}); err != nil {
		return err
	}
	d.say("And healed after %.1fs: %d replicas again.", time.Since(begin).Seconds(), was)
	return nil
}

// drifted: a work of the cluster has a drift on record, healed or not.
func (d *demo) drifted(cluster string) (bool, error) {
	var works workv1.ManifestWorkList
	if err := d.hub.List(d.ctx, &works, client.InNamespace(cluster)); err != nil {
		return false, err
	}
	for i := range works.Items {
		for _, m := range works.Items[i].Status.ResourceStatus.Manifests {
			for _, condition := range m.Conditions {
				if condition.Type == musterv1alpha1.ConditionDrift && m.ResourceMeta.Kind == "Deployment" {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// breakage: a value that breaks the chart on one cluster is a fault there; everything else goes on.
func (d *demo) breakage() error {
	if err := d.edit("applications/retail/storefront/application.yaml", `image: {tag: "3.10"}`, "replicas: many"); err != nil {
		return err
	}
	if err := d.edit("applications/retail/orders/values.yaml", "maxMemory: 96Mi", "maxMemory: 128Mi"); err != nil {
		return err
	}
	begin := time.Now()
	revision, err := d.commit("Many canaries")
	if err != nil {
		return err
	}
	if err := d.until("the other application to go on", func() (bool, error) {
		a, err := d.application("retail/orders")
		return a.Status.Revision == revision && a.Status.Summary.Healthy == a.Status.Summary.Clusters, err
	}); err != nil {
		return err
	}
	d.say("retail/orders went on, healthy %.1fs after the push.", time.Since(begin).Seconds())
	if err := d.muster([]string{"status", "retail/storefront"}); err != nil {
		return err
	}
	if err := d.edit("applications/retail/storefront/application.yaml", "replicas: many", `image: {tag: "3.10"}`); err != nil {
		return err
	}
	begin = time.Now()
	if revision, err = d.commit("Canaries as they were"); err != nil {
		return err
	}
	return d.delivered(revision, begin)
}

// offline: a cluster that misses two commits keeps what it has, and goes straight to the newest when it is back.
func (d *demo) offline() error {
	const cluster = "k3s-edge-1"
	d.show("(the agent of "+cluster+" stops)", "")
	if err := d.fleet.StopAgent(cluster); err != nil {
		return err
	}
	if err := d.until("the hub to notice", func() (bool, error) {
		a, err := d.application("retail/orders")
		return a.Status.Summary.Offline == 1, err
	}); err != nil {
		return err
	}
	works, err := d.works(cluster)
	if err != nil {
		return err
	}
	for _, memory := range [][2]string{{"128Mi", "160Mi"}, {"160Mi", "192Mi"}} {
		if err := d.edit("applications/retail/orders/values.yaml", "maxMemory: "+memory[0], "maxMemory: "+memory[1]); err != nil {
			return err
		}
		begin := time.Now()
		revision, err := d.commit("More memory for orders: " + memory[1])
		if err != nil {
			return err
		}
		if err := d.delivered(revision, begin); err != nil {
			return err
		}
	}
	if err := d.muster([]string{"status"}); err != nil {
		return err
	}
	now, err := d.works(cluster)
	if err != nil {
		return err
	}
	d.say("Nothing was taken from %s: it had %d works, and has %d.", cluster, works, now)
	begin := time.Now()
	d.show("(the agent of "+cluster+" starts)", "")
	if err := d.fleet.StartAgent(cluster); err != nil {
		return err
	}
	if err := d.until("the cluster to catch up", func() (bool, error) {
		a, err := d.application("retail/orders")
		s := a.Status.Summary
		return s.Offline == 0 && s.Clusters == 3 && s.Healthy == s.Clusters, err
	}); err != nil {
		return err
	}
	d.say("Back, and at the newest commit after %.1fs.", time.Since(begin).Seconds())
	return d.muster([]string{"status"})
}

// works counts what is to be on a cluster, deletions under way left out.
func (d *demo) works(cluster string) (int, error) {
	var works workv1.ManifestWorkList
	if err := d.hub.List(d.ctx, &works, client.InNamespace(cluster)); err != nil {
		return 0, err
	}
	n := 0
	for i := range works.Items {
		if !hub.LiveWork(&works.Items[i]).Deleting {
			n++
		}
	}
	return n, nil
}
