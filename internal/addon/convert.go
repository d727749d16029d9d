package addon

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	addonv1beta1 "github.com/muster-io/muster/api/addon/v1beta1"
)

// noDefault as the name of a v1beta1 default configuration is a kind that the add-on takes and that has no default.
const noDefault = "__reserved_no_default__"

// The versions that Convert knows.
var (
	alpha = addonv1alpha1.GroupVersion.String()
	beta  = addonv1beta1.GroupVersion.String()
)

// Convert makes the other version of a ClusterManagementAddOn or a ManagedClusterAddOn, by OCM's rules. What v1beta1 has no field for,
// all of it deprecated, is lost: addOnConfiguration, and the name of a configuration beside that of the desired one.
func Convert(object []byte, to string) ([]byte, error) {
	var from metav1.TypeMeta
	if err := json.Unmarshal(object, &from); err != nil {
		return nil, fmt.Errorf("read the object to convert: %w", err)
	}
	switch key := from.Kind + " " + from.APIVersion + " " + to; {
	case from.APIVersion == to:
		return object, nil
	case key == "ClusterManagementAddOn "+alpha+" "+beta:
		return convertWith(object, clusterManagementToBeta)
	case key == "ClusterManagementAddOn "+beta+" "+alpha:
		return convertWith(object, clusterManagementToAlpha)
	case key == "ManagedClusterAddOn "+alpha+" "+beta:
		return convertWith(object, managedClusterToBeta)
	case key == "ManagedClusterAddOn "+beta+" "+alpha:
		return convertWith(object, managedClusterToAlpha)
	}
	return nil, fmt.Errorf("there is no conversion of %s %s to %s", from.APIVersion, from.Kind, to)
}

func convertWith[From, To any](object []byte, convert func(*From) *To) ([]byte, error) {
	from := new(From)
	if err := json.Unmarshal(object, from); err != nil {
		return nil, fmt.Errorf("read the object to convert: %w", err)
	}
	return json.Marshal(convert(from))
}

func clusterManagementToBeta(from *addonv1alpha1.ClusterManagementAddOn) *addonv1beta1.ClusterManagementAddOn {
	to := &addonv1beta1.ClusterManagementAddOn{ObjectMeta: from.ObjectMeta}
	to.APIVersion, to.Kind = beta, from.Kind
	to.Spec.AddOnMeta, to.Spec.InstallStrategy = from.Spec.AddOnMeta, from.Spec.InstallStrategy
	for _, c := range from.Spec.SupportedConfigs {
		config := addonv1alpha1.AddOnConfig{ConfigGroupResource: c.ConfigGroupResource, ConfigReferent: addonv1alpha1.ConfigReferent{Name: noDefault}}
		if c.DefaultConfig != nil {
			config.ConfigReferent = *c.DefaultConfig
		}
		to.Spec.DefaultConfigs = append(to.Spec.DefaultConfigs, config)
	}
	to.Status.DefaultConfigReferences, to.Status.InstallProgressions = from.Status.DefaultConfigReferences, from.Status.InstallProgressions
	return to
}

func clusterManagementToAlpha(from *addonv1beta1.ClusterManagementAddOn) *addonv1alpha1.ClusterManagementAddOn {
	to := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: from.ObjectMeta}
	to.APIVersion, to.Kind = alpha, from.Kind
	to.Spec.AddOnMeta, to.Spec.InstallStrategy = from.Spec.AddOnMeta, from.Spec.InstallStrategy
	for _, c := range from.Spec.DefaultConfigs {
		config := addonv1alpha1.ConfigMeta{ConfigGroupResource: c.ConfigGroupResource}
		if c.Name != noDefault {
			config.DefaultConfig = &c.ConfigReferent
		}
		to.Spec.SupportedConfigs = append(to.Spec.SupportedConfigs, config)
	}
	to.Status.DefaultConfigReferences, to.Status.InstallProgressions = from.Status.DefaultConfigReferences, from.Status.InstallProgressions
	return to
}

func managedClusterToBeta(from *addonv1alpha1.ManagedClusterAddOn) *addonv1beta1.ManagedClusterAddOn {
	to := &addonv1beta1.ManagedClusterAddOn{ObjectMeta: from.ObjectMeta}
	to.APIVersion, to.Kind = beta, from.Kind
	if from.Spec.InstallNamespace != "" {
		metav1.SetMetaDataAnnotation(&to.ObjectMeta, addonv1alpha1.InstallNamespaceAnnotation, from.Spec.InstallNamespace)
	}
	to.Spec.Configs = from.Spec.Configs
	s := &from.Status
	to.Status = addonv1beta1.ManagedClusterAddOnStatus{
		Conditions: s.Conditions, RelatedObjects: s.RelatedObjects, AddOnMeta: s.AddOnMeta, SupportedConfigs: s.SupportedConfigs,
		Namespace: s.Namespace, HealthCheck: s.HealthCheck,
	}
	for _, r := range s.Registrations {
		config := addonv1beta1.RegistrationConfig{Type: addonv1beta1.CustomSigner}
		if r.SignerName == addonv1alpha1.KubeClientSigner {
			config.Type = addonv1beta1.KubeClient
			config.KubeClient = &addonv1beta1.KubeClientConfig{
				Subject: addonv1beta1.KubeClientSubject{User: r.Subject.User, Groups: r.Subject.Groups}, Driver: s.KubeClientDriver,
			}
		} else {
			config.CustomSigner = &addonv1beta1.CustomSignerConfig{SignerName: r.SignerName, Subject: addonv1beta1.Subject(r.Subject)}
		}
		to.Status.Registrations = append(to.Status.Registrations, config)
	}
	for _, r := range s.ConfigReferences {
		to.Status.ConfigReferences = append(to.Status.ConfigReferences, addonv1beta1.ConfigReference{
			ConfigGroupResource: r.ConfigGroupResource, LastObservedGeneration: r.LastObservedGeneration, DesiredConfig: r.DesiredConfig, LastAppliedConfig: r.LastAppliedConfig,
		})
	}
	return to
}

func managedClusterToAlpha(from *addonv1beta1.ManagedClusterAddOn) *addonv1alpha1.ManagedClusterAddOn {
	to := &addonv1alpha1.ManagedClusterAddOn{ObjectMeta: from.ObjectMeta}
	to.APIVersion, to.Kind = alpha, from.Kind
	to.Spec.InstallNamespace = from.Annotations[addonv1alpha1.InstallNamespaceAnnotation]
	to.Spec.Configs = from.Spec.Configs
	s := &from.Status
	to.Status = addonv1alpha1.ManagedClusterAddOnStatus{
		Conditions: s.Conditions, RelatedObjects: s.RelatedObjects, AddOnMeta: s.AddOnMeta, SupportedConfigs: s.SupportedConfigs,
		Namespace: s.Namespace, HealthCheck: s.HealthCheck,
	}
	for _, r := range s.Registrations {
		switch {
		case r.KubeClient != nil:
			to.Status.KubeClientDriver = r.KubeClient.Driver
			to.Status.Registrations = append(to.Status.Registrations, addonv1alpha1.RegistrationConfig{
				SignerName: addonv1alpha1.KubeClientSigner, Subject: addonv1alpha1.Subject{User: r.KubeClient.Subject.User, Groups: r.KubeClient.Subject.Groups},
			})
		case r.Type == addonv1beta1.KubeClient:
			to.Status.Registrations = append(to.Status.Registrations, addonv1alpha1.RegistrationConfig{SignerName: addonv1alpha1.KubeClientSigner})
		case r.CustomSigner != nil:
			to.Status.Registrations = append(to.Status.Registrations, addonv1alpha1.RegistrationConfig{
				SignerName: r.CustomSigner.SignerName, Subject: addonv1alpha1.Subject(r.CustomSigner.Subject),
			})
		}
	}
	for _, r := range s.ConfigReferences {
		ref := addonv1alpha1.ConfigReference{
			ConfigGroupResource: r.ConfigGroupResource, LastObservedGeneration: r.LastObservedGeneration, DesiredConfig: r.DesiredConfig, LastAppliedConfig: r.LastAppliedConfig,
		}
		if r.DesiredConfig != nil {
			ref.ConfigReferent = r.DesiredConfig.ConfigReferent
		}
		to.Status.ConfigReferences = append(to.Status.ConfigReferences, ref)
	}
	return to
}
