package main

import (
	"testing"
	"time"
)

// TestAChartThatDoesNotEndIsAFault: the hub renders in worker processes, and what is too much for one is a fault that names the
// bound. The other application is delivered, and so is this one when it is corrected.
func TestAChartThatDoesNotEndIsAFault(t *testing.T) {
	t.Parallel()
	endless := `-- charts/endless/Chart.yaml --
apiVersion: v2
name: endless
version: 1.0.0
-- charts/endless/templates/config.yaml --
{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}
`
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "good", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red")+
		applicationFile("endless", "edge", "charts/endless", "endless", "")+endless,
		func(o *Options) {
			o.RenderWorkers, o.RenderTime, o.RenderMemory, o.RenderOutput = 2, 2*time.Second, 512, 4
		})
	f.deliver()
	f.join("one")
	f.push("")
	f.expectReady("retail/shop")
	f.expectFault("RenderTooExpensive", "retail/endless", "one", "charts/endless", "takes longer than 2s")
	f.push("-- charts/endless/templates/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ended}\ndata: {color: blue}\n")
	f.expectReady("retail/endless")
	f.expectData("one", "endless", "ended", "color", "blue")
}
