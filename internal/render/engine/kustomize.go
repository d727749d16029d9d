package engine

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/muster-io/muster/internal/fleet"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// kustomizing is held while Kustomize runs: it keeps the OpenAPI schema of the build in a global.
var kustomizing sync.Mutex

// kustomize runs an overlay on a view of the tree: nothing is fetched, executed or read from a disk.
func kustomize(files *treeFiles, dir string) (objects []Object, err error) {
	defer func() {
		if r := recover(); r != nil {
			objects, err = nil, fleet.Fault{Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: dir, Message: "the overlay does not render: Kustomize gave up"}
		}
	}()
	resources, err := runKustomize(files, dir)
	if files.refused != nil {
		return nil, files.refused
	}
	if err != nil {
		return nil, files.fault(dir, err)
	}
	for _, resource := range resources.Resources() {
		file := originOf(dir, resource.GetAnnotations()[originAnnotation])
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, object{file: file}.invalid("cannot be written as JSON")
		}
		found, err := readJSON(file, 0, data)
		if err != nil {
			return nil, err
		}
		for i := range found {
			if files.addedOrigins {
				dropAnnotation(found[i].value, originAnnotation)
			}
		}
		written, err := writeAll(found)
		if err != nil {
			return nil, err
		}
		objects = append(objects, written...)
	}
	return objects, nil
}

func runKustomize(files *treeFiles, dir string) (resmap.ResMap, error) {
	kustomizing.Lock()
	defer kustomizing.Unlock() // also when Kustomize panics
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone // the tree is the restriction
	return krusty.MakeKustomizer(options).Run(files, "/"+dir)
}

// originAnnotation is where Kustomize writes the file that an object came from.
const originAnnotation = "config.kubernetes.io/origin"

// originOf gives the file of an object in the tree.
func originOf(dir, annotation string) string {
	var origin struct {
		Path         string `json:"path"`
		ConfiguredIn string `json:"configuredIn"`
	}
	if err := yaml.Unmarshal([]byte(annotation), &origin); err != nil {
		return dir
	}
	if origin.Path != "" {
		return path.Join(dir, origin.Path)
	}
	return path.Join(dir, origin.ConfiguredIn)
}

func dropAnnotation(value map[string]any, name string) {
	metadata, _ := value["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	delete(annotations, name)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}

// complaint is something that Kustomize says, and how it is said here: $1 and so on are what was found, which is never a value.
type complaint struct {
	found *regexp.Regexp
	says  string
}

// complaints are all that is passed on of what Kustomize says. It quotes what it reads, values of Secrets among it, and not
// always in quotation marks: what is not known to be harmless is not shown.
var complaints = sync.OnceValue(func() []complaint {
	return []complaint{
		{regexp.MustCompile(`json: unknown field "([A-Za-z]{1,40})"`), "the kustomization has no field $1"},
		{regexp.MustCompile(`cannot unmarshal \w+ into Go struct field \w+\.([A-Za-z.]{1,80}) of type`), "field $1 of the kustomization has another type"},
		{regexp.MustCompile(`invalid literal source`), "a literal of a generator is not key=value"},
		{regexp.MustCompile(`invalid utf8 bytes`), "an env file of a generator is not UTF-8"},
		{regexp.MustCompile(`(?s)loading KV pairs: .*file does not exist`), "a file of a generator is not there"},
		{regexp.MustCompile(`file sources?: `), "a file of a generator is neither name nor key=name, or is a folder"},
		{regexp.MustCompile(`illegally repeats the key`), "a generator repeats a key"},
		{regexp.MustCompile(`cycle (?:detected|not allowed)|cycle: candidate root`), "the overlays lead back to themselves"},
		{regexp.MustCompile(`may not add resource with an already registered id: ([\w./~:\[\]-]{1,200})`), "two resources are $1"},
		{regexp.MustCompile(`no (?:matches for Id|resource matches strategic merge patch) "?([\w./~:\[\]-]{1,200})`), "a patch is for $1, and no resource is that"},
		{regexp.MustCompile(`unable to find patch target|failed to find unique target for patch`), "a patch has no target, or several"},
		{regexp.MustCompile(`options\.index \d+ is out of bounds`), "options.index of a replacement is out of bounds"},
		{regexp.MustCompile(`nothing selected by`), "a replacement selects nothing"},
		{regexp.MustCompile(`fieldPath .*(?:is missing|not found)|unable to find field`), "a replacement names a field that is not there"},
		{regexp.MustCompile(`wrong [Nn]ode [Kk]ind`), "a patch or a replacement expects a field of another type"},
		{regexp.MustCompile(`missing metadata\.name`), "a resource has no metadata.name"},
		{regexp.MustCompile(`missing (?:kind|Kind)|kind must be specified`), "a resource has no kind"},
		{regexp.MustCompile(`missing Resource metadata`), "a resource has neither kind nor metadata"},
		{regexp.MustCompile(`does not apply|doc is missing`), "a JSON patch does not apply: a path of it is not there"},
		{regexp.MustCompile(`var '.*cannot be mapped`), "a var refers to no resource"},
		{regexp.MustCompile(`external plugins disabled`), "it wants a plug-in, and external plugins disabled is how overlays are built here"},
		{regexp.MustCompile(`^kustomization\S* is empty`), "the kustomization is empty"},
		{regexp.MustCompile(`(?:^|: )yaml: line (\d+)`), "a file is not valid YAML (line $1)"},
		{regexp.MustCompile(`(?:^|: )yaml: |MalformedYAMLError`), "a file is not valid YAML"},
		{regexp.MustCompile(`open ([\w./@+-]{1,200}): file does not exist`), "$1 is not there"},
		{regexp.MustCompile(`no such file or directory|doesn't exist|file does not exist|must build at directory`), "a file or folder that it names is not there"},
		{regexp.MustCompile(`(?:trouble configuring builtin|unable to load builtin) (\w{1,40})`), "what it says for $1 is wrong"},
	}
})

// fault says what Kustomize refuses, and names the file that its error speaks of.
func (t *treeFiles) fault(dir string, err error) error {
	if len(t.absent) > 0 {
		return t.absent[0]
	}
	text := err.Error()
	file := dir
	for _, name := range KustomizationFiles {
		if hasAny(t.tree, dir, name) {
			file = path.Join(dir, name)
		}
	}
	for _, name := range slices.Backward(t.order) {
		if !slices.Contains(KustomizationFiles, path.Base(name)) && strings.Contains(text, path.Base(name)) {
			file = name
			break
		}
	}
	says := "Kustomize refuses it"
	for _, c := range complaints() {
		if match := c.found.FindStringSubmatchIndex(text); match != nil {
			says = string(c.found.ExpandString(nil, c.says, text, match))
			break
		}
	}
	return fleet.Fault{
		Reason: fleet.RenderFailed, ActionRequiredBy: fleet.User, File: file,
		Message: fmt.Sprintf("the overlay does not render: %s (kustomize build %s says it in its own words, which may quote values)", says, dir),
	}
}
