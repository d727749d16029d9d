package addon

import (
	"strings"
	"testing"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// TestEffective: which configurations count.
func TestEffective(t *testing.T) {
	other := addonv1alpha1.ConfigGroupResource{Resource: "configmaps"}
	cma := &addonv1alpha1.ClusterManagementAddOn{}
	cma.Spec.SupportedConfigs = []addonv1alpha1.ConfigMeta{{ConfigGroupResource: Template, DefaultConfig: &addonv1alpha1.ConfigReferent{Name: "t1"}}, {ConfigGroupResource: DeploymentConfig}}
	config := func(kind addonv1alpha1.ConfigGroupResource, name string) addonv1alpha1.AddOnConfig {
		return addonv1alpha1.AddOnConfig{ConfigGroupResource: kind, ConfigReferent: addonv1alpha1.ConfigReferent{Name: name}}
	}
	type configs = []addonv1alpha1.AddOnConfig
	for name, c := range map[string]struct {
		why                string
		placement, cluster configs
		want, unsupported  string
	}{
		"default":     {why: "the default counts when nobody says more", want: "t1"},
		"placement":   {why: "a placement's wins over the default, by kind", placement: configs{config(DeploymentConfig, "d1"), config(Template, "t2")}, want: "t2 d1"},
		"cluster":     {why: "a cluster's own wins", placement: configs{config(Template, "t2"), config(DeploymentConfig, "d1")}, cluster: configs{config(DeploymentConfig, "d2")}, want: "t2 d2"},
		"several":     {why: "several of a kind keep their order, each once", cluster: configs{config(DeploymentConfig, "b"), config(DeploymentConfig, "a"), config(DeploymentConfig, "b")}, want: "t1 b a"},
		"unsupported": {why: "a kind that the add-on does not take", cluster: configs{config(other, "x")}, want: "t1", unsupported: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			got, unsupported := Effective(cma, Defaults(cma), c.placement, c.cluster)
			if names(got) != c.want || names(unsupported) != c.unsupported {
				t.Errorf("%s: got %q and unsupported %q", c.why, names(got), names(unsupported))
			}
		})
	}
}

func names(configs []addonv1alpha1.AddOnConfig) string {
	var out []string
	for _, c := range configs {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

func TestSpecHash(t *testing.T) {
	hash := func(o map[string]any) string {
		h, err := SpecHash(o)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	object := map[string]any{"spec": map[string]any{"a": "1"}}
	same := map[string]any{"apiVersion": "v1beta1", "kind": "X", "metadata": map[string]any{"resourceVersion": "2"}, "status": "x", "spec": map[string]any{"a": "1"}}
	if hash(object) != hash(same) {
		t.Error("metadata, status and the version count")
	}
	if hash(object) == hash(map[string]any{"spec": map[string]any{"a": "2"}}) || hash(object) == hash(map[string]any{"data": map[string]any{"a": "1"}}) {
		t.Error("a field that differs does not count")
	}
}

// TestConfigHashes: a work tells which configurations it has, in OCM's words.
func TestConfigHashes(t *testing.T) {
	references := []addonv1alpha1.ConfigReference{{
		ConfigGroupResource: DeploymentConfig,
		DesiredConfig:       &addonv1alpha1.ConfigSpecHash{ConfigReferent: addonv1alpha1.ConfigReferent{Namespace: "n", Name: "d"}, SpecHash: "h"},
	}}
	annotation := ConfigHashes(references)
	if annotation != `{"addondeploymentconfigs.addon.open-cluster-management.io/n/d":"h"}` {
		t.Errorf("got %s", annotation)
	}
	if !HasConfigs(annotation, references) || !HasConfigs(`{"x":"y"}`, nil) || HasConfigs("", references) || HasConfigs("no JSON", references) {
		t.Error("the annotation is not read as it is written")
	}
	references[0].DesiredConfig.SpecHash = "newer"
	if HasConfigs(annotation, references) {
		t.Error("a work with an older configuration counts as having the new one")
	}
	if again := Desire(Applied(references), references); again[0].LastAppliedConfig == nil || again[0].LastAppliedConfig.SpecHash != "newer" {
		t.Errorf("what was applied is forgotten: %+v", again)
	}
}
