package addon

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// TestChartValues: how customized variables become the values of a chart.
func TestChartValues(t *testing.T) {
	for name, row := range map[string]struct {
		why       string
		variables []addonv1alpha1.CustomizedVariable
		want      string
		fails     bool
	}{
		"none":    {why: "a chart's own values count"},
		"kinds":   {"a number and a truth value are no texts; a quoted one is, and so is what is no scalar", []addonv1alpha1.CustomizedVariable{{Name: "n", Value: "3"}, {Name: "b", Value: "true"}, {Name: "q", Value: `"3"`}, {Name: "l", Value: "[a]"}, {Name: "t", Value: "1.2.3"}}, `{"b":true,"l":"[a]","n":3,"q":"3","t":"1.2.3"}`, false},
		"nested":  {"two underscores are a step down", []addonv1alpha1.CustomizedVariable{{Name: "image__tag", Value: "v1"}, {Name: "image__repository", Value: "r"}}, `{"image":{"repository":"r","tag":"v1"}}`, false},
		"later":   {"the later one wins", []addonv1alpha1.CustomizedVariable{{Name: "a", Value: "x"}, {Name: "a", Value: "y"}}, `{"a":"y"}`, false},
		"clashes": {"a value has nothing below it", []addonv1alpha1.CustomizedVariable{{Name: "a", Value: "x"}, {Name: "a__b", Value: "y"}}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			config := &addonv1alpha1.AddOnDeploymentConfig{}
			config.Spec.CustomizedVariables = row.variables
			app, err := Application("mirror", "charts/mirror", "mirror", []*addonv1alpha1.AddOnDeploymentConfig{config})
			if (err != nil) != row.fails {
				t.Fatalf("%s: %v", row.why, err)
			}
			if err != nil {
				return
			}
			got := ""
			if v := app.Spec.Helm.Values; v != nil {
				got = string(v.Raw)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", row.why, diff)
			}
		})
	}
}

// TestContentOf: which folder of which repository an add-on is made of.
func TestContentOf(t *testing.T) {
	for name, row := range map[string]struct {
		why         string
		annotations map[string]string
		want        string
	}{
		"none":    {"an add-on of a template", map[string]string{"muster.dev/repository": "muster-system/fleet"}, ""},
		"its own": {"the repository that it was applied from", map[string]string{"muster.dev/repository": "muster-system/fleet", "muster.dev/addon-content": "charts/a/"}, "charts/a of muster-system/fleet"},
		"another": {"the one that is named", map[string]string{"muster.dev/repository": "muster-system/fleet", "muster.dev/addon-content": "a", "muster.dev/addon-repository": "team/other"}, "a of team/other"},
	} {
		t.Run(name, func(t *testing.T) {
			folder, repository, ok := ContentOf(&addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Annotations: row.annotations}})
			got := ""
			if ok {
				got = folder + " of " + repository.Namespace + "/" + repository.Name
			}
			if got != row.want {
				t.Errorf("%s: %q, want %q", row.why, got, row.want)
			}
		})
	}
}
