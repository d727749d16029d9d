package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxAnnotations is what the annotations of one object may have in all, in bytes: apimachinery's TotalAnnotationSizeLimitB.
const maxAnnotations = 256 << 10

// WrongMetadata finds what every API server refuses in an object's metadata: the field, such as metadata.labels.env, and what is
// wrong there, for people. Values are not quoted, names are. Both are empty when nothing is wrong.
func WrongMetadata(group, kind string, metadata map[string]any) (field, problem string) {
	name, _ := metadata["name"].(string)
	if bad := wrongName(group, kind, name); bad != "" {
		return "metadata.name", fmt.Sprintf("metadata.name %q: %s", name, bad)
	}
	namespace, isText := metadata["namespace"].(string)
	if metadata["namespace"] != nil && !isText {
		return "metadata.namespace", "metadata.namespace is not text"
	}
	if bad := validation.IsDNS1123Label(namespace); namespace != "" && len(bad) > 0 {
		return "metadata.namespace", fmt.Sprintf("metadata.namespace %q: %s", namespace, ShortRule(bad[0]))
	}
	if field, problem = wrongEntries("metadata.labels", metadata["labels"], wrongLabel); problem != "" {
		return field, problem
	}
	return wrongEntries("metadata.annotations", metadata["annotations"], wrongAnnotation)
}

// wrongEntries finds the first of the labels or annotations, by key, that is refused.
func wrongEntries(parent string, value any, wrong func(key, text string) string) (field, problem string) {
	entries, ok := value.(map[string]any)
	if value != nil && !ok {
		return parent, parent + " is not a map"
	}
	size := 0
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		text, ok := entries[key].(string)
		if !ok && entries[key] != nil {
			return parent + "." + key, fmt.Sprintf("%s[%s] is not text: quote it", parent, key)
		}
		if bad := wrong(key, text); bad != "" {
			return parent + "." + key, fmt.Sprintf("%s[%s]: %s", parent, key, bad)
		}
		size += len(key) + len(text)
	}
	if parent == "metadata.annotations" && size > maxAnnotations {
		return parent, fmt.Sprintf("%s are %d bytes together, and may be %d", parent, size, maxAnnotations)
	}
	return "", ""
}

// marks are the annotations under muster.dev that a file may have, and the kind that each is for; "" is every kind. All others
// there, and all labels, as those that name a cluster's add-ons, are what the hub or a person writes on live objects. Applied from Git they would come back whenever the
// hub takes them off: an approval would never end.
var marks = map[string]string{
	musterv1alpha1.DefaultServiceAccountAnnotation: "Namespace",
	musterv1alpha1.AssumeAnnotation:                "ManagedCluster",
	musterv1alpha1.JoinIdentityAnnotation:          "ManagedCluster",
	musterv1alpha1.MovedFromAnnotation:             "Application",
	musterv1alpha1.TakeOverAnnotation:              "",
	musterv1alpha1.AddOnContentAnnotation:          "ClusterManagementAddOn",
	musterv1alpha1.AddOnRepositoryAnnotation:       "ClusterManagementAddOn",
}

// wrongMark finds the first label or annotation in a file's metadata that belongs to the hub.
func wrongMark(kind string, metadata map[string]any) (field, problem string) {
	allowed := func(key string) bool {
		of, ok := marks[key]
		return ok && (of == "" || of == kind)
	}
	for _, of := range []string{"labels", "annotations"} {
		entries, _ := metadata[of].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			hubs := strings.HasPrefix(key, "muster.dev/") || of == "labels" && strings.HasPrefix(key, addonv1alpha1.FeatureLabelPrefix)
			if !hubs || of == "annotations" && allowed(key) {
				continue
			}
			problem = fmt.Sprintf("metadata.%s[%s] belongs to the hub: take it out", of, key)
			if of == "annotations" {
				may := slices.DeleteFunc(slices.Sorted(maps.Keys(marks)), func(k string) bool { return !allowed(k) })
				problem += fmt.Sprintf("; on kind %s a file may have %s", kind, strings.Join(may, " and "))
			}
			return "metadata." + of + "." + key, problem
		}
	}
	return "", ""
}

func wrongLabel(key, text string) string {
	if bad := validation.IsQualifiedName(key); len(bad) > 0 {
		return "the key is not allowed: " + ShortRule(bad[0])
	}
	if bad := validation.IsValidLabelValue(text); len(bad) > 0 {
		return "the value is not allowed: " + ShortRule(bad[0])
	}
	return ""
}

// wrongAnnotation checks the key alone, in which case does not matter.
func wrongAnnotation(key, _ string) string {
	if bad := validation.IsQualifiedName(strings.ToLower(key)); len(bad) > 0 {
		return "the key is not allowed: " + ShortRule(bad[0])
	}
	return ""
}

// wrongName says what is wrong with the name of an object, as far as that is known of its kind.
func wrongName(group, kind, name string) string {
	check := validation.IsDNS1123Subdomain
	switch {
	case group == "rbac.authorization.k8s.io":
		check = content.IsPathSegmentName // colons are usual
	case group == "" && (kind == "Namespace" || kind == "Service"),
		group == "cluster.open-cluster-management.io" && kind == "ManagedCluster": // the hub makes a namespace of the name
		check = validation.IsDNS1123Label
	case strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") && !ours(group):
		check = content.IsPathSegmentName // an aggregated API server may take what a custom resource may not
	}
	if bad := check(name); len(bad) > 0 {
		return ShortRule(bad[0])
	}
	if group == "cluster.open-cluster-management.io" && kind == "ManagedCluster" {
		return ReservedName(name)
	}
	return ""
}

// WrongClusterName says why no cluster may have a name. It is empty for a name that one may have.
func WrongClusterName(name string) string {
	return wrongName("cluster.open-cluster-management.io", "ManagedCluster", name)
}

// ReservedName says why no cluster may have a name: the cluster's namespace on the hub, in which its agent has rights, would be
// one that the hub keeps other things in. It is empty for all other names.
func ReservedName(cluster string) string {
	if cluster == "default" || cluster == "muster-system" || strings.HasPrefix(cluster, "kube-") || strings.HasPrefix(cluster, "open-cluster-management") {
		return "a cluster cannot have the name of a namespace that the hub has for other things"
	}
	return ""
}

func ours(group string) bool {
	return group == "muster.dev" || strings.HasSuffix(group, ".open-cluster-management.io")
}

// ShortRule is what Kubernetes says of something that is not allowed, without the value, examples and expressions.
func ShortRule(text string) string {
	text = quotedValue.ReplaceAllString(text, "$3")
	text, _, _ = strings.Cut(text, " (e.g.")
	text, _, _ = strings.Cut(text, " (regex used")
	return text
}

var quotedValue = regexp.MustCompile(`: Invalid value: ("(\\.|[^"\\])*"|[^ ]*?)(:|$)`)
