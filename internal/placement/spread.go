package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// spread picks up to wanted candidates one by one, each time the best that the constraints allow. The skew of a topology
// is its number of picked clusters minus that of the topology with the fewest, among the topologies of the candidates.
//
//	DoNotSchedule   a cluster that would bring its topology over maxSkew, or has no topology, is not picked while that is so
//	ScheduleAnyway  such a cluster comes after all others; the first constraint is the most important one
//
// It returns the picked candidates and, for those that a constraint excluded, the reason.
func (r *run) spread(wanted int) (picked []int, excluded map[int]string, err error) {
	constraints, err := r.topologies()
	if err != nil {
		return nil, nil, err
	}
	picked, excluded = r.pick(constraints, wanted)
	return picked, excluded, nil
}

func (r *run) pick(constraints []topology, wanted int) (picked []int, excluded map[int]string) {
	classes := r.classes(constraints)
	for len(picked) < wanted {
		best := -1
		for n := range classes {
			c := &classes[n]
			if len(c.rest) == 0 || c.barred(constraints) >= 0 {
				continue
			}
			if best < 0 || r.better(constraints, c, &classes[best]) {
				best = n
			}
		}
		if best < 0 {
			break
		}
		picked = append(picked, classes[best].pick(constraints))
	}
	excluded = map[int]string{}
	for n := range classes {
		position := classes[n].barred(constraints)
		if position < 0 || len(picked) == wanted {
			continue
		}
		for _, i := range classes[n].rest {
			excluded[i] = constraints[position].reason(classes[n].values[position])
		}
	}
	return picked, excluded
}

// topology is one constraint, with the number of picked clusters for each value of its key.
type topology struct {
	clusterv1beta1.SpreadConstraintsTerm
	values []string // by value number
	counts []int    // picked, by value number
	having []int    // by count: the number of values with that many picked clusters
	least  int      // the smallest count
}

// class has the candidates with the same topology in every constraint, by rank.
type class struct {
	values []int // value number by constraint, -1 when the cluster has none
	rest   []int // candidates not picked yet
}

func (r *run) topologies() ([]topology, error) {
	list := make([]topology, len(r.placement.Spec.SpreadPolicy.SpreadConstraints))
	for i, c := range r.placement.Spec.SpreadPolicy.SpreadConstraints {
		if c.MaxSkew == 0 {
			c.MaxSkew = 1 // the API's default
		}
		if c.TopologyKey == "" || c.MaxSkew < 0 {
			return nil, &misconfigured{plugin: "Spread", field: fmt.Sprintf("spec.spreadPolicy.spreadConstraints[%d]", i), message: fmt.Sprintf("spread constraint %d needs a topologyKey and a maxSkew of at least 1", i)}
		}
		if t := c.TopologyKeyType; t != clusterv1beta1.TopologyKeyTypeLabel && t != clusterv1beta1.TopologyKeyTypeClaim {
			return nil, &misconfigured{plugin: "Spread", field: fmt.Sprintf("spec.spreadPolicy.spreadConstraints[%d].topologyKeyType", i), message: fmt.Sprintf("spread constraint %d: unknown topologyKeyType %q", i, t)}
		}
		list[i].SpreadConstraintsTerm = c
	}
	return list, nil
}

// classes divides the candidates and fills the constraints' values.
func (r *run) classes(constraints []topology) []class {
	number := make([]map[string]int, len(constraints))
	for i := range number {
		number[i] = map[string]int{}
	}
	var list []class
	byKey := map[string]int{}
	for _, i := range r.order {
		values := make([]int, len(constraints))
		var key strings.Builder
		for n := range constraints {
			value, has := r.index.topologyOf(&constraints[n].SpreadConstraintsTerm, r.candidates[i].index)
			values[n] = -1
			if has {
				values[n] = constraints[n].number(number[n], value)
			}
			fmt.Fprintf(&key, "%d ", values[n])
		}
		position, known := byKey[key.String()]
		if !known {
			position = len(list)
			byKey[key.String()] = position
			list = append(list, class{values: values})
		}
		list[position].rest = append(list[position].rest, i)
	}
	for n := range constraints {
		constraints[n].having = []int{len(constraints[n].counts)}
	}
	return list
}

// topologyOf is the topology of a cluster for a constraint, and whether it has one.
func (x *Index) topologyOf(c *clusterv1beta1.SpreadConstraintsTerm, position int) (string, bool) {
	if c.TopologyKeyType == clusterv1beta1.TopologyKeyTypeClaim {
		value, has := x.claimsOf(position)[c.TopologyKey]
		return value, has
	}
	value, has := x.clusters[position].Labels[c.TopologyKey]
	return value, has
}

func (t *topology) number(known map[string]int, value string) int {
	n, ok := known[value]
	if !ok {
		n = len(t.values)
		known[value] = n
		t.values = append(t.values, value)
		t.counts = append(t.counts, 0)
	}
	return n
}

// excess is how far one more cluster of a topology would exceed the maximum skew; 0 when it would not. A cluster without a
// topology exceeds it more than any other.
func (t *topology) excess(value int) int {
	if value < 0 {
		return int(^uint(0) >> 1)
	}
	return max(0, t.counts[value]+1-t.least-int(t.MaxSkew))
}

// barred is the first hard constraint that one more cluster of the class would violate, -1 when there is none.
func (c *class) barred(constraints []topology) int {
	for n := range constraints {
		if constraints[n].WhenUnsatisfiable == clusterv1beta1.DoNotSchedule && constraints[n].excess(c.values[n]) > 0 {
			return n
		}
	}
	return -1
}

// better says whether the next of class a comes before the next of class b.
func (r *run) better(constraints []topology, a, b *class) bool {
	for n := range constraints {
		if by := cmp.Compare(constraints[n].excess(a.values[n]), constraints[n].excess(b.values[n])); by != 0 {
			return by < 0
		}
	}
	i, j := a.rest[0], b.rest[0]
	if r.result.Totals[i] != r.result.Totals[j] {
		return r.result.Totals[i] > r.result.Totals[j]
	}
	return i < j
}

// pick picks the first of the class.
func (c *class) pick(constraints []topology) int {
	for n, v := range c.values {
		if v < 0 {
			continue
		}
		t := &constraints[n]
		t.having[t.counts[v]]--
		t.counts[v]++
		if t.counts[v] == len(t.having) {
			t.having = append(t.having, 0)
		}
		t.having[t.counts[v]]++
		for t.having[t.least] == 0 {
			t.least++
		}
	}
	first := c.rest[0]
	c.rest = c.rest[1:]
	return first
}

// reason says why no more clusters of a topology can be picked.
func (t *topology) reason(value int) string {
	kind := strings.ToLower(string(t.TopologyKeyType))
	if value < 0 {
		return fmt.Sprintf("%s %s: missing, and the choice is spread over it", kind, t.TopologyKey)
	}
	fewest := t.values[slices.Index(t.counts, t.least)]
	return fmt.Sprintf("%s %s=%s has %d chosen and %s=%s has %d: one more would exceed the maximum skew of %d",
		kind, t.TopologyKey, t.values[value], t.counts[value], t.TopologyKey, fewest, t.least, t.MaxSkew)
}
