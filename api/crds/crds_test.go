package crds_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	addonv1beta1 "github.com/muster-io/muster/api/addon/v1beta1"
	authenticationv1alpha1 "github.com/muster-io/muster/api/authentication/v1alpha1"
	authenticationv1beta1 "github.com/muster-io/muster/api/authentication/v1beta1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	clusterv1alpha1 "github.com/muster-io/muster/api/cluster/v1alpha1"
	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	clusterv1beta2 "github.com/muster-io/muster/api/cluster/v1beta2"
	"github.com/muster-io/muster/api/crds"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	rbacv1alpha1 "github.com/muster-io/muster/api/rbac/v1alpha1"
	submarinerv1alpha1 "github.com/muster-io/muster/api/submarineraddon/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	workv1alpha1 "github.com/muster-io/muster/api/work/v1alpha1"
)

// decode reads a definition, strictly.
func decode(t *testing.T, doc []byte) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(doc, crd); err != nil {
		t.Fatalf("decode a definition: %v", err)
	}
	return crd
}

func TestWhichKindsAreServedWhere(t *testing.T) {
	tests := map[string]struct {
		why  string
		docs [][]byte
		want []string // kinds of OCM groups
		own  bool     // whether kinds of muster.dev belong here
	}{
		"hub": {
			why:  "people, the hub's controllers and the agents' hub clients need them",
			docs: crds.Hub(),
			want: []string{
				"AddOnDeploymentConfig", "AddOnTemplate", "ClusterManagementAddOn", "ManagedClusterAddOn", "ManagedServiceAccount",
				"AddOnPlacementScore", "ManagedCluster", "ManagedClusterSetBinding", "ManagedClusterSet",
				"PlacementDecision", "Placement", "ClusterPermission", "SubmarinerConfig", "ManifestWorkReplicaSet", "ManifestWork",
			},
			own: true,
		},
		"agent": {
			why:  "what was applied and what the cluster claims is recorded on the cluster itself",
			docs: crds.Agent(),
			want: []string{"ClusterClaim", "AppliedManifestWork"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			own := false
			for _, doc := range tc.docs {
				crd := decode(t, doc)
				if crd.Spec.Group == musterv1alpha1.GroupVersion.Group {
					own = true
					continue
				}
				got = append(got, crd.Spec.Names.Kind)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.why, diff)
			}
			if own != tc.own {
				t.Errorf("has kinds of muster.dev: %t, want %t", own, tc.own)
			}
		})
	}
}

// TestSchemasAreStructural makes the checks of a schema that an API server makes when it is given a
// definition: it says everything that pruning and defaulting need.
func TestSchemasAreStructural(t *testing.T) {
	for _, doc := range slices.Concat(crds.Hub(), crds.Agent()) {
		crd := decode(t, doc)
		t.Run(crd.Name, func(t *testing.T) {
			for _, version := range crd.Spec.Versions {
				props := &apiextensions.JSONSchemaProps{}
				if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, props, nil); err != nil {
					t.Fatal(err)
				}
				structural, err := structuralschema.NewStructural(props)
				if err != nil {
					t.Fatal(err)
				}
				if errs := structuralschema.ValidateStructural(field.NewPath(version.Name), structural); len(errs) > 0 {
					t.Error(errs.ToAggregate())
				}
			}
		})
	}
}

func TestEveryServedKindHasAGoType(t *testing.T) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(
		addonv1alpha1.AddToScheme, addonv1beta1.AddToScheme,
		clusterv1.AddToScheme, clusterv1alpha1.AddToScheme, clusterv1beta1.AddToScheme, clusterv1beta2.AddToScheme,
		workv1.AddToScheme, workv1alpha1.AddToScheme, rbacv1alpha1.AddToScheme, submarinerv1alpha1.AddToScheme, authenticationv1alpha1.AddToScheme, authenticationv1beta1.AddToScheme, musterv1alpha1.AddToScheme,
	)
	if err := builder.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, doc := range slices.Concat(crds.Hub(), crds.Agent()) {
		crd := decode(t, doc)
		for _, version := range crd.Spec.Versions {
			gv := schema.GroupVersion{Group: crd.Spec.Group, Version: version.Name}
			for _, kind := range []string{crd.Spec.Names.Kind, crd.Spec.Names.ListKind} {
				if !scheme.Recognizes(gv.WithKind(kind)) {
					t.Errorf("%s is served and not in the scheme of its package", gv.WithKind(kind))
				}
			}
		}
	}
}
