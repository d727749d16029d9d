package addon

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
)

// Writer deploys an add-on whose manifests one of Muster's controllers makes, and reports on it as for an add-on with a template.
type Writer struct {
	// Client writes. Reader reads past the cache.
	Client client.Client
	Reader client.Reader
	// Works is the index of live works.
	Works *hub.Works
}

// Write makes these works, and removes the others of the add-on. What the API server refuses is not an error.
func (w *Writer) Write(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn, parts []addon.Part) (refused, err error) {
	r := &Deployer{Client: w.Client, Reader: w.Reader, Works: w.Works}
	return r.write(ctx, &deployment{addon: mca, deploy: worksOf(mca, parts)})
}

// Say writes into the ManagedClusterAddOn how these works are.
func (w *Writer) Say(mca *addonv1alpha1.ManagedClusterAddOn, cluster *clusterv1.ManagedCluster, parts []addon.Part, failure error) {
	d := &deployment{addon: mca, cluster: cluster, rendered: &addon.Rendered{}, deploy: worksOf(mca, parts)}
	d.say(w.Works.Of(owner(mca)), failure)
}

func worksOf(mca *addonv1alpha1.ManagedClusterAddOn, parts []addon.Part) []*workv1.ManifestWork {
	out := make([]*workv1.ManifestWork, len(parts))
	for i, part := range parts {
		out[i] = workOf(mca, mca.Namespace, part)
	}
	return out
}

// Configs are the AddOnDeploymentConfigs that a cluster is to have. They are not ready while its rollout has not selected it, and while one
// is not there: what the cluster has stays.
func (w *Writer) Configs(ctx context.Context, mca *addonv1alpha1.ManagedClusterAddOn) (configs []*addonv1alpha1.AddOnDeploymentConfig, ready bool, err error) {
	content := &contents{ctx: ctx, client: w.Client, reader: w.Reader, hashes: &hashes{}}
	for _, ref := range mca.Status.ConfigReferences {
		if ref.DesiredConfig == nil || ref.ConfigGroupResource != addon.DeploymentConfig {
			continue
		}
		named := addonv1alpha1.AddOnConfig{ConfigGroupResource: ref.ConfigGroupResource, ConfigReferent: ref.DesiredConfig.ConfigReferent}
		f := content.read(named)
		if f.err != nil || f.hash != ref.DesiredConfig.SpecHash {
			return nil, false, client.IgnoreNotFound(f.err)
		}
		config := &addonv1alpha1.AddOnDeploymentConfig{}
		if err := w.Client.Get(ctx, client.ObjectKey{Namespace: named.Namespace, Name: named.Name}, config); err != nil {
			return nil, false, client.IgnoreNotFound(err)
		}
		configs = append(configs, config)
	}
	return configs, true, nil
}
