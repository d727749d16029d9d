package chart_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/muster-io/muster/api/crds"
	"github.com/muster-io/muster/charts"
	"github.com/muster-io/muster/internal/chart"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/hub/install"
	"github.com/muster-io/muster/internal/registration"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// valuesOf are the values of testdata/<chart>/<name>.values.yaml.
func valuesOf(t *testing.T, name, set string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name, set+".values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

var sets = []string{"default", "minimal", "everything"}

func namespaceOf(name string) string {
	if name == charts.Hub {
		return registration.SystemNamespace
	}
	return "muster-agent"
}

func release(t *testing.T, name, set string) chart.Release {
	t.Helper()
	return chart.Release{Chart: name, Version: "1.2.3", Name: name, Namespace: namespaceOf(name), Values: valuesOf(t, name, set)}
}

// TestGolden compares what the charts render with testdata. Of the kinds and policies only the names are in it.
func TestGolden(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		for _, set := range sets {
			t.Run(name+"/"+set, func(t *testing.T) {
				rendering, err := chart.Render(release(t, name, set), chart.Facts{})
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				for _, o := range rendering.Objects {
					switch o.GetKind() {
					case "CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole":
						if o.GetName() == hub.HubRole || o.GetKind() != "ClusterRole" {
							b.WriteString("--- # " + o.GetKind() + " " + o.GetName() + "\n")
							continue
						}
					}
					b.WriteString(text(t, o))
				}
				for _, o := range rendering.Hooks {
					b.WriteString(text(t, o))
				}
				b.WriteString("--- # NOTES\n" + rendering.Notes)
				golden(t, filepath.Join("testdata", name, set+".golden.yaml"), b.String())
			})
		}
	}
}

func text(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return "---\n" + string(data)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: make golden writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); make golden rewrites it:\n%s", file, diff)
	}
}

// TestLint is helm lint --strict.
func TestLint(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		for _, set := range sets {
			linter := lint.RunAll(filepath.Join("..", "..", "charts", name), valuesOf(t, name, set), namespaceOf(name))
			for _, m := range linter.Messages {
				if m.Severity >= support.WarningSev {
					t.Errorf("%s with %s values: %s", name, set, m)
				}
			}
		}
	}
}

// TestEveryValueIsDescribed: a comment in values.yaml, a row in values.schema.json, and nothing in the schema that is not a value.
func TestEveryValueIsDescribed(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		data := file(t, name, "values.yaml")
		var values map[string]any
		if err := yaml.Unmarshal(data, &values); err != nil {
			t.Fatal(err)
		}
		var schema map[string]any
		if err := json.Unmarshal(file(t, name, "values.schema.json"), &schema); err != nil {
			t.Fatal(err)
		}
		describe(t, name, values, schema)
		commented(t, name, string(data))
	}
}

func describe(t *testing.T, path string, values map[string]any, schema map[string]any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok || schema["additionalProperties"] != false {
		return // free: an object of Kubernetes
	}
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(properties)), func(k string) bool { return k == "global" })
	if len(values) > 0 {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(values)), keys); diff != "" {
			t.Errorf("%s: values.yaml and values.schema.json differ (-values +schema):\n%s", path, diff)
		}
	}
	for key, value := range values {
		row, _ := properties[key].(map[string]any)
		if inner, ok := value.(map[string]any); ok {
			describe(t, path+"."+key, inner, row)
		}
	}
}

// commented finds values that no comment stands above: each of two neighbours, unless they are written as a pair.
func commented(t *testing.T, name, text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		key, _, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") || strings.HasPrefix(strings.TrimSpace(line), "-") || i == 0 {
			continue
		}
		if strings.HasSuffix(line, ":") { // a group: its values have the comments
			continue
		}
		if uncommented[name+"."+strings.TrimSpace(key)] || insideObject[strings.TrimSpace(key)] {
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#") {
			t.Errorf("%s values.yaml:%d: %s has no comment", name, i+1, strings.TrimSpace(key))
		}
	}
}

// What is explained by its neighbour or by Kubernetes.
var (
	uncommented  = map[string]bool{}
	insideObject = map[string]bool{
		"pullPolicy": true, "extraVolumeMounts": true, "readinessProbe": true, "startupProbe": true, "livenessProbe": true,
		"requests": true, "limits": true, "runAsNonRoot": true, "runAsUser": true, "runAsGroup": true, "fsGroup": true, "seccompProfile": true,
		"allowPrivilegeEscalation": true, "readOnlyRootFilesystem": true, "capabilities": true,
	}
)

func file(t *testing.T, name, path string) []byte {
	t.Helper()
	data, err := charts.FS.ReadFile(name + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestHubHasTheRightsOfTheCode: the chart gives the hub's account what hub.Rights says, and nothing more.
func TestHubHasTheRightsOfTheCode(t *testing.T) {
	rendering, err := chart.Render(release(t, charts.Hub, "minimal"), chart.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, o := range rendering.Objects {
		if strings.HasPrefix(o.GetAPIVersion(), rbacv1.GroupName) && o.GetName() != registration.BootstrapRole {
			got[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = rightsIn(o.Object)
		}
	}
	want := map[string]any{}
	for _, o := range hub.Rights() {
		kind, err := apiutil.GVKForObject(o, scheme.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		if kind.Group != rbacv1.GroupName {
			continue
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		want[kind.Kind+" "+o.GetNamespace()+"/"+o.GetName()] = rightsIn(object)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart's rights are not the code's (-code +chart); make generate writes them:\n%s", diff)
	}
}

func rightsIn(o map[string]any) map[string]any {
	return map[string]any{"rules": o["rules"], "roleRef": o["roleRef"], "subjects": o["subjects"]}
}

// TestChartsHaveTheKindsOfTheProgram: what make generate writes into the charts is as committed.
func TestChartsHaveTheKindsOfTheProgram(t *testing.T) {
	for name, definitions := range map[string][][]byte{charts.Hub: crds.Hub(), charts.Klusterlet: crds.Agent()} {
		var want []string
		for _, d := range definitions {
			want = append(want, string(d))
		}
		entries, err := charts.FS.ReadDir(name + "/files/crds")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, string(file(t, name, "files/crds/"+e.Name())))
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s has other kinds than the program (-program +chart); make generate writes them:\n%.2000s", name, diff)
		}
	}
	rendering, err := chart.Render(release(t, charts.Hub, "minimal"), chart.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]any{}
	for _, o := range rendering.Objects {
		specs[o.GetKind()+" "+o.GetName()] = o.Object["spec"]
	}
	for _, p := range install.Policies() {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
		if err != nil {
			t.Fatal(err)
		}
		kind := p.GetObjectKind().GroupVersionKind().Kind
		if diff := cmp.Diff(object["spec"], specs[kind+" "+p.GetName()]); diff != "" {
			t.Errorf("%s %s is not the program's (-program +chart); make generate writes it:\n%s", kind, p.GetName(), diff)
		}
	}
}

// TestAgentActsAsAccounts: with rights.type ServiceAccounts the agent has rights for itself, and one to act as accounts of the names that are
// given; none on what works hold.
func TestAgentActsAsAccounts(t *testing.T) {
	r := release(t, charts.Klusterlet, "minimal")
	r.Values["rights"] = map[string]any{"type": "ServiceAccounts", "serviceAccounts": []any{"deployer"}}
	r.Values["roles"] = []any{"registration", "work"} // others have rights of their own
	rendering, err := chart.Render(r, chart.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{
		"work.open-cluster-management.io": true, "cluster.open-cluster-management.io": true, "about.k8s.io": true, "authorization.k8s.io": true,
		"apiextensions.k8s.io": true, "coordination.k8s.io": true,
	}
	var acts []string
	for _, o := range rendering.Objects {
		var role rbacv1.ClusterRole
		switch o.GetKind() {
		case "ClusterRole":
		case "ClusterRoleBinding":
			if name, _, _ := unstructured.NestedString(o.Object, "roleRef", "name"); name != "muster-agent:klusterlet" {
				t.Errorf("the agent is bound to %s", name)
			}
			continue
		case "Deployment":
			if !strings.Contains(text(t, o), "--executor-only") {
				t.Error("the agent does not act as accounts")
			}
			continue
		default:
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			switch {
			case slices.Equal(rule.Verbs, []string{"impersonate"}):
				acts = append(acts, rule.ResourceNames...)
			case len(rule.APIGroups) == 1 && own[rule.APIGroups[0]]:
			case slices.Equal(rule.APIGroups, []string{""}) && !slices.ContainsFunc(rule.Resources, func(resource string) bool {
				return !slices.Contains([]string{"nodes", "namespaces", "secrets"}, resource)
			}):
			default:
				t.Errorf("the agent may %v %v of %v", rule.Verbs, rule.Resources, rule.APIGroups)
			}
		}
	}
	if !slices.Equal(acts, []string{"deployer"}) {
		t.Errorf("the agent may act as %v", acts)
	}
}

// TestKindsAndPoliciesOutliveTheRelease: Helm upgrades them and never deletes them.
func TestKindsAndPoliciesOutliveTheRelease(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		rendering, err := chart.Render(release(t, name, "everything"), chart.Facts{APIVersions: []string{"muster.dev/v1alpha1"}})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, o := range rendering.Objects {
			switch o.GetKind() {
			case "CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "FleetRepository":
				found++
				if o.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
					t.Errorf("%s: helm uninstall deletes %s %s", name, o.GetKind(), o.GetName())
				}
			}
		}
		if found == 0 {
			t.Errorf("%s has no kinds", name)
		}
	}
}

// TestKindsThatAreLeftOut: crds.ocm=false leaves out OCM's kinds, and their conversion; crds.install=false leaves out all. A value that is
// not there, as after helm upgrade --reuse-values, leaves out nothing.
func TestKindsThatAreLeftOut(t *testing.T) {
	for name, row := range map[string]struct {
		crds                 map[string]any
		ocm, own, conversion bool
	}{
		"none":                    {map[string]any{}, true, true, true},
		"none, without the value": {map[string]any{"ocm": nil}, true, true, true},
		"OCM's":                   {map[string]any{"ocm": false}, false, true, false},
		"all":                     {map[string]any{"install": false}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := release(t, charts.Hub, "minimal")
			r.Values["crds"] = row.crds
			rendering, err := chart.Render(r, chart.Facts{})
			if err != nil {
				t.Fatal(err)
			}
			var ocm, own, conversion bool
			for _, o := range rendering.Objects {
				if o.GetKind() == "CustomResourceDefinition" {
					ocm = ocm || strings.HasSuffix(o.GetName(), ".open-cluster-management.io")
					own = own || strings.HasSuffix(o.GetName(), ".muster.dev")
				}
				conversion = conversion || o.GetKind() == "Service" && strings.HasSuffix(o.GetName(), "-conversion")
			}
			if ocm != row.ocm || own != row.own || conversion != row.conversion {
				t.Errorf("OCM's kinds %v, Muster's %v, conversion %v; want %v, %v, %v", ocm, own, conversion, row.ocm, row.own, row.conversion)
			}
		})
	}
}

// TestIconIsThere: the file that the charts' icon names is in the repository.
func TestIconIsThere(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		var about struct {
			Icon string `json:"icon"`
		}
		if err := yaml.Unmarshal(file(t, name, "Chart.yaml"), &about); err != nil {
			t.Fatal(err)
		}
		inside, ok := strings.CutPrefix(about.Icon, "https://raw.githubusercontent.com/muster-io/muster/main/")
		if _, err := os.Stat(filepath.Join("..", "..", inside)); !ok || err != nil {
			t.Errorf("%s: icon %s is not in the repository", name, about.Icon)
		}
	}
}

// TestPodsAreRestricted: every pod of the charts passes the restricted Pod Security Standard.
func TestPodsAreRestricted(t *testing.T) {
	for _, name := range []string{charts.Hub, charts.Klusterlet} {
		rendering, err := chart.Render(release(t, name, "default"), chart.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		pods := 0
		for _, o := range slices.Concat(rendering.Objects, rendering.Hooks) {
			pod, found, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
			if !found {
				continue
			}
			pods++
			if nonRoot, _, _ := unstructured.NestedBool(pod, "securityContext", "runAsNonRoot"); !nonRoot {
				t.Errorf("%s %s may run as root", o.GetKind(), o.GetName())
			}
			if profile, _, _ := unstructured.NestedString(pod, "securityContext", "seccompProfile", "type"); profile != "RuntimeDefault" {
				t.Errorf("%s %s has seccomp profile %q", o.GetKind(), o.GetName(), profile)
			}
			containers, _, _ := unstructured.NestedSlice(pod, "containers")
			for _, c := range containers {
				want := map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}}}
				if diff := cmp.Diff(want, c.(map[string]any)["securityContext"]); diff != "" {
					t.Errorf("%s %s (-want +got):\n%s", o.GetKind(), o.GetName(), diff)
				}
			}
		}
		if pods == 0 {
			t.Errorf("%s has no pods", name)
		}
	}
}

// TestWrongValuesAreNamed: each message says what to set.
func TestWrongValuesAreNamed(t *testing.T) {
	set := func(name string, change func(map[string]any)) chart.Release {
		r := release(t, name, "minimal")
		change(r.Values)
		return r
	}
	for name, row := range map[string]struct {
		release chart.Release
		facts   chart.Facts
		want    []string
	}{
		"an unknown value": {set(charts.Hub, func(v map[string]any) { v["replica"] = 3 }), chart.Facts{}, []string{"replica", "not allowed"}},
		"a value of another type": {
			set(charts.Hub, func(v map[string]any) { v["replicas"] = "two" }), chart.Facts{}, []string{"replicas", "integer"},
		},
		"another namespace": {
			chart.Release{Chart: charts.Hub, Name: "hub", Namespace: "default"}, chart.Facts{},
			[]string{"muster-system", "default", "--namespace muster-system --create-namespace"},
		},
		"a claim without its name": {
			set(charts.Hub, func(v map[string]any) { v["state"] = map[string]any{"type": "ExistingClaim"} }), chart.Facts{}, []string{"state.existingClaim"},
		},
		"a cluster below the supported version": {
			set(charts.Hub, func(map[string]any) {}), chart.Facts{KubernetesVersion: "v1.29.4"}, []string{"needs Kubernetes >=1.30.0", "v1.29.4", "upgrade the cluster"},
		},
		"a managed cluster below the supported version": {
			set(charts.Klusterlet, func(map[string]any) {}), chart.Facts{KubernetesVersion: "v1.26.9"}, []string{"needs Kubernetes >=1.27.0", "v1.26.9", "upgrade the cluster"},
		},
		"no cluster name": {
			set(charts.Klusterlet, func(v map[string]any) { delete(v, "clusterName") }), chart.Facts{}, []string{"clusterName", "muster join NAME"},
		},
		"no way to the hub": {
			set(charts.Klusterlet, func(v map[string]any) { delete(v, "bootstrap") }), chart.Facts{}, []string{"bootstrap.kubeconfig", "bootstrap.existingSecret"},
		},
		"a server without a token": {
			set(charts.Klusterlet, func(v map[string]any) { v["bootstrap"] = map[string]any{"server": "https://hub.example.com"} }), chart.Facts{},
			[]string{"bootstrap.token"},
		},
		"a hub's address that is no https": {
			set(charts.Klusterlet, func(v map[string]any) {
				v["bootstrap"] = map[string]any{"server": "hub.example.com:6443", "token": "x"}
			}), chart.Facts{}, []string{"bootstrap", "server", "https://"},
		},
		"a file that is no kubeconfig": {
			set(charts.Klusterlet, func(v map[string]any) { v["bootstrap"] = map[string]any{"kubeconfig": "hello: world"} }), chart.Facts{},
			[]string{"no kubeconfig", "muster join NAME"},
		},
		"two hubs of one name": {
			set(charts.Klusterlet, func(v map[string]any) {
				hub := map[string]any{"name": "b", "bootstrap": map[string]any{"existingSecret": "b"}}
				v["hubs"] = []any{hub, hub}
			}), chart.Facts{}, []string{"two of hubs have one name: b, b"},
		},
		"another hub without a way": {
			set(charts.Klusterlet, func(v map[string]any) {
				v["hubs"] = []any{map[string]any{"name": "b", "bootstrap": map[string]any{"ca": "PEM"}}}
			}), chart.Facts{}, []string{"needs one way to the hub"},
		},
		"rules for an agent that acts as accounts": {
			set(charts.Klusterlet, func(v map[string]any) {
				v["rights"] = map[string]any{"type": "ServiceAccounts", "rules": []any{map[string]any{"verbs": []any{"get"}}}}
			}), chart.Facts{}, []string{"rights.rules are for rights.type Rules"},
		},
		"a cluster name with capitals": {
			set(charts.Klusterlet, func(v map[string]any) { v["clusterName"] = "Edge_1" }), chart.Facts{}, []string{"clusterName", "pattern"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chart.Render(row.release, row.facts)
			if err == nil {
				t.Fatal("it is rendered")
			}
			for _, part := range row.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
		})
	}
}
