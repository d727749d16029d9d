package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	pollInterval = 50 * time.Millisecond
	askTimeout   = 5 * time.Second
	stopGrace    = 20 * time.Second // from the signal to stop until the process is killed
	tailLines    = 20
	tailBytes    = 16 << 10
)

// Process is a program of a control plane that was started.
type Process struct {
	Program  string   `json:"program"`
	PID      int      `json:"pid"`
	Args     []string `json:"args"`               // the command line, executable first
	Detached bool     `json:"detached,omitempty"` // outlives the program that started it
}

// Alive says whether the process still runs. Another process that has its PID by now has another command line.
func (p Process) Alive() bool {
	return len(p.Args) > 0 && commandLine(p.PID) == strings.Join(p.Args, " ")
}

// end asks the process to stop, kills it when it has not after the grace, and returns when it is gone.
func (p Process) end(grace time.Duration) error {
	// Take the handle before reading the command line, so that a process which gets the PID in between is not signalled.
	handle, err := os.FindProcess(p.PID)
	if err != nil || !p.Alive() {
		return nil
	}
	defer func() { _ = handle.Release() }() // it only frees the handle
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, stopGrace}} {
		if step.signal == syscall.SIGTERM && grace == 0 {
			continue
		}
		if err := handle.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s (process %d): %w", p.Program, p.PID, err)
		}
		if p.goneWithin(step.wait) {
			return nil
		}
	}
	return fmt.Errorf("stop %s: process %d does not end", p.Program, p.PID)
}

func (p Process) goneWithin(d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(pollInterval / 2) {
		if !p.Alive() {
			return true
		}
	}
	return !p.Alive()
}

// running is a process that this program watches: its own child, or one that an earlier program has started.
type running struct {
	Process
	log    string
	exited chan struct{} // closed when a child ends; nil for a process that is not a child
	err    error         // how the child ended, once exited is closed
}

// ProgramError says that a program of a control plane ended, or did not come up, with the last lines of its log.
type ProgramError struct {
	Program string
	Log     string // the file
	Tail    string
	Err     error
}

func (e *ProgramError) Error() string {
	tail := "its log is empty"
	if e.Tail != "" {
		tail = "its log ends:\n" + e.Tail
	}
	return fmt.Sprintf("%s %v; %s\n(%s)", e.Program, e.Err, tail, e.Log)
}

func (e *ProgramError) Unwrap() error { return e.Err }

// launch starts a program with its output in a file. A detached one outlives this program, any other one is killed with it.
func launch(e execution, dir, log string) (*running, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.Command(e.path, e.args...)
	cmd.Dir, cmd.Env = dir, append(environment(dir), e.env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = attributes(e.detached)

	r := &running{log: log, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the signal when the thread that forked ends, not when the program does. This goroutine keeps the thread
		// to itself: it forks, then waits for the child.
		runtime.LockOSThread()
		if e.namespace == "" {
			defer runtime.UnlockOSThread()
		} else if err := enter(e.namespace); err != nil { // the thread ends with the goroutine
			started <- err
			return
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		r.err = cmd.Wait()
		close(r.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	r.Process = Process{PID: cmd.Process.Pid, Args: cmd.Args, Detached: e.detached}
	return r, nil
}

// environment is this program's, without variables that the control plane's programs would read as configuration. They run in dir, so
// that a relative path to a folder for temporary files is made absolute.
func environment(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "ETCD_") || strings.HasPrefix(v, "KWOK_") || strings.HasPrefix(v, "KUBECONFIG=") ||
			strings.HasPrefix(v, "HOME=")
	})
	if temporary, err := filepath.Abs(os.TempDir()); err == nil {
		env = append(env, "TMPDIR="+temporary)
	}
	return append(env, "HOME="+dir)
}

// dead is nil while the process runs. After its end it says how it ended.
func (r *running) dead() error {
	if r.exited == nil {
		if r.Alive() {
			return nil
		}
		return r.fault(errors.New("ended"))
	}
	select {
	case <-r.exited:
	default:
		return nil
	}
	err := errors.New("ended with exit status 0")
	if r.err != nil {
		err = fmt.Errorf("ended with %w", r.err)
	}
	return r.fault(err)
}

func (r *running) fault(err error) error {
	tail := logTail(r.log)
	if strings.Contains(tail, syscall.EADDRINUSE.Error()) { // the log is the only place that says so
		err = fmt.Errorf("%w: %w", err, syscall.EADDRINUSE)
	}
	return &ProgramError{Program: r.Program, Log: r.log, Tail: tail, Err: err}
}

// await polls ready until it is nil, the process dies or the context ends.
func (r *running) await(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := r.try(ctx, ready)
		if err == nil {
			return nil
		}
		if dead := r.dead(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return r.fault(fmt.Errorf("did not become ready: %w: %w", context.Cause(ctx), err))
		case <-time.After(pollInterval):
		}
	}
}

// try asks once, for a few seconds at most and only while the process lives: another program may listen on its port and never
// answer.
func (r *running) try(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	go func() {
		select {
		case <-r.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ready(ctx)
}

// logTail is the last lines of a log, or nothing when the log cannot be read.
func logTail(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	size := min(info.Size(), tailBytes)
	tail := make([]byte, size)
	n, _ := f.ReadAt(tail, info.Size()-size)
	lines := bytes.Split(bytes.TrimSpace(tail[:n]), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
