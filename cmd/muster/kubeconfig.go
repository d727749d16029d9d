package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/cluster"
)

func kubeconfigCommand(c *cli) *cobra.Command {
	var out, namespace string
	cmd := &cobra.Command{
		Use:   "kubeconfig CLUSTER",
		Short: "Write a kubeconfig that reaches a cluster through the hub",
		Long: "Writes a kubeconfig with which kubectl reaches the API server of a managed cluster through the hub's proxy, also behind a firewall.\n" +
			"It has your own credentials of the hub: nothing of the cluster's. You need get of managedclusters/proxy on the hub; what you may\n" +
			"do on the cluster is its own RBAC, for your user and groups of the hub, which a ClusterPermission gives you.",
		Example: "  muster kubeconfig edge-1 --out edge-1.kubeconfig\n  kubectl --kubeconfig edge-1.kubeconfig get pods",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if problem := fleet.WrongClusterName(args[0]); problem != "" {
				return fmt.Errorf("cluster name %q: %s", args[0], problem)
			}
			data, err := c.clusterKubeconfig(cmd.Context(), args[0], namespace)
			if err != nil {
				return c.withNextStep(err)
			}
			if out == "" {
				_, err := c.out.Write(data)
				return err
			}
			if err := os.WriteFile(out, data, 0o600); err != nil {
				return err
			}
			fmt.Fprintf(c.errs, "wrote %s; next: kubectl --kubeconfig %s get pods\n", out, out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write, for your eyes only (default: the standard output)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the kubeconfig's context")
	return cmd
}

// clusterKubeconfig is the hub's kubeconfig with the proxy in place of the hub's API server.
func (c *cli) clusterKubeconfig(ctx context.Context, name, namespace string) ([]byte, error) {
	hub, _, err := c.hub()
	if err != nil {
		return nil, err
	}
	where := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: cluster.SystemNamespace, Name: access.ConfigMap}
	if err := hub.Get(ctx, key, where); apierrors.IsNotFound(err) {
		return nil, errors.New("this hub has no proxy to clusters: start it with --proxy-address (clusterProxy.enabled of its chart), and the cluster's klusterlet with role proxy")
	} else if err != nil {
		return nil, fmt.Errorf("find the hub's proxy: %w", err)
	}
	loader, err := c.kubeconfigs()
	if err != nil {
		return nil, err
	}
	raw, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{}).RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	who, err := credentialsOf(&raw)
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{
		Server: strings.TrimSuffix(where.Data[access.URLKey], "/") + "/" + name, CertificateAuthorityData: []byte(where.Data[access.CAKey]),
	}
	config.AuthInfos["hub"] = who
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: "hub", Namespace: namespace}
	config.CurrentContext = name
	return clientcmd.Write(*config)
}

// credentialsOf are those of the kubeconfig's current context, with the content of files in place of their names.
func credentialsOf(raw *clientcmdapi.Config) (*clientcmdapi.AuthInfo, error) {
	if err := clientcmdapi.MinifyConfig(raw); err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	if err := clientcmdapi.FlattenConfig(raw); err != nil {
		return nil, fmt.Errorf("read the hub's kubeconfig: %w", err)
	}
	current := raw.Contexts[raw.CurrentContext]
	who := raw.AuthInfos[current.AuthInfo]
	switch {
	case who == nil:
		return nil, fmt.Errorf("the hub's kubeconfig has no user %q", current.AuthInfo)
	case who.Impersonate != "":
		return nil, fmt.Errorf("the hub's kubeconfig acts as %s: the proxy carries nobody's request as somebody else's; use a kubeconfig without that", who.Impersonate)
	case who.Token == "" && who.TokenFile == "" && len(who.ClientCertificateData) == 0 && who.Exec == nil && who.AuthProvider == nil:
		return nil, fmt.Errorf("user %q of the hub's kubeconfig has neither a token, nor a client certificate, nor a plugin that gets one: the proxy takes nothing else", current.AuthInfo)
	}
	return who, nil
}
