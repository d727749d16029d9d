package demo

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// canaryFirst is how the orders are rolled out in the demo: at the canary first, and back by themselves.
const canaryFirst = `  rollout:
    type: Progressive
    progressive: {progressDeadline: 5s}
    steps:
    - name: canary
      clusterSelector: {labelSelector: {matchLabels: {tier: canary}}}
    onFailure: Rollback
`

// KWOK never makes a pod ready whose image has this tag.
const badImage = "registry.k8s.io/pause:bad"

// canary: a bad image stops at the canary, which returns by itself to what was good. The other clusters never see it.
func (d *demo) canary() error {
	const application, guard = "applications/retail/orders/application.yaml", "  deletionGuard:"
	if err := d.edit(application, guard, canaryFirst+guard); err != nil {
		return err
	}
	if err := d.deliver("Orders go to the canary first"); err != nil {
		return err
	}
	before, err := d.ordersOn("ocp-prod-1")
	if err != nil {
		return err
	}
	bad, begin, err := d.change("A new image for the orders", orders, "replicas: 2", "replicas: 2\nimage: "+badImage)
	if err != nil {
		return err
	}
	if err := d.stopsAtCanary(bad, begin); err != nil {
		return err
	}
	after, err := d.ordersOn("ocp-prod-1")
	if err != nil {
		return err
	}
	if before.UID != after.UID || before.Generation != after.Generation {
		return fmt.Errorf("the bad image reached ocp-prod-1: its orders are at generation %d and were at %d", after.Generation, before.Generation)
	}
	d.say("ocp-prod-1 never had it: its Deployment is at generation %d, as before. A commit that takes it out ends the refusal:", after.Generation)
	revision, begin, err := d.change("Orders without it", orders, "replicas: 2\nimage: "+badImage, "replicas: 2")
	if err != nil {
		return err
	}
	return d.delivered(revision, begin)
}

// stopsAtCanary: the change is on the canary, fails there, and is taken back.
func (d *demo) stopsAtCanary(bad string, begin time.Time) error {
	const cluster = "k3s-edge-1"
	if err := d.until("the canary to have the bad image", func() error {
		x, err := d.ordersOn(cluster)
		if err == nil && imageOf(x) != badImage {
			err = fmt.Errorf("it has %s", imageOf(x))
		}
		return err
	}); err != nil {
		return err
	}
	d.say("The canary, %s, has it %.1fs after the push, and its pods crash.", cluster, time.Since(begin).Seconds())
	if err := d.application("retail/orders", "to be taken back", func(s *musterv1alpha1.ApplicationStatus) bool {
		return s.RolledBack != nil && s.RolledBack.Refused == bad && s.Rollout == nil && s.Summary.Healthy == 2
	}); err != nil {
		return err
	}
	x, err := d.ordersOn(cluster)
	if err != nil {
		return err
	}
	if imageOf(x) == badImage {
		return fmt.Errorf("%s still has the bad image", cluster)
	}
	d.say("It failed there and has returned by itself after %.1fs:", time.Since(begin).Seconds())
	_, err = d.muster("rollout status retail/orders", bad[:7]+" is refused", cluster+" failed of group canary", "every cluster that answers is asked to have")
	return err
}

func (d *demo) ordersOn(cluster string) (*appsv1.Deployment, error) {
	return d.deployment(cluster, "orders", "orders")
}

func imageOf(x *appsv1.Deployment) string { return x.Spec.Template.Spec.Containers[0].Image }
