package work

import (
	"fmt"
	"testing"

	"github.com/muster-io/muster/internal/fleet"
)

// One application on one more cluster that gets the same content: the price that a plan pays for each pair.
func BenchmarkWanted(b *testing.B) {
	c := &fleet.Content{Digest: "bench"}
	for i := range 10 {
		c.Manifests = append(c.Manifests,
			manifest(key("apps", "Deployment", "deployments", "shop", fmt.Sprintf("web-%d", i)), 2000),
			manifest(configMap(fmt.Sprintf("settings-%d", i)), 1000))
	}
	for i := 0; b.Loop(); i++ {
		if _, err := Wanted(Input{Owner: storefront, Cluster: fmt.Sprintf("edge-%d", i%1000), Content: c, Revision: "one"}); err != nil {
			b.Fatal(err)
		}
	}
}
