package registration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// gather finds out what is to be reported. What cannot be found out is logged and left out.
func (s *session) gather(ctx context.Context, self *clusterv1.ManagedCluster) facts {
	log := logr.FromContextOrDiscard(ctx)
	known := facts{available: s.health(ctx)}
	if known.available == nil || known.available.Status != metav1.ConditionTrue {
		return known
	}
	var problems []error
	version, err := s.discovery.ServerVersion()
	if err != nil {
		return known
	}
	known.version = version.GitVersion
	nodes, err := s.nodes(ctx)
	if err != nil {
		problems = append(problems, err)
	} else {
		known.capacity, known.allocatable = capacity(nodes)
	}
	if known.claims, err = s.claims(ctx, known.version, nodes); err != nil {
		problems = append(problems, err)
	}
	known.namespaces = s.keepNamespaces(ctx, self.Status.ManagedNamespaces)
	if err := errors.Join(problems...); err != nil && ctx.Err() == nil {
		log.Info("cannot find out everything about the cluster; what was reported stays", "why", err.Error())
	}
	return known
}

// health is the Available condition: False only when the API server has not answered for the whole grace period.
func (s *session) health(ctx context.Context) *metav1.Condition {
	condition := &metav1.Condition{
		Type: clusterv1.ManagedClusterConditionAvailable, Status: metav1.ConditionTrue,
		Reason: clusterv1.ReasonManagedClusterAvailable, Message: "Managed cluster is available",
	}
	begin := time.Now()
	for {
		err := s.alive(ctx)
		if err == nil {
			return condition
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) >= s.Periods.HealthGrace {
			condition.Status, condition.Reason = metav1.ConditionFalse, clusterv1.ReasonKubeAPIServerUnavailable
			condition.Message = fmt.Sprintf("The kube-apiserver is not available: %v", err)
			return condition
		}
		pause(ctx, s.Periods.HealthRetry)
	}
}

// alive asks the API server whether it is, by the older path where the newer one is missing or forbidden.
func (s *session) alive(ctx context.Context) error {
	ask := func(path string) error {
		return s.discovery.RESTClient().Get().AbsPath(path).Timeout(s.Periods.HealthGrace).Do(ctx).Error()
	}
	err := ask("/livez")
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		err = ask("/healthz")
	}
	return err
}

func (s *session) nodes(ctx context.Context) ([]corev1.Node, error) {
	var nodes []corev1.Node
	list := corev1.NodeList{}
	for {
		if err := s.local.List(ctx, &list, client.Limit(500), client.Continue(list.Continue)); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		nodes = append(nodes, list.Items...)
		if list.Continue == "" {
			return nodes, nil
		}
	}
}

// capacity sums up the nodes: all of them, then those that pods can be scheduled on.
func capacity(nodes []corev1.Node) (all, allocatable clusterv1.ResourceList) {
	all, allocatable = clusterv1.ResourceList{}, clusterv1.ResourceList{}
	add := func(sum clusterv1.ResourceList, more corev1.ResourceList) {
		for name, quantity := range more {
			total := sum[clusterv1.ResourceName(name)]
			total.Add(quantity)
			sum[clusterv1.ResourceName(name)] = total
		}
	}
	for _, node := range nodes {
		add(all, node.Status.Capacity)
		if !node.Spec.Unschedulable {
			add(allocatable, node.Status.Allocatable)
		}
	}
	for _, sum := range []clusterv1.ResourceList{all, allocatable} {
		for name, quantity := range sum { // in the form in which it comes back from the hub
			sum[name] = resource.MustParse(quantity.String())
		}
	}
	return all, allocatable
}

// claims are what the cluster claims about itself: its ClusterClaims, what follows from its nodes and version where it does
// not claim it, and the digest of its APIs where the hub keeps those.
func (s *session) claims(ctx context.Context, version string, nodes []corev1.Node) ([]clusterv1.ManagedClusterClaim, error) {
	var declared clusterv1alpha1.ClusterClaimList
	if err := s.local.List(ctx, &declared); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("list cluster claims: %w", err)
	}
	computed := map[string]string{}
	var system corev1.Namespace
	if err := s.local.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err == nil {
		computed["id.k8s.io"] = string(system.UID)
	}
	set, err := s.apis(version)
	if err != nil {
		return nil, err
	}
	openShift := slices.ContainsFunc(set.Resources, func(r musterv1alpha1.APIResource) bool { return r.Group == "config.openshift.io" })
	computed[musterv1alpha1.AgentVersionClaim] = s.Version
	computed["kubeversion.open-cluster-management.io"] = version
	computed["product.open-cluster-management.io"] = product(version, openShift)
	computed["platform.open-cluster-management.io"] = platform(nodes)
	if known, err := s.publishAPIs(ctx, set); err != nil {
		return nil, err
	} else if known {
		computed[musterv1alpha1.APISetClaim] = set.Name
	}
	claims, dropped := mergeClaims(declared.Items, computed, s.MaxCustomClaims, s.ReservedClaimSuffixes)
	if dropped > 0 {
		logr.FromContextOrDiscard(ctx).Info("the cluster has more claims than are reported", "dropped", dropped, "reported", s.MaxCustomClaims)
	}
	return claims, nil
}

// spokeOnly keeps a claim on its cluster.
const spokeOnly = "open-cluster-management.io/spoke-only"

// mergeClaims orders the claims as OCM does: reserved ones first, in their order, then those with a reserved suffix, then
// custom ones by name, of which at most max are kept. A declared claim goes before a computed one, but for the digest
// of the APIs and the version of the agent, which are the agent's to say.
func mergeClaims(declared []clusterv1alpha1.ClusterClaim, computed map[string]string, most int, suffixes []string) (claims []clusterv1.ManagedClusterClaim, dropped int) {
	values := map[string]string{}
	for name, value := range computed {
		values[name] = value
	}
	for _, c := range declared {
		if _, local := c.Labels[spokeOnly]; local || c.Name == musterv1alpha1.APISetClaim || c.Name == musterv1alpha1.AgentVersionClaim {
			continue
		}
		values[c.Name] = c.Spec.Value
	}
	rank := func(name string) int {
		if i := slices.Index(clusterv1alpha1.ReservedClusterClaimNames[:], name); i >= 0 {
			return i
		}
		reserved := name == musterv1alpha1.APISetClaim || name == musterv1alpha1.AgentVersionClaim ||
			slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
		if reserved {
			return len(clusterv1alpha1.ReservedClusterClaimNames)
		}
		return len(clusterv1alpha1.ReservedClusterClaimNames) + 1
	}
	custom := 0
	claims = []clusterv1.ManagedClusterClaim{}
	for name, value := range values {
		if value != "" {
			claims = append(claims, clusterv1.ManagedClusterClaim{Name: name, Value: value})
		}
	}
	slices.SortFunc(claims, func(a, b clusterv1.ManagedClusterClaim) int {
		return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	claims = slices.DeleteFunc(claims, func(c clusterv1.ManagedClusterClaim) bool {
		if rank(c.Name) <= len(clusterv1alpha1.ReservedClusterClaimNames) {
			return false
		}
		custom++
		return custom > most
	})
	return claims, max(0, custom-most)
}

// product names the distribution, as far as the version or the APIs tell: "Other" when they do not.
func product(version string, openShift bool) string {
	if openShift {
		return "OpenShift"
	}
	for _, known := range []struct{ mark, name string }{
		{"-eks-", "EKS"}, {"-gke.", "GKE"}, {"+k3s", "K3S"}, {"+rke2", "RKE2"}, {"+k0s", "K0S"}, {"+IKS", "IKS"},
	} {
		if strings.Contains(version, known.mark) {
			return known.name
		}
	}
	return "Other"
}

// platform names where the nodes run, by the scheme of their provider ids: "Other" when it is not known.
func platform(nodes []corev1.Node) string {
	for _, node := range nodes {
		scheme, _, _ := strings.Cut(node.Spec.ProviderID, ":")
		if name, ok := map[string]string{
			"aws": "AWS", "gce": "GCP", "azure": "Azure", "ibm": "IBM", "vsphere": "VSphere",
			"openstack": "OpenStack", "baremetalhost": "BareMetal", "alicloud": "AlibabaCloud",
		}[scheme]; ok {
			return name
		}
	}
	return "Other"
}

// apis is the set of APIs that the cluster serves: the kinds that can be created.
func (s *session) apis(version string) (*musterv1alpha1.APISet, error) {
	_, lists, err := s.discovery.ServerGroupsAndResources()
	if err != nil {
		return nil, fmt.Errorf("find out the cluster's APIs: %w", err) // a part of them would look like another set
	}
	set := &musterv1alpha1.APISet{KubernetesVersion: version, Resources: creatable(lists)}
	set.Name = fleet.APISetDigest(set.KubernetesVersion, set.Resources)
	return set, nil
}

func creatable(lists []*metav1.APIResourceList) []musterv1alpha1.APIResource {
	resources := []musterv1alpha1.APIResource{}
	for _, list := range lists {
		group, version, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group, version = "", list.GroupVersion
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "create") {
				continue
			}
			resources = append(resources, musterv1alpha1.APIResource{
				Group: group, Version: version, Kind: r.Kind, Resource: r.Name, Namespaced: r.Namespaced,
			})
		}
	}
	slices.SortFunc(resources, func(a, b musterv1alpha1.APIResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Resource, b.Resource))
	})
	return resources
}

// retellAPIs is how long the hub is trusted to have the set: it drops those that no cluster claims.
const retellAPIs = time.Hour

// publishAPIs makes sure that the hub has the set. It is false on a hub that does not keep such sets.
func (s *session) publishAPIs(ctx context.Context, set *musterv1alpha1.APISet) (bool, error) {
	if s.apiSet == set.Name && time.Since(s.apiSetTold) < retellAPIs {
		return true, nil
	}
	err := s.hub.Create(ctx, set.DeepCopy())
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return false, nil
	case client.IgnoreAlreadyExists(err) != nil:
		return false, fmt.Errorf("tell the hub the cluster's APIs: %w", err)
	}
	s.apiSet, s.apiSetTold = set.Name, time.Now()
	return true, nil
}
