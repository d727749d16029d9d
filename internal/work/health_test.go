package work

import (
	"slices"
	"testing"

	workv1 "github.com/muster-io/muster/api/work/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestWithHealth: each object of a common kind gets rules for its health once, beside what its author configures, and what the
// author says of health stays.
func TestWithHealth(t *testing.T) {
	manifest := func(text string) workv1.Manifest {
		return workv1.Manifest{RawExtension: runtime.RawExtension{Raw: []byte(text)}}
	}
	server := manifest(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"server"}}`)
	settings := manifest(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"settings"}}`)
	monitor := manifest(`{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"namespace":"shop","name":"server"}}`)
	config := func(resource, name string, strategy workv1.UpdateStrategyType, conditions ...string) workv1.ManifestConfigOption {
		c := workv1.ManifestConfigOption{ResourceIdentifier: workv1.ResourceIdentifier{Group: "apps", Resource: resource, Namespace: "shop", Name: name}}
		if strategy != "" {
			c.UpdateStrategy = &workv1.UpdateStrategy{Type: strategy}
		}
		for _, condition := range conditions {
			c.ConditionRules = append(c.ConditionRules, workv1.ConditionRule{Condition: condition, Type: workv1.CelConditionExpressionsType})
		}
		return c
	}
	for name, c := range map[string]struct {
		why       string
		manifests []workv1.Manifest
		configs   []workv1.ManifestConfigOption
		want      []string // name, update strategy and conditions of each config
	}{
		"common kind": {"has rules", []workv1.Manifest{server}, nil, []string{"server: Progressing Degraded "}},
		"nothing to report": {"a ConfigMap has no health, and the plural of a custom resource is not known", []workv1.Manifest{settings, monitor}, nil,
			nil},
		"own rule": {"the author knows better", []workv1.Manifest{server},
			[]workv1.ManifestConfigOption{config("deployments", "server", "", "Progressing")}, []string{"server: Progressing "}},
		"other rule": {"is kept", []workv1.Manifest{server},
			[]workv1.ManifestConfigOption{config("deployments", "server", workv1.UpdateStrategyTypeCreateOnly, "Complete")},
			[]string{"server:CreateOnly Complete Progressing Degraded "}},
		"wildcard": {"stays for the others, and its strategy counts for this one too", []workv1.Manifest{server},
			[]workv1.ManifestConfigOption{config("statefulsets", "server", ""), config("deployments", "*", workv1.UpdateStrategyTypeServerSideApply)},
			[]string{"server:", "server:ServerSideApply Progressing Degraded ", "*:ServerSideApply"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := workv1.ManifestWorkSpec{Workload: workv1.ManifestsTemplate{Manifests: c.manifests}, ManifestConfigs: c.configs}
			before := spec.DeepCopy()
			out := WithHealth(spec)
			var got []string
			for _, config := range out.ManifestConfigs {
				text := config.ResourceIdentifier.Name + ":"
				if config.UpdateStrategy != nil {
					text += string(config.UpdateStrategy.Type)
				}
				if len(config.ConditionRules) > 0 {
					text += " "
				}
				for _, r := range config.ConditionRules {
					text += r.Condition + " "
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, want %q", c.why, got, c.want)
			}
			if SpecDigest(&workv1.ManifestWork{Spec: spec}) != SpecDigest(&workv1.ManifestWork{Spec: *before}) {
				t.Error("the template of the author has changed")
			}
			if again := WithHealth(out); SpecDigest(&workv1.ManifestWork{Spec: again}) != SpecDigest(&workv1.ManifestWork{Spec: out}) {
				t.Error("it is not the same the second time")
			}
		})
	}
}
