package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// attributes puts a process in a group of its own, out of reach of the terminal's Ctrl-C, and ties its life to this
// program's unless it is detached.
func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// commandLine is the arguments with spaces between them. It is empty when there is no such process, or when it has ended and its
// parent has not waited for it yet.
func commandLine(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(bytes.ReplaceAll(bytes.TrimSuffix(data, []byte{0}), []byte{0}, []byte{' '}))
}
