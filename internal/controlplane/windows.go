//go:build !unix

package controlplane

import (
	"errors"
	"os"
	"syscall"
)

// errNotHere says that the programs of a control plane run on Unix only. The rest of the CLI works.
var errNotHere = errors.New("control planes run on Linux and macOS only: on Windows use WSL, or a hub on a cluster (muster hub install)")

func acquire(string) (*os.File, error) { return nil, errNotHere }

func attributes(bool) *syscall.SysProcAttr { return nil }

func commandLine(int) string { return "" }
