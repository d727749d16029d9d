package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// Programs of a control plane, by the names of their executables.
const (
	etcdProgram              = "etcd"
	apiServerProgram         = "kube-apiserver"
	controllerManagerProgram = "kube-controller-manager"
	schedulerProgram         = "kube-scheduler"
	kwokProgram              = "kwok"
)

// assetsVariable names the environment variable that controller-runtime's envtest reads for the same purpose.
const assetsVariable = "KUBEBUILDER_ASSETS"

// Assets is a folder with the programs of a control plane.
type Assets struct {
	Dir string
}

// MissingError says that a program which a control plane needs is missing, and how to get it.
type MissingError struct {
	Program string
	Dirs    []string // the folders that were searched
	Given   bool     // the folder was given by KUBEBUILDER_ASSETS
}

func (e *MissingError) Error() string {
	step := "build the control plane's programs with `make controlplane`"
	if e.Given {
		step = fmt.Sprintf("%s, and unset %s", step, assetsVariable)
	}
	return fmt.Sprintf("%s not found in %q: %s", e.Program, e.Dirs, step)
}

// FindAssets finds the folder with the control plane's programs: KUBEBUILDER_ASSETS when it is set; else bin/controlplane
// of the working directory or of a folder above it; else the running executable's own folder, or controlplane beside it.
//
// The folder has etcd and kube-apiserver at least. The error is a [MissingError].
func FindAssets() (Assets, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return firstComplete(true, dir)
	}
	var dirs []string
	if dir, err := os.Getwd(); err == nil {
		dirs = append(dirs, upward(dir)...)
	}
	if program, err := os.Executable(); err == nil {
		dir := filepath.Dir(program)
		dirs = append(dirs, dir, filepath.Join(dir, "controlplane"))
	}
	return firstComplete(false, dirs...)
}

// upward lists bin/controlplane of dir and of the folders above it, as far as the module that dir is in.
func upward(dir string) []string {
	var dirs []string
	for {
		dirs = append(dirs, filepath.Join(dir, "bin", "controlplane"))
		if exists(filepath.Join(dir, "go.mod")) || filepath.Dir(dir) == dir {
			return dirs
		}
		dir = filepath.Dir(dir)
	}
}

// firstComplete is the first folder that has the two programs; if none has both, the error names what the best one lacks.
func firstComplete(given bool, dirs ...string) (Assets, error) {
	missing := etcdProgram
	for _, dir := range dirs {
		if !exists(filepath.Join(dir, etcdProgram)) {
			continue
		}
		if exists(filepath.Join(dir, apiServerProgram)) {
			return Assets{Dir: dir}, nil
		}
		missing = apiServerProgram
	}
	return Assets{}, &MissingError{Program: missing, Dirs: dirs, Given: given}
}

// path is the executable of a program. The error is a [MissingError].
func (a Assets) path(program string) (string, error) {
	path, err := filepath.Abs(filepath.Join(a.Dir, program))
	if err != nil {
		return "", err
	}
	if !exists(path) {
		return "", &MissingError{Program: program, Dirs: []string{a.Dir}, Given: a.Dir == os.Getenv(assetsVariable)}
	}
	return path, nil
}

// require is nil when the folder has all of the programs.
func (a Assets) require(programs ...string) error {
	for _, program := range programs {
		if _, err := a.path(program); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
