package engine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/memo"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/ignore"
)

// loadedChart is a chart as it is in the repository, never changed: each render works on a copy.
type loadedChart struct {
	key      string
	defaults func() map[string]any // all values that it has of its own
	dir      string                // folder, or .tgz file, in the tree
	chart    *chart.Chart
	root     *chartPlace
	// usesCapabilities is true when a template, or a value that is rendered as one, could look at the cluster's version or APIs.
	usesCapabilities bool
	// orderRuns is how often it is rendered again to see whether it depends on the order of a Go map.
	orderRuns int
	size      int64
}

// chartPlace is where a chart and its subcharts are in the repository, by the name under which Helm speaks of them.
type chartPlace struct {
	path     string
	archive  bool
	children map[string]*chartPlace
}

// loadChart loads the chart at a path, once per content.
func (l *Local) loadChart(tree fleet.Tree, dir string, packed []string) (*loadedChart, error) {
	hash, err := tree.Hash(dir)
	if err != nil {
		return nil, fleet.Unreadable(dir, err)
	}
	key := memo.Digest("chart", dir, hash, strings.Join(packed, "\n"))
	return memo.Remember(l.memo, "chart", key, func() (*loadedChart, int64, error) {
		c, err := readChart(tree, dir, packed)
		if err != nil {
			return nil, 0, err
		}
		c.key = key
		return c, c.size, nil
	})
}

func readChart(tree fleet.Tree, dir string, packed []string) (*loadedChart, error) {
	c := &loadedChart{dir: dir, root: &chartPlace{path: dir}}
	var err error
	if IsArchive(dir) {
		c.root.archive = true
		err = c.loadArchive(tree)
	} else {
		err = c.loadFolder(tree, packed)
	}
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(c.chart.Metadata.Type, "library") {
		return nil, c.invalid("Chart.yaml", "a library chart cannot be delivered: name a chart that uses it")
	}
	if err := c.checkDependencies(tree, c.chart, c.root); err != nil {
		return nil, err
	}
	sortDependencies(c.chart)
	placeAliases(c.chart, c.root)
	c.defaults = sync.OnceValue(func() map[string]any { return defaultsOf(c.chart) })
	eachChart(c.chart, func(sub *chart.Chart) {
		c.orderRuns = max(c.orderRuns, orderRunsOf(sub))
		for _, file := range slices.Concat(sub.Templates, sub.Files) {
			c.usesCapabilities = c.usesCapabilities || bytes.Contains(file.Data, []byte("Capabilities"))
		}
	})
	return c, nil
}

func eachChart(c *chart.Chart, visit func(*chart.Chart)) {
	visit(c)
	for _, sub := range c.Dependencies() {
		eachChart(sub, visit)
	}
}

func (c *loadedChart) invalid(file, message string) fleet.Fault {
	return fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: c.file(file), Message: message}
}

// file gives the place in the repository of a file of the root chart.
func (c *loadedChart) file(name string) string {
	if c.root.archive {
		return c.dir
	}
	return path.Join(c.dir, name)
}

func (c *loadedChart) loadArchive(tree fleet.Tree) error {
	data, err := tree.ReadFile(c.dir)
	if err != nil {
		return fleet.Unreadable(c.dir, err)
	}
	files, err := archive.LoadArchiveFiles(bytes.NewReader(data))
	if err != nil {
		return c.invalid("", "the chart does not load: "+err.Error())
	}
	if c.chart, err = loader.LoadFiles(files); err != nil {
		return c.invalid("", "the chart does not load: "+err.Error())
	}
	c.size = int64(len(data)) * 20
	return nil
}

func (c *loadedChart) loadFolder(tree fleet.Tree, packed []string) error {
	rules := ignore.Empty()
	if !slices.Contains(packed, c.dir) {
		var err error
		if rules, err = ignoreRules(tree, c.dir); err != nil {
			return err
		}
	}
	w := chartWalk{tree: tree, dir: c.dir, rules: rules, packed: packed}
	if err := w.folder(".", 0); err != nil {
		return err
	}
	for _, file := range w.files {
		c.size += int64(len(file.Data))*3 + 256
		c.root.note(file)
	}
	var err error
	if c.chart, err = loader.LoadFiles(w.files); err != nil {
		return c.loadFault(err)
	}
	return nil
}

func ignoreRules(tree fleet.Tree, dir string) (*ignore.Rules, error) {
	rules := ignore.Empty()
	file := path.Join(dir, ignore.HelmIgnore)
	data, err := tree.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fleet.Unreadable(file, err)
	}
	if err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file, Message: err.Error(), Err: err}
		}
	}
	rules.AddDefaults()
	return rules, nil
}

// chartWalk collects the files of a chart as Helm's own loader does, from a Tree.
type chartWalk struct {
	tree  fleet.Tree
	dir   string
	rules *ignore.Rules
	// packed are folders in which nothing is ignored.
	packed []string
	files  []*archive.BufferedFile
}

// maxLinks is how many links to folders may be followed below each other: more is a circle.
const maxLinks = 8

func (w *chartWalk) folder(name string, links int) error {
	entries, err := w.tree.ReadDir(path.Join(w.dir, name))
	if err != nil {
		return fleet.Unreadable(path.Join(w.dir, name), err)
	}
	for _, entry := range entries {
		below := path.Join(name, entry.Name())
		if err := w.entry(below, entry, links); err != nil {
			return err
		}
	}
	return nil
}

func (w *chartWalk) entry(name string, entry fs.DirEntry, links int) error {
	full := path.Join(w.dir, name)
	info, err := fs.Stat(w.tree, full) // follows links
	if err != nil {
		return fleet.Unreadable(full, err)
	}
	isPacked := slices.ContainsFunc(w.packed, func(dir string) bool { return full == dir || strings.HasPrefix(full, dir+"/") })
	if !isPacked && w.rules.Ignore(name, info) {
		return nil
	}
	if info.IsDir() {
		if entry.Type()&fs.ModeSymlink != 0 {
			links++
		}
		if links > maxLinks {
			return fleet.Fault{Reason: fleet.ContentRefused, ActionRequiredBy: fleet.User, File: full, Message: "links to folders lead in a circle"}
		}
		return w.folder(name, links)
	}
	data, err := w.tree.ReadFile(full)
	if err != nil {
		return fleet.Unreadable(full, err)
	}
	w.files = append(w.files, &archive.BufferedFile{Name: name, Data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))})
	return nil
}

var (
	loadedFile = regexp.MustCompile(`cannot load (\S+):`)
	anyLine    = regexp.MustCompile(`line (\d+)`)
	chartName  = regexp.MustCompile(`(?m)^name:\s*["']?([^"'\s#]+)`)
)

// loadFault names the file and line of what Helm's loader could not load.
func (c *loadedChart) loadFault(err error) error {
	f := c.invalid("Chart.yaml", "the chart does not load: "+fleet.WithoutQuotes(err.Error()))
	if match := loadedFile.FindStringSubmatch(err.Error()); match != nil && !strings.Contains(err.Error(), "unpacking subchart") {
		f.File = c.file(match[1])
	}
	if match := anyLine.FindStringSubmatch(err.Error()); match != nil {
		f.Line, _ = strconv.Atoi(match[1])
	}
	return f
}

// note remembers where subcharts are, by reading the names out of their Chart.yaml.
func (p *chartPlace) note(file *archive.BufferedFile) {
	below, ok := strings.CutPrefix(file.Name, "charts/")
	if !ok {
		return
	}
	dirs := strings.Split(below, "/")
	if len(dirs) == 1 && strings.HasSuffix(below, ".tgz") {
		if c, err := loader.LoadArchive(bytes.NewReader(file.Data)); err == nil {
			p.add(c.Name(), &chartPlace{path: path.Join(p.path, file.Name), archive: true})
		}
		return
	}
	// charts/<folder>/[charts/<folder>/...]Chart.yaml
	parent := p
	for len(dirs) >= 2 {
		child := parent.child(path.Join(parent.path, "charts", dirs[0]))
		rest := dirs[1:]
		if len(rest) == 1 && rest[0] == "Chart.yaml" {
			if name := chartName.FindSubmatch(file.Data); name != nil {
				parent.add(string(name[1]), child)
			}
			return
		}
		if rest[0] != "charts" {
			return
		}
		parent, dirs = child, rest[1:]
	}
	if len(dirs) == 1 && strings.HasSuffix(dirs[0], ".tgz") {
		parent.note(&archive.BufferedFile{Name: "charts/" + dirs[0], Data: file.Data})
	}
}

func (p *chartPlace) add(name string, child *chartPlace) {
	if p.children == nil {
		p.children = map[string]*chartPlace{}
	}
	p.children[name] = child
}

// child finds or makes the place of a subchart by its folder; folders and names share the map, a name wins.
func (p *chartPlace) child(folder string) *chartPlace {
	for _, child := range p.children {
		if child.path == folder {
			return child
		}
	}
	child := &chartPlace{path: folder}
	p.add(path.Base(folder), child)
	return child
}

// locate turns a template's name, as Helm says it, into a file of the repository. inside is the rest of the name where the
// file is an archive.
func (c *loadedChart) locate(name string) (file, inside string) {
	_, rest, _ := strings.Cut(name, "/")
	place := c.root
	for !place.archive {
		below, ok := strings.CutPrefix(rest, "charts/")
		if !ok {
			break
		}
		sub, inner, _ := strings.Cut(below, "/")
		child := place.children[sub]
		if child == nil {
			break
		}
		place, rest = child, inner
	}
	if place.archive {
		return place.path, rest
	}
	return path.Join(place.path, rest), ""
}

// placeAliases makes subcharts findable by their aliases.
func placeAliases(c *chart.Chart, at *chartPlace) {
	for _, dependency := range c.Metadata.Dependencies {
		if child := at.children[dependency.Name]; child != nil && dependency.Alias != "" {
			at.add(dependency.Alias, child)
		}
	}
	for _, sub := range c.Dependencies() {
		if child := at.children[sub.Name()]; child != nil {
			placeAliases(sub, child)
		}
	}
}

// checkDependencies makes sure that charts/ holds what Chart.yaml lists. Nothing is fetched here.
func (c *loadedChart) checkDependencies(tree fleet.Tree, ch *chart.Chart, at *chartPlace) error {
	for _, want := range ch.Metadata.Dependencies {
		if want == nil {
			continue
		}
		version := ""
		for _, have := range ch.Dependencies() {
			if have.Name() == want.Name && (version == "" || chartutil.IsCompatibleRange(want.Version, have.Metadata.Version)) {
				version = have.Metadata.Version
			}
		}
		problem := ""
		switch {
		case version == "":
			problem = "is not in charts/"
		case !chartutil.IsCompatibleRange(want.Version, version):
			problem = fmt.Sprintf("is in charts/ with version %s, and Chart.yaml wants %s", version, want.Version)
		}
		if problem != "" {
			f := fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: at.path}
			f.Message = fmt.Sprintf("dependency %s %s: run `helm dependency update %s` and commit its charts/", want.Name, problem, c.dir)
			if !at.archive {
				f.File = path.Join(at.path, "Chart.yaml")
				f.Line = LineOfDependency(tree, f.File, want.Name)
			}
			return f
		}
	}
	for _, sub := range ch.Dependencies() {
		if child := at.children[sub.Name()]; child != nil && !child.archive {
			if err := c.checkDependencies(tree, sub, child); err != nil {
				return err
			}
		}
	}
	return nil
}

// LineOfDependency is the line of a Chart.yaml at which a dependency is listed; 0 when it is not.
func LineOfDependency(tree fleet.Tree, file, name string) int {
	data, err := tree.ReadFile(file)
	if err != nil {
		return 0
	}
	want := regexp.MustCompile(`^\s*(-\s*)?\{?\s*name:\s*["']?` + regexp.QuoteMeta(name) + `["']?\s*([,}#].*)?$`)
	_, list, _ := strings.Cut("\n"+string(data), "\ndependencies:")
	before := strings.Count("\n"+string(data), "\n") - strings.Count(list, "\n")
	for i, line := range strings.Split(list, "\n") {
		if want.MatchString(line) {
			return before + i
		}
	}
	return 0
}

// sortDependencies gives subcharts an order: Helm's loader has them in that of a map.
func sortDependencies(c *chart.Chart) {
	subs := slices.Clone(c.Dependencies())
	slices.SortFunc(subs, func(a, b *chart.Chart) int {
		return cmp.Or(strings.Compare(a.Name(), b.Name()), strings.Compare(a.Metadata.Version, b.Metadata.Version))
	})
	for _, sub := range subs {
		sortDependencies(sub)
	}
	c.SetDependencies(subs...)
}

// defaultsOf are a chart's own values with those of its subcharts below their names.
func defaultsOf(c *chart.Chart) map[string]any {
	values := map[string]any{}
	for _, sub := range c.Dependencies() {
		values[sub.Name()] = defaultsOf(sub)
	}
	fleet.MergeValues(values, c.Values, "", func(string, bool) {})
	return values
}

// packedFile reads a file of a chart that is an archive, for values files with the prefix chart:.
func (c *loadedChart) packedFile(name string) ([]byte, error) {
	for _, file := range c.chart.Raw {
		if file.Name == name {
			return file.Data, nil
		}
	}
	return nil, fs.ErrNotExist
}

// copyChart copies what Helm changes while it processes dependencies and values. Templates and files are shared.
func copyChart(c *chart.Chart) *chart.Chart {
	metadata := *c.Metadata
	metadata.Dependencies = make([]*chart.Dependency, 0, len(c.Metadata.Dependencies))
	for _, dependency := range c.Metadata.Dependencies {
		if dependency != nil {
			d := *dependency
			metadata.Dependencies = append(metadata.Dependencies, &d)
		}
	}
	if c.Metadata.Dependencies == nil {
		metadata.Dependencies = nil
	}
	fresh := &chart.Chart{Metadata: &metadata, Lock: c.Lock, Templates: c.Templates, Files: c.Files, Schema: c.Schema, Values: c.Values}
	if len(c.Dependencies()) > 0 { // imported values are merged into them
		fresh.Values, _ = fleet.CloneValue(c.Values).(map[string]any)
	}
	for _, sub := range c.Dependencies() {
		fresh.AddDependency(copyChart(sub))
	}
	return fresh
}
