// Command muster shows what a fleet repository asks of a fleet, and lets people see and steer the fleet.
//
// validate, render and diff need nothing but a repository. The others ask a hub. A command gathers facts, calls the same pure
// packages as the hub does, and prints: tables for people, JSON or YAML for programs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// version is set by the linker.
var version = "unknown"

func main() {
	// A command ends soon: collecting garbage less often makes it faster, up to a size at which it is collected as usual.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(1 << 30)
	ctrllog.SetLogger(logr.Discard()) // a client must not log into the output
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // under nohup a terminal that closes ends nothing
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process; it returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(errs, "muster: this is a bug in muster %s, please report it: %s\n", version, harmless(fmt.Sprint(p)))
			code = exitTrouble
		}
	}()
	c := &cli{out: out, errs: errs, now: time.Now}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	command, err := root.ExecuteContextC(ctx)
	err = c.withNextStep(err)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.message == "":
		return exit.code
	}
	fmt.Fprintln(errs, "muster: "+harmless(strings.TrimSpace(err.Error())))
	if exit.code > 0 {
		return exit.code
	}
	if command != nil && (command.Name() == "diff" || command.Annotations[exitCodes] != "") {
		return exitTrouble
	}
	return 1
}

// exitCodes is the annotation of commands whose exit code is an answer: 0 yes, 1 no, 2 trouble.
const exitCodes = "exit-codes"

var exitsAsDiff = map[string]string{exitCodes: "diff"}

// The exit codes of diff, which are those of diff(1), and of validate, status and wait. Other commands end with 0, with 1 when
// they fail, and with 2 when there is no fleet repository where they look or no hub that answers.
const (
	exitChanges = 1
	exitTrouble = 2
)

// exitError ends the program with a code, and with a message unless that is empty.
type exitError struct {
	code    int
	message string
}

func (e exitError) Error() string { return e.message }
