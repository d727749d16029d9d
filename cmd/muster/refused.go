package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
)

// shortcoming is a fault of a repository: a definition that is not on the hub as the commit has it.
type shortcoming struct {
	repository string
	musterv1alpha1.Fault
}

// shortcomings are the faults of the commit that was read last, without the fault of a fetch that failed since.
func shortcomings(r *musterv1alpha1.FleetRepository) []shortcoming {
	fetching := overview.Unreadable(r)
	var list []shortcoming
	for _, f := range r.Status.Faults {
		if fetching != nil && f.Reason == fetching.Reason && f.Message == fetching.Message {
			continue
		}
		list = append(list, shortcoming{r.Namespace + "/" + r.Name, f})
	}
	return list
}

// listedFaults is how many faults a status lists at most.
const listedFaults = 20

// unlisted is the number of faults that the status counts and does not list.
func unlisted(r *musterv1alpha1.FleetRepository) int {
	if len(r.Status.Faults) < listedFaults {
		return 0
	}
	listed := 0
	for _, f := range r.Status.Faults {
		listed += max(1, int(f.Clusters))
	}
	return int(r.Status.FaultCount) - listed
}

// needsUser: only another commit, or whoever gives rights, resolves it. That two applications claim one object may end by itself.
func (s shortcoming) needsUser() bool {
	return s.ActionRequiredBy == string(fleet.User) && s.Reason != string(fleet.ObjectClaimed)
}

// about says whether the fault is about an application. The message begins with the definition, where it is known.
func (s shortcoming) about(application string) bool {
	return s.Application == application || strings.HasPrefix(s.Message, "Application "+application+": ")
}

// explains tells whether it is why an application on the hub is not what its commit says: the commit's own definition of it
// could not be taken, or stands in a file that cannot be read.
func (s shortcoming) explains(a *musterv1alpha1.Application) bool {
	unread := s.Reason == string(fleet.FileMalformed) || s.Reason == string(fleet.FileUnreadable)
	planned := meta.FindStatusCondition(a.Status.Conditions, "Planned")
	return s.needsUser() && s.Cluster == "" &&
		(s.about(a.Namespace+"/"+a.Name) || unread && planned != nil && planned.Reason == "Waiting")
}

// text is the place of the fault and its message.
func (s shortcoming) text() string {
	if place := position(s.File, int(s.Line)); place != "" {
		return place + ": " + s.Message
	}
	return s.Message
}

// line names the repository or application too: no application on the hub shows the fault.
func (s shortcoming) line() string {
	who := "repository " + s.repository
	if s.Application != "" {
		who = s.Application
	}
	return fmt.Sprintf("%s: %s", who, s.text())
}
