//go:build !linux

package renderworker

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

func beFirstToDie() {}

// memory is not watched here: a worker keeps to its soft limit as well as it can.
func (p *process) memory() int64 { return 0 }

func killedFromOutside(error) bool { return false }
