package fleet_test

import (
	"testing"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
)

func TestDefaultAccount(t *testing.T) {
	for name, row := range map[string]struct{ why, says, want string }{
		"None":  {why: "the agent itself"},
		"Bare":  {why: "who writes applications chooses the destination, and not whose account it is", says: "deployer", want: "retail/deployer"},
		"Whole": {why: "what is whole stays", says: "shops/deployer", want: "shops/deployer"},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := map[string]string{musterv1alpha1.DefaultServiceAccountAnnotation: row.says}
			if got := fleet.DefaultAccount("retail", annotations); got != row.want {
				t.Errorf("%s: %q, want %q", row.why, got, row.want)
			}
		})
	}
	if got := fleet.DefaultAccount("retail", nil); got != "" {
		t.Errorf("a namespace without annotations names %q", got)
	}
}
