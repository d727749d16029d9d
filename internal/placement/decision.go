package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// Objects are the PlacementDecisions of a result: pages of at most 100 clusters, group by group, named
// <placement>-decision-N from 1, always at least one. A page that exists already keeps what others wrote into its metadata.
// A placement whose name no label can hold has none: they could not be written.
func Objects(p *clusterv1beta1.Placement, r *Result, existing []clusterv1beta1.PlacementDecision) []clusterv1beta1.PlacementDecision {
	have := make(map[string]*clusterv1beta1.PlacementDecision, len(existing))
	for i := range existing {
		have[existing[i].Name] = &existing[i]
	}
	var pages []clusterv1beta1.PlacementDecision
	if !labelable(p.Name) {
		return nil
	}
	grounds := GroundsAfter(p, r, existing)
	for _, group := range r.Groups {
		for _, clusters := range pagesOf(group.Clusters) {
			name := pageName(p.Name, len(pages)+1)
			page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}}
			if old := have[name]; old != nil {
				old.ObjectMeta.DeepCopyInto(&page.ObjectMeta)
			}
			own(p, group, grounds, &page)
			page.Status.Decisions = make([]clusterv1beta1.ClusterDecision, len(clusters))
			for i, c := range clusters {
				page.Status.Decisions[i] = r.decisionOf(c)
			}
			pages = append(pages, page)
		}
	}
	return pages
}

// decisionOf finds the decision about a chosen cluster.
func (r *Result) decisionOf(cluster string) clusterv1beta1.ClusterDecision {
	i, _ := slices.BinarySearch(r.Chosen, cluster)
	return r.chosen[i]
}

// own marks a page as the placement's and the group's, and with the grounds of the choice.
func own(p *clusterv1beta1.Placement, group Group, grounds string, page *clusterv1beta1.PlacementDecision) {
	if grounds != "" {
		metav1.SetMetaDataAnnotation(&page.ObjectMeta, musterv1alpha1.GroundsAnnotation, grounds)
	}
	if page.Labels == nil {
		page.Labels = map[string]string{}
	}
	page.Labels[clusterv1beta1.PlacementLabel] = p.Name
	page.Labels[clusterv1beta1.DecisionGroupNameLabel] = group.Name
	page.Labels[clusterv1beta1.DecisionGroupIndexLabel] = strconv.Itoa(group.Index)
	owner := *metav1.NewControllerRef(p, clusterv1beta1.GroupVersion.WithKind("Placement"))
	others := slices.DeleteFunc(page.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.UID == owner.UID || o.Controller != nil && *o.Controller
	})
	page.OwnerReferences = append([]metav1.OwnerReference{owner}, others...)
}

func pageName(placement string, n int) string { return placement + "-decision-" + strconv.Itoa(n) }

// NamedAfter is the placement that gives its pages names of this form, "" for another form. A page with such a name and
// without the label is adopted, as in OCM, and never deleted.
func NamedAfter(page string) string {
	infix := strings.LastIndex(page, "-decision-")
	if infix < 0 {
		return ""
	}
	if n, err := strconv.Atoi(page[infix+len("-decision-"):]); err != nil || n < 1 {
		return ""
	}
	return page[:infix]
}

// pagesOf divides a group's clusters into pages, one of them at least.
func pagesOf(clusters []string) [][]string {
	if len(clusters) == 0 {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(clusters, clusterv1beta1.MaxClusterDecisions))
}

// Read returns the clusters that a placement has chosen, by name, and whether the pages are a complete set: there is at
// least one, none names a cluster that another names too, and together they are as many as the placement's status says.
// Nothing may be concluded from an incomplete set: the last complete one stays.
func Read(p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) (clusters []string, complete bool) {
	pages := 0
	for i := range decisions {
		d := &decisions[i]
		if d.Namespace != p.Namespace || d.Labels[clusterv1beta1.PlacementLabel] != p.Name {
			continue
		}
		pages++
		for _, c := range d.Status.Decisions {
			clusters = append(clusters, c.ClusterName)
		}
	}
	total := len(clusters)
	slices.Sort(clusters)
	clusters = slices.Compact(clusters)
	return clusters, pages > 0 && len(clusters) == total && total == int(p.Status.NumberOfSelectedClusters)
}

// ReadGroups gives the decision groups that the pages of a placement divide its clusters into, by index.
func ReadGroups(p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) []Group {
	byIndex := map[int]*Group{}
	for i := range decisions {
		d := &decisions[i]
		if d.Namespace != p.Namespace || d.Labels[clusterv1beta1.PlacementLabel] != p.Name {
			continue
		}
		index, _ := strconv.Atoi(d.Labels[clusterv1beta1.DecisionGroupIndexLabel]) // a page without the label is of the first group
		if byIndex[index] == nil {
			byIndex[index] = &Group{Name: d.Labels[clusterv1beta1.DecisionGroupNameLabel], Index: index}
		}
		for _, c := range d.Status.Decisions {
			byIndex[index].Clusters = append(byIndex[index].Clusters, c.ClusterName)
		}
	}
	groups := make([]Group, 0, len(byIndex))
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		groups = append(groups, *byIndex[index])
	}
	return groups
}

// ReadSet gives the decision groups of a placement, and whether its pages are a complete set. The status of a placement says how many
// clusters there are on all pages; where nobody writes that status, as with decisions made by hand, the pages that are there are all.
func ReadSet(p *clusterv1beta1.Placement, decisions []clusterv1beta1.PlacementDecision) (groups []Group, complete bool) {
	groups = ReadGroups(p, decisions)
	_, complete = Read(p, decisions)
	if silent := p.Status.NumberOfSelectedClusters == 0 && len(p.Status.Conditions)+len(p.Status.DecisionGroups) == 0; silent {
		complete = len(groups) > 0
	}
	return groups, complete
}

// Scheduled says whether the status of a placement is about its present generation.
func Scheduled(p *clusterv1beta1.Placement) bool {
	c := meta.FindStatusCondition(p.Status.Conditions, clusterv1beta1.PlacementConditionSatisfied)
	return c != nil && c.ObservedGeneration == p.Generation
}

// Status is the status of a placement with this result. What has not changed stays as it is, times included.
func Status(p *clusterv1beta1.Placement, r *Result) clusterv1beta1.PlacementStatus {
	status := *p.Status.DeepCopy()
	status.NumberOfSelectedClusters = int32(len(r.Chosen))
	status.DecisionGroups = nil
	page := 1
	for _, g := range r.Groups {
		if !labelable(p.Name) {
			break
		}
		s := clusterv1beta1.DecisionGroupStatus{
			DecisionGroupIndex: int32(g.Index),
			DecisionGroupName:  g.Name,
			ClustersCount:      int32(len(g.Clusters)),
		}
		for range pagesOf(g.Clusters) {
			s.Decisions = append(s.Decisions, pageName(p.Name, page))
			page++
		}
		status.DecisionGroups = append(status.DecisionGroups, s)
	}
	for _, c := range r.Conditions {
		c.LastTransitionTime = metav1.NewTime(r.now)
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

// Verb is what a Write does.
type Verb string

// The kinds of writes.
const (
	Create Verb = "Create"
	Update Verb = "Update"
	Delete Verb = "Delete"
)

// Write is one change of one page.
type Write struct {
	Verb Verb
	Page clusterv1beta1.PlacementDecision
}

// Writes orders the changes from the existing pages to the wanted ones so that a cluster that is chosen before and after
// is always in one of them: a page loses it only when another page has it. Where two pages would have to swap
// clusters, a temporary page holds the clusters meanwhile and is deleted at the end.
func Writes(p *clusterv1beta1.Placement, existing, wanted []clusterv1beta1.PlacementDecision) []Write {
	s := newShift(p, existing, wanted)
	var writes []Write
	for len(s.pending) > 0 {
		next := slices.IndexFunc(s.pending, s.safe)
		if next < 0 {
			writes = append(writes, s.addPage())
			continue
		}
		w := s.pending[next]
		s.pending = slices.Delete(s.pending, next, next+1)
		s.make(w)
		writes = append(writes, w)
	}
	return writes
}

// shift is a set of pages while they change from one state to another.
type shift struct {
	placement *clusterv1beta1.Placement
	pending   []Write
	content   map[string][]string // what each page holds now
	holders   map[string]int      // how many pages hold a cluster now
	kept      map[string]bool     // clusters that are chosen before and after
	next      int                 // number of the next page of its own
}

func newShift(p *clusterv1beta1.Placement, existing, wanted []clusterv1beta1.PlacementDecision) *shift {
	s := &shift{placement: p, content: map[string][]string{}, holders: map[string]int{}, kept: map[string]bool{}}
	have := map[string]*clusterv1beta1.PlacementDecision{}
	s.next = len(wanted) + 1
	for i := range existing {
		have[existing[i].Name] = &existing[i]
		if ours(p, &existing[i]) {
			s.hold(existing[i].Name, clusterNames(&existing[i]))
		}
		if text, ok := strings.CutPrefix(existing[i].Name, p.Name+"-decision-"); ok {
			if n, err := strconv.Atoi(text); err == nil {
				s.next = max(s.next, n+1)
			}
		}
	}
	names := map[string]bool{}
	for i := range wanted {
		page := wanted[i]
		names[page.Name] = true
		for _, c := range clusterNames(&page) {
			s.kept[c] = s.holders[c] > 0
		}
		old := have[page.Name]
		switch {
		case old == nil:
			s.pending = append(s.pending, Write{Create, page})
		case !samePage(old, &page):
			s.pending = append(s.pending, Write{Update, page})
		}
	}
	for i := range existing {
		if !names[existing[i].Name] && ours(p, &existing[i]) {
			s.pending = append(s.pending, Write{Delete, existing[i]})
		}
	}
	slices.SortStableFunc(s.pending, func(a, b Write) int { return cmp.Compare(verbOrder(a.Verb), verbOrder(b.Verb)) })
	return s
}

// ours says whether readers count a page as one of the placement.
func ours(p *clusterv1beta1.Placement, page *clusterv1beta1.PlacementDecision) bool {
	return page.Labels[clusterv1beta1.PlacementLabel] == p.Name
}

func verbOrder(v Verb) int { return slices.Index([]Verb{Create, Update, Delete}, v) }

func (s *shift) hold(page string, clusters []string) {
	for _, c := range s.content[page] {
		s.holders[c]--
	}
	for _, c := range clusters {
		s.holders[c]++
	}
	s.content[page] = clusters
}

func (s *shift) make(w Write) {
	if w.Verb == Delete {
		s.hold(w.Page.Name, nil)
		return
	}
	s.hold(w.Page.Name, clusterNames(&w.Page))
}

// safe is true when a write removes no kept cluster from the last page that holds it.
func (s *shift) safe(w Write) bool { return len(s.stranded(w)) == 0 }

// stranded are the kept clusters that no page would hold after the write.
func (s *shift) stranded(w Write) []string {
	after := map[string]bool{}
	if w.Verb != Delete {
		for _, c := range clusterNames(&w.Page) {
			after[c] = true
		}
	}
	var list []string
	for _, c := range s.content[w.Page.Name] {
		if s.kept[c] && !after[c] && s.holders[c] == 1 {
			list = append(list, c)
		}
	}
	return list
}

// addPage adds a temporary page for the clusters that the first pending write would strand. It is deleted at the end.
func (s *shift) addPage() Write {
	page := clusterv1beta1.PlacementDecision{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.placement.Namespace, Name: pageName(s.placement.Name, s.next), Labels: map[string]string{},
	}}
	s.next++
	first := &s.pending[0].Page
	own(s.placement, Group{Name: first.Labels[clusterv1beta1.DecisionGroupNameLabel]}, "", &page)
	page.Labels[clusterv1beta1.DecisionGroupIndexLabel] = cmp.Or(first.Labels[clusterv1beta1.DecisionGroupIndexLabel], "0")
	for _, c := range s.stranded(s.pending[0]) {
		page.Status.Decisions = append(page.Status.Decisions, clusterv1beta1.ClusterDecision{ClusterName: c})
	}
	w := Write{Create, page}
	s.make(w)
	s.pending = append(s.pending, Write{Delete, page})
	return w
}

func clusterNames(d *clusterv1beta1.PlacementDecision) []string {
	names := make([]string, len(d.Status.Decisions))
	for i, c := range d.Status.Decisions {
		names[i] = c.ClusterName
	}
	return names
}

// samePage says whether a page needs no write.
func samePage(a, b *clusterv1beta1.PlacementDecision) bool {
	return SameMetadata(a, b) && a.Status.Decisions != nil && slices.EqualFunc(a.Status.Decisions, b.Status.Decisions, sameDecision)
}

// SameMetadata says whether two pages have the same labels, owners and grounds: what is written apart from the decisions.
func SameMetadata(a, b *clusterv1beta1.PlacementDecision) bool {
	const grounds = musterv1alpha1.GroundsAnnotation
	return a.Annotations[grounds] == b.Annotations[grounds] && fmt.Sprint(a.Labels) == fmt.Sprint(b.Labels) && slices.EqualFunc(a.OwnerReferences, b.OwnerReferences, func(x, y metav1.OwnerReference) bool {
		return x.UID == y.UID && x.Name == y.Name && x.Kind == y.Kind && x.Controller != nil && y.Controller != nil && *x.Controller == *y.Controller
	})
}

func sameDecision(a, b clusterv1beta1.ClusterDecision) bool {
	if (a.Score == nil) != (b.Score == nil) || a.Score != nil && *a.Score != *b.Score {
		return false
	}
	return a.ClusterName == b.ClusterName && a.Reason == b.Reason
}
