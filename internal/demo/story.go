package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// The files that the demo edits.
const (
	shops      = "placements/shops.yaml"
	storefront = "applications/retail/storefront/application.yaml"
	orders     = "applications/retail/orders/values.yaml"
)

// fleetRepository tells the hub to watch the repository.
const fleetRepository = `apiVersion: muster.dev/v1alpha1
kind: FleetRepository
metadata: {name: fleet, namespace: muster-system}
spec:
  url: %s
  ref: {branch: main}
  serviceAccountName: root
  interval: 1s
  review: {host: GitHub, apiURL: %q, repository: acme/fleet, secretRef: {name: reviews}}
`

// push: every application is applied and healthy on the clusters that its placement chose.
func (d *demo) push() error {
	if err := d.commit("The fleet"); err != nil {
		return err
	}
	revision, begin, err := d.pushed()
	if err != nil {
		return err
	}
	if err := d.applyFleetRepository(); err != nil {
		return err
	}
	d.say("The repository names the clusters and who may join as them: their requests are approved without a hand.")
	for _, name := range clusters {
		if err := d.joined(name); err != nil {
			return err
		}
	}
	d.say("All three have joined after %.1fs; three more that it names do not run here.", time.Since(begin).Seconds())
	if err := d.delivered(revision, begin); err != nil {
		return err
	}
	if err := d.showAll(revision); err != nil {
		return err
	}
	d.say("What one application is like on one cluster, its agent says; on a real node, muster logs has what its pods write:")
	_, err = d.muster("tree retail/storefront --cluster k3s-edge-1", "Deployment shop/storefront Healthy", "ReplicaSet storefront-", "Pod storefront-", "1/1 ready")
	return err
}

// showAll shows the fleet, in which all is well with every application, on as many clusters as it has here.
func (d *demo) showAll(revision string) error {
	wants := []string{"available 3", "muster-system/fleet"}
	for _, application := range applications {
		clusters := "2/2"
		if application == "platform/baseline" || application == "platform/ingress" {
			clusters = "3/3"
		}
		wants = append(wants, fmt.Sprintf("%s %s %s 0 0 0 Ready", application, revision[:7], clusters))
	}
	_, err := d.muster("status", wants...)
	return err
}

func (d *demo) applyFleetRepository() error {
	if err := d.serveGitHost(); err != nil {
		return err
	}
	text := fmt.Sprintf(fleetRepository, d.bareURL(), d.host.url)
	d.typed("cat $DIR/fleet.yaml")
	d.answered(text)
	if err := os.WriteFile(filepath.Join(d.Dir, "fleet.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	var r musterv1alpha1.FleetRepository
	if err := yaml.UnmarshalStrict([]byte(text), &r); err != nil {
		return err
	}
	d.typed("kubectl apply -f $DIR/fleet.yaml")
	err := d.until("the hub to serve its kinds", func() error { return d.hub.Create(d.ctx, r.DeepCopy()) })
	if err == nil {
		d.answered("fleetrepository.muster.dev/fleet created")
	}
	return err
}

var approval = regexp.MustCompile(`muster approve --plan ([0-9a-f]+)`)

// review: a branch changes a placement and a chart's value; the diff says what would happen, and after the merge it does.
func (d *demo) review() error {
	d.typed("git switch -c branch")
	if err := d.git([]string{"switch", "--quiet", "--create", "branch"}); err != nil {
		return err
	}
	if err := d.edit(shops, "{key: vendor, operator: In, values: [eks, k3s]}", "{key: vendor, operator: In, values: [ocp, k3s]}"); err != nil {
		return err
	}
	if err := d.edit("charts/ledger/values.yaml", "image: registry.k8s.io/pause:3.9", "image: registry.k8s.io/pause:3.10"); err != nil {
		return err
	}
	const title = "Move the shops from eks to ocp, with a new ledger"
	if err := d.commit(title); err != nil {
		return err
	}
	answer, err := d.musterExits(1, "diff --world hub main...branch",
		"3 of 5 applications · +2 −2 clusters",
		"PLACEMENT retail/shops", "vendor=ocp", "ocp-prod-1", "vendor=eks", "eks-prod-1",
		"APPLICATION platform/ledger", "A 2 clusters", "registry.k8s.io/pause:3.9 → registry.k8s.io/pause:3.10",
		"APPLICATION retail/orders", "APPLICATION retail/storefront", "HELD retail/storefront")
	if err != nil {
		return err
	}
	d.say("muster review does the same in CI jobs, and the hub does it on pull requests:")
	if _, err := d.musterExits(1, "review --world hub main...branch",
		"FAILS 3 of 5 applications, +2 −2 clusters", "held", "HELD retail/storefront"); err != nil {
		return err
	}
	if err := d.proposed(title); err != nil {
		return err
	}
	digest := approval.FindStringSubmatch(answer)
	if digest == nil {
		return fmt.Errorf("the diff does not say what to approve")
	}
	d.typed("git switch main && git merge branch")
	if err := d.git([]string{"switch", "--quiet", "main"}, []string{"merge", "--quiet", "branch"}); err != nil {
		return err
	}
	revision, begin, err := d.pushed()
	if err != nil {
		return err
	}
	d.mergedAs(revision)
	if err := d.moved(revision, begin, digest[1]); err != nil {
		return err
	}
	return d.summarized()
}

// moved: the shops are on the gained cluster, and gone from the lost one once that is approved.
func (d *demo) moved(revision string, begin time.Time, digest string) error {
	d.say("retail/orders may leave half of its clusters at once (spec.deletionGuard), retail/storefront may not: it runs on")
	d.say("ocp-prod-1 too, and leaves eks-prod-1 when somebody approves the plan that was reviewed.")
	err := d.application("retail/storefront", "to be held as reviewed", func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.Revision == revision && s.Held != nil && strings.HasPrefix(s.Held.Plan, digest) && s.Summary.Healthy == 2 && s.Summary.Held == 1
	})
	if err != nil {
		return err
	}
	if err := d.areReady("eks-prod-1", "shop", []string{"storefront"}); err != nil {
		return err
	}
	if _, err := d.muster("approve --plan "+digest, "of Application retail/storefront: 1 deletion"); err != nil {
		return err
	}
	if err := d.delivered(revision, begin); err != nil {
		return err
	}
	if err := d.getDeployments("ocp-prod-1", "shop", "storefront"); err != nil {
		return err
	}
	if err := d.getDeployments("eks-prod-1", "shop"); err != nil {
		return err
	}
	if err := d.areReady("ocp-prod-1", "orders", []string{"orders", "orders-cache"}); err != nil {
		return err
	}
	if err := d.areReady("eks-prod-1", "orders", nil); err != nil {
		return err
	}
	for _, cluster := range []string{"eks-prod-1", "ocp-prod-1"} {
		ledger, err := d.deployment(cluster, "ledger", "ledger")
		if err != nil {
			return err
		}
		if image := ledger.Spec.Template.Spec.Containers[0].Image; image != "registry.k8s.io/pause:3.10" {
			return fmt.Errorf("the ledger of %s runs %s", cluster, image)
		}
	}
	return nil
}

// typo: a predicate that would empty every cluster is held by the deletion guard, and the next commit resolves it.
func (d *demo) typo() error {
	before, err := d.shop("k3s-edge-1", "ocp-prod-1")
	if err != nil {
		return err
	}
	revision, _, err := d.change("Tidy the placement", shops, "values: [prod]", "values: [prd]")
	if err != nil {
		return err
	}
	for _, name := range []string{"retail/orders", "retail/storefront"} {
		err := d.application(name, "to be held", func(s *musterv1alpha1.ApplicationStatus) bool {
			return s.Revision == revision && s.Held != nil && s.Held.Deletions == 2
		})
		if err != nil {
			return err
		}
	}
	if _, err := d.muster("status", "Held: 2 deletions", "NEEDS YOU", "retail/storefront would leave 2 of 2 clusters", "muster approve --plan"); err != nil {
		return err
	}
	revision, begin, err := d.change("Spell prod", shops, "values: [prd]", "values: [prod]")
	if err != nil {
		return err
	}
	if err := d.delivered(revision, begin); err != nil {
		return err
	}
	for _, name := range []string{"retail/orders", "retail/storefront"} {
		err := d.application(name, "to be free", func(s *musterv1alpha1.ApplicationStatus) bool {
			return s.Held == nil && s.Summary.Healthy == 2
		})
		if err != nil {
			return err
		}
	}
	after, err := d.shop("k3s-edge-1", "ocp-prod-1")
	if err != nil {
		return err
	}
	for i := range before {
		if before[i].UID != after[i].UID {
			return fmt.Errorf("a shop was removed and made again")
		}
	}
	d.say("Nothing is held any more, and nothing was removed: the shops are the very same objects.")
	return nil
}

// shop reads Deployment storefront of some clusters.
func (d *demo) shop(clusters ...string) ([]*appsv1.Deployment, error) {
	var all []*appsv1.Deployment
	for _, cluster := range clusters {
		x, err := d.deployment(cluster, "shop", "storefront")
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

// drift: an edit on a cluster is reported with field, was, is, who and when, then healed.
func (d *demo) drift() error {
	const cluster, namespace, name = "ocp-prod-1", "shop", "storefront"
	live, err := d.deployment(cluster, namespace, name)
	if err != nil {
		return err
	}
	was, is := *live.Spec.Replicas, *live.Spec.Replicas+5
	d.typed("kubectl --kubeconfig $DIR/clusters/%s/kubeconfig -n %s edit deployment %s", cluster, namespace, name)
	d.answered(fmt.Sprintf("- replicas: %d\n+ replicas: %d", was, is))
	c, err := d.cluster(cluster)
	if err != nil {
		return err
	}
	begin := time.Now()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, is)
	if _, err := c.AppsV1().Deployments(namespace).Patch(d.ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		return err
	}
	if err := d.until("the drift to be on the hub", func() error { return d.drifted(cluster) }); err != nil {
		return err
	}
	d.say("Reported on the hub after %.1fs.", time.Since(begin).Seconds())
	record := fmt.Sprintf("retail/storefront %s Deployment %s/%s spec.replicas %d %d kubectl-edit", cluster, namespace, name, was, is)
	if _, err := d.muster("drift", record); err != nil {
		return err
	}
	if err := d.until("the drift to be healed", func() error {
		live, err := d.deployment(cluster, namespace, name)
		if err == nil && *live.Spec.Replicas != was {
			err = fmt.Errorf("%d replicas", *live.Spec.Replicas)
		}
		return err
	}); err != nil {
		return err
	}
	d.say("And healed after %.1fs: %d replicas again.", time.Since(begin).Seconds(), was)
	return nil
}

// breakage: a value that breaks the chart on one cluster is a fault there; everything else goes on.
func (d *demo) breakage() error {
	before, err := d.shop("k3s-edge-1")
	if err != nil {
		return err
	}
	if err := d.edit(storefront, `image: {tag: "3.10"}`, "replicas: many"); err != nil {
		return err
	}
	line, err := d.lineOf(storefront, "replicas: many")
	if err != nil {
		return err
	}
	revision, begin, err := d.change("More of everything", "applications/retail/storefront/values/eu-west.yaml", "replicas: 3", "replicas: 4")
	if err != nil {
		return err
	}
	if err := d.until("the other cluster to go on", func() error {
		live, err := d.deployment("ocp-prod-1", "shop", "storefront")
		if err == nil && live.Status.ReadyReplicas != 4 {
			err = fmt.Errorf("%d replicas are ready", live.Status.ReadyReplicas)
		}
		return err
	}); err != nil {
		return err
	}
	d.say("ocp-prod-1 has its fourth replica %.1fs after the push. On k3s-edge-1 the shop stays as it was:", time.Since(begin).Seconds())
	if err := d.application("retail/storefront", "to be faulty on one cluster", func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.Revision == revision && s.Summary.Faulty == 1 && s.Summary.Current == 1
	}); err != nil {
		return err
	}
	if _, err := d.muster("why retail/storefront k3s-edge-1", "Faulty: RenderFailed", fmt.Sprintf("%s:%d", storefront, line)); err != nil {
		return err
	}
	after, err := d.shop("k3s-edge-1")
	if err != nil {
		return err
	}
	if before[0].UID != after[0].UID || before[0].Generation != after[0].Generation {
		return fmt.Errorf("the shop of the cluster that cannot be planned was changed")
	}
	revision, begin, err = d.change("Canaries as they were", storefront, "replicas: many", `image: {tag: "3.10"}`)
	if err != nil {
		return err
	}
	return d.delivered(revision, begin)
}

// lineOf is the line of a file of the clone that holds a text.
func (d *demo) lineOf(file, text string) (int, error) {
	data, err := os.ReadFile(filepath.Join(d.worktree(), file))
	if err != nil {
		return 0, err
	}
	before, _, _ := strings.Cut(string(data), text)
	return strings.Count(before, "\n") + 1, nil
}

// offline: a cluster that misses two commits keeps what it has, and goes straight to the newest when it is back.
func (d *demo) offline() error {
	const cluster = "k3s-edge-1"
	works, err := d.works(cluster)
	if err != nil {
		return err
	}
	before, err := d.deployment(cluster, "orders", "orders-cache")
	if err != nil {
		return err
	}
	if err := d.fleet.StopAgent(cluster); err != nil {
		return err
	}
	d.say("The klusterlet of %s has been stopped, as if the line were cut.", cluster)
	if err := d.application("retail/orders", "to be offline on it", func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.Summary.Offline == 1
	}); err != nil {
		return err
	}
	revision, err := d.changeTwice()
	if err != nil {
		return err
	}
	if _, err := d.muster("status", "available 2", "offline 1"); err != nil {
		return err
	}
	now, err := d.works(cluster)
	if err != nil {
		return err
	}
	if !slices.Equal(works, now) {
		return fmt.Errorf("%s had the works %q and has %q", cluster, works, now)
	}
	d.say("Its %d works are still there, and it starts again.", len(works))
	if err := d.catchUp(cluster); err != nil {
		return err
	}
	after, err := d.deployment(cluster, "orders", "orders-cache")
	if err != nil {
		return err
	}
	if after.UID != before.UID || after.Generation != before.Generation+1 {
		return fmt.Errorf("the cache of %s went from generation %d to %d: that is not straight to the newest commit", cluster, before.Generation, after.Generation)
	}
	d.say("Its cache of the orders was changed once: the commit in between never reached it.")
	if err := d.until("the repository to be ready again", d.repositoryReady); err != nil {
		return err
	}
	if err := d.settled(revision); err != nil {
		return err
	}
	return d.showAll(revision)
}

// changeTwice makes the two commits that the cluster misses, and names the second.
func (d *demo) changeTwice() (string, error) {
	newest := ""
	for _, memory := range [][2]string{{"64Mi", "96Mi"}, {"96Mi", "128Mi"}} {
		revision, begin, err := d.change("Orders cache "+memory[1], orders, "maxMemory: "+memory[0], "maxMemory: "+memory[1])
		if err != nil {
			return "", err
		}
		if err := d.delivered(revision, begin); err != nil {
			return "", err
		}
		newest = revision
	}
	return newest, nil
}

// catchUp starts the agent of the cluster again.
func (d *demo) catchUp(cluster string) error {
	begin := time.Now()
	if err := d.fleet.StartAgent(cluster); err != nil {
		return err
	}
	if err := d.application("retail/orders", "to catch up", func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.Summary.Offline == 0 && s.Summary.Clusters == 2 && s.Summary.Healthy == 2
	}); err != nil {
		return err
	}
	d.say("Back, and at the newest commit after %.1fs.", time.Since(begin).Seconds())
	return nil
}

// repositoryReady: the placements are decided as the commit asks, also with the cluster that is back.
func (d *demo) repositoryReady() error {
	var r musterv1alpha1.FleetRepository
	if err := d.hub.Get(d.ctx, client.ObjectKey{Namespace: "muster-system", Name: "fleet"}, &r); err != nil {
		return err
	}
	ready := meta.FindStatusCondition(r.Status.Conditions, "Ready")
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return fmt.Errorf("the repository is not ready: %+v", ready)
	}
	return nil
}

// works are the names of a cluster's works, without those that are being deleted.
func (d *demo) works(cluster string) ([]string, error) {
	var works workv1.ManifestWorkList
	if err := d.hub.List(d.ctx, &works, client.InNamespace(cluster)); err != nil {
		return nil, err
	}
	var names []string
	for i := range works.Items {
		if w := &works.Items[i]; w.DeletionTimestamp.IsZero() {
			names = append(names, w.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
