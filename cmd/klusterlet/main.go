// Command klusterlet is Muster's agent in a managed cluster. It joins the hub and applies the works that the hub has for
// the cluster; each role also runs alone, against any Open Cluster Management hub.
//
// Usage:
//
//	klusterlet --bootstrap-kubeconfig FILE --hub-kubeconfig-dir DIR [--kubeconfig FILE] [--cluster-name NAME] [flags]
//	klusterlet --roles work --hub-kubeconfig-dir DIR [flags]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // an agent is small and mostly idle: less memory for a little more CPU when it is not
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "klusterlet:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:           "klusterlet",
		Short:         "Join a hub, and apply the works that it has for the cluster",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := zap.New(zap.WriteTo(cmd.ErrOrStderr()), zap.Level(zapcore.Level(-o.Verbosity)), zap.UseDevMode(o.Verbosity > 0))
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			return Run(logr.NewContext(cmd.Context(), logger), o)
		},
	}
	o.flags(cmd.Flags())
	cmd.AddCommand(uninstallCommand())
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}
