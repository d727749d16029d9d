package registration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// without is nil when a bootstrap kubeconfig that is gone is not needed: it is good for joining, and the files lead to the hub by
// themselves. Else it is the error.
func (a *Agent) without(ctx context.Context, f *files, bootstrap, ended error) error {
	if ended != nil || !errors.Is(bootstrap, fs.ErrNotExist) {
		return bootstrap
	}
	kept, err := endpointOf(f.get(kubeconfigFile), filepath.Join(f.dir, kubeconfigFile))
	if err != nil || valid(f, kept, a.state.cluster, a.state.agent, time.Now()) != nil {
		return bootstrap
	}
	logr.FromContextOrDiscard(ctx).Info("using the certificate that is there; the bootstrap kubeconfig is not", "file", a.BootstrapKubeconfig)
	return nil
}

// join returns when the agent holds a certificate that is good as far as it can tell. Ended is why the session before did,
// nil when there was none.
func (a *Agent) join(ctx context.Context, f *files, ended error) error {
	log := logr.FromContextOrDiscard(ctx)
	hash := a.bootstrapHash()
	endpoint, config, err := a.bootstrap()
	if err != nil {
		return a.without(ctx, f, err, ended)
	}
	why := valid(f, endpoint, a.state.cluster, a.state.agent, time.Now())
	invited := errors.Is(ended, errInvited)
	switch {
	case invited:
		log.Info("the cluster was detached from the hub; joining again with the new bootstrap kubeconfig", "hub", endpoint.server)
	case why == nil && ended == nil:
		log.Info("using the certificate that is there", "hub", endpoint.server)
		return nil
	case why == nil:
		log.Info("the hub rejects the agent's certificate, which another authority signed or which was revoked; joining again", "hub", endpoint.server)
	case f.get(certificateFile) != nil:
		log.Info("the certificate cannot be used, joining again", "hub", endpoint.server, "why", why.Error())
	default:
		log.Info("joining", "hub", endpoint.server)
	}
	hub, err := client.New(config, client.Options{Scheme: Scheme})
	if err != nil {
		return fmt.Errorf("reach the hub with the bootstrap kubeconfig: %w", err)
	}
	kubeconfig, err := endpoint.kubeconfig(byCertificate)
	if err != nil {
		return fmt.Errorf("write the hub's kubeconfig: %w", err)
	}
	if invited {
		// What the hub issued for the old key was for the cluster that was detached, and does not admit this one.
		err = f.put(ctx, map[string][]byte{pendingKeyFile: nil})
	} else {
		err = a.reuseKey(ctx, f)
	}
	if err != nil {
		return err
	}
	request := &certificateRequest{
		hub: hub, files: f, cluster: a.state.cluster, agent: a.state.agent, seconds: a.CertificateSeconds, periods: a.Periods,
		prepare:  func(ctx context.Context) error { return a.introduce(ctx, hub) },
		explain:  func(ctx context.Context) string { return waitingFor(ctx, hub, a.state.cluster) },
		outdated: func() bool { now := a.bootstrapHash(); return now != "" && now != hash },
	}
	if why == nil && !invited {
		request.settled = func(ctx context.Context) bool { return a.accepted(ctx, f) }
	}
	issued, key, err := request.fetch(ctx)
	if errors.Is(err, errNewBootstrap) {
		log.Info("there is a new bootstrap kubeconfig; beginning again with it")
		// The request that waits is of another identity, maybe of a wrong one: the new one asks for itself.
		return errors.Join(err, f.put(ctx, map[string][]byte{pendingKeyFile: nil}))
	}
	if err != nil || issued == nil {
		return err
	}
	log.Info("the hub issued a certificate")
	return f.put(ctx, map[string][]byte{
		kubeconfigFile: kubeconfig, certificateFile: issued, keyFile: key, pendingKeyFile: nil, bootstrapFile: []byte(hash),
	})
}

// reuseKey makes the request of an agent that has joined before carry the key that the hub knows it by.
func (a *Agent) reuseKey(ctx context.Context, f *files) error {
	if f.get(pendingKeyFile) != nil {
		return nil
	}
	leaf, err := certificate.Of(f.get(certificateFile), f.get(keyFile))
	if err != nil || leaf.Subject.CommonName != rules.UserName(a.state.cluster, a.state.agent) {
		return nil
	}
	return f.put(ctx, map[string][]byte{pendingKeyFile: f.get(keyFile)})
}

// accepted says whether the hub accepts the present certificate after all: a hub that is starting may refuse everybody.
func (a *Agent) accepted(ctx context.Context, f *files) bool {
	config, err := hubConfig(f.dir)
	if err != nil {
		return false
	}
	hub, err := client.New(config, client.Options{Scheme: Scheme})
	if err != nil {
		return false
	}
	err = hub.Get(ctx, client.ObjectKey{Name: a.state.cluster}, &clusterv1.ManagedCluster{})
	return err == nil || apierrors.IsForbidden(err)
}

// introduce makes sure that the hub has a ManagedCluster of this name.
func (a *Agent) introduce(ctx context.Context, hub client.Client) error {
	wanted := &clusterv1.ManagedCluster{
		ObjectMeta: metav1.ObjectMeta{Name: a.state.cluster, Annotations: agentAnnotations(a.ClusterAnnotations)},
		Spec: clusterv1.ManagedClusterSpec{
			ManagedClusterClientConfigs: clientConfigs(a.ExternalServerURLs, a.Cluster.TLSClientConfig),
		},
	}
	err := hub.Get(ctx, client.ObjectKeyFromObject(wanted), &clusterv1.ManagedCluster{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	if err := hub.Create(ctx, wanted); client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ManagedCluster %s: %w", wanted.Name, err)
	}
	return nil
}

func agentAnnotations(all map[string]string) map[string]string {
	kept := maps.Clone(all)
	maps.DeleteFunc(kept, func(key, _ string) bool { return !strings.HasPrefix(key, clusterv1.AgentAnnotationPrefix) })
	return kept
}

func clientConfigs(urls []string, tls rest.TLSClientConfig) []clusterv1.ClientConfig {
	var configs []clusterv1.ClientConfig
	for _, url := range urls {
		configs = append(configs, clusterv1.ClientConfig{URL: url, CABundle: tls.CAData})
	}
	return configs
}

// waitingFor is what the hub says about requests that wait under the cluster's name.
func waitingFor(ctx context.Context, hub client.Reader, name string) string {
	var cluster clusterv1.ManagedCluster
	if err := hub.Get(ctx, client.ObjectKey{Name: name}, &cluster); err != nil {
		return ""
	}
	if c := meta.FindStatusCondition(cluster.Status.Conditions, rules.ConditionJoinRequest); c != nil {
		return c.Message
	}
	return ""
}
