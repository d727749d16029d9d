package drift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"time"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Compare gives the fields of an object that are not what they would be if manager applied its manifest again.
//
// was is the result of a dry run of that apply, is the live object, now the time of looking. Only the paths that
// manager holds in was are compared: what others added is theirs.
func Compare(was, is map[string]any, manager string, now time.Time) ([]Record, error) {
	holders, err := holdersOf(was)
	if err != nil {
		return nil, err
	}
	for _, h := range holders {
		if h.manager == manager && h.operation == "Apply" && h.subresource == "" {
			return compare(h.paths, was, is, manager, now)
		}
	}
	return nil, fmt.Errorf("compare %s: %s holds no field of it", nameOf(is), manager)
}

// CompareManifest is Compare for an object that is not applied server-side: the fields of the manifest are compared,
// each at its place in was, which is the object as it would be if it was written again.
func CompareManifest(manifest, was, is map[string]any, manager string, now time.Time) ([]Record, error) {
	return compare(leavesOf(manifest), was, is, manager, now)
}

// Deleted is the record of an object that is gone.
func Deleted(manifest map[string]any, now time.Time) Record {
	return Record{Object: nameOf(manifest), Was: "present", Is: Absent, Manager: Unknown, Time: second(now)}
}

func compare(paths *fieldpath.Set, was, is map[string]any, manager string, now time.Time) ([]Record, error) {
	holders, err := holdersOf(is)
	if err != nil {
		return nil, err
	}
	var (
		records []Record
		missing []fieldpath.Path // reported as a whole: what is below is not told again
	)
	paths.Iterate(func(p fieldpath.Path) {
		p = p.Copy()
		for _, m := range missing {
			if len(p) > len(m) && p[:len(m)].Equals(m) {
				return
			}
		}
		before, had := lookup(was, p)
		after, has := lookup(is, p)
		if !had && !has {
			return
		}
		if had && has && (container(paths, p) || reflect.DeepEqual(before, after)) {
			return
		}
		if !has {
			missing = append(missing, p)
		}
		r := Record{Object: nameOf(is), Path: render(p), Was: show(is, p, before, had), Is: show(is, p, after, has),
			Manager: Unknown, Time: second(now)}
		if has {
			attribute(&r, holders, p, manager)
		}
		records = append(records, r)
	})
	sort.SliceStable(records, func(i, j int) bool { return records[i].Path < records[j].Path })
	return records, nil
}

// container says that fields below p are held one by one, so that p itself stands only for its presence.
func container(paths *fieldpath.Set, p fieldpath.Path) bool {
	below := paths
	for _, element := range p {
		below = below.WithPrefix(element)
	}
	return !below.Empty()
}

// holder is one entry of managedFields.
type holder struct {
	manager, operation, subresource string
	time                            time.Time
	paths                           *fieldpath.Set
}

func holdersOf(object map[string]any) ([]holder, error) {
	metadata, _ := object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	holders := make([]holder, 0, len(entries))
	for _, e := range entries {
		entry, ok := e.(map[string]any)
		if !ok {
			continue
		}
		raw, err := json.Marshal(entry["fieldsV1"])
		if err != nil {
			return nil, fmt.Errorf("read managedFields of %s: %w", nameOf(object), err)
		}
		h := holder{manager: text(entry["manager"]), operation: text(entry["operation"]),
			subresource: text(entry["subresource"]), paths: fieldpath.NewSet()}
		h.time, _ = time.Parse(time.RFC3339, text(entry["time"]))
		if err := h.paths.FromJSON(bytes.NewReader(raw)); err != nil {
			return nil, fmt.Errorf("read managedFields of %s: %w", nameOf(object), err)
		}
		holders = append(holders, h)
	}
	return holders, nil
}

// Held gives, in a stable form, the fields that manager holds in an object by server-side apply; empty when it holds
// none. When another manager changes or removes one of them, the form changes.
func Held(managedFields []any, manager string) string {
	for _, e := range managedFields {
		entry, ok := e.(map[string]any)
		if !ok || text(entry["manager"]) != manager || text(entry["operation"]) != "Apply" || text(entry["subresource"]) != "" {
			continue
		}
		raw, err := json.Marshal(entry["fieldsV1"])
		if err != nil {
			return ""
		}
		return string(raw)
	}
	return ""
}

// holds says that the entry has the path, something below it, or what it is a part of.
func (h holder) holds(p fieldpath.Path) bool {
	below := h.paths
	for i, element := range p {
		if below.Members.Has(element) && (i == len(p)-1 || below.WithPrefix(element).Empty()) {
			return true
		}
		below = below.WithPrefix(element)
	}
	return !below.Empty()
}

// attribute names the manager that wrote the path last.
func attribute(r *Record, holders []holder, p fieldpath.Path, manager string) {
	var last *holder
	for i := range holders {
		h := &holders[i]
		own := h.manager == manager && h.operation == "Apply"
		if own || !h.holds(p) || (last != nil && !h.time.After(last.time)) {
			continue
		}
		last = h
	}
	if last == nil {
		return
	}
	r.Manager, r.Operation = last.manager, last.operation
	if !last.time.IsZero() {
		r.Time = second(last.time)
	}
}

// nameOf is the kind, the namespace if any, and the name.
func nameOf(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	return objectName(text(object["kind"]), text(metadata["namespace"]), text(metadata["name"]))
}

func objectName(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
