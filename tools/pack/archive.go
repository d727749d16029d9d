package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// archives packs the programs of each platform: a zip for Windows, else a compressed tar.
func (r release) archives() error {
	platforms, err := os.ReadDir(r.programs)
	if err != nil {
		return err
	}
	license, err := os.ReadFile(r.license)
	if err != nil {
		return err
	}
	for _, platform := range platforms {
		files := tree{"LICENSE": {license, 0o644}}
		programs, err := os.ReadDir(filepath.Join(r.programs, platform.Name()))
		if err != nil {
			return err
		}
		for _, p := range programs {
			data, err := os.ReadFile(filepath.Join(r.programs, platform.Name(), p.Name()))
			if err != nil {
				return err
			}
			files[p.Name()] = file{data, 0o755}
			if base, isCLI := strings.CutPrefix(p.Name(), "muster"); isCLI && (base == "" || base == ".exe") {
				files["kubectl-muster"+base] = file{data, 0o755} // a plug-in: kubectl muster status
				files["kubectl_complete-muster"] = file{[]byte("#!/bin/sh\n# kubectl asks this for the words that complete a command of the plug-in.\nexec kubectl-muster __complete \"$@\"\n"), 0o755}
			}
		}
		name, pack := "muster_"+r.version+"_"+platform.Name()+".tar.gz", files.tarball
		if strings.HasPrefix(platform.Name(), "windows") {
			name, pack = strings.TrimSuffix(name, ".tar.gz")+".zip", files.zip
		}
		data, err := pack(r.time)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.out, name), data, 0o644); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

var versionLine = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// packCharts packs each chart as `helm package --version --app-version` does, with files in one order and of one time.
func (r release) packCharts() error {
	entries, err := os.ReadDir(r.charts)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(r.charts, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err != nil {
			continue
		}
		files := tree{}
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			if filepath.Base(name) == "Chart.yaml" {
				data = versionLine.ReplaceAll(data, []byte("$1: "+r.version))
			}
			inside, relErr := filepath.Rel(r.charts, name)
			files[filepath.ToSlash(inside)] = file{data, 0o644}
			return errors.Join(err, relErr)
		})
		if err != nil {
			return err
		}
		data, err := files.tarball(r.time)
		if err != nil {
			return err
		}
		name := e.Name() + "-" + r.version + ".tgz"
		if err := os.WriteFile(filepath.Join(r.out, name), data, 0o644); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

// sums writes the SHA-256 of every file of a folder.
func (r release) sums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		if e.IsDir() || e.Name() == "SHA256SUMS" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), e.Name()))
	}
	slices.Sort(lines)
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}
