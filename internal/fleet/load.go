package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	kjson "sigs.k8s.io/json"
)

// ConfigurationFile is the file at the root of a fleet repository that says where definitions are.
const ConfigurationFile = "muster.yaml"

// DefaultPaths are the definition roots of a repository that names none.
var DefaultPaths = []string{"clusters", "clustersets", "tenants", "clustervalues", "placements", "addons", "applications"}

// Load reads what a fleet repository defines.
//
// Only the definition roots are read. In them, a folder with a Chart.yaml or a kustomization file, and a folder that an
// Application's source names, is content and not descended into. A document without apiVersion and kind is data. A file that
// does not parse is a fault and leaves absence unproven; a document that names itself and is invalid counts as present. An
// error means that the tree could not be read at all.
func Load(ctx context.Context, tree Tree) (*Definitions, error) {
	l := loader{tree: tree, defs: &Definitions{Named: map[ObjectKey]bool{}, AbsenceProven: true}}
	roots := l.roots()
	for _, root := range roots {
		if err := l.walk(ctx, root); err != nil {
			return nil, err
		}
	}
	l.dropContent()
	l.keepDocuments()
	if len(l.defs.All) == 0 && len(l.defs.Faults) == 0 {
		l.absent(Fault{
			Reason: RepositoryEmpty, ActionRequiredBy: User, File: ConfigurationFile,
			Message: fmt.Sprintf("nothing is defined below %s: commit definitions there, or name their folders in spec.paths of %s",
				strings.Join(roots, ", "), ConfigurationFile),
		})
	}
	SortFaults(l.defs.Faults)
	return l.defs, nil
}

type loader struct {
	tree      Tree
	defs      *Definitions
	documents []document
	faults    []Fault // of documents that may turn out to be content
	broken    []brokenFile
	defaults  []applicationDefaults
	// unknownDefaults: there are some that cannot be read. No application is known without them.
	unknownDefaults bool
}

// absent records a fault that leaves absence unproven.
func (l *loader) absent(f Fault) {
	l.defs.AbsenceProven = false
	l.defs.Faults = append(l.defs.Faults, f)
}

// roots are the definition roots, from muster.yaml or by default.
func (l *loader) roots() []string {
	data, err := l.tree.ReadFile(ConfigurationFile)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultPaths
	}
	var config musterv1alpha1.FleetConfiguration
	if err == nil {
		err = readConfiguration(data, &config)
	}
	l.unknownDefaults = bytes.Contains(data, []byte("defaults:")) // until they are read
	if err != nil {
		f := Fault{Reason: FileMalformed, ActionRequiredBy: User, File: ConfigurationFile, Line: lineOf(err), Message: messageOf(err), Err: err}
		l.absent(f)
		return DefaultPaths
	}
	if config.Kind != "FleetConfiguration" || config.APIVersion != musterv1alpha1.GroupVersion.String() {
		l.absent(Fault{
			Reason: DefinitionInvalid, ActionRequiredBy: User, File: ConfigurationFile, Line: 1,
			Message: fmt.Sprintf("%s holds kind FleetConfiguration of %s", ConfigurationFile, musterv1alpha1.GroupVersion),
		})
		return DefaultPaths
	}
	l.readDefaults(data, config.Spec.Defaults)
	if len(config.Spec.Paths) == 0 {
		return DefaultPaths
	}
	var roots []string
	for _, p := range config.Spec.Paths {
		if clean := path.Clean(p); fs.ValidPath(clean) {
			roots = append(roots, clean)
			if _, err := l.tree.ReadDir(clean); err != nil {
				l.absent(Fault{Reason: FileUnreadable, ActionRequiredBy: User, File: ConfigurationFile,
					Message: fmt.Sprintf("spec.paths names %q, which is no folder of the repository", p), Err: err})
			}
			continue
		}
		l.absent(Fault{Reason: DefinitionInvalid, ActionRequiredBy: User, File: ConfigurationFile,
			Message: fmt.Sprintf("spec.paths names %q: a path is relative to the repository and stays inside", p)})
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}

// readConfiguration reads the one document of muster.yaml strictly.
func readConfiguration(data []byte, config *musterv1alpha1.FleetConfiguration) error {
	documents, err := ReadYAML(string(data))
	if err != nil {
		return err
	}
	if len(documents) != 1 {
		return &YAMLError{Line: 1, Message: fmt.Sprintf("holds %d documents: one FleetConfiguration is wanted", len(documents))}
	}
	y := documents[0]
	lines, twice, err := y.Lines()
	if err != nil {
		return err
	}
	if twice != "" {
		return &YAMLError{Line: lines[twice], Message: fmt.Sprintf("field %q is there twice: keep one", twice)}
	}
	problems, err := kjson.UnmarshalStrict(y.JSON, config)
	if err == nil && len(problems) > 0 {
		err = problems[0]
	}
	if err == nil {
		return nil
	}
	field := fieldIn(err)
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		field = m[1]
	}
	definition := Definition{Line: y.Line, lines: lines}
	return &YAMLError{Line: definition.LineOf(field), Message: strings.TrimPrefix(err.Error(), "json: ")}
}

// lineOf is the line of an error about YAML, 0 for another error.
func lineOf(err error) int {
	var y *YAMLError
	if errors.As(err, &y) {
		return y.Line
	}
	return 0
}

func messageOf(err error) string {
	var y *YAMLError
	if errors.As(err, &y) {
		return y.Message
	}
	return err.Error()
}

// walk reads the definition files below a folder, in the order of their names.
func (l *loader) walk(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := l.tree.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a default root that this repository does not have
	}
	if err != nil {
		l.absent(faultOf(err, Fault{Reason: FileUnreadable, ActionRequiredBy: User, File: dir}))
		return nil
	}
	if slices.ContainsFunc(entries, marksContent) {
		return nil
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case l.isFolder(name, entry):
			if err := l.walk(ctx, name); err != nil {
				return err
			}
		case isDefinitionFile(entry.Name()):
			l.read(name)
		}
	}
	return nil
}

func (l *loader) isFolder(name string, entry fs.DirEntry) bool {
	if entry.Type()&fs.ModeSymlink == 0 {
		return entry.IsDir()
	}
	_, err := l.tree.ReadDir(name)
	return err == nil
}

func marksContent(entry fs.DirEntry) bool {
	switch entry.Name() {
	case "Chart.yaml", "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}

func isDefinitionFile(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (l *loader) read(file string) {
	data, err := l.tree.ReadFile(file)
	if err != nil {
		l.faults = append(l.faults, faultOf(err, Fault{Reason: FileUnreadable, ActionRequiredBy: User, File: file}))
		return
	}
	documents, err := parseFile(file, data)
	l.documents = append(l.documents, documents...)
	if err != nil || slices.ContainsFunc(documents, func(d document) bool { return d.err != nil }) {
		l.broken = append(l.broken, brokenFile{file, sourcesIn(data)})
	}
	if err != nil {
		l.faults = append(l.faults, Fault{
			Reason: FileMalformed, ActionRequiredBy: User, File: file, Line: lineOf(err),
			Message: messageOf(err) + "; nothing is pruned until the file can be read", Err: err,
		})
	}
}

// brokenFile is one of which some document cannot be read. It may be an application's.
type brokenFile struct {
	file string
	// sources are what look like an application's source.path in its text.
	sources []string
}

var sourceLine = regexp.MustCompile(`(?m)\bpath:\s*["']?([^\s"'#,{}]+)`)

func sourcesIn(data []byte) []string {
	var found []string
	for _, m := range sourceLine.FindAllSubmatch(data, -1) {
		found = append(found, path.Clean(string(m[1])))
	}
	return found
}

// quarantined: what lies in the folders that a broken file may name as its content, or below the broken file's own folder,
// may be content. Were it taken for definitions, a slip in an application's file would apply its manifests to the hub.
func (l *loader) quarantined(file string) bool {
	for _, b := range l.broken {
		folder := path.Dir(b.file)
		if path.Dir(file) != folder && within(file, folder) {
			return true
		}
		for _, source := range b.sources {
			if within(file, source) {
				return true
			}
		}
	}
	return false
}

// dropContent forgets what lies in folders that applications name as their source: it is content and no definition.
func (l *loader) dropContent() {
	sources := map[string]bool{}
	for _, d := range l.documents {
		for _, source := range d.sources() {
			sources[source] = true
			if within(d.file, source) {
				l.defs.Faults = append(l.defs.Faults, d.fault("spec.source.path",
					fmt.Sprintf("the source %q holds the application's own file: put the content into a folder of its own", source)))
				delete(sources, source)
			}
		}
	}
	isContent := func(file string) bool {
		for source := range sources {
			if within(file, source) {
				return true
			}
		}
		return false
	}
	l.documents = slices.DeleteFunc(l.documents, func(d document) bool { return isContent(d.file) || l.quarantined(d.file) })
	for _, f := range l.faults {
		if !isContent(f.File) {
			l.absent(f)
		}
	}
}

func within(file, folder string) bool {
	return file == folder || strings.HasPrefix(file, folder+"/")
}

// keepDocuments turns documents into definitions, and what is wrong with them into faults.
func (l *loader) keepDocuments() {
	var list []ranked
	for _, d := range l.documents {
		defaulted := l.applyDefaults(&d)
		definition, rank, err := d.definition()
		definition.defaulted = defaulted
		l.nameObjects(&d, definition.Key)
		if err == nil && l.unknownDefaults && definition.Key.Kind == "Application" {
			err = d.fault("", "its defaults are not known: "+ConfigurationFile+" cannot be read; what was delivered stays")
		}
		if err != nil {
			fault, _ := AsFault(err)
			if !named(definition.Key) || d.ambiguous() {
				l.defs.AbsenceProven = false // it may be any object
			}
			l.defs.Faults = append(l.defs.Faults, fault)
			continue
		}
		list = append(list, ranked{definition, rank})
		if own := ownPlacement(&definition); own != nil {
			_, rank, _ := kindOf(clusterv1beta1.GroupVersion.WithKind("Placement"))
			list = append(list, ranked{*own, rank})
		}
	}
	list = l.once(list)
	slices.SortStableFunc(list, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(a.rank, b.rank),
			cmp.Compare(a.Key.Namespace, b.Key.Namespace),
			cmp.Compare(a.Key.Name, b.Key.Name),
		)
	})
	for _, d := range list {
		l.defs.All = append(l.defs.All, d.Definition)
	}
}

// ranked is a definition with the rank of its kind.
type ranked struct {
	Definition
	rank int
}

// nameObjects notes which objects a document names, whether it is valid or not.
func (l *loader) nameObjects(d *document, key ObjectKey) {
	if key.Kind != "" {
		l.defs.Named[key.Identity()] = true
	}
	if d.hasOwnPlacement() {
		l.defs.Named[ownPlacementKey(key).Identity()] = true
	}
}

// once leaves out the objects that are defined more than once, with a fault for each definition.
func (l *loader) once(list []ranked) []ranked {
	seen := map[ObjectKey][]int{}
	for i, d := range list {
		seen[d.Key.Identity()] = append(seen[d.Key.Identity()], i)
	}
	for i, d := range list {
		if same := seen[d.Key.Identity()]; len(same) > 1 {
			other := list[same[0]]
			if i == same[0] {
				other = list[same[1]]
			}
			l.defs.Faults = append(l.defs.Faults, Fault{
				Reason: DefinitionTwice, ActionRequiredBy: User, File: d.File, Line: d.Line, Object: d.Key.String(),
				Message: fmt.Sprintf("also defined in %s:%d: keep one of them", other.File, other.Line),
			})
			list[i].Object = nil
		}
	}
	return slices.DeleteFunc(list, func(d ranked) bool { return d.Object == nil })
}

// named: a document that is invalid still says which object it is: kind, name and, where the kind has one, namespace.
func named(k ObjectKey) bool {
	if k.Kind == "" || k.Name == "" {
		return false
	}
	for _, kind := range Kinds {
		if kind.Group == k.Group && kind.Kind == k.Kind {
			return kind.Namespaced == (k.Namespace != "")
		}
	}
	return true // no kind of ours: nothing on the hub could be pruned for it
}

// faultOf keeps the fault that an error carries, or makes one of it; the place is filled in if the fault has none.
func faultOf(err error, at Fault) Fault {
	if f, ok := AsFault(err); ok {
		f.File = cmp.Or(f.File, at.File)
		return f
	}
	at.Message, at.Err = err.Error(), err
	return at
}
