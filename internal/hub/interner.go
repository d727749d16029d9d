package hub

import (
	"slices"
	"strings"
	"unique"

	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/utils/lru"
)

// interner lets equal texts, and equal lists of objects, of many works share their memory: a thousand works of one application
// differ in little.
type interner struct {
	lists *lru.Cache // keys of a list, joined -> []fleet.ObjectKey
}

// internedLists is how many different lists of objects are remembered. One that is forgotten is stored a second time.
const internedLists = 4096

func newInterner() interner { return interner{lists: lru.New(internedLists)} }

// work replaces what a work holds by what others hold already.
func (i interner) work(lw *fleet.LiveWork) {
	for _, s := range []*string{
		&lw.Cluster, &lw.Name, &lw.Owner.Kind, &lw.Owner.Namespace, &lw.Owner.Name, &lw.OwnerDigest, &lw.Revision, &lw.SpecDigest, &lw.MetaDigest, &lw.SetDigest,
	} {
		*s = unique.Make(*s).Value()
	}
	lw.Objects, lw.Kept = i.list(lw.Objects), i.list(lw.Kept)
	for p := range lw.Status.Problems {
		internKey(&lw.Status.Problems[p].Object)
	}
	for c := range lw.Status.Corrected {
		internKey(&lw.Status.Corrected[c].Object)
	}
}

func (i interner) list(keys []fleet.ObjectKey) []fleet.ObjectKey {
	if len(keys) == 0 {
		return nil
	}
	var b strings.Builder
	for _, k := range keys {
		for _, s := range []string{k.Group, k.Version, k.Kind, k.Resource, k.Namespace, k.Name} {
			b.WriteString(s)
			b.WriteByte(0)
		}
	}
	if known, ok := i.lists.Get(b.String()); ok {
		return known.([]fleet.ObjectKey)
	}
	own := slices.Clip(slices.Clone(keys))
	for n := range own {
		internKey(&own[n])
	}
	i.lists.Add(b.String(), own)
	return own
}

func internKey(k *fleet.ObjectKey) {
	for _, s := range []*string{&k.Group, &k.Version, &k.Kind, &k.Resource, &k.Namespace, &k.Name} {
		*s = unique.Make(*s).Value()
	}
}
