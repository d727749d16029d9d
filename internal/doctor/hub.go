package doctor

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/registration"
)

// oldestHub is the oldest Kubernetes that a hub runs on: admission policies are in it.
const oldestHub = "v1.30.0"

// The steps that put right what is missing.
const (
	upgradeHub   = "muster hub install, or helm upgrade of chart muster-hub"
	upgradeAgent = "muster join NAME --install, or helm upgrade of chart klusterlet"
)

// Hub checks a hub from outside, with the rights of the person who asks.
func Hub(ctx context.Context, config *rest.Config, now time.Time) []Finding {
	first := ask(ctx, config)
	findings := reach("hub", config.Host, "the kubeconfig of the hub has it (--kubeconfig)", first, now)
	if first.err != nil {
		return findings
	}
	h, err := newHubDoctor(config, now)
	if err != nil {
		return append(findings, unknown("hub", "%v", err))
	}
	findings = append(findings,
		h.version(),
		kinds(ctx, h.objects, "hub: kinds", upgradeHub, crds.Hub()),
		h.policies(ctx),
		h.rights(ctx),
		h.deployment(ctx),
		h.heartbeat(ctx),
		h.signing(ctx),
	)
	findings = append(findings, h.requests(ctx)...)
	findings = append(findings, h.clusters(ctx)...)
	findings = append(findings, h.agents(ctx))
	return append(findings, h.repositories(ctx)...)
}

// HubRuns are those checks of a hub that say whether it runs.
func HubRuns(ctx context.Context, config *rest.Config, now time.Time) []Finding {
	h, err := newHubDoctor(config, now)
	if err != nil {
		return []Finding{unknown("hub", "%v", err)}
	}
	return []Finding{h.deployment(ctx), h.heartbeat(ctx)}
}

type hubDoctor struct {
	clients kubernetes.Interface
	objects dynamic.Interface
	now     time.Time
}

func newHubDoctor(config *rest.Config, now time.Time) (*hubDoctor, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &hubDoctor{clients, objects, now}, nil
}

func (h *hubDoctor) version() Finding { return supported(h.clients, "hub: Kubernetes", oldestHub) }

// supported compares a cluster's version with the oldest that works.
func supported(clients kubernetes.Interface, check, oldest string) Finding {
	info, err := clients.Discovery().ServerVersion()
	if err != nil {
		return unknown(check, "its version cannot be read: %v", err)
	}
	has, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return unknown(check, "its version %q cannot be read", info.GitVersion)
	}
	if has.LessThan(version.MustParseGeneric(oldest)) {
		return problem(check, "upgrade the cluster to "+oldest+" or later", "version %s is below %s, the oldest that is supported", info.GitVersion, oldest)
	}
	return ok(check, "version %s", info.GitVersion)
}

func (h *hubDoctor) policies(ctx context.Context) Finding {
	const check = "hub: admission policies"
	var missing []string
	for _, p := range install.Policies() {
		if p.GetObjectKind().GroupVersionKind().Kind != "ValidatingAdmissionPolicy" {
			continue
		}
		_, err := h.clients.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Get(ctx, p.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			missing = append(missing, p.GetName())
		} else if err != nil {
			return unknown(check, "they cannot be read: %v", err)
		}
	}
	if len(missing) > 0 {
		return problem(check, upgradeHub, "missing: %s", some(missing))
	}
	return ok(check, "they are there")
}

// rights asks for each right of the hub's account whether it has it.
func (h *hubDoctor) rights(ctx context.Context) Finding {
	const check = "hub: rights"
	var missing []string
	for _, o := range hub.Rights() {
		role, isRole := o.(*rbacv1.ClusterRole)
		if !isRole || role.Name != hub.HubRole {
			continue
		}
		for _, rule := range role.Rules {
			denied, err := h.denied(ctx, hub.User, hub.Groups(), rule)
			if err != nil {
				return unknown(check, "they cannot be asked for: %v", err)
			}
			missing = append(missing, denied...)
		}
	}
	if len(missing) > 0 {
		return problem(check, upgradeHub, "account %s/%s may not %s", registration.SystemNamespace, hub.Account, some(missing))
	}
	return ok(check, "account %s/%s has all that it needs", registration.SystemNamespace, hub.Account)
}

// denied are those verbs of a rule that a user does not have, everywhere.
func (h *hubDoctor) denied(ctx context.Context, user string, groups []string, rule rbacv1.PolicyRule) ([]string, error) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var denied []string
	for _, verb := range rule.Verbs {
		resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
		review, err := h.clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: rule.APIGroups[0], Resource: resource, Subresource: subresource, Name: names[0], Verb: verb,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		if !review.Status.Allowed {
			denied = append(denied, verb+" "+rule.Resources[0])
		}
	}
	return denied, nil
}

// deployment looks at the hub's pods. A hub that runs elsewhere has none, and its heartbeat tells.
func (h *hubDoctor) deployment(ctx context.Context) Finding {
	const check = "hub: pods"
	list, err := h.clients.AppsV1().Deployments(registration.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=muster"})
	if err != nil {
		return unknown(check, "they cannot be seen: %v", err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		if d.Spec.Template.Spec.ServiceAccountName != hub.Account {
			continue
		}
		pods, err := h.clients.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		if err != nil {
			return unknown(check, "they cannot be seen: %v", err)
		}
		return Workload(check, upgradeHub, d, pods.Items)
	}
	return unknown(check, "the hub is not installed by the chart; its heartbeat tells whether it runs")
}

func (h *hubDoctor) heartbeat(ctx context.Context) Finding {
	const check = "hub: controllers"
	lease, err := h.clients.CoordinationV1().Leases(hub.HeartbeatKey.Namespace).Get(ctx, hub.HeartbeatKey.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return problem(check, "start the hub: "+upgradeHub, "they have never run")
	case err != nil:
		return unknown(check, "whether they run cannot be seen: %v", err)
	case lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil:
		return unknown(check, "Lease %s says no time", hub.HeartbeatKey)
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	silent := h.now.Sub(lease.Spec.RenewTime.Time)
	if silent > time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second {
		return problem(check, "see why it does not run: kubectl -n "+registration.SystemNamespace+" logs deployment/muster-hub",
			"the hub (%s) was last heard %s ago", holder, silent.Round(time.Second))
	}
	return ok(check, "they run (%s)", holder)
}

// signing finds out whether the API server's controller manager signs client certificates, from the requests that were approved.
func (h *hubDoctor) signing(ctx context.Context) Finding {
	const check = "hub: signing"
	requests, err := h.clients.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{LabelSelector: clusterv1.ClusterNameLabelKey})
	if err != nil {
		return unknown(check, "requests cannot be listed: %v", err)
	}
	return Signing(requests.Items, h.now)
}

// signingGrace is how long a signer may take.
const signingGrace = 30 * time.Second

// Signing judges the signer by approved requests.
func Signing(requests []certificatesv1.CertificateSigningRequest, now time.Time) Finding {
	const check = "hub: signing"
	signed, waiting := 0, ""
	for i := range requests {
		r := &requests[i]
		if r.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			continue
		}
		for _, c := range r.Status.Conditions {
			switch {
			case c.Type == certificatesv1.CertificateFailed:
				return problem(check, "see the log of the controller manager", "request %s failed: %s", r.Name, c.Message)
			case c.Type != certificatesv1.CertificateApproved:
			case len(r.Status.Certificate) > 0:
				signed++
			case now.Sub(c.LastUpdateTime.Time) > signingGrace:
				waiting = r.Name
			}
		}
	}
	switch {
	case waiting != "":
		return problem(check, "use a cluster whose controller manager has --cluster-signing-cert-file and --cluster-signing-key-file (EKS signs none: run the hub elsewhere)",
			"request %s was approved and got no certificate: the controller manager signs no client certificates", waiting)
	case signed > 0:
		return ok(check, "client certificates are signed")
	}
	return unknown(check, "no request was approved lately: nothing shows whether client certificates are signed")
}

// requests are those of agents that wait for a person.
func (h *hubDoctor) requests(ctx context.Context) []Finding {
	const check = "hub: requests"
	list, err := h.clients.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{LabelSelector: clusterv1.ClusterNameLabelKey})
	if err != nil {
		return []Finding{unknown(check, "they cannot be listed: %v", err)}
	}
	var findings []Finding
	byCluster := map[string][]certificatesv1.CertificateSigningRequest{}
	for _, r := range list.Items {
		byCluster[r.Labels[clusterv1.ClusterNameLabelKey]] = append(byCluster[r.Labels[clusterv1.ClusterNameLabelKey]], r)
	}
	for _, cluster := range slices.Sorted(maps.Keys(byCluster)) {
		mc, err := h.cluster(ctx, cluster)
		if err != nil {
			continue
		}
		if f, waits := Admission(mc, byCluster[cluster]); waits {
			findings = append(findings, f)
		}
	}
	if len(findings) == 0 {
		findings = []Finding{ok(check, "none waits for a person")}
	}
	return findings
}

// Admission says what the requests under a cluster's name wait for.
func Admission(cluster *clusterv1.ManagedCluster, requests []certificatesv1.CertificateSigningRequest) (Finding, bool) {
	const check = "hub: requests"
	waits := slices.ContainsFunc(requests, func(r certificatesv1.CertificateSigningRequest) bool { return registration.Unanswered(&r) })
	if !waits {
		return Finding{}, false
	}
	_, err := registration.Admit(cluster, requests, nil, "")
	if err != nil {
		return problem(check, "muster accept "+cluster.Name+" with --agent or --requesters, once you know whose request it is", "cluster %s: %v", cluster.Name, err), true
	}
	return problem(check, "muster accept "+cluster.Name, "the agent of cluster %s waits to be let in", cluster.Name), true
}

var (
	clusterResource    = clusterv1.GroupVersion.WithResource("managedclusters")
	repositoryResource = musterv1alpha1.GroupVersion.WithResource("fleetrepositories")
)

func (h *hubDoctor) cluster(ctx context.Context, name string) (*clusterv1.ManagedCluster, error) {
	live, err := h.objects.Resource(clusterResource).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	cluster := &clusterv1.ManagedCluster{}
	return cluster, runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, cluster)
}

// clusters are those that are not available.
func (h *hubDoctor) clusters(ctx context.Context) []Finding {
	const check = "hub: clusters"
	list, err := h.objects.Resource(clusterResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []Finding{unknown(check, "they cannot be listed: %v", err)}
	}
	var findings []Finding
	for i := range list.Items {
		cluster := &clusterv1.ManagedCluster{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, cluster); err != nil {
			findings = append(findings, unknown(check, "read cluster %s: %v", list.Items[i].GetName(), err))
			continue
		}
		if f, bad := Cluster(cluster); bad {
			findings = append(findings, f)
		}
	}
	if len(findings) == 0 {
		return []Finding{ok(check, "%d, all of them available", len(list.Items))}
	}
	return findings
}

// agents are those whose version the hub does not support.
func (h *hubDoctor) agents(ctx context.Context) Finding {
	const check = "hub: agents"
	lease, err := h.clients.CoordinationV1().Leases(hub.HeartbeatKey.Namespace).Get(ctx, hub.HeartbeatKey.Name, metav1.GetOptions{})
	if err != nil {
		return unknown(check, "the hub's version cannot be seen: %v", err)
	}
	version := lease.Annotations[musterv1alpha1.VersionAnnotation]
	list, err := h.objects.Resource(clusterResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unknown(check, "clusters cannot be listed: %v", err)
	}
	var bad []string
	for i := range list.Items {
		cluster := &clusterv1.ManagedCluster{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, cluster); err != nil {
			continue
		}
		for _, claim := range cluster.Status.ClusterClaims {
			if skew := Skew(version, claim.Value); claim.Name == musterv1alpha1.AgentVersionClaim && skew != "" {
				bad = append(bad, cluster.Name+" has "+claim.Value+", "+skew)
			}
		}
	}
	if len(bad) > 0 {
		return problem(check, upgradeAgent, "%s", some(bad))
	}
	return ok(check, "their versions are supported")
}

// Cluster says what a cluster that is not available lacks.
func Cluster(c *clusterv1.ManagedCluster) (Finding, bool) {
	const check = "hub: clusters"
	is := func(condition string) bool { return meta.IsStatusConditionTrue(c.Status.Conditions, condition) }
	inside := "muster doctor --cluster-kubeconfig FILE, with a kubeconfig of the cluster, looks at its agent"
	switch {
	case !c.DeletionTimestamp.IsZero():
		return problem(check, "muster status cluster "+c.Name+", or wait", "%s is being detached since %s", c.Name, c.DeletionTimestamp.Format(time.RFC3339)), true
	case !c.Spec.HubAcceptsClient:
		return problem(check, "muster accept "+c.Name, "%s is not accepted", c.Name), true
	case !is(clusterv1.ManagedClusterConditionJoined):
		return problem(check, inside, "%s is accepted and has not joined: its agent has not connected with its certificate", c.Name), true
	case !is(clusterv1.ManagedClusterConditionAvailable):
		message := "its agent does not report"
		if condition := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ManagedClusterConditionAvailable); condition != nil {
			message = condition.Message
		}
		return problem(check, inside, "%s is not available: %s", c.Name, message), true
	}
	return Finding{}, false
}

// repositories are those that are not ready.
func (h *hubDoctor) repositories(ctx context.Context) []Finding {
	const check = "hub: repositories"
	list, err := h.objects.Resource(repositoryResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []Finding{unknown(check, "they cannot be listed: %v", err)}
	}
	if len(list.Items) == 0 {
		return []Finding{problem(check, "give the hub one: muster init DIR --hub, or helm upgrade with fleetRepository.url", "the hub follows no repository")}
	}
	var findings []Finding
	for i := range list.Items {
		repository := &musterv1alpha1.FleetRepository{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, repository); err != nil {
			findings = append(findings, unknown(check, "read repository %s: %v", list.Items[i].GetName(), err))
			continue
		}
		for _, c := range repository.Status.Conditions {
			if c.Type == "Fetched" && c.Status == metav1.ConditionFalse {
				findings = append(findings, problem(check, "see its url and its Secret; docs: README, How a fleet is written", "%s/%s cannot be fetched: %s", repository.Namespace, repository.Name, c.Message))
			}
		}
	}
	if len(findings) == 0 {
		return []Finding{ok(check, "%d, all of them can be fetched", len(list.Items))}
	}
	return findings
}
