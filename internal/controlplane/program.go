package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// StartProgram starts a program beside control planes, such as a hub or an agent: its log is dir/logs/<name>.log and its
// process is recorded in dir, where [StopPrograms] finds it. A program that runs already with the same arguments is left alone,
// and started is false; one with other arguments is stopped first. A detached program outlives this one; any other is killed with it.
func StartProgram(dir, name, path string, args []string, detached bool) (process Process, started bool, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		return Process{}, false, fmt.Errorf("start %s: %w", name, err)
	}
	recorded, err := readProcesses(dir)
	if err != nil {
		return Process{}, false, fmt.Errorf("start %s: %w", name, err)
	}
	for _, p := range recorded {
		if p.Program != name || !p.Alive() {
			continue
		}
		if slices.Equal(p.Args, append([]string{path}, args...)) {
			return p, false, nil
		}
		if err := p.end(stopGrace); err != nil {
			return Process{}, false, err
		}
	}
	r, err := launch(execution{program: name, path: path, args: args, detached: detached}, dir, ProgramLog(dir, name))
	if err != nil {
		return Process{}, false, fmt.Errorf("start %s: %w", name, err)
	}
	r.Program = name
	recorded = slices.DeleteFunc(recorded, func(p Process) bool { return p.Program == name || !p.Alive() })
	return r.Process, true, writeJSON(filepath.Join(dir, processesFile), append(recorded, r.Process))
}

// ProgramLog is the file that a program writes its log to.
func ProgramLog(dir, name string) string { return filepath.Join(dir, "logs", name+".log") }

// StopPrograms ends the programs that StartProgram started in a directory, the last one first; with names, only those.
func StopPrograms(dir string, names ...string) error {
	recorded, err := readProcesses(dir)
	if err != nil {
		return fmt.Errorf("stop the programs of %s: %w", dir, err)
	}
	var errs []error
	var left []Process
	for _, p := range slices.Backward(recorded) {
		if len(names) > 0 && !slices.Contains(names, p.Program) {
			left = append(left, p)
			continue
		}
		errs = append(errs, p.end(stopGrace))
	}
	slices.Reverse(left)
	return errors.Join(append(errs, writeJSON(filepath.Join(dir, processesFile), left))...)
}
