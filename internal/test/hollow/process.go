package hollow

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Process is a program that runs apart, so that what it takes of the machine can be told from what its surroundings take.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // once it has exited
	out    bytes.Buffer
}

// Start starts a program. What it prints is kept for its last words.
func Start(program string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Ended is nil while the program runs; after its end it says how it ended, with the last lines that it wrote.
func (p *Process) Ended() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended: %w: %s", p.cmd.Path, p.err, p.out.Bytes()[max(0, p.out.Len()-4096):])
	default:
		return nil
	}
}

// Stop asks the program to end, and waits for it.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
		if p.err != nil {
			return p.Ended()
		}
		return nil
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill() // it is gone then
		return fmt.Errorf("%s does not end", p.cmd.Path)
	}
}

// clockTick is the unit of times in /proc, which Linux promises to user space.
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the program has taken so far.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third, its state
	var sum time.Duration
	for _, i := range []int{11, 12} { // in user and in kernel mode
		ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * clockTick
	}
	return sum, nil
}

// Memory is what the program holds resident now, and the most that it has held, in bytes.
func (p *Process) Memory() (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return now, peak, nil
}
