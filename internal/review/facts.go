package review

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
)

// What policies read. The names are API: docs/review.md lists them.
type (
	clusterFacts struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	}
	// onCluster is one application on one cluster: what it gets there, and what it has there.
	onCluster struct {
		clusterFacts
		Edit         string   `json:"edit"` // Gained, Updated, Lost, Kept
		Images       []string `json:"images"`
		ImagesBefore []string `json:"imagesBefore"`
	}
	objectFacts struct {
		Application string `json:"application"`
		Edit        string `json:"edit"` // Added, Changed, Removed, HandedOver
		Group       string `json:"group"`
		Version     string `json:"version"`
		Kind        string `json:"kind"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Clusters    int    `json:"clusters"`
	}
	applicationFacts struct {
		Namespace string        `json:"namespace"`
		Name      string        `json:"name"`
		Edit      string        `json:"edit"`
		File      string        `json:"file"`
		Gained    []string      `json:"gained"`
		Lost      []string      `json:"lost"`
		Updated   []string      `json:"updated"`
		Clusters  []onCluster   `json:"clusters"`
		Objects   []objectFacts `json:"objects"`
		Images    []string      `json:"images"`
	}
	definitionFacts struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Edit      string `json:"edit"`
		File      string `json:"file"`
	}
	planFacts struct {
		Applications   []*applicationFacts `json:"applications"`
		Definitions    []definitionFacts   `json:"definitions"`
		Objects        []objectFacts       `json:"objects"`
		Clusters       []clusterFacts      `json:"clusters"` // that the change touches
		Images         []string            `json:"images"`
		Namespaces     []string            `json:"namespaces"`
		Gained         int                 `json:"gained"`
		Lost           int                 `json:"lost"`
		Updated        int                 `json:"updated"`
		DeletedObjects int                 `json:"deletedObjects"`
		Held           int                 `json:"held"`
		Faults         int                 `json:"faults"`
	}
)

// factsOf are the variables of policies.
func (in Input) factsOf(d *plan.Difference) (map[string]any, error) {
	base, head := in.Base, in.Head
	labels := map[string]map[string]string{}
	all := []clusterFacts{}
	for _, p := range []*plan.Plan{base, head} { // of a cluster in both, as the head changes it
		for i := range p.World.Clusters {
			labels[p.World.Clusters[i].Name] = nonNil(p.World.Clusters[i].Labels)
		}
	}
	visible := in.visible()
	for i := range head.World.Clusters {
		if visible != nil && !visible[head.World.Clusters[i].Name] {
			continue
		}
		all = append(all, clusterFacts{head.World.Clusters[i].Name, labels[head.World.Clusters[i].Name]})
	}
	s := d.Summary
	f := &planFacts{
		Applications: []*applicationFacts{}, Definitions: []definitionFacts{}, Objects: []objectFacts{}, Clusters: []clusterFacts{},
		Gained: s.Gained, Lost: s.Lost, Updated: s.Updated, DeletedObjects: s.DeletedObjects, Held: s.Held, Faults: s.NewFaults,
	}
	for _, x := range d.Definitions {
		f.Definitions = append(f.Definitions, definitionFacts{x.Object.Kind, x.Object.Namespace, x.Object.Name, string(x.Edit), x.File})
	}
	for _, x := range d.Placements {
		namespace, name, _ := strings.Cut(x.Placement, "/")
		f.Definitions = append(f.Definitions, definitionFacts{"Placement", namespace, name, string(x.Edit), x.File})
	}
	images, namespaces, touched := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range d.Applications {
		one, err := applicationOf(base, head, &d.Applications[i], labels)
		if err != nil {
			return nil, err
		}
		f.Applications = append(f.Applications, one)
		f.Objects = append(f.Objects, one.Objects...)
		for _, c := range slices.Concat(one.Gained, one.Lost, one.Updated) {
			touched[c] = true
		}
		for _, image := range one.Images {
			images[image] = true
		}
		for _, o := range one.Objects {
			if o.Namespace != "" {
				namespaces[o.Namespace] = true
			}
		}
	}
	for _, name := range sorted(touched) {
		f.Clusters = append(f.Clusters, clusterFacts{name, nonNil(labels[name])})
	}
	f.Images, f.Namespaces = sorted(images), sorted(namespaces)
	return map[string]any{"plan": f, "clusters": all}, nil
}

// visible are the clusters that a tenant's policies may know of: those of the sets that are bound to the namespaces of its placements
// and applications. Nil is all of them.
func (in Input) visible() map[string]bool {
	if !in.Tenant {
		return nil
	}
	names := map[string]bool{}
	for _, p := range in.Head.Placements {
		for _, d := range p.Result.Decisions {
			names[d.Cluster] = true
		}
	}
	for _, a := range in.Head.Applications {
		for _, d := range a.Decisions {
			names[d.Cluster] = true
		}
	}
	return names
}

// applicationOf are the facts of one application that changes.
func applicationOf(base, head *plan.Plan, d *plan.ApplicationDifference, labels map[string]map[string]string) (*applicationFacts, error) {
	namespace, name, _ := strings.Cut(d.Application, "/")
	f := &applicationFacts{
		Namespace: namespace, Name: name, Edit: string(d.Edit), File: d.File, Clusters: []onCluster{}, Objects: []objectFacts{},
		Gained: clustersOf(d.Gained), Lost: clustersOf(d.Lost), Updated: []string{},
	}
	for _, g := range d.Changes {
		f.Updated = append(f.Updated, g.Clusters...)
		for _, o := range g.Objects {
			f.Objects = append(f.Objects, objectOf(d.Application, o.Object, string(o.Edit), len(g.Clusters)))
		}
	}
	slices.Sort(f.Updated)
	was, is := base.Find(d.Application), head.Find(d.Application)
	if d.RenamedFrom != "" {
		was = base.Find(d.RenamedFrom)
	}
	before, err := contentsOf(was)
	if err != nil {
		return nil, err
	}
	after, err := contentsOf(is)
	if err != nil {
		return nil, err
	}
	edits := map[string]string{}
	for edit, names := range map[string][]string{"Gained": f.Gained, "Lost": f.Lost, "Updated": f.Updated} {
		for _, c := range names {
			edits[c] = edit
		}
	}
	images := map[string]bool{}
	gains := map[*content]int{}
	for _, c := range slices.Sorted(maps.Keys(union(before, after))) {
		edit := edits[c]
		if edit == "" {
			edit = "Kept"
		}
		on := onCluster{clusterFacts{c, nonNil(labels[c])}, edit, after[c].listImages(), before[c].listImages()}
		f.Clusters = append(f.Clusters, on)
		if edit == "Gained" && after[c] != nil {
			gains[after[c]]++
		}
		if edit == "Gained" || edit == "Updated" {
			for _, image := range on.Images {
				images[image] = true
			}
		}
	}
	f.Objects = append(f.Objects, gained(d.Application, gains)...)
	f.Images = sorted(images)
	return f, nil
}

// gained are the objects that clusters get with an application that is new to them, each once.
func gained(application string, gains map[*content]int) []objectFacts {
	clusters := map[fleet.ObjectKey]int{}
	for c, n := range gains {
		for _, key := range c.objects {
			clusters[key] += n
		}
	}
	list := make([]objectFacts, 0, len(clusters))
	for key, n := range clusters {
		list = append(list, objectOf(application, key, string(plan.Added), n))
	}
	slices.SortFunc(list, func(a, b objectFacts) int {
		return strings.Compare(a.Kind+" "+a.Namespace+"/"+a.Name+" "+a.Group, b.Kind+" "+b.Namespace+"/"+b.Name+" "+b.Group)
	})
	return list
}

func objectOf(application string, key fleet.ObjectKey, edit string, clusters int) objectFacts {
	return objectFacts{application, edit, key.Group, key.Version, key.Kind, key.Namespace, key.Name, clusters}
}

// content is what policies read of what a cluster gets: clusters that get the same share it.
type content struct {
	objects []fleet.ObjectKey
	images  []string
}

func (c *content) listImages() []string {
	if c == nil {
		return []string{}
	}
	return c.images
}

// contentsOf are the contents of an application by cluster; each distinct one is read once.
func contentsOf(a *plan.Application) (map[string]*content, error) {
	if a == nil {
		return nil, nil
	}
	byCluster, byDigest := map[string]*content{}, map[string]*content{}
	for i := range a.Clusters {
		c := &a.Clusters[i]
		known := byDigest[c.SetDigest]
		if known == nil {
			opened, err := c.Content()
			if err != nil {
				return nil, fmt.Errorf("read what %s gives to %s: %w", a.Key(), c.Name, err)
			}
			known = readContent(opened)
			byDigest[c.SetDigest] = known
		}
		byCluster[c.Name] = known
	}
	return byCluster, nil
}

func readContent(c *fleet.Content) *content {
	out := &content{}
	images := map[string]bool{}
	for _, m := range c.Manifests {
		out.objects = append(out.objects, m.Key)
		if m.Key.Kind == "Secret" && m.Key.Group == "" || !strings.Contains(string(m.JSON), `"image"`) {
			continue
		}
		var value any
		if json.Unmarshal(m.JSON, &value) == nil {
			collectImages(value, images)
		}
	}
	out.images = sorted(images)
	return out
}

// collectImages collects the images of containers, wherever pod templates are: the elements of lists of containers.
func collectImages(value any, into map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			list, isList := inner.([]any)
			if isList && (key == "containers" || key == "initContainers" || key == "ephemeralContainers") {
				for _, c := range list {
					if container, ok := c.(map[string]any); ok {
						if image, ok := container["image"].(string); ok && image != "" {
							into[image] = true
						}
					}
				}
			}
			collectImages(inner, into)
		}
	case []any:
		for _, inner := range v {
			collectImages(inner, into)
		}
	}
}

func clustersOf(groups []plan.ClusterGroup) []string {
	names := []string{}
	for _, g := range groups {
		names = append(names, g.Clusters...)
	}
	slices.Sort(names)
	return names
}

func union(a, b map[string]*content) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

func sorted(set map[string]bool) []string {
	if len(set) == 0 {
		return []string{}
	}
	return slices.Sorted(maps.Keys(set))
}

func nonNil(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}
