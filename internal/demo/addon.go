package demo

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// addOn: the add-on of the example, which clusters get on demand, goes to one cluster, and placements can select by it.
func (d *demo) addOn() error {
	const name, cluster, namespace = "cluster-card", "k3s-edge-1", "kube-public"
	if _, err := d.muster("addon list", name+" Manual 0 0"); err != nil {
		return err
	}
	begin := time.Now()
	if _, err := d.muster("addon enable "+name+" --clusters "+cluster, "add-on "+name+" is being installed on cluster "+cluster); err != nil {
		return err
	}
	if err := d.until("the add-on to be available", func() error {
		var c clusterv1.ManagedCluster
		var mca addonv1alpha1.ManagedClusterAddOn
		if err := errors.Join(d.hub.Get(d.ctx, client.ObjectKey{Name: cluster}, &c), d.hub.Get(d.ctx, client.ObjectKey{Namespace: cluster, Name: name}, &mca)); err != nil {
			return err
		}
		if p := meta.FindStatusCondition(mca.Status.Conditions, addonv1alpha1.ConditionProgressing); p == nil || p.Reason != addonv1alpha1.ReasonCompleted {
			return fmt.Errorf("it is not complete: %+v", p)
		}
		if says := c.Labels[addonv1alpha1.FeatureLabelPrefix+name]; says != addonv1alpha1.FeatureAvailable {
			return fmt.Errorf("the label of %s says %q", cluster, says)
		}
		return nil
	}); err != nil {
		return err
	}
	d.say("Available after %.1fs. The cluster has label %s%s=%s, by which placements select.", time.Since(begin).Seconds(),
		addonv1alpha1.FeatureLabelPrefix, name, addonv1alpha1.FeatureAvailable)
	if _, err := d.muster("addon status "+name, cluster+" True Completed"); err != nil {
		return err
	}
	c, err := d.cluster(cluster)
	if err != nil {
		return err
	}
	d.typed("kubectl --kubeconfig $DIR/clusters/%s/kubeconfig -n %s get configmap %s -o jsonpath={.data}", cluster, namespace, name)
	card, err := c.CoreV1().ConfigMaps(namespace).Get(d.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	d.answered(fmt.Sprintf(`{"cluster":%q,"contact":%q}`, card.Data["cluster"], card.Data["contact"]))
	if card.Data["cluster"] != cluster || card.Data["contact"] == "" {
		return fmt.Errorf("the card of %s says %v", cluster, card.Data)
	}
	return nil
}
