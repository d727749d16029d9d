package renderworker

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// attributes put a worker in a group of its own, out of reach of the terminal's Ctrl-C.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// beFirstToDie makes this process the one that the kernel ends when memory runs out.
func beFirstToDie() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // where it may not, the bound of memory remains
}

// memory is what is resident of the process, in bytes; 0 when it has ended.
func (p *process) memory() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

// killedFromOutside: somebody else than this program killed the process. On Linux that is the kernel, as a rule, for the memory of all.
func killedFromOutside(err error) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // Wait gives it as it is
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
