package work

import (
	"cmp"
	"slices"
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/health"
)

// configOf says how an object is applied and watched. Every default of the API is written out: the spec that comes back
// from an API server must be the one that was planned.
//
// Fields are applied by force: Git has the last word about the fields that it sets. Fields that others may own are named
// in spec.sync.ignore; they are applied only when the object does not exist yet.
func configOf(owner fleet.Owner, options Options, key fleet.ObjectKey) workv1.ManifestConfigOption {
	return workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{
			Group: key.Group, Resource: key.Resource, Namespace: key.Namespace, Name: key.Name,
		},
		FeedbackRules:      health.Feedback(key),
		FeedbackScrapeType: workv1.FeedbackPollType,
		ConditionRules:     health.Rules(key),
		UpdateStrategy: &workv1.UpdateStrategy{
			Type: workv1.UpdateStrategyTypeServerSideApply,
			ServerSideApply: &workv1.ServerSideApplyConfig{
				Force:        true,
				FieldManager: FieldManager(owner),
				IgnoreFields: ignoredFields(options.Ignore, key),
			},
		},
	}
}

// Ignores says whether a rule is about an object.
func Ignores(r musterv1alpha1.IgnoreRule, key fleet.ObjectKey) bool {
	return r.Kind == key.Kind && (r.Group == "" || r.Group == key.Group) && (r.Name == "" || r.Name == key.Name)
}

func ignoredFields(rules []musterv1alpha1.IgnoreRule, key fleet.ObjectKey) []workv1.IgnoreField {
	var pointers []string
	for _, r := range rules {
		if Ignores(r, key) {
			pointers = append(pointers, r.JSONPointers...)
		}
	}
	if len(pointers) == 0 {
		return nil
	}
	slices.Sort(pointers)
	return []workv1.IgnoreField{{
		Condition: workv1.IgnoreFieldsConditionOnSpokePresent, JSONPointers: slices.Compact(pointers),
	}}
}

// deleteOptionOf says that the objects of a work are deleted with it, except definitions and the namespace of createNamespace.
// What earlier works of the part kept stays kept: a cluster that was offline meanwhile sees only the newest rules.
func deleteOptionOf(manifests []fleet.Manifest, shared map[fleet.ObjectKey]bool, before []fleet.ObjectKey) *workv1.DeleteOption {
	var rules []workv1.OrphaningRule
	for _, m := range manifests {
		if isDefinition(m.Key) || shared[m.Key.Identity()] {
			rules = append(rules, orphaningRule(m.Key))
		}
	}
	for _, key := range before {
		rules = append(rules, orphaningRule(key))
	}
	if len(rules) == 0 {
		return &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeForeground}
	}
	slices.SortFunc(rules, func(a, b workv1.OrphaningRule) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return &workv1.DeleteOption{
		PropagationPolicy: workv1.DeletePropagationPolicyTypeSelectivelyOrphan,
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: slices.Compact(rules)},
	}
}

// Leaving is the delete option of a work that is to leave objects on the cluster, beside those that it leaves already: all of its
// objects when none is named.
func Leaving(lw fleet.LiveWork, leave []fleet.ObjectKey) *workv1.DeleteOption {
	if len(leave) == 0 {
		return &workv1.DeleteOption{PropagationPolicy: workv1.DeletePropagationPolicyTypeOrphan}
	}
	return deleteOptionOf(nil, nil, slices.Concat(lw.Kept, leave))
}

func orphaningRule(key fleet.ObjectKey) workv1.OrphaningRule {
	return workv1.OrphaningRule{Group: key.Group, Resource: key.Resource, Namespace: key.Namespace, Name: key.Name}
}

// executorOf is the identity that applies on the cluster: the service account, which is namespace/name or a name in the
// destination namespace, or nil for the agent itself.
func executorOf(options Options) *workv1.ManifestWorkExecutor {
	account := options.ServiceAccount
	if account == "" {
		return nil
	}
	namespace, name, ok := strings.Cut(account, "/")
	if !ok {
		namespace, name = options.Namespace, account
	}
	return &workv1.ManifestWorkExecutor{Subject: workv1.ManifestWorkExecutorSubject{
		Type:           workv1.ExecutorSubjectTypeServiceAccount,
		ServiceAccount: &workv1.ManifestWorkSubjectServiceAccount{Namespace: namespace, Name: name},
	}}
}
