package doctor

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/muster-io/muster/api/crds"
)

// oldestCluster is the oldest Kubernetes that an agent runs on.
const oldestCluster = "v1.27.0"

// Agent is an agent that is installed on a cluster.
type Agent struct {
	Deployment  *appsv1.Deployment
	ClusterName string
	pods        []corev1.Pod
}

// FindAgent finds the agent of a cluster by the labels of its chart; nil when there is none.
func FindAgent(ctx context.Context, clients kubernetes.Interface) (*Agent, error) {
	list, err := clients.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=muster"})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		d := &list.Items[i]
		name, isAgent := d.Annotations["muster.dev/cluster-name"]
		if !isAgent {
			continue
		}
		pods, err := clients.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		if err != nil {
			return nil, err
		}
		return &Agent{Deployment: d, ClusterName: name, pods: pods.Items}, nil
	}
	return nil, nil
}

// Pods says how the agent's pods do. A nil agent is one that is not there.
func (a *Agent) Pods() Finding {
	if a == nil {
		return Workload("agent: pods", upgradeAgent, nil, nil)
	}
	return Workload("agent: pods", upgradeAgent, a.Deployment, a.pods)
}

// OnCluster checks a managed cluster and its agent from outside, and the agent's way to the hub as it is from this machine.
// Rows about the hub's side come from Hub.
func OnCluster(ctx context.Context, config *rest.Config, now time.Time) []Finding {
	first := ask(ctx, config)
	findings := reach("cluster", config.Host, "the kubeconfig of the cluster has it (--cluster-kubeconfig)", first, now)
	if first.err != nil {
		return findings
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return append(findings, unknown("cluster", "%v", err))
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return append(findings, unknown("cluster", "%v", err))
	}
	findings = append(findings, supported(clients, "cluster: Kubernetes", oldestCluster))
	agent, err := FindAgent(ctx, clients)
	if err != nil {
		return append(findings, unknown("agent: pods", "they cannot be seen: %v", err))
	}
	if agent == nil {
		return append(findings, problem("agent: pods", "muster join NAME --install --cluster-kubeconfig FILE", "no agent is installed here"))
	}
	findings = append(findings,
		kinds(ctx, objects, "agent: kinds", upgradeAgent, crds.Agent()),
		agent.Pods(),
		agentRights(ctx, clients, agent),
	)
	return append(findings, agentsWay(ctx, clients, agent, now)...)
}

// agentRights asks whether the agent may do on its cluster what works of every kind need.
func agentRights(ctx context.Context, clients kubernetes.Interface, a *Agent) Finding {
	const check = "agent: rights"
	account, namespace := a.Deployment.Spec.Template.Spec.ServiceAccountName, a.Deployment.Namespace
	user, groups := "system:serviceaccount:"+namespace+":"+account, []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	allowed := func(verb, group, resource string) (bool, error) {
		review, err := clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource}},
		}, metav1.CreateOptions{})
		return err == nil && review.Status.Allowed, err
	}
	needs, err := allowed("create", "work.open-cluster-management.io", "appliedmanifestworks")
	if err != nil {
		return unknown(check, "they cannot be asked for: %v", err)
	}
	if !needs {
		return problem(check, upgradeAgent, "account %s/%s may not write AppliedManifestWorks, which record what it applied", namespace, account)
	}
	if everything, err := allowed("*", "*", "*"); err == nil && !everything {
		return ok(check, "account %s/%s has what it needs for itself; what works may hold is bounded by its rules", namespace, account)
	}
	return ok(check, "account %s/%s may apply everything", namespace, account)
}

// agentsWay follows the agent's way to its hub: with its certificate once it has joined, else with its bootstrap kubeconfig.
func agentsWay(ctx context.Context, clients kubernetes.Interface, a *Agent, now time.Time) []Finding {
	joined, err := secretOf(ctx, clients, a.Deployment.Namespace, hubSecretName(a.Deployment))
	if err != nil {
		return []Finding{unknown("agent: certificate", "it cannot be read: %v", err)}
	}
	if joined != nil && len(joined.Data["tls.crt"]) > 0 {
		findings := []Finding{Certificate(joined.Data["tls.crt"], a.ClusterName, now)}
		config, err := joinedConfig(joined.Data)
		if err != nil {
			return append(findings, problem("agent: way to the hub", upgradeAgent, "the kubeconfig in its Secret cannot be read: %v", err))
		}
		return append(findings, fromHere(reach("agent's hub", config.Host, "muster join "+a.ClusterName+" --install makes a new way", ask(ctx, config), now))...)
	}
	name := bootstrapSecretName(a.Deployment)
	bootstrap, err := secretOf(ctx, clients, a.Deployment.Namespace, name)
	if err != nil {
		return []Finding{unknown("agent: bootstrap", "it cannot be read: %v", err)}
	}
	if bootstrap == nil || len(bootstrap.Data["kubeconfig"]) == 0 {
		return []Finding{problem("agent: bootstrap", upgradeAgent, "Secret %s/%s with key kubeconfig is missing: the agent has no way to the hub", a.Deployment.Namespace, name)}
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(bootstrap.Data["kubeconfig"])
	if err != nil {
		return []Finding{problem("agent: bootstrap", upgradeAgent, "the kubeconfig in Secret %s/%s cannot be read: %v", a.Deployment.Namespace, name, err)}
	}
	findings := []Finding{Token(config.BearerToken, a.ClusterName, now)}
	if host, err := url.Parse(config.Host); err == nil && loopback(host.Hostname()) && !a.Deployment.Spec.Template.Spec.HostNetwork {
		findings = append(findings, problem("agent: way to the hub", "muster join "+a.ClusterName+" --install --hub-server https://ADDRESS",
			"%s is an address of one machine only: a pod does not reach it", config.Host))
	}
	return append(findings, fromHere(reach("agent's hub", config.Host, "muster join "+a.ClusterName+" --install --hub-server https://ADDRESS", ask(ctx, config), now))...)
}

// fromHere says that an address was tried from this machine, and not from a pod.
func fromHere(findings []Finding) []Finding {
	for i := range findings {
		if strings.HasSuffix(findings[i].Check, ": address") {
			findings[i].Message += " (asked from this machine)"
		}
	}
	return findings
}

func loopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

func secretOf(ctx context.Context, clients kubernetes.Interface, namespace, name string) (*corev1.Secret, error) {
	secret, err := clients.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return secret, err
}

// hubSecretName is what the agent's arguments say.
func hubSecretName(d *appsv1.Deployment) string {
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			if value, found := strings.CutPrefix(arg, "--hub-kubeconfig-secret="); found {
				return value[strings.LastIndex(value, "/")+1:]
			}
		}
	}
	return "hub-kubeconfig-secret"
}

func bootstrapSecretName(d *appsv1.Deployment) string {
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.Name == "bootstrap" && v.Secret != nil {
			return v.Secret.SecretName
		}
	}
	return ""
}

// joinedConfig is the agent's way to the hub: its kubeconfig names files that lie beside it in the Secret.
func joinedConfig(data map[string][]byte) (*rest.Config, error) {
	config, err := clientcmd.Load(data["kubeconfig"])
	if err != nil {
		return nil, err
	}
	for _, user := range config.AuthInfos {
		user.ClientCertificate, user.ClientKey = "", ""
		user.ClientCertificateData, user.ClientKeyData = data["tls.crt"], data["tls.key"]
	}
	return clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
}

// Certificate judges the agent's certificate.
func Certificate(data []byte, cluster string, now time.Time) Finding {
	const check = "agent: certificate"
	block, _ := pem.Decode(data)
	if block == nil {
		return problem(check, upgradeAgent, "it is no PEM certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return problem(check, upgradeAgent, "it cannot be read: %v", err)
	}
	switch {
	case now.After(certificate.NotAfter):
		return problem(check, "muster join "+cluster+" --install gives it a new way to join", "it expired on %s, and the agent could not renew it", certificate.NotAfter.Format(time.RFC3339))
	case now.Before(certificate.NotBefore.Add(-clockTolerance)):
		return problem(check, "set the clocks by NTP", "it counts from %s on only", certificate.NotBefore.Format(time.RFC3339))
	case !strings.HasPrefix(certificate.Subject.CommonName, "system:open-cluster-management:"+cluster+":"):
		return problem(check, "muster join "+cluster+" --install", "it is of %s, and the agent is to be cluster %s", certificate.Subject.CommonName, cluster)
	}
	return ok(check, "it is good until %s", certificate.NotAfter.Format(time.RFC3339))
}

// Token judges the token that the agent joins with: one of a service account says when it expires.
func Token(token, cluster string, now time.Time) Finding {
	const check = "agent: token"
	if token == "" {
		return unknown(check, "the bootstrap kubeconfig has another credential than a token")
	}
	expires, err := expiry(token)
	if err != nil {
		return unknown(check, "it does not say when it expires")
	}
	if now.After(expires) {
		return problem(check, "muster join "+cluster+" --install gives the agent a new one", "the token that the agent joins with expired on %s", expires.Format(time.RFC3339))
	}
	return ok(check, "the token that the agent joins with is good until %s", expires.Format(time.RFC3339))
}

func expiry(token string) (time.Time, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, errors.New("not a JSON web token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, err
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return time.Time{}, err
	}
	if claims.Expires == 0 {
		return time.Time{}, errors.New("it has no end")
	}
	return time.Unix(claims.Expires, 0).UTC(), nil
}
