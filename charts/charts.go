// Package charts holds the Helm charts that install Muster on clusters.
package charts

import "embed"

// FS has a folder for each chart: muster-hub and klusterlet.
//
//go:embed all:muster-hub all:klusterlet
var FS embed.FS

// The charts by the names of their folders.
const (
	Hub        = "muster-hub"
	Klusterlet = "klusterlet"
)
