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
	usesLock := false
	for _, want := range wanted {
		isHeld := slices.ContainsFunc(held, func(e fs.DirEntry) bool {
			return e.Name() == want.Name || isArchiveOf(e.Name(), want.Name)
		})
		if isHeld || want.Name == "" || want.Repository == "" {
			continue // what is not there is said when the chart is loaded
		}
		for _, lock := range locked {
			if lock.Name == want.Name && lock.Repository == want.Repository {
				want.Version, usesLock = lock.Version, true
			}
		}
		if !slices.Contains(missing, want) { // one chart under two aliases
			missing = append(missing, want)
		}
	}
	if usesLock {
		err = d.checkLock(tree, dir)
	}
	return missing, err
}

// checkLock makes sure that the lock of a chart is that of its Chart.yaml.
func (d dependencies) checkLock(tree fleet.Tree, dir string) error {
	file, lock := path.Join(dir, "Chart.yaml"), path.Join(dir, "Chart.lock")
	check := func() (string, int64, error) {
		manifest, err := tree.ReadFile(file)
		if err != nil {
			return "", 0, fleet.Unreadable(file, err)
		}
		locked, err := tree.ReadFile(lock)
		if err != nil {
			return "", 0, fleet.Unreadable(lock, err)
		}
		return engine.LockProblem(manifest, locked), 64, nil
	}
	hash, err := tree.Hash(file)
	hashOfLock, lockErr := tree.Hash(lock)
	var problem string
	if d.in.memo == nil || err != nil || lockErr != nil {
		problem, _, err = check()
	} else {
		problem, err = memo.Remember(d.in.memo, "lock", memo.Digest(hash, hashOfLock), check)
	}
	if err != nil || problem == "" {
		return err
	}
	return fleet.Fault{
		Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: lock,
		Message: fmt.Sprintf("Chart.lock %s: run `helm dependency update %s` and commit Chart.lock", problem, dir),
	}
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
	d.open(chart, address)
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

// open says with what a chart is fetched: with what the application says of its repository, else, on the same host as the application's own
// chart, with the Secret and the insecurity of that.
func (d dependencies) open(chart *musterv1alpha1.ChartSource, address *url.URL) {
	longest := 0
	for _, r := range d.resolved.Application.Spec.ChartRepositories {
		if n := coverage(r.URL, address); n > longest {
			longest = n
			chart.SecretRef, chart.Verify, chart.Insecure = r.SecretRef, r.Verify, r.Insecure
		}
	}
	own := d.resolved.Reference()
	if longest > 0 || own == nil || own.Chart == nil {
		return
	}
	if u, err := url.Parse(own.Chart.Repo); err == nil && u.Host == address.Host {
		chart.SecretRef, chart.Insecure = own.Chart.SecretRef, own.Chart.Insecure
	}
}

// coverage is how long the path is of an address that another one is at or below; 0 if it is not.
func coverage(of string, address *url.URL) int {
	u, err := url.Parse(of)
	if err != nil || u.Scheme != address.Scheme || u.Host != address.Host {
		return 0
	}
	folder, at := path.Clean("/"+u.Path), path.Clean("/"+address.Path)
	if folder != "/" && at != folder && !strings.HasPrefix(at, folder+"/") {
		return 0
	}
	return len(folder)
}

func (d dependencies) wrong(tree fleet.Tree, dir string, want dependency, message string) error {
	file := path.Join(dir, "Chart.yaml")
	return fleet.Fault{
		Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Line: engine.LineOfDependency(tree, file, want.Name),
		Message: "dependency " + want.Name + " " + message,
	}
}

// archiveVersion begins what stands after a chart's name in the name of its archive.
var archiveVersion = regexp.MustCompile(`^v?\d`)

// isArchiveOf says whether a file is the archive of a chart in some version: NAME-VERSION.tgz. redis-cluster-1.0.0.tgz is none of redis.
func isArchiveOf(file, chart string) bool {
	version, ok := strings.CutPrefix(file, chart+"-")
	return ok && strings.HasSuffix(file, ".tgz") && archiveVersion.MatchString(version)
}
