package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/rollout"
	"github.com/muster-io/muster/internal/work"
)

// Difference is what changes from one plan to another that was built in the same world. It is complete and sorted, has no
// sensitive values and no times, and is the same for people and for programs.
type Difference struct {
	Base    Side    `json:"base"`
	Head    Side    `json:"head"`
	Summary Summary `json:"summary"`
	// Definitions that are neither placements nor applications.
	Definitions  []DefinitionDifference  `json:"definitions,omitempty"`
	Placements   []PlacementDifference   `json:"placements,omitempty"`
	Applications []ApplicationDifference `json:"applications,omitempty"`
	// Held is what the head's plan would not do yet.
	Held []Hold `json:"held,omitempty"`
	// NewFaults are in the head and not in the base, ResolvedFaults the other way round.
	NewFaults      []fleet.Fault `json:"newFaults,omitempty"`
	ResolvedFaults []fleet.Fault `json:"resolvedFaults,omitempty"`
	// NewWarnings are in the head and not in the base. They stop nothing, and are no change.
	NewWarnings []fleet.Fault `json:"newWarnings,omitempty"`
}

// Side is one of the two plans.
type Side struct {
	Revision string `json:"revision"`
	Plan     string `json:"plan"`
	Faults   int    `json:"faults"`
}

// Summary counts what is in a Difference.
type Summary struct {
	Clusters int `json:"clusters"` // of the world, as the head changes it
	// Applications of both sides, and how many of them change.
	Applications        int `json:"applications"`
	ChangedApplications int `json:"changedApplications"`
	// Gained, Lost and Updated count clusters, once for each application.
	Gained  int `json:"gained"`
	Lost    int `json:"lost"`
	Updated int `json:"updated"`
	// DeletedObjects counts objects that go while their application stays, once for each cluster.
	DeletedObjects int `json:"deletedObjects"`
	// RemovedDefinitions counts all kinds.
	RemovedDefinitions int `json:"removedDefinitions"`
	// Held counts what waits for an approval: clusters, objects and applications.
	Held           int `json:"held"`
	NewFaults      int `json:"newFaults"`
	ResolvedFaults int `json:"resolvedFaults"`
	NewWarnings    int `json:"newWarnings"`
}

// Deletions is true when something is removed.
func (s Summary) Deletions() bool {
	return s.Lost+s.DeletedObjects+s.RemovedDefinitions > 0
}

// Edit is what becomes of a definition or an object.
type Edit string

// The edits. HandedOver is an object that changes its work and nothing else, or that goes to another application.
const (
	Added      Edit = "Added"
	Changed    Edit = "Changed"
	Removed    Edit = "Removed"
	HandedOver Edit = "HandedOver"
)

// DefinitionDifference is one definition that is added, changed or removed.
type DefinitionDifference struct {
	Object fleet.ObjectKey    `json:"object"`
	Edit   Edit               `json:"edit"`
	File   string             `json:"file,omitempty"` // of the head; of the base when it is removed
	Line   int                `json:"line,omitempty"`
	Fields []work.FieldChange `json:"fields,omitempty"` // of a changed one
}

// PlacementDifference is a placement that is written differently or selects other clusters.
type PlacementDifference struct {
	Placement string             `json:"placement"` // namespace/name
	Edit      Edit               `json:"edit"`
	File      string             `json:"file,omitempty"`
	Line      int                `json:"line,omitempty"`
	Before    int                `json:"before"`
	After     int                `json:"after"`
	Gained    []ClusterGroup     `json:"gained,omitempty"`
	Lost      []ClusterGroup     `json:"lost,omitempty"`
	Fields    []work.FieldChange `json:"fields,omitempty"` // of its spec
	// Problem is what is wrong with the placement itself.
	Problem string `json:"problem,omitempty"`
}

// ClusterGroup are clusters that are gained or lost for the same reason.
type ClusterGroup struct {
	Clusters []string `json:"clusters"`
	// Reason of the head's decision; Was is that of the base's, where it tells something.
	Reason string `json:"reason"`
	Was    string `json:"was,omitempty"`
}

// ApplicationDifference is an application that changes on some cluster, or whose policies change.
type ApplicationDifference struct {
	Application string `json:"application"` // namespace/name
	// RenamedFrom is the namespace/name that the application had in the base, when the head renames it. Its objects go over to the works
	// of the new name, and do not count as changes.
	RenamedFrom string `json:"renamedFrom,omitempty"`
	Edit        Edit   `json:"edit"`
	File        string `json:"file,omitempty"`
	Line        int    `json:"line,omitempty"`
	// Before and After count clusters, those that could not be planned included.
	Before int `json:"before"`
	After  int `json:"after"`
	// Digest of the head's part of the plan: the argument of muster approve. Empty for a removed application.
	Digest string         `json:"digest,omitempty"`
	Gained []ClusterGroup `json:"gained,omitempty"`
	Lost   []ClusterGroup `json:"lost,omitempty"`
	// Recovered clusters could not be planned in the base.
	Recovered []string `json:"recovered,omitempty"`
	// Fields are policies of the application itself: its placement, deletion, guard.
	Fields []work.FieldChange `json:"fields,omitempty"`
	// Changes on clusters that keep the application, the largest group first.
	Changes []ChangeGroup `json:"changes,omitempty"`
}

// ChangeGroup are the clusters of an application that get the same change.
type ChangeGroup struct {
	Clusters []string `json:"clusters"`
	// Label that exactly these of the application's clusters have, as key=value, if there is one.
	Label string `json:"label,omitempty"`
	// Overrides of the application that apply to all of the clusters.
	Overrides []string       `json:"overrides,omitempty"`
	Objects   []ObjectChange `json:"objects,omitempty"`
	// Delivery is how the objects are applied: executor, drift policy, ignored fields.
	Delivery []work.FieldChange `json:"delivery,omitempty"`
}

// ObjectChange is one object on the clusters of a group.
type ObjectChange struct {
	Object fleet.ObjectKey `json:"object"`
	Edit   Edit            `json:"edit"`
	// Stays is true for a removed object that is left on the clusters.
	Stays bool `json:"stays,omitempty"`
	// GainedBy is the application, namespace/name, that the object goes to when it leaves this one.
	GainedBy string `json:"gainedBy,omitempty"`
	// From and To are works, when the object goes from one to another.
	From   string        `json:"from,omitempty"`
	To     string        `json:"to,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"` // of a changed one
}

// FieldChange is one field of an object, and where its value is likely set.
type FieldChange struct {
	work.FieldChange
	// Layer of the Helm values whose names the field has: "values/prod.yaml:7". It is left out when several could be meant.
	Layer string `json:"layer,omitempty"`
	// Varies is true where a digest, such as that of a configuration, is another one on each cluster: <digest> stands for it.
	Varies bool `json:"varies,omitempty"`
}

// Hold is what the head's plan would not do yet, and why.
type Hold struct {
	Application string             `json:"application,omitempty"`
	Definition  string             `json:"definition,omitempty"` // Kind namespace/name
	Reason      rollout.HeldReason `json:"reason"`
	Clusters    []string           `json:"clusters,omitempty"`
	Message     string             `json:"message"`
	// Deletions is how many clusters and protected objects would go; Plan the digest that lets them.
	Deletions int    `json:"deletions,omitempty"`
	Plan      string `json:"plan,omitempty"`
}

// Released is the reason of a hold on a cluster or namespace whose file is gone: a commit never removes those.
const Released rollout.HeldReason = "Released"

// Empty says that the head asks for what the base asks for.
func (d *Difference) Empty() bool {
	return len(d.Definitions)+len(d.Placements)+len(d.Applications)+len(d.NewFaults)+len(d.ResolvedFaults) == 0
}

// Compare tells what changes from base to head, which were built in the same world. Sensitive values are hashed by redact.
func Compare(base, head *Plan, redact fleet.Redactor) (*Difference, error) {
	c := &comparer{base: base, head: head, redact: redact, explain: [2]*explainer{newExplainer(base), newExplainer(head)}}
	c.out.Base = Side{Revision: base.Revision, Plan: base.Digest, Faults: len(base.Faults)}
	c.out.Head = Side{Revision: head.Revision, Plan: head.Digest, Faults: len(head.Faults)}
	for _, step := range []func() error{c.definitions, c.placements, c.applications} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	c.out.NewFaults = without(head.Faults, base.Faults)
	c.out.ResolvedFaults = without(base.Faults, head.Faults)
	c.out.NewWarnings = without(head.Warnings, base.Warnings)
	c.sum()
	return &c.out, nil
}

// comparer is a comparison in the making.
type comparer struct {
	base, head *Plan
	redact     fleet.Redactor
	explain    [2]*explainer // of base and head
	out        Difference
}

// gone is true when the head, of which every file was read, does not name an object any more. What it names and cannot use stays.
func (c *comparer) gone(key fleet.ObjectKey) bool {
	return c.head.Definitions.AbsenceProven && !c.head.Definitions.Named[key.Identity()]
}

// without are the faults of one list that are not in the other, wherever in their file they stand.
func without(faults, other []fleet.Fault) []fleet.Fault {
	type what struct {
		reason                              fleet.Reason
		app, cluster, object, file, message string
	}
	of := func(f fleet.Fault) what {
		return what{f.Reason, f.Application, f.Cluster, f.Object, f.File, f.Message}
	}
	there := map[what]int{}
	for _, f := range other {
		there[of(f)]++
	}
	var list []fleet.Fault
	for _, f := range faults {
		if there[of(f)] > 0 {
			there[of(f)]--
			continue
		}
		list = append(list, f)
	}
	return list
}

// sum fills in the counts.
func (c *comparer) sum() {
	s := &c.out.Summary
	s.Clusters = len(c.head.World.Clusters)
	keys := map[string]bool{}
	for _, p := range []*Plan{c.base, c.head} {
		for _, a := range p.Applications {
			keys[cmp.Or(c.head.Renames[a.Key()], a.Key())] = true
		}
	}
	s.Applications, s.ChangedApplications = len(keys), len(c.out.Applications)
	removed := func(e Edit) {
		if e == Removed {
			s.RemovedDefinitions++
		}
	}
	for _, a := range c.out.Applications {
		removed(a.Edit)
		s.Gained += clustersIn(a.Gained)
		s.Lost += clustersIn(a.Lost)
		for _, g := range a.Changes {
			s.Updated += len(g.Clusters)
			for _, o := range g.Objects {
				if o.Edit == Removed && !o.Stays {
					s.DeletedObjects += len(g.Clusters)
				}
			}
		}
	}
	for _, d := range c.out.Definitions {
		removed(d.Edit)
	}
	for _, p := range c.out.Placements {
		removed(p.Edit)
	}
	for _, h := range c.out.Held {
		s.Held += h.Deletions
	}
	s.NewFaults, s.ResolvedFaults, s.NewWarnings = len(c.out.NewFaults), len(c.out.ResolvedFaults), len(c.out.NewWarnings)
}

func clustersIn(groups []ClusterGroup) int {
	n := 0
	for _, g := range groups {
		n += len(g.Clusters)
	}
	return n
}

// grouping collects clusters by why they are gained or lost.
type grouping map[[2]string][]string

func (g grouping) add(cluster, reason, was string) {
	// The rank among others is different for every cluster.
	reason, _, _ = strings.Cut(reason, "; ranked ")
	was, _, _ = strings.Cut(was, "; ranked ")
	key := [2]string{reason, was}
	g[key] = append(g[key], cluster)
}

// groups are the largest first.
func (g grouping) groups() []ClusterGroup {
	var list []ClusterGroup
	for key, clusters := range g {
		slices.Sort(clusters)
		list = append(list, ClusterGroup{Clusters: clusters, Reason: key[0], Was: key[1]})
	}
	slices.SortFunc(list, func(a, b ClusterGroup) int {
		return cmp.Or(-cmp.Compare(len(a.Clusters), len(b.Clusters)), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Was, b.Was))
	})
	return list
}
