package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"sigs.k8s.io/kwok/kustomize/stage/node/fast"
	"sigs.k8s.io/kwok/kustomize/stage/node/heartbeat"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/cmd"
	"sigs.k8s.io/kwok/pkg/log"
)

// What KWOK has no stages for, or only for a class of its own, and what it lets succeed.
//
//go:embed stages/volume.yaml
var volumes string

//go:embed stages/loadbalancer.yaml
var loadBalancers string

//go:embed stages/bad.yaml
var badImages string

// stages are KWOK's own default stages: nodes become ready and renew their heartbeat; pods run, complete and are deleted. KWOK exits
// when it is given no stages, and its own binary does not contain these. Ours come after them.
var stages = []string{
	fast.DefaultNodeInit,
	heartbeat.DefaultNodeHeartbeat,
	podfast.DefaultPodReady,
	podfast.DefaultPodComplete,
	podfast.DefaultPodDelete,
	volumes,
	loadBalancers,
	badImages,
}

// kwok runs KWOK's controller with the stages, as `kwok <its own flags>`, and answers for services beside it.
func kwok() int {
	// component-base has added --version to the process-wide flag set, to which KWOK adds a flag of the same name.
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	global := pflag.NewFlagSet("global", pflag.ContinueOnError)
	global.ParseErrorsAllowlist.UnknownFlags = true
	global.Usage = func() {}
	ctx, _ = log.InitFlags(ctx, global)
	ctx, err := configure(ctx, global)
	if err != nil {
		fmt.Fprintf(os.Stderr, "kwok: %v\n", err)
		return 1
	}
	if socket := os.Getenv(servicesSocket); socket != "" {
		if err := answerServices(ctx, kubeconfig(), socket); err != nil {
			fmt.Fprintf(os.Stderr, "services: %v\n", err)
			return 1
		}
	}
	command := cmd.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(global)
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "kwok: %v\n", err)
		return 1
	}
	return 0
}

// kubeconfig is the file of the argument that KWOK reads too.
func kubeconfig() string {
	for _, arg := range os.Args[1:] {
		if file, found := strings.CutPrefix(arg, "--kubeconfig="); found {
			return file
		}
	}
	return ""
}

// configure reads KWOK's configuration: the default stages, then the files that --config names.
//
// KWOK reads stages from files only, so that they are written to a temporary one, which is removed before KWOK starts.
func configure(ctx context.Context, flags *pflag.FlagSet) (context.Context, error) {
	dir, err := os.MkdirTemp("", "kwok-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "stages.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(stages, "\n---\n")), 0o600); err != nil {
		return nil, err
	}
	os.Args = append(os.Args, "--config", file)
	return config.InitFlags(ctx, flags)
}
