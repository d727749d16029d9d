package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// cli is what all commands share: where they print, and the global flags.
type cli struct {
	out, errs io.Writer
	now       func() time.Time

	kubeconfig string
	state      string
	output     string
	noColor    bool
	patience   time.Duration // of one request to the hub

	host     string // of the hub that is asked, once it is known
	embedded bool   // it is the one that muster up started
}

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "muster",
		Short: "Deliver a Git repository to a fleet of Kubernetes clusters",
		Long: "Muster keeps a fleet of clusters equal to a Git repository.\n\n" +
			"validate, render and diff work on a repository alone. The other commands ask a hub: that of --kubeconfig, of\n" +
			"$KUBECONFIG, or the one that muster up started in this directory.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.checkOutput(cmd)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig of the hub (default $KUBECONFIG, then the hub that muster up started)")
	flags.StringVar(&c.state, "state", ".muster", "directory of the hub that muster up started")
	flags.DurationVar(&c.patience, "request-timeout", 30*time.Second, "how long one request to the hub may take")
	flags.StringVarP(&c.output, "output", "o", "table", "table, json or yaml; diff and review also have markdown")
	flags.BoolVar(&c.noColor, "no-color", false, "no colours, also on a terminal")
	for _, add := range commands {
		root.AddCommand(add(c))
	}
	c.complete(root)
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") { // called as a plug-in
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl muster"}
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil { // it refuses no shell that it does not know, unless it runs
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

// commands are all there are, but completion and help, which cobra adds.
var commands = []func(*cli) *cobra.Command{
	validateCommand, renderCommand, diffCommand, reviewCommand, worldCommand,
	statusCommand, driftCommand, whyCommand, treeCommand, logsCommand, waitCommand, topCommand, uiCommand,
	rolloutCommand, pauseCommand, resumeCommand, pinCommand, unpinCommand, rollbackCommand, approveCommand, acceptCommand, joinCommand, detachCommand, kubeconfigCommand,
	hubCommand, doctorCommand, initCommand, clustersCommand, notifyCommand,
	addonCommand, upCommand, downCommand, demoCommand, versionCommand,
}

// checkOutput refuses an output that the command does not have.
func (c *cli) checkOutput(cmd *cobra.Command) error {
	formats := []string{"table", "json", "yaml"}
	if cmd.Name() == "diff" || cmd.Name() == "review" {
		formats = append(formats, "markdown")
	}
	if !slices.Contains(formats, c.output) {
		return fmt.Errorf("output %q is not one of %s", c.output, strings.Join(formats, ", "))
	}
	return nil
}
