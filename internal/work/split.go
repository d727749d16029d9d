package work

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/muster-io/muster/internal/fleet"
)

// Sizes of a part. The agent rewrites a whole work with every status, so parts stay far below what an API server accepts.
const (
	// TargetSize is how large, in bytes of manifests, a part may become by objects that are put into it.
	TargetSize = 64 << 10
	// HardLimit is what an API server with OCM accepts: OCM's webhook refuses works whose manifests are larger than 500·1024 bytes.
	HardLimit = 500 << 10
	// LargestManifest is what one manifest may be at most, alone in its work, where the hub allows more than HardLimit: etcd takes
	// requests of 1.5 MiB, and a work has fields besides.
	LargestManifest = 1400 << 10
	// MaxObjects of a part.
	MaxObjects = 150
)

// Split distributes manifests over parts; the index is the part's number, and a part without manifests does not exist.
//
// It is sticky: an object stays in its previous part while that part keeps within HardLimit and MaxObjects, even beyond
// TargetSize, because a handover between parts costs two steps on every cluster. An object that is new, or that has to move, goes to the
// first part that it leaves within TargetSize, else to a new part. A definition or a namespace goes to the first part
// that can take it at all, so that it is applied early. An object that has to move never goes to a part that another
// one had to leave: so no two parts ever wait for each other.
//
// The order of manifests does not matter. Manifests within a part are in the order in which they are applied.
//
// A manifest above HardLimit, up to the limit of one manifest, is alone in its part; no limit is HardLimit.
func Split(manifests []fleet.Manifest, previous map[fleet.ObjectKey]int, limit int) ([][]fleet.Manifest, error) {
	sorted := make([]piece, len(manifests))
	for i, m := range manifests {
		sorted[i] = piece{m, sizeOf(m)}
	}
	slices.SortFunc(sorted, comparePieces)
	if err := checkPieces(sorted, max(limit, HardLimit)); err != nil {
		return nil, err
	}
	d := division{parts: map[int]*part{}, left: map[int]bool{}}
	var homeless []piece
	for _, m := range sorted {
		number, had := previous[m.Key.Identity()]
		if had && d.part(number).fits(m, HardLimit) {
			d.part(number).add(m)
			continue
		}
		if had {
			d.left[number] = true
		}
		homeless = append(homeless, m)
	}
	for _, m := range homeless {
		_, moves := previous[m.Key.Identity()]
		d.part(d.placeFor(m, moves)).add(m)
	}
	return d.list(), nil
}

// piece is a manifest and its size.
type piece struct {
	fleet.Manifest
	size int
}

func comparePieces(a, b piece) int { return compareKeys(a.Key, b.Key) }

// checkPieces refuses what no work can carry. OCM's webhook refuses duplicates and works over the limit.
func checkPieces(sorted []piece, limit int) error {
	seen := make(map[fleet.ObjectKey]bool, len(sorted))
	for _, m := range sorted {
		if seen[m.Key.Identity()] {
			return fleet.Fault{
				Reason: fleet.ManifestInvalid, ActionRequiredBy: fleet.User, Object: m.Key.String(), File: m.File,
				Message: "is there twice: take one of the two out",
			}
		}
		seen[m.Key.Identity()] = true
		if m.size > limit {
			return fleet.Fault{
				Reason: fleet.ManifestTooLarge, ActionRequiredBy: fleet.User, Object: m.Key.String(), File: m.File,
				Message: fmt.Sprintf("is %d KiB, and a ManifestWork carries at most %d KiB%s", (m.size+1023)>>10, limit>>10, remedyFor(m.size)),
			}
		}
	}
	return nil
}

// remedyFor a manifest that is too large.
func remedyFor(size int) string {
	if size <= LargestManifest {
		return fmt.Sprintf(": divide it into smaller objects, shorten it, or let the hub take it with --manifest-limit %d", (size+1023)>>10)
	}
	return ": divide it into smaller objects, or shorten it"
}

// sizeOf a manifest as a hub counts it: an API server writes <, > and & as six bytes, and an entry takes a few more.
func sizeOf(m fleet.Manifest) int {
	escaped := bytes.Count(m.JSON, []byte{'<'}) + bytes.Count(m.JSON, []byte{'>'}) + bytes.Count(m.JSON, []byte{'&'})
	return len(m.JSON) + 5*escaped + 8
}

type part struct {
	pieces []piece
	size   int
}

func (p *part) fits(m piece, limit int) bool {
	return len(p.pieces) == 0 || len(p.pieces) < MaxObjects && p.size+m.size <= limit
}

func (p *part) add(m piece) {
	p.pieces = append(p.pieces, m)
	p.size += m.size
}

// division is a split in the making.
type division struct {
	parts map[int]*part
	// left are the parts that an object had to leave.
	left map[int]bool
}

func (d *division) part(number int) *part {
	if d.parts[number] == nil {
		d.parts[number] = &part{}
	}
	return d.parts[number]
}

func (d *division) placeFor(m piece, moves bool) int {
	limit := TargetSize
	if isDefinition(m.Key) || isNamespace(m.Key) {
		limit = HardLimit
	}
	for _, number := range slices.Sorted(maps.Keys(d.parts)) {
		if moves && d.left[number] {
			continue
		}
		if d.parts[number].fits(m, limit) {
			return number
		}
	}
	for number := 0; ; number++ {
		if p := d.parts[number]; (p == nil || len(p.pieces) == 0) && !d.left[number] {
			return number
		}
	}
}

func (d *division) list() [][]fleet.Manifest {
	var list [][]fleet.Manifest
	for number, p := range d.parts {
		if len(p.pieces) == 0 {
			continue
		}
		for len(list) <= number {
			list = append(list, nil)
		}
		slices.SortFunc(p.pieces, comparePieces)
		for _, m := range p.pieces {
			list[number] = append(list[number], m.Manifest)
		}
	}
	return list
}
