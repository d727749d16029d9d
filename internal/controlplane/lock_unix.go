//go:build unix

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another program runs it", ErrInUse)
		}
		return nil, err
	}
	return f, nil
}
