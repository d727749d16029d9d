package main

import (
	"time"

	"github.com/muster-io/muster/internal/overview"
)

// printPulse prints what matters about the hub. A hub that runs, and hears its clusters, is not worth a line.
func printPulse(p *printer, h overview.Hub, now time.Time) {
	if !h.Current() {
		p.linef("%s %s", p.paint(red, "HUB"), oneLine(h.Says(now)))
	}
	if text := h.Away(now); text != "" {
		p.linef("%s %s", p.paint(yellow, "HUB"), text)
	}
	if text := h.MassSilence(now); text != "" {
		p.linef("%s %s", p.paint(red, "HUB"), text)
	}
}
