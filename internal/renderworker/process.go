package renderworker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// bound is what a job went over.
type bound string

const (
	boundTime   bound = "time"
	boundMemory bound = "memory"
	boundOutput bound = "output"
	// boundTurn is no bound: others wait, and jobs that take long have all workers but one already.
	boundTurn bound = "turn"
	// boundOutside is a process that was killed by another one, for whatever it did.
	boundOutside bound = "outside"
	// boundNone is a process that ended for another reason.
	boundNone bound = "none"
)

// endedError is a job whose worker ended before it gave a result.
type endedError struct {
	bound bound
	// before is true where the worker had ended before the job: nothing was heard of it, and nobody here ended it.
	before bool
}

func (e *endedError) Error() string { return "the render worker ended, bound: " + string(e.bound) }

func (e *endedError) fault(job engine.Job, bounds Bounds) fleet.Fault {
	f := fleet.Fault{Reason: fleet.RenderTooExpensive, ActionRequiredBy: fleet.User, File: job.Path}
	switch e.bound {
	case boundTime:
		f.Message = fmt.Sprintf("takes longer than %v to render: look for a loop, an include or a schema that does not end", bounds.Time)
	case boundMemory:
		f.Message = fmt.Sprintf("takes more than %d MiB of memory to render: look for a loop, an include, a patch or an alias that makes more and more", bounds.Memory>>20)
	case boundOutput:
		f.Message = fmt.Sprintf("renders more than %d MiB: make several applications of it", bounds.Output>>20)
	case boundOutside: // what the others took at that time may have been the cause
		f.Reason, f.ActionRequiredBy = fleet.RenderFailed, fleet.Controller
		f.Message = "the process that renders it was killed from outside, as when memory runs out: it is tried again; if that goes on, give the hub more memory or fewer --render-workers"
	default:
		f.Reason, f.Message = fleet.RenderFailed, "ends the process that renders it"
	}
	return f
}

// process is one worker. One job at a time runs in it.
type process struct {
	command *exec.Cmd
	stdin   interface{ Close() error }
	pipes   *pipes
	stderr  tail
	apis    map[string]bool // by digest: the sets that the worker has
	ended   chan struct{}   // closed when the process has ended

	mu     sync.Mutex
	killed bound // why it was killed; empty is not
}

// start starts a worker. It gets nothing of this process's environment.
func start(command []string) (*process, error) {
	p := &process{command: exec.Command(command[0], command[1:]...), apis: map[string]bool{}, ended: make(chan struct{})}
	p.command.Env = []string{"GOTRACEBACK=none"}
	p.command.SysProcAttr = attributes()
	p.command.Stderr = &p.stderr
	stdin, err := p.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	starts.Inc()
	running.Inc()
	p.stdin, p.pipes = stdin, pipesOf(stdout, stdin)
	return p, nil
}

// run runs a job, within bounds. A process that goes over one is ended.
func (p *process) run(ctx context.Context, job engine.Job, host engine.Host, bounds Bounds, turn *turn) (*engine.Rendered, error) {
	done := make(chan struct{})
	watched := make(chan struct{})
	clock := &stopwatch{since: time.Now()}
	go func() {
		defer close(watched)
		p.watch(ctx, done, clock, bounds, turn)
	}()
	rendered, heard, err := p.converse(job, host, clock, bounds)
	close(done)
	<-watched
	var failed *brokenError
	switch {
	case !errors.As(err, &failed) && !p.wasKilled():
		return rendered, err
	case failed == nil: // as it gave the result
		p.end(nil)
		return rendered, err
	}
	why := p.end(failed)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("render %s: %w", job.Path, ctx.Err())
	}
	before := !heard && (why == boundOutside || why == boundNone)
	if !before {
		kills.WithLabelValues(string(why)).Inc()
	}
	return nil, &endedError{why, before}
}

// brokenError is a conversation with a worker that cannot go on.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// converse gives the job and answers the worker's questions until it gives the result. Heard is whether the worker said anything.
func (p *process) converse(job engine.Job, host engine.Host, clock *stopwatch, bounds Bounds) (rendered *engine.Rendered, heard bool, err error) {
	if err := p.pipes.write(toWorker{Job: &job}); err != nil {
		return nil, heard, &brokenError{err}
	}
	for {
		var message fromWorker
		// Names and other fields come on top of the objects.
		if err := p.pipes.read(&message, 2*bounds.Output); err != nil {
			return nil, heard, &brokenError{err}
		}
		heard = true
		if message.Question == nil {
			return message.Result.Rendered, heard, message.Result.Problem.err()
		}
		clock.stop()
		a := answerTo(*message.Question, host, p.apis)
		clock.start()
		if err := p.pipes.write(toWorker{Answer: a}); err != nil {
			return nil, heard, &brokenError{err}
		}
	}
}

// watchInterval is how often the memory and the time of a worker are looked at.
const watchInterval = 20 * time.Millisecond

// watch kills the process when the job goes over a bound, is not wanted any more, or has to leave its worker to others.
func (p *process) watch(ctx context.Context, done <-chan struct{}, clock *stopwatch, bounds Bounds, turn *turn) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			p.kill(boundNone)
			return
		case <-ticker.C:
		}
		if p.memory() > bounds.Memory {
			p.kill(boundMemory)
			return
		}
		if clock.elapsed() > bounds.Time {
			p.kill(boundTime)
			return
		}
		if turn.over(clock.elapsed()) {
			p.kill(boundTurn)
			return
		}
	}
}

func (p *process) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed != ""
}

func (p *process) kill(why bound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = why
	_ = p.command.Process.Kill() // it may have ended by itself
}

// end ends a process with which nothing more can be said, and tells why.
func (p *process) end(failed error) bound {
	_ = p.stdin.Close()
	_ = p.command.Process.Kill()
	err := p.command.Wait()
	running.Dec()
	close(p.ended)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.killed != "":
		return p.killed
	case errors.Is(failed, errTooLarge):
		return boundOutput
	case bytes.Contains(p.stderr.bytes(), []byte("stack exceeds")) || bytes.Contains(p.stderr.bytes(), []byte("out of memory")):
		return boundMemory
	case killedFromOutside(err):
		return boundOutside
	}
	return boundNone
}

// stop ends an idle process.
func (p *process) stop() {
	_ = p.stdin.Close() // which it takes as the end
	go func() {
		_ = p.command.Wait()
		running.Dec()
		close(p.ended)
	}()
}

// gone tells whether the process has ended, as far as this one knows.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stopwatch measures the time of a worker, without the time in which it waits for an answer.
type stopwatch struct {
	mu      sync.Mutex
	since   time.Time
	before  time.Duration
	stopped bool
}

func (s *stopwatch) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.stopped = s.before+time.Since(s.since), true
}

func (s *stopwatch) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.stopped = time.Now(), false
}

func (s *stopwatch) elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.before
	}
	return s.before + time.Since(s.since)
}

// tail keeps the beginning of what a worker says on its way out, to tell why. It may quote values, and is not shown.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p[:min(len(p), max(0, 1<<14-len(t.data)))]...)
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.data)
}

// self is the file of this program, or what leads to it after the file was replaced.
func self() (string, error) {
	const link = "/proc/self/exe"
	if _, err := os.Stat(link); err == nil {
		return link, nil
	}
	return os.Executable()
}
