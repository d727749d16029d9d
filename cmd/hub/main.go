// Command hub runs Muster's controllers against a Kubernetes API server.
//
// Usage:
//
//	hub --kubeconfig FILE --state-dir DIR [--controllers LIST] [flags]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/muster-io/muster/internal/renderworker"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // a hub is idle most of the time: its memory matters more than the collector's time
	}
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hub:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:           "hub",
		Short:         "Run Muster's controllers against a Kubernetes API server",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctrl.SetLogger(zap.New(zap.WriteTo(cmd.ErrOrStderr()), zap.Level(zapcore.Level(-o.Verbosity)), zap.UseDevMode(o.Verbosity > 0)))
			return Run(cmd.Context(), o)
		},
	}
	o.flags(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use: renderworker.Subcommand, Short: "Render for a hub that started this process", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return renderworker.Main(args) },
	})
	return cmd
}
