package renderworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// Subcommand is the first argument of a program that is to be a worker.
const Subcommand = "render-worker"

// Main is all that a worker does: it runs the jobs that come through its standard input until that ends. The arguments are those
// after Subcommand.
func Main(args []string) error {
	bounds := DefaultBounds
	for i, field := range []*int64{&bounds.Memory, &bounds.Output} {
		if i >= len(args) {
			return errors.New("a render worker is started by the program that it works for")
		}
		var err error
		if *field, err = strconv.ParseInt(args[i], 10, 64); err != nil {
			return fmt.Errorf("a bound of the render worker: %w", err)
		}
	}
	return serve(os.Stdin, os.Stdout, bounds)
}

func serve(in io.Reader, out io.Writer, bounds Bounds) error {
	beFirstToDie()
	debug.SetMemoryLimit(bounds.Memory / 4 * 3)
	debug.SetMaxStack(int(min(bounds.Memory/2, math.MaxInt32)))
	w := &worker{
		pipes: pipesOf(in, out), local: engine.NewLocal(bounds.Memory/8, bounds.Output),
		jobs: make(chan *engine.Job), answers: make(chan *answer, 1), apis: map[string]*fleet.APIs{},
	}
	go w.listen()
	for job := range w.jobs {
		if err := w.pipes.write(fromWorker{Result: w.run(*job)}); err != nil {
			return fmt.Errorf("give a result: %w", err)
		}
	}
	return nil
}

type worker struct {
	pipes   *pipes
	local   *engine.Local
	jobs    chan *engine.Job
	answers chan *answer
	apis    map[string]*fleet.APIs // by digest
}

// listen reads what the program writes. When the program is gone the worker ends, whatever it does.
func (w *worker) listen() {
	for {
		var message toWorker
		switch err := w.pipes.read(&message, math.MaxInt64); {
		case errors.Is(err, io.EOF):
			os.Exit(0)
		case err != nil:
			fmt.Fprintln(os.Stderr, "render worker: read:", err)
			os.Exit(1)
		case message.Job != nil:
			w.jobs <- message.Job
		default:
			w.answers <- message.Answer
		}
	}
}

// run runs a job. A panic is the fault of what is rendered.
func (w *worker) run(job engine.Job) (out *result) {
	defer func() {
		if r := recover(); r != nil { // not printed: it may quote values
			out = &result{Problem: problemOf(fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: job.Path, Message: "the renderer gave up"})}
		}
	}()
	rendered, err := w.local.Render(context.Background(), job, host{w})
	return &result{Rendered: rendered, Problem: problemOf(err)}
}

// host asks the program.
type host struct{ worker *worker }

func (h host) ask(op operation, name string) *answer {
	if err := h.worker.pipes.write(fromWorker{Question: &question{op, name}}); err != nil {
		return &answer{Problem: problemOf(err)}
	}
	return <-h.worker.answers
}

// Open is not needed to read.
func (h host) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
}

// Stat asks for a file or folder.
func (h host) Stat(name string) (fs.FileInfo, error) {
	a := h.ask(opStat, name)
	return a.Info, a.Problem.err()
}

// ReadFile asks for what a file says.
func (h host) ReadFile(name string) ([]byte, error) {
	a := h.ask(opReadFile, name)
	return a.Data, a.Problem.err()
}

// ReadDir asks for what is in a folder.
func (h host) ReadDir(name string) ([]fs.DirEntry, error) {
	a := h.ask(opReadDir, name)
	entries := make([]fs.DirEntry, len(a.Entries))
	for i, entry := range a.Entries {
		entries[i] = entry
	}
	return entries, a.Problem.err()
}

// Hash asks for the hash of a file or folder.
func (h host) Hash(name string) (string, error) {
	a := h.ask(opHash, name)
	return a.Hash, a.Problem.err()
}

// APIs asks for what the cluster serves.
func (h host) APIs() *fleet.APIs {
	a := h.ask(opAPIs, "").APIs
	if known, ok := h.worker.apis[a.Digest]; ok {
		return known
	}
	if a.Known && a.Resources == nil {
		a.Resources = []musterv1alpha1.APIResource{}
	}
	h.worker.apis[a.Digest] = fleet.NewAPIs(a.Version, a.Resources)
	return h.worker.apis[a.Digest]
}
