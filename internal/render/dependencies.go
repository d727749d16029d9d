package render

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
	"github.com/muster-io/muster/internal/render/memo"
)

// exactVersion is a version and no range.
var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+([-+].*)?$`)

// dependency is one of a chart's, as Chart.yaml and Chart.lock write it.
type dependency struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Repository string `json:"repository"`
}

// dependencies finds what charts list in Chart.yaml and do not hold in charts/: beside the chart, where the repository is
// file://, else among the sources, in the version of Chart.lock. Charts are rendered as if it were in charts/.
type dependencies struct {
	in       Input
	resolved *Resolved
	expanded *int // how many charts were put into others so far
}

// The bounds of what is put into a chart: two charts that name two each, and so on, are many soon.
const (
	maxDependencies    = 200
	maxDependencyDepth = 16
)

// complete gives the tree with what a chart in it lacks, and the folders that were archives; the tree is nil if it lacks nothing.
// Above are the charts that want this one.
func (d dependencies) complete(tree fleet.Tree, dir string, above []string) (fleet.Tree, []string, error) {
	missing, err := d.missing(tree, dir)
	if err != nil || len(missing) == 0 {
		return nil, nil, err
	}
	trees := map[string]fleet.Tree{}
	var packed []string
	for _, want := range missing {
		key := want.Repository + " " + want.Name
		if i := slices.Index(above, key); i >= 0 {
			return nil, nil, d.wrong(tree, dir, want, "leads back to itself: "+strings.Join(append(above[i:], key), ", "))
		}
		if *d.expanded++; *d.expanded > maxDependencies || len(above) == maxDependencyDepth {
			return nil, nil, d.wrong(tree, dir, want, fmt.Sprintf("is one too many: %d charts are put into one, %d in one another; vendor them with `helm dependency build`, or name fewer", maxDependencies, maxDependencyDepth))
		}
		found, at, isPacked, err := d.find(tree, dir, want)
		if err != nil {
			return nil, nil, err
		}
		whole, below, err := d.complete(found, at, append(slices.Clone(above), key))
		if err != nil {
			return nil, nil, err
		}
		if whole != nil {
			found = whole
		}
		folder := path.Join(dir, "charts", want.Name+"-"+want.Version)
		trees[folder] = fleet.Sub(found, at)
		if isPacked {
			packed = append(packed, folder)
		}
		for _, name := range below {
			packed = append(packed, path.Join(folder, strings.TrimPrefix(name, at+"/")))
		}
	}
	return fleet.Overlaid(tree, trees), packed, nil
}

// missing are those that a chart lists and does not hold, in the versions of its lock.
func (d dependencies) missing(tree fleet.Tree, dir string) ([]dependency, error) {
	wanted, err := d.listed(tree, path.Join(dir, "Chart.yaml"))
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	held, err := tree.ReadDir(path.Join(dir, "charts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fleet.Unreadable(path.Join(dir, "charts"), err)
	}
	locked, err := d.listed(tree, path.Join(dir, "Chart.lock"))
	if err != nil {
		return nil, err
	}
	var missing []dependency
	for _, want := range wanted {
		isHeld := slices.ContainsFunc(held, func(e fs.DirEntry) bool {
			return e.Name() == want.Name || strings.HasPrefix(e.Name(), want.Name+"-") && strings.HasSuffix(e.Name(), ".tgz")
		})
		if isHeld || want.Name == "" || want.Repository == "" {
			continue // what is not there is said when the chart is loaded
		}
		for _, lock := range locked {
			if lock.Name == want.Name && lock.Repository == want.Repository {
				want.Version = lock.Version
			}
		}
		if !slices.Contains(missing, want) { // one chart under two aliases
			missing = append(missing, want)
		}
	}
	return missing, nil
}

// listed are the dependencies in a file, which each cluster asks for.
func (d dependencies) listed(tree fleet.Tree, file string) ([]dependency, error) {
	hash, err := tree.Hash(file)
	if d.in.memo == nil || err != nil {
		return dependenciesIn(tree, file)
	}
	return memo.Remember(d.in.memo, "dependencies", hash, func() ([]dependency, int64, error) {
		list, err := dependenciesIn(tree, file)
		return list, int64(len(list)) * 256, err
	})
}

func dependenciesIn(tree fleet.Tree, file string) ([]dependency, error) {
	data, err := tree.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fleet.Unreadable(file, err)
	}
	var list struct {
		Dependencies []dependency `json:"dependencies"`
	}
	if err := fleet.UnmarshalYAML(data, &list); err != nil {
		return nil, nil //nolint:nilerr // who loads the chart says what is wrong with the file
	}
	return list.Dependencies, nil
}

// find gives the tree that a dependency is in, where in it, and whether it was an archive.
func (d dependencies) find(tree fleet.Tree, dir string, want dependency) (fleet.Tree, string, bool, error) {
	if beside, ok := strings.CutPrefix(want.Repository, "file://"); ok {
		at, err := inTree(path.Join(dir, beside))
		if err != nil {
			return nil, "", false, d.wrong(tree, dir, want, "is at "+want.Repository+", which leads out of the repository")
		}
		if !engine.IsChart(tree, at) {
			return nil, "", false, d.wrong(tree, dir, want, "is at "+want.Repository+", and there is no Chart.yaml: correct the path")
		}
		return tree, at, false, nil
	}
	address, err := url.Parse(want.Repository)
	if err != nil || !slices.Contains([]string{"http", "https", "oci"}, address.Scheme) {
		return nil, "", false, d.wrong(tree, dir, want, "is of "+want.Repository+", a name that only one machine knows: write the address of the repository")
	}
	if !exactVersion.MatchString(want.Version) {
		return nil, "", false, d.wrong(tree, dir, want, fmt.Sprintf("is wanted in the range %q, and no Chart.lock says which version: run `helm dependency update %s` and commit Chart.lock", want.Version, dir))
	}
	chart := &musterv1alpha1.ChartSource{Repo: want.Repository, Name: want.Name, Version: want.Version}
	chart.SecretRef, chart.Insecure = d.sameHost(address.Host)
	found, err := d.resolved.find(d.in, fleet.ReferenceOf(d.in.Application.Namespace, musterv1alpha1.Source{Chart: chart}))
	if err != nil {
		f, ok := fleet.AsFault(fleet.Fail(fleet.SourceUnavailable, err))
		if !ok {
			return nil, "", false, err
		}
		f.File = path.Join(dir, "Chart.yaml")
		f.Line, f.Message = engine.LineOfDependency(tree, f.File, want.Name), "dependency "+want.Name+": "+f.Message
		return nil, "", false, f
	}
	return found.Tree, ".", true, nil
}

// sameHost gives the Secret and the insecurity of the application's own source, if that is on the same host.
func (d dependencies) sameHost(host string) (*musterv1alpha1.LocalReference, bool) {
	own := d.resolved.Reference()
	if own == nil || own.Chart == nil {
		return nil, false
	}
	if u, err := url.Parse(own.Chart.Repo); err != nil || u.Host != host {
		return nil, false
	}
	return own.Chart.SecretRef, own.Chart.Insecure
}

func (d dependencies) wrong(tree fleet.Tree, dir string, want dependency, message string) error {
	file := path.Join(dir, "Chart.yaml")
	return fleet.Fault{
		Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Line: engine.LineOfDependency(tree, file, want.Name),
		Message: "dependency " + want.Name + " " + message,
	}
}
