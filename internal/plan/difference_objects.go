package plan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// change compares the works that one cluster has with those it gets: the final objects, nothing is added to them later.
func (c *comparer) change(base *Application, b Cluster, head *Application, h Cluster) (*change, error) {
	from, err := base.Works(b)
	if err != nil {
		return nil, err
	}
	to, err := head.Works(h)
	if err != nil {
		return nil, err
	}
	renamed := base.Key() != head.Key()
	if renamed {
		from = calledAs(head, base, from)
	}
	before, err := placedObjects(from)
	if err != nil {
		return nil, err
	}
	after, err := placedObjects(to)
	if err != nil {
		return nil, err
	}
	made := &change{}
	for _, key := range keysOfBoth(before, after, compareKeys) {
		if err := c.object(made, before[key], after[key], head.wantedBy[h.Name][key], h.content.values); err != nil {
			return nil, err
		}
	}
	if err := made.deliver(from, to, renamed); err != nil {
		return nil, err
	}
	return made, made.seal()
}

// calledAs is a set as it would be if its application had always had its present name: without what follows from the name
// alone, which are the works' names, the label on every object and the field manager.
func calledAs(now, before *Application, set work.Set) work.Set {
	a, b := now.Owner(), before.Owner()
	label := func(owner fleet.Owner) []byte {
		return fmt.Appendf(nil, "%q:%q", musterv1alpha1.HubLabel, owner.Digest())
	}
	works := make([]*workv1.ManifestWork, 0, len(set.Works))
	for _, w := range set.Works {
		w = w.DeepCopy()
		part, _ := strconv.Atoi(w.Annotations[musterv1alpha1.PartAnnotation]) // written by work.Wanted
		w.Name = work.Name(a, part)
		for i := range w.Spec.Workload.Manifests {
			m := &w.Spec.Workload.Manifests[i]
			m.Raw = bytes.Replace(m.Raw, label(b), label(a), 1)
		}
		for i := range w.Spec.ManifestConfigs {
			w.Spec.ManifestConfigs[i].UpdateStrategy.ServerSideApply.FieldManager = work.FieldManager(a)
		}
		works = append(works, w)
	}
	set.Works = works
	return set
}

// seal computes the key. Digests do not count: a pod template that carries the digest of its configuration is the same
// change on clusters that differ in an unrelated value.
func (c *change) seal() error {
	h := sha256.New()
	encoder := json.NewEncoder(h)
	for _, o := range c.objects {
		fields := slices.Clone(o.Fields)
		for i := range fields {
			fields[i].Before, fields[i].After = withoutDigests(fields[i].Before), withoutDigests(fields[i].After)
		}
		o.Fields = fields
		if err := encoder.Encode(o); err != nil {
			return err
		}
	}
	if err := encoder.Encode(c.delivery); err != nil {
		return err
	}
	c.key = hex.EncodeToString(h.Sum(nil))
	return nil
}

var digest = regexp.MustCompile(`(^|")[0-9a-f]{32,128}("|$)`)

// withoutDigests is a value without the bare digests in it. An image's digest is part of a longer text, and stays.
func withoutDigests(text string) string { return digest.ReplaceAllString(text, "$1<digest>$2") }

// blur leaves out the digests of a group that are not the same on all its clusters.
func (g *ChangeGroup) blur(objects []ObjectChange) {
	for i := range objects {
		for j, f := range objects[i].Fields {
			mine := g.Objects[i].Fields[j]
			if mine.Varies || mine.Before == f.Before && mine.After == f.After {
				continue
			}
			mine.Before, mine.After, mine.Varies = withoutDigests(f.Before), withoutDigests(f.After), true
			g.Objects[i].Fields = slices.Clone(g.Objects[i].Fields) // of one change that others share
			g.Objects[i].Fields[j] = mine
		}
	}
}

// placedObject is one object in a set of works.
type placedObject struct {
	key    fleet.ObjectKey
	json   []byte
	work   string
	config workv1.ManifestConfigOption
	stays  bool // on the cluster, when it leaves the work
}

func placedObjects(set work.Set) (map[fleet.ObjectKey]*placedObject, error) {
	objects := map[fleet.ObjectKey]*placedObject{}
	for _, w := range set.Works {
		keys, err := work.ParseObjects(w.Annotations[musterv1alpha1.ObjectsAnnotation])
		if err != nil {
			return nil, err
		}
		for i, key := range keys {
			objects[key.Identity()] = &placedObject{
				key: key, json: w.Spec.Workload.Manifests[i].Raw, work: w.Name, config: w.Spec.ManifestConfigs[i],
				stays: orphaned(w.Spec.DeleteOption, key),
			}
		}
	}
	return objects, nil
}

func orphaned(o *workv1.DeleteOption, key fleet.ObjectKey) bool {
	if o == nil || o.SelectivelyOrphan == nil {
		return false
	}
	return slices.Contains(o.SelectivelyOrphan.OrphaningRules, workv1.OrphaningRule{
		Group: key.Group, Resource: key.Resource, Namespace: key.Namespace, Name: key.Name,
	})
}

// object adds what becomes of one object; either side may be nil. Gainer is the application that it goes to when it leaves this one.
func (c *comparer) object(made *change, before, after *placedObject, gainer fleet.Owner, values map[string]string) error {
	switch {
	case before == nil:
		made.objects = append(made.objects, ObjectChange{Object: after.key, Edit: Added})
		return nil
	case after == nil && !gainer.IsZero():
		made.objects = append(made.objects, ObjectChange{Object: before.key, Edit: HandedOver, GainedBy: gainer.String()})
		return nil
	case after == nil:
		made.objects = append(made.objects, ObjectChange{Object: before.key, Edit: Removed, Stays: before.stays})
		return nil
	}
	o := ObjectChange{Object: after.key, Edit: Changed}
	fields, err := c.fields(before, after)
	if err != nil {
		return err
	}
	for _, f := range fields {
		o.Fields = append(o.Fields, FieldChange{FieldChange: f, Layer: layerOf(f.Path, values)})
	}
	if before.work != after.work {
		o.From, o.To = before.work, after.work
		if len(fields) == 0 {
			o.Edit = HandedOver
		}
	}
	if len(fields) > 0 || o.Edit == HandedOver {
		made.objects = append(made.objects, o)
	}
	config, err := fieldsOf(before.config, after.config)
	for _, f := range config {
		f.Path = after.key.String() + ": " + f.Path
		made.delivery = append(made.delivery, f)
	}
	return err
}

// fields are those in which the manifests differ, sensitive values hashed.
func (c *comparer) fields(before, after *placedObject) ([]work.FieldChange, error) {
	if string(before.json) == string(after.json) {
		return nil, nil
	}
	b, err := c.safe(before)
	if err != nil {
		return nil, err
	}
	a, err := c.safe(after)
	if err != nil {
		return nil, err
	}
	return work.Changed(b, a)
}

// safe is a manifest without sensitive values.
func (c *comparer) safe(o *placedObject) ([]byte, error) {
	if o.key.Group != "" || o.key.Kind != "Secret" {
		return o.json, nil
	}
	var manifest map[string]any
	if err := json.Unmarshal(o.json, &manifest); err != nil {
		return nil, err
	}
	return json.Marshal(c.redact.Redact(manifest))
}

// deliver adds how the works are applied. Rules about what stays on the cluster follow from the objects and are told only
// where nothing else changes; of an application that was renamed, nothing need change.
func (c *change) deliver(from, to work.Set, renamed bool) error {
	fields, err := fieldsOf(deliveryOf(from), deliveryOf(to))
	if err != nil {
		return err
	}
	c.delivery = append(c.delivery, fields...)
	if len(c.objects)+len(c.delivery) > 0 {
		return nil
	}
	c.delivery, err = fieldsOf(rulesOf(from), rulesOf(to))
	if len(c.delivery) == 0 && !renamed {
		c.delivery = []work.FieldChange{{Path: "order of the objects"}}
	}
	return err
}

func deliveryOf(set work.Set) any {
	if len(set.Works) == 0 {
		return map[string]any{}
	}
	w := set.Works[0]
	return map[string]any{"executor": w.Spec.Executor, "drift": w.Annotations[musterv1alpha1.DriftAnnotation],
		"onImmutable": w.Annotations[musterv1alpha1.OnImmutableAnnotation], "canary": w.Annotations[musterv1alpha1.CanaryAnnotation]}
}

func rulesOf(set work.Set) any {
	rules := map[string]any{}
	for _, w := range set.Works {
		rules[w.Name] = map[string]any{"deleteOption": w.Spec.DeleteOption}
	}
	return rules
}

// compareKeys orders objects as people look for them.
func compareKeys(a, b fleet.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// layerOf is the layer that sets the Helm value whose name the field has. A template may name things otherwise: it is where
// to look first, and nothing when more than two values could be meant.
func layerOf(path string, values map[string]string) string {
	name := lastField(path)
	if name == "" {
		return ""
	}
	var exact, within []string
	for _, p := range slices.Sorted(maps.Keys(values)) {
		parts := strings.Split(p, ".")
		switch {
		case p == name:
			return values[p]
		case parts[len(parts)-1] == name:
			exact = append(exact, p)
		case slices.Contains(parts, name):
			within = append(within, p) // image.tag for the field image
		}
	}
	found := exact
	if len(found) == 0 {
		found = within
	}
	if len(found) == 1 {
		return values[found[0]]
	}
	if len(found) != 2 {
		return ""
	}
	return found[0] + " " + values[found[0]] + ", " + found[1] + " " + values[found[1]]
}

// lastField is the last named field of a path: "image" of spec.containers[web].image, "" below data["a.yaml"].
func lastField(path string) string {
	if strings.HasSuffix(path, "]") {
		return ""
	}
	return path[strings.LastIndexAny(path, ".]")+1:]
}
