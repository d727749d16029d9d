package doctor

import (
	"context"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
)

var definitionResource = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// kinds compares the kinds that a cluster serves with those of this program.
func kinds(ctx context.Context, objects dynamic.Interface, check, upgrade string, wanted [][]byte) Finding {
	var missing, older []string
	for _, data := range wanted {
		want := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, want); err != nil {
			return unknown(check, "read the program's kinds: %v", err)
		}
		live, err := objects.Resource(definitionResource).Get(ctx, want.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			missing = append(missing, want.Name)
			continue
		}
		if err != nil {
			return unknown(check, "they cannot be read: %v", err)
		}
		have := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, have); err != nil {
			return unknown(check, "read %s: %v", want.Name, err)
		}
		if fields := crds.Beyond(want, have); len(fields) > 0 {
			older = append(older, fmt.Sprintf("%s has no %s", want.Name, some(fields)))
		}
	}
	switch {
	case len(missing) > 0:
		return problem(check, upgrade, "%d of %d are missing: %s", len(missing), len(wanted), some(missing))
	case len(older) > 0:
		return problem(check, upgrade, "%d of %d are older than this program: %s", len(older), len(wanted), some(older))
	}
	return ok(check, "all %d are there and not older than this program", len(wanted))
}

// some are the first few of a list.
func some(all []string) string {
	const most = 3
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
