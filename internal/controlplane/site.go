package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	startTimeout = 2 * time.Minute // for one program: slow machines start many at once
	portAttempts = 5
	watchPause   = 250 * time.Millisecond

	stateFile     = "state.json"
	processesFile = "processes.json"
	lockFile      = "lock"
)

// ErrInUse says that a directory's control plane is being run by another program, or was started twice by this one.
var ErrInUse = errors.New("in use")

// state is what a directory remembers of its control plane between runs.
type state struct {
	Name     string `json:"name,omitempty"`
	Port     int    `json:"port,omitempty"` // of kube-apiserver: clients know it
	EtcdPort int    `json:"etcdPort,omitempty"`
	EtcdPeer int    `json:"etcdPeerPort,omitempty"`
	Place    *place `json:"place,omitempty"` // of its real node
}

// site is a directory and the programs that run on its data.
type site struct {
	Options
	state     state
	temporary bool     // the directory is this site's own, and goes with it
	lock      *os.File // held while programs start, and as long as they are this program's children

	mu       sync.Mutex
	running  []*running
	stopping bool
}

// openSite makes the directory ready for programs to start in. Its lock is held until [site.release].
func openSite(o Options) (*site, error) {
	s := &site{Options: o}
	var err error
	if s.Assets.Dir == "" {
		if s.Assets, err = FindAssets(); err != nil {
			return nil, err
		}
	}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "controlplane-"); err != nil {
			return nil, err
		}
		s.temporary = true
	}
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.Dir, s.in("pki"), s.in("logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if s.lock, err = acquire(s.in(lockFile)); err != nil {
		return nil, fmt.Errorf("start a control plane in %s: %w", s.Dir, err)
	}
	if err := readJSON(s.in(stateFile), &s.state); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *site) in(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

// settle ends a successful start: recorded programs that are not wanted any more are stopped, and the lock is released unless the
// programs are children of this one.
func (s *site) settle() error {
	recorded, err := readProcesses(s.Dir)
	if err != nil {
		return err
	}
	for _, p := range recorded {
		if !slices.ContainsFunc(s.running, func(r *running) bool { return r.PID == p.PID }) {
			if err := p.end(stopGrace); err != nil {
				return err
			}
		}
	}
	if err := s.record(); err != nil {
		return err
	}
	if s.Detached {
		return s.release()
	}
	return nil
}

// run starts a program of the control plane and waits until it is ready.
func (s *site) run(ctx context.Context, program string, args []string, ready func(context.Context) error) error {
	path, err := s.Assets.path(program)
	if err != nil {
		return err
	}
	e := execution{program: program, path: path, args: args}
	if s.Ephemeral {
		e.env = moreMemory
	}
	return s.execute(ctx, e, ready)
}

// moreMemory lets a program collect garbage less often: a control plane of a test takes a sixth less processor time to start, and a quarter
// more memory.
var moreMemory = []string{"GOGC=300", "GOMEMLIMIT=500MiB"}

// execution says how a program is started.
type execution struct {
	program, path string
	args          []string
	env           []string // over the environment
	namespace     string   // the file of a network namespace; empty: that of this program
	detached      bool
}

// execute starts a program and waits until it is ready. If the program runs already, started by an earlier one with the same arguments, it
// is adopted; with other arguments it is stopped first.
func (s *site) execute(ctx context.Context, e execution, ready func(context.Context) error) error {
	begin := time.Now()
	e.detached = s.Detached
	r, err := s.adoptOrLaunch(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.running = append(s.running, r)
	s.mu.Unlock()
	if err := s.record(r.Process); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("waited %s", startTimeout))
	defer cancel()
	if err := r.await(ctx, ready); err != nil {
		s.forget(r)
		return errors.Join(err, r.end(0))
	}
	s.report("%s ready (%.1fs)", e.program, time.Since(begin).Seconds())
	return nil
}

func (s *site) report(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

func (s *site) adoptOrLaunch(e execution) (*running, error) {
	log := s.in("logs", e.program+".log")
	recorded, err := readProcesses(s.Dir)
	if err != nil {
		return nil, err
	}
	for _, p := range recorded {
		if p.Program != e.program || !p.Alive() {
			continue
		}
		if slices.Equal(p.Args, append([]string{e.path}, e.args...)) {
			return &running{Process: p, log: log}, nil
		}
		if err := p.end(stopGrace); err != nil {
			return nil, err
		}
	}
	r, err := launch(e, s.Dir, log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", e.program, err)
	}
	r.Program = e.program
	return r, nil
}

func (s *site) forget(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(x *running) bool { return x == r })
}

// processes are the programs that this site runs.
func (s *site) processes() []Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Process
	for _, r := range s.running {
		all = append(all, r.Process)
	}
	return all
}

// started are the programs that this site launched itself.
func (s *site) started() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.running {
		if r.exited != nil {
			all = append(all, r.Program)
		}
	}
	return all
}

// record writes the processes into the file that [Stop] reads. While the site starts, they are added to those recorded before.
func (s *site) record(added ...Process) error {
	all := s.processes()
	if len(added) > 0 {
		recorded, err := readProcesses(s.Dir)
		if err != nil {
			return err
		}
		all = append(slices.DeleteFunc(recorded, func(p Process) bool { return !p.Alive() || p.PID == added[0].PID }), added...)
	}
	return writeJSON(s.in(processesFile), all)
}

func readProcesses(dir string) ([]Process, error) {
	var all []Process
	return all, readJSON(filepath.Join(dir, processesFile), &all)
}

// stopProgram ends one program of the site, if it runs. [site.wait] does not report that as an unexpected end.
func (s *site) stopProgram(program string) error {
	for _, p := range s.processes() {
		if p.Program != program {
			continue
		}
		s.mu.Lock()
		s.running = slices.DeleteFunc(s.running, func(r *running) bool { return r.PID == p.PID })
		s.mu.Unlock()
		if err := p.end(s.grace()); err != nil {
			return err
		}
	}
	return s.record()
}

// grace is how long a program may take to stop by itself: ephemeral data needs none.
func (s *site) grace() time.Duration {
	if s.Ephemeral {
		return 0
	}
	return stopGrace
}

// abandon ends a start that failed: it stops the programs that it started; those that ran before run on.
func (s *site) abandon() error {
	s.mu.Lock()
	s.running = slices.DeleteFunc(s.running, func(r *running) bool { return r.exited == nil })
	s.mu.Unlock()
	return s.stop()
}

// stop ends all programs of the site.
func (s *site) stop() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	errs := []error{endAll(s.processes(), s.grace()), s.state.clear(s.Dir), s.release()}
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	if s.temporary {
		return errors.Join(append(errs, os.RemoveAll(s.Dir))...)
	}
	return errors.Join(errs...)
}

// startOrder has each program after the programs that it depends on.
var startOrder = []string{etcdProgram, apiServerProgram, controllerManagerProgram, schedulerProgram, kwokProgram, containerdProgram, kubeletProgram}

// endAll ends each process before the ones that it depends on: a client takes long to end when its server is gone already.
func endAll(all []Process, grace time.Duration) error {
	var errs []error
	for _, program := range slices.Backward(startOrder) {
		for _, p := range all {
			if p.Program == program {
				errs = append(errs, p.end(grace))
			}
		}
	}
	return errors.Join(errs...)
}

// wait returns when the context ends or the site is stopped (nil), or when a program ends by itself (a [ProgramError]).
func (s *site) wait(ctx context.Context) error {
	for {
		if stopping, err := s.dead(); err != nil || stopping {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

func (s *site) dead() (stopping bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return true, nil
	}
	for _, r := range s.running {
		if err := r.dead(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// clear removes what a real node has made outside of the directory.
func (s state) clear(dir string) error {
	if s.Place == nil {
		return nil
	}
	return s.Place.clear(dir)
}

func (s *site) save() error { return writeJSON(s.in(stateFile), s.state) }

func (s *site) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// choosePort picks a free port of the loopback address, below those that Linux gives to outgoing connections: a port
// that is free while its control plane is down is then still free when it comes up again.
func choosePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port found between 20000 and 32000")
}

func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile replaces a file in one step: a reader, or the next start, finds either the old content or the new one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
