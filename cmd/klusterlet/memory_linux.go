package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// programPages are the parts of a process's memory, in /proc/PID/smaps, that are a file's and that nobody has written to.
var programPages = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) r-[-x]p .* (/.*)\n(?:[A-Z].*\n)*?Anonymous: +0 kB$`)

// unmapProgram takes the pages of the program's file out of the process. What it needs again the kernel maps again from its cache: a quarter
// of what the start has touched.
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	memory, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range programPages.FindAllSubmatch(memory, -1) {
		if string(m[3]) != program {
			continue
		}
		from, ferr := strconv.ParseUint(string(m[1]), 16, 64)
		to, terr := strconv.ParseUint(string(m[2]), 16, 64)
		if err := errors.Join(ferr, terr); err != nil {
			return fmt.Errorf("read /proc/self/smaps: %w", err)
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, errno)
		}
	}
	return errors.Join(errs...)
}
