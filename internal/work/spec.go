package work

import (
	"encoding/json"
	"fmt"
	"strings"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"k8s.io/apimachinery/pkg/runtime"
)

// spec is a work's spec and what is computed of it. All clusters that get the same objects share one: it is never changed.
type spec struct {
	work    workv1.ManifestWorkSpec
	digest  string
	objects string // as the objects annotation lists them
}

// maxSpecs is how many specs are kept of one content. There are as many as it has parts, until clusters have it divided
// differently or left different objects on the cluster.
const maxSpecs = 64

// specOf is the spec of a work with these manifests, which leaves on the cluster what was kept before.
func (p *prepared) specOf(options Options, manifests []fleet.Manifest, kept []fleet.ObjectKey) *spec {
	key := specKey(options, manifests, kept)
	p.mutex.Lock()
	found := p.specs[key]
	p.mutex.Unlock()
	if found != nil {
		return found
	}
	made := p.makeSpec(options, manifests, kept)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.specs == nil || len(p.specs) >= maxSpecs {
		p.specs = map[string]*spec{}
	}
	p.specs[key] = made
	return made
}

func (p *prepared) makeSpec(options Options, manifests []fleet.Manifest, kept []fleet.ObjectKey) *spec {
	out := &spec{}
	keys := make([]fleet.ObjectKey, len(manifests))
	digests := make([]string, len(manifests))
	out.work.Workload.Manifests = make([]workv1.Manifest, len(manifests))
	out.work.ManifestConfigs = make([]workv1.ManifestConfigOption, len(manifests))
	for i, m := range manifests {
		keys[i], digests[i] = m.Key, p.digests[m.Key.Identity()]
		out.work.Workload.Manifests[i] = workv1.Manifest{RawExtension: runtime.RawExtension{Raw: m.JSON}}
		out.work.ManifestConfigs[i] = configOf(p.owner, options, m.Key)
	}
	out.work.DeleteOption = deleteOptionOf(manifests, p.shared, kept)
	out.work.Executor = executorOf(options)
	out.digest = specDigest(&workv1.ManifestWork{Spec: out.work}, digests)
	out.objects = FormatObjects(keys)
	return out
}

// specKey names everything that a spec depends on beside its content and the owner.
func specKey(options Options, manifests []fleet.Manifest, kept []fleet.ObjectKey) string {
	ignore, err := json.Marshal(options.Ignore)
	if err != nil {
		panic(fmt.Sprintf("encode ignore rules: %v", err)) // strings and lists: there is nothing to fail on
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%q %q\n", ignore, options.Namespace, options.ServiceAccount)
	write := func(k fleet.ObjectKey) {
		for _, field := range []string{k.Group, k.Version, k.Kind, k.Resource, k.Namespace, k.Name} {
			b.WriteString(field)
			b.WriteByte(0)
		}
	}
	for _, m := range manifests {
		write(m.Key)
	}
	b.WriteByte('\n')
	for _, k := range kept {
		write(k)
	}
	return b.String()
}
