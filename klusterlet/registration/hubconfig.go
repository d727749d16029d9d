package registration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// AddOnHubLabel on what an agent keeps for add-ons on its cluster, Secrets and service accounts, names the hub that it is for, by ShortHash: of two
// agents for two hubs on one cluster neither deletes what is the other's.
const AddOnHubLabel = "muster.dev/addon-hub"

// ShortHash is the beginning of a hub's hash, for labels and names.
func ShortHash(hash string) string { return hash[:10] }

// hubEndpoint is where a kubeconfig leads: what the hub's kubeconfig has of the bootstrap one.
type hubEndpoint struct {
	name   string // of the kubeconfig's cluster
	server string
	proxy  string
	ca     []byte
}

// endpointOf reads the current context of a kubeconfig; file is where it lies, for paths that are relative to it.
func endpointOf(data []byte, file string) (hubEndpoint, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return hubEndpoint{}, fmt.Errorf("parse: %w", err)
	}
	context, ok := config.Contexts[config.CurrentContext]
	if !ok {
		return hubEndpoint{}, fmt.Errorf("there is no context %q", config.CurrentContext)
	}
	cluster, ok := config.Clusters[context.Cluster]
	if !ok {
		return hubEndpoint{}, fmt.Errorf("there is no cluster %q", context.Cluster)
	}
	e := hubEndpoint{name: context.Cluster, server: cluster.Server, proxy: cluster.ProxyURL, ca: cluster.CertificateAuthorityData}
	if len(e.ca) == 0 && cluster.CertificateAuthority != "" {
		path := cluster.CertificateAuthority
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		if e.ca, err = os.ReadFile(path); err != nil {
			return hubEndpoint{}, fmt.Errorf("read the certificate authority: %w", err)
		}
	}
	return e, nil
}

// kubeconfig is the hub's kubeconfig of an agent, as OCM writes it. What the user names are files beside it.
func (e hubEndpoint) kubeconfig(user clientcmdapi.AuthInfo) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[e.name] = &clientcmdapi.Cluster{Server: e.server, ProxyURL: e.proxy, CertificateAuthorityData: e.ca}
	config.AuthInfos["default-auth"] = &user
	config.Contexts["default-context"] = &clientcmdapi.Context{
		Cluster: e.name, AuthInfo: "default-auth", Namespace: "configuration",
	}
	config.CurrentContext = "default-context"
	return clientcmd.Write(*config)
}

// byCertificate is the user whose certificate and key lie beside the kubeconfig.
var byCertificate = clientcmdapi.AuthInfo{ClientCertificate: certificateFile, ClientKey: keyFile}

// KubeconfigFor is a kubeconfig of the hub for another user: it leads where the agent's own, which lies in file, leads.
func KubeconfigFor(file string, user clientcmdapi.AuthInfo) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	endpoint, err := endpointOf(data, file)
	if err != nil {
		return nil, fmt.Errorf("hub kubeconfig %s: %w", file, err)
	}
	return endpoint.kubeconfig(user)
}

// hubConfig is the configuration in a hub's directory.
func hubConfig(dir string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, kubeconfigFile))
	if err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	return config, nil
}

// valid says why the files of a hub cannot be used, nil when they can: they lead where the bootstrap kubeconfig leads, and
// the certificate names this cluster and agent, fits its key and has not expired.
func valid(f *files, e hubEndpoint, cluster, agent string, now time.Time) error {
	data := f.get(kubeconfigFile)
	if data == nil {
		return errors.New("there is no hub kubeconfig yet")
	}
	have, err := endpointOf(data, filepath.Join(f.dir, kubeconfigFile))
	if err != nil {
		return fmt.Errorf("hub kubeconfig: %w", err)
	}
	switch {
	case have.server != e.server:
		return fmt.Errorf("it leads to %s, the bootstrap kubeconfig to %s", have.server, e.server)
	case have.proxy != e.proxy:
		return fmt.Errorf("it goes through proxy %q, the bootstrap kubeconfig through %q", have.proxy, e.proxy)
	case !bytes.Equal(have.ca, e.ca):
		return errors.New("it trusts another certificate authority than the bootstrap kubeconfig")
	case have.name != e.name:
		return fmt.Errorf("its cluster is %s, that of the bootstrap kubeconfig %s", have.name, e.name)
	}
	leaf, err := certificate.Of(f.get(certificateFile), f.get(keyFile))
	if err != nil {
		return err
	}
	if want := rules.UserName(cluster, agent); leaf.Subject.CommonName != want {
		return fmt.Errorf("the certificate is of %s, not of %s", leaf.Subject.CommonName, want)
	}
	if !now.Before(leaf.NotAfter) {
		return fmt.Errorf("the certificate expired at %s", leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}
