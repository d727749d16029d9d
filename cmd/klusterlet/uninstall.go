package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/muster-io/muster/klusterlet/uninstall"
)

// uninstallCommand ends what the agent holds on its cluster. The chart runs it in a Job before it is uninstalled.
func uninstallCommand() *cobra.Command {
	var o Options
	var workloads, deployment, secret string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Release or delete what the agent applied, and leave no finalizer behind",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			ctx = logr.NewContext(ctx, zap.New(zap.WriteTo(cmd.ErrOrStderr()), zap.Level(zapcore.InfoLevel)))
			cluster, err := o.spoke()
			if err != nil {
				return err
			}
			u := uninstall.Options{Cluster: cluster, Workloads: workloads}
			if u.Agent, err = namespacedName("deployment", deployment); err != nil {
				return err
			}
			if u.HubSecret, err = namespacedName("hub-kubeconfig-secret", secret); err != nil {
				return err
			}
			return uninstall.Run(ctx, u)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.SpokeKubeconfig, "kubeconfig", "", "kubeconfig of the managed cluster; left out, the cluster it runs in")
	f.StringVar(&workloads, "workloads", uninstall.Keep, "what becomes of the objects: "+uninstall.Keep+" or "+uninstall.Delete)
	f.StringVar(&deployment, "deployment", "", "namespace/name of the agent's Deployment, which is scaled to zero first")
	f.StringVar(&secret, "hub-kubeconfig-secret", "", "namespace/name of the Secret that mirrors the agent's connection to its hub")
	f.DurationVar(&timeout, "timeout", 4*time.Minute, "how long it may take")
	return cmd
}

func namespacedName(flag, value string) (client.ObjectKey, error) {
	namespace, name, ok := strings.Cut(value, "/")
	if !ok || namespace == "" || name == "" {
		return client.ObjectKey{}, fmt.Errorf("--%s takes namespace/name, not %q", flag, value)
	}
	return client.ObjectKey{Namespace: namespace, Name: name}, nil
}
