package addon

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	workv1 "github.com/muster-io/muster/api/work/v1"
)

// input is an add-on with these manifests on cluster one.
func input(manifests ...string) Input {
	in := Input{
		AddOn:    &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}},
		Cluster:  &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: "one"}},
		Template: &addonv1alpha1.AddOnTemplate{ObjectMeta: metav1.ObjectMeta{Name: "mirror-1"}},
	}
	for _, text := range manifests {
		m := workv1.Manifest{}
		m.Raw = []byte(text)
		in.Template.Spec.AgentSpec.Workload.Manifests = append(in.Template.Spec.AgentSpec.Workload.Manifests, m)
	}
	return in
}

func (in Input) with(specs ...addonv1alpha1.AddOnDeploymentConfigSpec) Input {
	for _, s := range specs {
		in.Configs = append(in.Configs, &addonv1alpha1.AddOnDeploymentConfig{Spec: s})
	}
	return in
}

const (
	configMap  = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"shop"},"data":{"text":"TEXT"}}`
	deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"server","namespace":"shop"},"spec":{"template":{"spec":{"containers":[` +
		`{"name":"main","image":"quay.io/acme/server:1","env":[{"name":"CLUSTER_NAME","value":"mine"}]},{"name":"side","image":"quay.io/acmes/side"}]}}}}`
	hookJob = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"bye","namespace":"shop","annotations":{"addon.open-cluster-management.io/addon-pre-delete":""}},` +
		`"spec":{"template":{"spec":{"containers":[{"name":"main","image":"quay.io/acme/bye"}]}}}}`
)

// TestVariables: what becomes of a text of a template.
func TestVariables(t *testing.T) {
	variables := addonv1alpha1.AddOnDeploymentConfigSpec{CustomizedVariables: []addonv1alpha1.CustomizedVariable{
		{Name: "A", Value: "{{B}}"}, {Name: "B", Value: `quo"te`}, {Name: "CLUSTER_NAME", Value: "another"}, {Name: "EMPTY"},
	}}
	for name, c := range map[string]struct{ why, text, want, fault string }{
		"cluster":        {why: "a cluster's name is its own", text: "{{CLUSTER_NAME}} in {{INSTALL_NAMESPACE}}", want: "one in open-cluster-management-agent-addon"},
		"quotes":         {why: "a value is a text and no JSON", text: "{{B}}", want: `quo"te`},
		"cyclic":         {why: "what a value brings is no variable", text: "{{A}}", want: "{{B}}"},
		"empty":          {why: "an empty value is a value", text: "<{{EMPTY}}>", want: "<>"},
		"no proxy":       {why: "proxy settings are always there", text: "<{{HTTP_PROXY}}>", want: "<>"},
		"other template": {why: "a Go template in a ConfigMap is its own", text: "{{ .Values.a }} {{ $labels.pod }} {{range}", want: "{{ .Values.a }} {{ $labels.pod }} {{range}"},
		"unknown":        {why: "a variable that this cluster does not have", text: "{{REGION}}", fault: "manifest 0 of AddOnTemplate mirror-1 for cluster one: ConfigMap settings: there is no variable REGION"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Render(input(strings.Replace(configMap, `"TEXT"`, string(text), 1)).with(variables))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%s: got %v, want %q", c.why, err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if data, _, _ := unstructured.NestedString(got.Managed.Deploy[0].Object, "data", "text"); data != c.want {
				t.Errorf("%s: got %q, want %q", c.why, data, c.want)
			}
		})
	}
}

// TestPods: what an AddOnDeploymentConfig makes of a Deployment.
func TestPods(t *testing.T) {
	seconds := int64(5)
	in := input(deployment).with(
		addonv1alpha1.AddOnDeploymentConfigSpec{
			AgentInstallNamespace: "edge", Registries: []addonv1alpha1.ImageMirror{{Mirror: "never.used"}},
			NodePlacement: &addonv1alpha1.NodePlacement{Tolerations: []addonv1alpha1.Toleration{{Key: "infra", Operator: "Exists", TolerationSeconds: &seconds}}},
			ResourceRequirements: []addonv1alpha1.ContainerResourceRequirements{
				{ContainerID: "*:*:*", Resources: requests("1")}, {ContainerID: "deployments:server:side", Resources: requests("2")}, {ContainerID: "daemonsets:*:*", Resources: requests("3")},
			},
		},
		addonv1alpha1.AddOnDeploymentConfigSpec{
			Registries:  []addonv1alpha1.ImageMirror{{Source: "quay.io/acme", Mirror: "mirror.local/"}},
			ProxyConfig: addonv1alpha1.ProxyConfig{HTTPSProxy: "http://proxy:3128", CABundle: []byte("PEM")},
		},
	)
	in.Template.Spec.Registration = []addonv1alpha1.RegistrationSpec{
		{Type: addonv1alpha1.RegistrationKubeClient},
		{Type: addonv1alpha1.RegistrationCustomSigner, CustomSigner: &addonv1alpha1.CustomSignerRegistrationConfig{RegistrationConfig: addonv1alpha1.RegistrationConfig{SignerName: "example.com/signer"}}},
	}
	rendered, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	o := rendered.Managed.Deploy[0]
	if o.GetNamespace() != "edge" || rendered.InstallNamespace != "edge" {
		t.Errorf("the Deployment is in namespace %s, the agent in %s, want edge", o.GetNamespace(), rendered.InstallNamespace)
	}
	spec, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
	containers := spec["containers"].([]any)
	main, side := containers[0].(map[string]any), containers[1].(map[string]any)
	if main["image"] != "mirror.local/server:1" || side["image"] != "quay.io/acmes/side" {
		t.Errorf("images are %v and %v: a source ends where a name ends", main["image"], side["image"])
	}
	env := map[string]string{}
	for _, e := range main["env"].([]any) {
		env[e.(map[string]any)["name"].(string)] = e.(map[string]any)["value"].(string)
	}
	want := map[string]string{
		"CLUSTER_NAME": "mine", "INSTALL_NAMESPACE": "edge", "HUB_KUBECONFIG": "/managed/hub-kubeconfig/kubeconfig", "CA_BUNDLE_FILE_PATH": "/managed/proxy-ca/ca-bundle.crt",
		"HTTPS_PROXY": "http://proxy:3128", "https_proxy": "http://proxy:3128",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment: what the template says stays (-want +got)\n%s", diff)
	}
	cpu := func(container map[string]any) string {
		v, _, _ := unstructured.NestedString(container, "resources", "requests", "cpu")
		return v
	}
	if cpu(main) != "1" || cpu(side) != "2" {
		t.Errorf("requests are %s and %s: the last that matches counts", cpu(main), cpu(side))
	}
	if tolerations := spec["tolerations"].([]any); len(tolerations) != 1 || spec["nodeSelector"] != nil {
		t.Errorf("tolerations count without a node selector: %v %v", spec["tolerations"], spec["nodeSelector"])
	}
	var mounts, volumes []string
	for _, m := range side["volumeMounts"].([]any) {
		mounts = append(mounts, m.(map[string]any)["mountPath"].(string))
	}
	for _, v := range spec["volumes"].([]any) {
		volumes = append(volumes, v.(map[string]any)["name"].(string))
	}
	if diff := cmp.Diff([]string{"/managed/hub-kubeconfig", "/managed/example.com-signer", "/managed/proxy-ca"}, mounts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hub-kubeconfig", "cert-example-com-signer", "proxy-ca"}, volumes); diff != "" {
		t.Error(diff)
	}
	ca := rendered.Managed.Deploy[1]
	if ca.GetName() != "mirror-proxy-ca" || ca.GetNamespace() != "edge" {
		t.Errorf("the CA of the proxy is in %s/%s", ca.GetNamespace(), ca.GetName())
	}
}

// TestRegistriesOfTheCluster: images come from the mirrors that the cluster names, unless a configuration names others.
func TestRegistriesOfTheCluster(t *testing.T) {
	for name, c := range map[string]struct {
		said    string
		configs []addonv1alpha1.AddOnDeploymentConfigSpec
		want    string
	}{
		"the cluster's": {`{"registries":[{"source":"quay.io/acme","mirror":"near.local/acme"}]}`, nil, "near.local/acme/server:1"},
		"a configuration's": {`{"registries":[{"source":"quay.io/acme","mirror":"near.local/acme"}]}`,
			[]addonv1alpha1.AddOnDeploymentConfigSpec{{Registries: []addonv1alpha1.ImageMirror{{Source: "quay.io", Mirror: "mirror.local"}}}}, "mirror.local/acme/server:1"},
		"unreadable": {`registries`, nil, "quay.io/acme/server:1"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(deployment).with(c.configs...)
			in.Cluster.Annotations = map[string]string{"open-cluster-management.io/image-registries": c.said}
			rendered, err := Render(in)
			if err != nil {
				t.Fatal(err)
			}
			containers, _, _ := unstructured.NestedSlice(rendered.Managed.Deploy[0].Object, "spec", "template", "spec", "containers")
			if got := containers[0].(map[string]any)["image"]; got != c.want {
				t.Errorf("the image is %v, want %s", got, c.want)
			}
		})
	}
}

func requests(cpu string) addonv1alpha1.ResourceRequirements {
	return addonv1alpha1.ResourceRequirements{Requests: map[string]resource.Quantity{"cpu": resource.MustParse(cpu)}}
}

// TestWhereManifestsGo: hooks, hosted mode, and what stays on the cluster.
func TestWhereManifestsGo(t *testing.T) {
	at := func(manifest, location string) string {
		return strings.Replace(manifest, `"name":"settings"`, `"name":"settings-`+location+`","annotations":{"addon.open-cluster-management.io/hosted-manifest-location":"`+location+`"}`, 1)
	}
	manifests := []string{configMap, at(configMap, "hosting"), at(configMap, "none"), at(configMap, "managed"), hookJob}
	namesOf := func(objects []*unstructured.Unstructured) string {
		var out []string
		for _, o := range objects {
			out = append(out, o.GetName())
		}
		return strings.Join(out, " ")
	}
	for name, c := range map[string]struct{ hosting, managed, hosted string }{
		"on its own cluster": {managed: "settings settings-hosting settings-none settings-managed"},
		"hosted":             {hosting: "infra", managed: "settings settings-managed", hosted: "settings-hosting"},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(manifests...)
			if c.hosting != "" {
				in.AddOn.Annotations = map[string]string{addonv1alpha1.HostingClusterAnnotation: c.hosting}
			}
			got, err := Render(in)
			if err != nil {
				t.Fatal(err)
			}
			if namesOf(got.Managed.Deploy) != c.managed || namesOf(got.Hosting.Deploy) != c.hosted || namesOf(got.Managed.Hooks) != "bye" {
				t.Errorf("got %q, hosted %q, hooks %q", namesOf(got.Managed.Deploy), namesOf(got.Hosting.Deploy), namesOf(got.Managed.Hooks))
			}
		})
	}
	orphan := strings.Replace(configMap, `"name":"settings"`, `"name":"settings","annotations":{"addon.open-cluster-management.io/deletion-orphan":""}`, 1)
	got, err := Render(input(orphan, deployment))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := got.Parts(func(i int) string { return DeployName("mirror", i) }, got.Managed.Deploy)
	if err != nil || len(parts) != 1 || parts[0].Name != "addon-mirror-deploy-0" {
		t.Fatalf("parts %v, %v", parts, err)
	}
	want := &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan, SelectivelyOrphan: &workv1.SelectivelyOrphan{
		OrphaningRules: []workv1.OrphaningRule{{Resource: "configmaps", Namespace: "shop", Name: "settings"}},
	}}
	if diff := cmp.Diff(want, parts[0].Spec.DeleteOption); diff != "" {
		t.Errorf("what the annotation names stays (-want +got)\n%s", diff)
	}
}

// TestParts: works do not grow over what an API server takes.
func TestParts(t *testing.T) {
	large := func(name string) string {
		return strings.NewReplacer("settings", name, "TEXT", strings.Repeat("x", 300<<10)).Replace(configMap)
	}
	got, err := Render(input(large("a"), large("b"), configMap))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := got.Parts(func(i int) string { return DeployName("mirror", i) }, got.Managed.Deploy)
	if err != nil || len(parts) != 2 || parts[1].Name != "addon-mirror-deploy-1" || len(parts[1].Spec.Workload.Manifests) != 2 {
		t.Errorf("got %d parts, %v", len(parts), err)
	}
	got, err = Render(input(strings.Replace(configMap, "TEXT", strings.Repeat("x", 600<<10), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Parts(func(i int) string { return DeployName("mirror", i) }, got.Managed.Deploy); err == nil || !strings.Contains(err.Error(), "ConfigMap settings is 600 KiB") {
		t.Errorf("one that no work carries: got %v", err)
	}
}
