package registration

import (
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// AddOnAgents is what the hub knows of an add-on on a cluster when a signing request of its agent is decided about.
type AddOnAgents struct {
	Cluster *clusterv1.ManagedCluster          // nil when there is none
	AddOn   *addonv1alpha1.ManagedClusterAddOn // nil when there is none
	// Registrations are those of its template, nil when it has none: who manages the add-on answers its requests.
	Registrations []addonv1alpha1.RegistrationSpec
}

// OfAddOn are the cluster and the add-on that a signing request is labelled with. It is false for all requests but those of add-ons.
func OfAddOn(labels map[string]string) (cluster, addon string, ok bool) {
	cluster, addon = labels[clusterv1.ClusterNameLabelKey], labels[addonv1alpha1.AddonNameLabel]
	return cluster, addon, cluster != "" && addon != ""
}

// DecideAddOn says why the request of an add-on's agent waits for a person, nil when it is approved. Labels are only hints, so that
// everything in the request is compared with what the agent of the cluster is to ask for:
//
//	the name begins with addon, as OCM's agents make it
//	the cluster is accepted, and the add-on is on it
//	an agent of this cluster asks
//	the template asks for a certificate of the signer
//	user, groups and units are those of the registration
func DecideAddOn(csr *certificatesv1.CertificateSigningRequest, known AddOnAgents) error {
	cluster, addon, ok := OfAddOn(csr.Labels)
	switch {
	case !ok || !strings.HasPrefix(csr.Name, AddOnRequestPrefix):
		return fmt.Errorf("%s is not the request of an add-on", csr.Name)
	case known.Cluster == nil || !known.Cluster.Spec.HubAcceptsClient:
		return fmt.Errorf("the hub has no accepted cluster %s", cluster)
	case known.AddOn == nil:
		return fmt.Errorf("add-on %s is not on cluster %s", addon, cluster)
	}
	if asking, _, agent := ParseUserName(csr.Spec.Username); !agent || asking != cluster {
		return fmt.Errorf("%s asks, which is no agent of cluster %s", csr.Spec.Username, cluster)
	}
	x, err := parseX509(csr.Spec.Request)
	if err != nil {
		return err
	}
	wanted, err := subjectOf(csr.Spec.SignerName, cluster, addon, known.Registrations)
	if err != nil {
		return err
	}
	anyAgent := AddOnUser(cluster, addon, "")
	switch {
	case !SameSet(x.Subject.Organization, wanted.Groups):
		return fmt.Errorf("the organizations %q are not those of add-on %s on cluster %s", x.Subject.Organization, addon, cluster)
	case !SameSet(x.Subject.OrganizationalUnit, wanted.OrganizationUnits):
		return fmt.Errorf("the units %q are not those of the registration, %q", x.Subject.OrganizationalUnit, wanted.OrganizationUnits)
	case wanted.User == "" && strings.HasPrefix(x.Subject.CommonName, anyAgent) && x.Subject.CommonName != anyAgent:
	case x.Subject.CommonName != wanted.User:
		return fmt.Errorf("the common name %q is not that of the registration, %q", x.Subject.CommonName, wanted.User)
	}
	for _, usage := range csr.Spec.Usages {
		if !slices.Contains(clientUsages, usage) {
			return fmt.Errorf("the usage %q is not one of a client's certificate", usage)
		}
	}
	return nil
}

var clientUsages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth}

// subjectOf is the subject of the certificates of a signer that a template asks for.
func subjectOf(signer, cluster, addon string, registrations []addonv1alpha1.RegistrationSpec) (addonv1alpha1.Subject, error) {
	for _, config := range RegistrationsOf(cluster, addon, registrations) {
		if config.SignerName == signer {
			return config.Subject, nil
		}
	}
	return addonv1alpha1.Subject{}, fmt.Errorf("the template of add-on %s asks for no certificate of signer %s", addon, signer)
}

// RegistrationsOf are the certificates that the agent of an add-on on a cluster asks for, as its template says.
func RegistrationsOf(cluster, addon string, registrations []addonv1alpha1.RegistrationSpec) []addonv1alpha1.RegistrationConfig {
	standard := addonv1alpha1.Subject{User: AddOnUser(cluster, addon, AddOnAgent(addon)), Groups: AddOnGroups(cluster, addon)}
	var all []addonv1alpha1.RegistrationConfig
	for _, r := range registrations {
		switch {
		case r.Type == addonv1alpha1.RegistrationKubeClient:
			all = append(all, addonv1alpha1.RegistrationConfig{SignerName: addonv1alpha1.KubeClientSigner, Subject: standard})
		case r.CustomSigner != nil && !reserved(r.CustomSigner.SignerName):
			config := addonv1alpha1.RegistrationConfig{SignerName: r.CustomSigner.SignerName, Subject: r.CustomSigner.Subject}
			if s := config.Subject; s.User == "" && len(s.Groups) == 0 && len(s.OrganizationUnits) == 0 {
				config.Subject = standard
			}
			all = append(all, config)
		}
	}
	return all
}

// reserved signers are Kubernetes' own. A template that named one would have the hub approve certificates of nodes and of the API
// server's clients under any name.
func reserved(signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

// SigningCA is the Secret with the CA of a signer that the hub signs for, nil when it signs for none of this name.
func SigningCA(signer string, registrations []addonv1alpha1.RegistrationSpec) *addonv1alpha1.SigningCARef {
	for _, r := range registrations {
		if c := r.CustomSigner; r.Type == addonv1alpha1.RegistrationCustomSigner && c != nil && c.SignerName == signer && !reserved(signer) {
			return &c.SigningCA
		}
	}
	return nil
}

// MergeRegistrations are the registrations to have in the status of an add-on: those wanted, and of a client of the hub that
// authenticates by token what its agent has written.
func MergeRegistrations(wanted []addonv1alpha1.RegistrationConfig, status addonv1alpha1.ManagedClusterAddOnStatus) []addonv1alpha1.RegistrationConfig {
	all := slices.Clone(wanted)
	for i := range all {
		if all[i].SignerName != addonv1alpha1.KubeClientSigner || status.KubeClientDriver != DriverToken {
			continue
		}
		all[i].Subject = addonv1alpha1.Subject{}
		if have := KubeClient(&addonv1alpha1.ManagedClusterAddOn{Status: status}); have != nil {
			all[i].Subject = have.Subject
		}
	}
	return all
}

// SameSet says whether two lists have the same members, in whatever order.
func SameSet(a, b []string) bool {
	sorted := func(s []string) []string {
		s = slices.Clone(s)
		slices.Sort(s)
		return slices.Compact(s)
	}
	return slices.Equal(sorted(a), sorted(b))
}
