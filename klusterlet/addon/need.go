package addon

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	rules "github.com/muster-io/muster/internal/registration"
)

// place is where a Secret of an add-on lies.
type place struct {
	client.ObjectKey
	hosted bool // on the management cluster, and not on the managed one
}

// need is one thing that the agent of an add-on needs of the hub.
type need struct {
	addon  string
	signer string
	// subject of the certificate.
	subject pkix.Name
	secret  place
	// kubeClient says that the Secret holds a kubeconfig of the hub.
	kubeClient bool
}

// needsOf reads from the status of an add-on what its agent needs. Cluster and agent name who asks.
func needsOf(addon *addonv1alpha1.ManagedClusterAddOn, cluster, agent string) []need {
	var all []need
	for _, config := range addon.Status.Registrations {
		r := need{
			addon: addon.Name, signer: config.SignerName, kubeClient: config.SignerName == addonv1alpha1.KubeClientSigner,
			secret: place{hosted: rules.Hosted(addon), ObjectKey: client.ObjectKey{Namespace: rules.AddOnNamespace(addon)}},
			subject: pkix.Name{
				CommonName: config.Subject.User, Organization: config.Subject.Groups, OrganizationalUnit: config.Subject.OrganizationUnits,
			},
		}
		r.secret.Name = addon.Name + "-" + strings.ReplaceAll(config.SignerName, "/", "-") + "-client-cert"
		if r.subject.CommonName == "" {
			r.subject.CommonName = rules.AddOnUser(cluster, addon.Name, agent)
		}
		if r.kubeClient {
			r.secret.Name = addon.Name + "-hub-kubeconfig"
			if len(r.subject.Organization) == 0 {
				r.subject.Organization = rules.AddOnGroups(cluster, addon.Name)[:2]
			}
		}
		if !slices.ContainsFunc(all, func(other need) bool { return other.secret == r.secret }) {
			all = append(all, r) // of two for one Secret the first counts, or they would take turns
		}
	}
	return all
}

// sameSubject says whether a certificate is of a subject. The order of organizations says nothing.
func sameSubject(a, b pkix.Name) bool {
	return a.CommonName == b.CommonName && rules.SameSet(a.Organization, b.Organization) && rules.SameSet(a.OrganizationalUnit, b.OrganizationalUnit)
}

// certifies says whether a certificate is one that a registration asks for.
func (r need) certifies(leaf *x509.Certificate) bool {
	return sameSubject(leaf.Subject, r.subject)
}
