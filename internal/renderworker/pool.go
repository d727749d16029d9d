package renderworker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// Bounds are what one job may take.
type Bounds struct {
	// Time from the beginning of a job to its end, without what its questions take.
	Time time.Duration
	// Memory of the worker's process in bytes, as the operating system counts what is resident.
	Memory int64
	// Output is the size of the objects in bytes.
	Output int64
}

// DefaultBounds are far above what charts and overlays that people write take.
var DefaultBounds = Bounds{Time: 30 * time.Second, Memory: 512 << 20, Output: engine.DefaultOutput}

// Pool renders in child processes. It is safe for concurrent use; make one with New.
type Pool struct {
	command []string
	bounds  Bounds
	slots   chan struct{} // as many as workers may run at a time
	// retry is held by the job that is tried again.
	retry chan struct{}
	// slow is held by jobs that take long: one worker is left for others.
	slow    chan struct{}
	slice   time.Duration // after which a job is one that takes long
	waiting atomic.Int64  // jobs that wait for a worker

	mu     sync.Mutex
	idle   []*process
	closed bool
}

// New makes a pool of at most so many workers, which start when they are needed. A worker is this program with Subcommand as its
// first argument: then it has to call Main with the other arguments, and do nothing else.
func New(workers int, bounds Bounds) (*Pool, error) {
	program, err := self()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &Pool{
		command: []string{program, Subcommand, strconv.FormatInt(bounds.Memory, 10), strconv.FormatInt(bounds.Output, 10)},
		bounds:  bounds, slots: make(chan struct{}, max(workers, 1)), retry: make(chan struct{}, 1),
		slow: make(chan struct{}, max(workers-1, 1)), slice: bounds.Time / 10,
	}, nil
}

// Render runs a job in a worker. A job that ends its worker is tried once more, in a new one. Jobs that take long hold all workers but one: with
// others that wait, one more of them is stopped, and begins anew when it is its turn.
func (p *Pool) Render(ctx context.Context, job engine.Job, host engine.Host) (*engine.Rendered, error) {
	rendered, err := p.try(ctx, job, host, p.worker, &turn{pool: p})
	var ended *endedError
	if errors.As(err, &ended) && ended.bound == boundTurn {
		rendered, err = p.trySlow(ctx, job, host, p.worker)
	}
	if !errors.As(err, &ended) {
		return rendered, err
	}
	// What the process took may have been another job's doing, and the time that of a machine with much to do. First tries go on
	// meanwhile: a job that ends its workers shall not stop all others.
	if err := acquire(ctx, p.retry); err != nil {
		return nil, err
	}
	defer release(p.retry)
	rendered, err = p.trySlow(ctx, job, host, p.newWorker)
	if errors.As(err, &ended) {
		return nil, ended.fault(job, p.bounds)
	}
	return rendered, err
}

// trySlow runs a job that is known to take long.
func (p *Pool) trySlow(ctx context.Context, job engine.Job, host engine.Host, take takes) (*engine.Rendered, error) {
	if err := acquire(ctx, p.slow); err != nil {
		return nil, err
	}
	return p.try(ctx, job, host, take, &turn{pool: p, slow: true})
}

// turn is a job that has a worker.
type turn struct {
	pool *Pool
	slow bool // it holds a place of those that take long
}

// over tells whether a job that has run for a while has to leave its worker to others.
func (t *turn) over(elapsed time.Duration) bool {
	if t.slow || elapsed < t.pool.slice {
		return false
	}
	select {
	case t.pool.slow <- struct{}{}:
		t.slow = true
		return false
	default:
		return t.pool.waiting.Load() > 0
	}
}

func (t *turn) end() {
	if t.slow {
		release(t.pool.slow)
	}
}

// takes gives a worker, and whether it was used before.
type takes func() (worker *process, used bool, err error)

func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a render worker: %w", ctx.Err())
	}
}

func release(slots chan struct{}) { <-slots }

// try runs a job once.
func (p *Pool) try(ctx context.Context, job engine.Job, host engine.Host, take takes, turn *turn) (*engine.Rendered, error) {
	defer turn.end()
	queued.Inc()
	p.waiting.Add(1)
	err := acquire(ctx, p.slots)
	p.waiting.Add(-1)
	queued.Dec()
	if err != nil {
		return nil, err
	}
	defer release(p.slots)
	for {
		worker, used, err := take()
		if err != nil {
			return nil, fleet.Fail(fleet.RenderFailed, fmt.Errorf("start a render worker: %w", err))
		}
		began := time.Now()
		rendered, err := worker.run(ctx, job, host, p.bounds, turn)
		var ended *endedError
		if used && errors.As(err, &ended) && ended.before {
			continue // an idle one that was killed meanwhile
		}
		duration.Observe(time.Since(began).Seconds())
		p.giveBack(worker)
		return rendered, err
	}
}

// worker gives an idle worker, the one that was used last, or a new one.
func (p *Pool) worker() (worker *process, used bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !last.gone() {
			return last, true, nil
		}
	}
	return p.newWorker()
}

func (p *Pool) newWorker() (worker *process, used bool, err error) {
	worker, err = start(p.command)
	return worker, false, err
}

// giveBack keeps a worker for the next job. One that has grown makes room for a new one.
func (p *Pool) giveBack(worker *process) {
	if worker.gone() {
		return
	}
	grown := worker.memory() > p.bounds.Memory/2
	p.mu.Lock()
	defer p.mu.Unlock()
	if grown || p.closed || len(p.idle) == cap(p.slots) {
		worker.stop()
		return
	}
	p.idle = append(p.idle, worker)
}

// Close ends the idle workers, and each of the others when its job is done.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, worker := range p.idle {
		worker.stop()
	}
	p.idle = nil
}

// answerTo answers a worker's question. knows are the digests of the sets of APIs that the worker has.
func answerTo(q question, host engine.Host, knows map[string]bool) *answer {
	a := &answer{}
	var err error
	switch q.Operation {
	case opStat:
		var info fs.FileInfo
		if info, err = fs.Stat(host, q.Name); err == nil {
			a.Info = infoOf(info)
		}
	case opReadFile:
		a.Data, err = host.ReadFile(q.Name)
	case opReadDir:
		var entries []fs.DirEntry
		if entries, err = host.ReadDir(q.Name); err == nil {
			for _, entry := range entries {
				a.Entries = append(a.Entries, fileInfo{FileName: entry.Name(), FileMode: entry.Type()})
			}
		}
	case opHash:
		a.Hash, err = host.Hash(q.Name)
	case opAPIs:
		set := host.APIs()
		a.APIs = apis{Digest: set.Digest, Version: set.KubernetesVersion, Known: set.Known}
		if set.Known && !knows[set.Digest] {
			a.APIs.Resources = slices.Clone(set.Resources())
		}
		knows[set.Digest] = true
	}
	a.Problem = problemOf(err)
	return a
}
