package fleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// HeldValues are what a Secret or ConfigMap of the hub holds. They are shared and must not be changed.
type HeldValues struct {
	Data map[string][]byte
	// Mask stands for the values of a Secret where a plan is only to be shown: nobody who can propose a change, or read a review of one,
	// learns a value by it. Nil shows them.
	Mask *Redactor
	// Unseen is true where the object cannot be read, as without a hub: something stands for each value.
	Unseen bool
}

func (v *HeldValues) mask() *Redactor {
	if v == nil {
		return nil
	}
	return v.Mask
}

// ValuesDigest identifies the values of one object. What identifies the object is the key of the hash, so that a short value cannot be
// guessed from the digest by somebody who may not read the object.
func ValuesDigest(uid string, data map[string][]byte) string {
	h := hmac.New(sha256.New, []byte(uid))
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(h, "%d:%s%d:%s", len(key), key, len(data[key]), data[key])
	}
	return "hmac:" + hex.EncodeToString(h.Sum(nil))
}

// IsSecret tells whether the reference is to a Secret's values.
func (r *Reference) IsSecret() bool {
	return r.Values != nil && r.Values.Kind == musterv1alpha1.ValuesSecret
}

// HoldsSecrets tells whether any of the sources is a Secret's values.
func HoldsSecrets(used []UsedSource) bool {
	return slices.ContainsFunc(used, func(u UsedSource) bool { return u.Reference.IsSecret() })
}

// Masked are sources in which something stands for each value of a Secret.
func Masked(sources Sources, mask *Redactor) Sources {
	if sources == nil {
		return nil
	}
	return masked{sources, mask}
}

type masked struct {
	Sources
	mask *Redactor
}

// Find implements Sources.
func (m masked) Find(r *Reference) (*Found, error) {
	found, err := m.Sources.Find(r)
	if err != nil || found == nil || found.Values == nil || !r.IsSecret() {
		return found, err
	}
	shown, values := *found, *found.Values
	values.Mask = m.mask
	shown.Values = &values
	return &shown, nil
}

// Mask gives what stands for a value: for a text its keyed hash, for a number 1. What is true, false or null stays, and so do keys.
func (r Redactor) Mask(value any) any {
	switch v := value.(type) {
	case string:
		return r.hash(v)
	case float64, int64, int:
		return 1
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.Mask(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			out[key] = r.Mask(below)
		}
		return out
	}
	return value
}
