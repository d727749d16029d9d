package addon

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
)

// podSetup is what the pods of an add-on get beside what the template says.
type podSetup struct {
	env     []nameValue
	volumes []volume
	config  addonv1alpha1.AddOnDeploymentConfigSpec // of all configurations, the later ones before the earlier ones
	mirrors []addonv1alpha1.ImageMirror
}

type nameValue struct{ name, value string }

// volume is a Secret or a ConfigMap at a path.
type volume struct{ name, secret, configMap, path string }

// pods are where the kinds of workloads have the spec of their pods. Jobs and Pods cannot change: they are set up as hooks, which are
// made when they are to run.
var pods = map[string]struct {
	resource string
	path     []string
	changes  bool
}{
	"Deployment":  {"deployments", []string{"spec", "template", "spec"}, true},
	"DaemonSet":   {"daemonsets", []string{"spec", "template", "spec"}, true},
	"StatefulSet": {"statefulsets", []string{"spec", "template", "spec"}, true},
	"ReplicaSet":  {"replicasets", []string{"spec", "template", "spec"}, true},
	"CronJob":     {"cronjobs", []string{"spec", "jobTemplate", "spec", "template", "spec"}, true},
	"Job":         {"jobs", []string{"spec", "template", "spec"}, false},
	"Pod":         {"pods", []string{"spec"}, false},
}

// setUp changes the pods of a workload. Other objects stay as they are.
func (s *podSetup) setUp(o *unstructured.Unstructured) error {
	kind, ok := pods[o.GetKind()]
	group := o.GroupVersionKind().Group
	if !ok || group != "apps" && group != "batch" && group != "" || !kind.changes && !isHook(o) {
		return nil
	}
	spec, found, err := unstructured.NestedMap(o.Object, kind.path...)
	if err != nil || !found {
		return err
	}
	for _, field := range []string{"initContainers", "containers"} {
		containers, _, err := unstructured.NestedSlice(spec, field)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		for i := range containers {
			container, ok := containers[i].(map[string]any)
			if !ok {
				return fmt.Errorf("%s[%d] is no container", field, i)
			}
			if err := s.setUpContainer(container, kind.resource, o.GetName()); err != nil {
				return err
			}
		}
		if len(containers) > 0 {
			spec[field] = containers
		}
	}
	s.addVolumes(spec)
	if err := s.place(spec); err != nil {
		return err
	}
	return unstructured.SetNestedMap(o.Object, spec, kind.path...)
}

func (s *podSetup) setUpContainer(container map[string]any, resource, workload string) error {
	var env, mounts []any
	for _, e := range s.env {
		env = append(env, map[string]any{"name": e.name, "value": e.value})
	}
	for _, v := range s.volumes {
		mounts = append(mounts, map[string]any{"name": v.name, "mountPath": v.path, "readOnly": true})
	}
	addMissing(container, "env", "name", env)
	addMissing(container, "volumeMounts", "mountPath", mounts)
	if image, ok := container["image"].(string); ok {
		container["image"] = mirrored(image, s.mirrors)
	}
	name, _ := container["name"].(string)
	for _, r := range s.config.ResourceRequirements {
		if !matchesContainer(r.ContainerID, resource, workload, name) {
			continue
		}
		resources, err := plain(r.Resources)
		if err != nil {
			return err
		}
		container["resources"] = resources
	}
	return nil
}

// addMissing appends the entries of a list that it does not have by their key: what the template says stays.
func addMissing(in map[string]any, field, key string, entries []any) {
	list, _ := in[field].([]any)
	for _, e := range entries {
		has := slices.ContainsFunc(list, func(other any) bool {
			o, ok := other.(map[string]any)
			return ok && o[key] == e.(map[string]any)[key]
		})
		if !has {
			list = append(list, e)
		}
	}
	if len(list) > 0 {
		in[field] = list
	}
}

func (s *podSetup) addVolumes(spec map[string]any) {
	var volumes []any
	for _, v := range s.volumes {
		source := map[string]any{"secret": map[string]any{"secretName": v.secret}}
		if v.configMap != "" {
			source = map[string]any{"configMap": map[string]any{"name": v.configMap}}
		}
		source["name"] = v.name
		volumes = append(volumes, source)
	}
	addMissing(spec, "volumes", "name", volumes)
}

// place sets where the pods run. OCM's hub ignores tolerations without a node selector; here each counts by itself.
func (s *podSetup) place(spec map[string]any) error {
	placement := s.config.NodePlacement
	if placement == nil {
		return nil
	}
	if len(placement.NodeSelector) > 0 {
		selector := map[string]any{}
		for key, value := range placement.NodeSelector {
			selector[key] = value
		}
		spec["nodeSelector"] = selector
	}
	if len(placement.Tolerations) > 0 {
		tolerations, err := plain(placement.Tolerations)
		if err != nil {
			return err
		}
		spec["tolerations"] = tolerations
	}
	return nil
}

// plain is a value as JSON knows it.
func plain(value any) (any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(data, &out)
}

// matchesContainer reads <resource>:<workload>:<container>, each of which may be *.
func matchesContainer(id, resource, workload, container string) bool {
	parts := strings.Split(id, ":")
	return len(parts) == 3 && !slices.ContainsFunc([][2]string{{parts[0], resource}, {parts[1], workload}, {parts[2], container}}, func(p [2]string) bool {
		return p[0] != "*" && p[0] != p[1]
	})
}

// mirrored is the name of an image at its mirror. Of several mirrors that it has the last one counts.
func mirrored(image string, mirrors []addonv1alpha1.ImageMirror) string {
	out := image
	for _, m := range mirrors {
		source, mirror := strings.TrimSuffix(m.Source, "/"), strings.TrimSuffix(m.Mirror, "/")
		switch rest, found := strings.CutPrefix(image, source); {
		case source == "":
			out = strings.TrimPrefix(mirror+"/"+image[strings.LastIndex(image, "/")+1:], "/")
		case found && (rest == "" || strings.ContainsAny(rest[:1], "/:@")):
			out = mirror + rest
		}
	}
	return out
}

// merged are all configurations as one: of what several say, the last one counts. Variables and resource requirements add up.
func merged(configs []*addonv1alpha1.AddOnDeploymentConfig) addonv1alpha1.AddOnDeploymentConfigSpec {
	var out addonv1alpha1.AddOnDeploymentConfigSpec
	for _, c := range configs {
		s := c.Spec
		out.CustomizedVariables = append(out.CustomizedVariables, s.CustomizedVariables...)
		out.ResourceRequirements = append(out.ResourceRequirements, s.ResourceRequirements...)
		if s.NodePlacement != nil {
			out.NodePlacement = s.NodePlacement
		}
		if len(s.Registries) > 0 {
			out.Registries = s.Registries
		}
		if p := s.ProxyConfig; p.HTTPProxy+p.HTTPSProxy+p.NoProxy != "" || len(p.CABundle) > 0 {
			out.ProxyConfig = p
		}
		if s.AgentInstallNamespace != "" {
			out.AgentInstallNamespace = s.AgentInstallNamespace
		}
	}
	return out
}

// environment is that of the pods: the variables, sorted, with values.
func environment(variables map[string]string) []nameValue {
	var env []nameValue
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		value := variables[name]
		if value == "" {
			continue
		}
		env = append(env, nameValue{name, value})
		if name == HTTPProxy || name == HTTPSProxy || name == NoProxy {
			env = append(env, nameValue{strings.ToLower(name), value})
		}
	}
	return env
}
