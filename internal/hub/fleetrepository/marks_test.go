package fleetrepository

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

// TestMarksOfNobody: an object whose marks name a repository that is gone may be accepted, as far as the taker's rights go; that it
// is gone the API server says itself.
func TestMarksOfNobody(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := musterv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	reader := func(repositories ...string) client.Client {
		b := fake.NewClientBuilder().WithScheme(scheme)
		for _, key := range repositories {
			namespace, name, _ := strings.Cut(key, "/")
			b.WithObjects(&musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		}
		return b.Build()
	}
	away := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("away")
		},
	}).Build()
	for name, row := range map[string]struct {
		why           string
		owner         string
		cache, server client.Client
		wrong         string
	}{
		"gone":        {"nobody can take the marks off", "other/gone", reader(), reader(), ""},
		"there":       {"the owner has it", "other/there", reader("other/there"), reader("other/there"), "repository other/there has it"},
		"new":         {"the cache has not heard of it", "other/there", reader(), reader("other/there"), "repository other/there has it"},
		"being away":  {"is no proof", "other/gone", reader(), away, "away"},
		"a person's":  {"no marks at all", "", reader(), reader(), "a person has it"},
		"no name":     {"and no repository's mark", "gone", away, away, "repository gone has it"},
		"one's own":   {"as always", "retail/shops", away, away, ""},
		"of one name": {"in another namespace", "other/shops", reader("retail/shops"), reader("retail/shops"), ""},
	} {
		r := &Repositories{Client: row.cache, Reader: row.server}
		live := &unstructured.Unstructured{}
		if row.owner != "" {
			live.SetAnnotations(map[string]string{musterv1alpha1.RepositoryAnnotation: row.owner})
		}
		repo := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "shops"}}
		err := r.mayWrite(t.Context(), live, repo, &fleet.Definition{Key: fleet.ObjectKey{Kind: "Placement", Namespace: "retail", Name: "edge"}})
		if (err == nil) != (row.wrong == "") || err != nil && !strings.Contains(err.Error(), row.wrong) {
			t.Errorf("%s, %s: %v, want %q", name, row.why, err, row.wrong)
		}
	}
}
