package renderworker

import "time"

// Workers are the process ids of the idle workers.
func (p *Pool) Workers() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for _, worker := range p.idle {
		pids = append(pids, worker.command.Process.Pid)
	}
	return pids
}

// SetCommand sets what is started as a worker, and gives what was before.
func (p *Pool) SetCommand(command ...string) []string {
	before := p.command
	p.command = command
	return before
}

// KillIdle ends the idle workers as the kernel would, behind the pool's back.
func (p *Pool) KillIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, worker := range p.idle {
		_ = worker.command.Process.Kill()
	}
}

// HoldRetries has no job tried again until the returned function is called.
func (p *Pool) HoldRetries() func() {
	p.retry <- struct{}{}
	return func() { <-p.retry }
}

// SetSlice sets after which time a job is one that takes long.
func (p *Pool) SetSlice(slice time.Duration) { p.slice = slice }
