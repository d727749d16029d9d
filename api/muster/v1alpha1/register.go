package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the kinds in this package.
var GroupVersion = schema.GroupVersion{Group: "muster.dev", Version: "v1alpha1"}

// SchemeBuilder collects the kinds of this package; AddToScheme puts them into a scheme.
var (
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	AddToScheme   = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&FleetRepository{}, &FleetRepositoryList{},
		&Application{}, &ApplicationList{},
		&APISet{}, &APISetList{},
		&RolloutHistory{}, &RolloutHistoryList{},
		&ClusterValues{}, &ClusterValuesList{},
		&ReviewPolicy{}, &ReviewPolicyList{},
		&Notification{}, &NotificationList{},
		&Hold{}, &HoldList{},
		&Inspection{}, &InspectionList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
