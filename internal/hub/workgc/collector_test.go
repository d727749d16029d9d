package workgc

import (
	"testing"
	"time"

	"github.com/muster-io/muster/internal/fleet"
)

func TestExpires(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fleet.LiveWork)
		want   bool
	}{
		"has a time to live":         {func(*fleet.LiveWork) {}, true},
		"has none":                   {func(lw *fleet.LiveWork) { lw.ExpiresAt = time.Time{} }, false},
		"is being deleted":           {func(lw *fleet.LiveWork) { lw.Deleting = true }, false},
		"would be made again by one": {func(lw *fleet.LiveWork) { lw.Owner = fleet.Owner{Namespace: "retail", Name: "shop"} }, false},
	} {
		lw := &fleet.LiveWork{ExpiresAt: time.Unix(1, 0)}
		if tc.change(lw); expires(lw) != tc.want {
			t.Errorf("a work that %s expires: %v", name, !tc.want)
		}
	}
}
