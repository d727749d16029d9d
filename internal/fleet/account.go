package fleet

import (
	"strings"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// DefaultAccount is the account on clusters, as namespace/name, that applications of a namespace of the hub run as when they
// name none; it is empty where the namespace's annotations name none. A bare name means the namespace of the same name on
// clusters, and never the destination, which whoever writes an application chooses: there another team may have an account
// of that name.
func DefaultAccount(namespace string, annotations map[string]string) string {
	account := annotations[musterv1alpha1.DefaultServiceAccountAnnotation]
	if account == "" || strings.Contains(account, "/") {
		return account
	}
	return namespace + "/" + account
}
