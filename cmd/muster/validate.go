package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

// rendererBytes bounds what a command remembers of charts and manifests.
const rendererBytes = 64 << 20

// validation is the answer of validate.
type validation struct {
	World        worldNote `json:"world"`
	Plan         string    `json:"plan"`
	Definitions  int       `json:"definitions"`
	Clusters     int       `json:"clusters"`
	Placements   int       `json:"placements"`
	Applications int       `json:"applications"`
	rendering
	Faults   []fleet.Fault `json:"faults"`
	Warnings []fleet.Fault `json:"warnings,omitempty"`
	// Sources are what content that is not in the repository resolved to.
	Sources []musterv1alpha1.SourceStatus `json:"sources,omitempty"`
}

func validateCommand(c *cli) *cobra.Command {
	var flags worldFlags
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Plan a fleet repository's files for every cluster and tell what is wrong, with file and line",
		Long: "Reads the fleet in DIR (default: this folder, or the nearest above it with a muster.yaml), decides every placement and\n" +
			"renders every application for every cluster it belongs on.\n\n" +
			"Ends as diff(1) does: 0 the fleet is well, also with warnings, 1 it has faults, 2 it could not be found out: there is no\n" +
			"fleet, no such flag, no world or no hub.",
		Args:        cobra.MaximumNArgs(1),
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, files, err := folderOf(args)
			if err != nil {
				return err
			}
			v, err := c.validate(cmd.Context(), s, files, flags)
			if err != nil {
				return err
			}
			if err := c.print(v, func(p *printer) { printValidation(p, v, v.World.text(c.now())) }); err != nil {
				return err
			}
			if len(v.Faults) > 0 {
				return exitError{code: 1}
			}
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

// folderOf opens the folder that a person names, or the fleet that this one is in.
func folderOf(args []string) (fleet.Snapshot, place, error) {
	dir := ""
	if len(args) > 0 {
		dir = args[0]
	} else {
		here, err := realPath(".")
		if err != nil {
			return fleet.Snapshot{}, place{}, fmt.Errorf("find this folder: %w", err)
		}
		dir = here
		if root := fleetRoot(here, "/"); root != "/" {
			dir = root
		}
	}
	s, err := openFolder(dir)
	if err != nil {
		return s, place{}, exitError{code: exitTrouble, message: err.Error()}
	}
	return s, placeOf(dir), nil
}

func (c *cli) validate(ctx context.Context, s fleet.Snapshot, files place, flags worldFlags) (*validation, error) {
	w, note, err := c.worldOf(ctx, flags, files)
	if err != nil {
		return nil, err
	}
	dir := s.Repository
	s.Repository = note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	p, sources, err := flags.sources.planned(ctx, &w.World, func(w fleet.World) (*plan.Plan, error) { return planner.Build(ctx, s, w) })
	if err != nil {
		return nil, err
	}
	if err := noFleet(p, s.Tree, dir); err != nil {
		return nil, err
	}
	policies, err := review.PolicyFaults(p.Definitions)
	if err != nil {
		return nil, err
	}
	c.warn(note)
	c.warnEmpty(note, p)
	return &validation{
		World: note, Plan: p.Digest, Definitions: len(p.Definitions.All), Clusters: len(p.World.Clusters),
		Placements: len(p.Placements), Applications: len(p.Applications), rendering: renderingOf(planner.Renderer),
		Faults: slices.Concat([]fleet.Fault{}, p.Faults, policies), Warnings: p.Warnings, Sources: sources,
	}, nil
}

func printValidation(p *printer, v *validation, world string) {
	p.linef("plan %s · %s · %s", short(v.Plan), world, count(v.Clusters, "cluster"))
	p.linef("%s · %s · %s · %s · %s", count(v.Definitions, "definition"), count(v.Placements, "placement"),
		count(v.Applications, "application"), v.rendering, count(len(v.Faults), "fault"))
	for _, n := range v.Sources {
		p.linef("SOURCE %s", oneLine(fleet.SourceText(n)))
	}
	p.faults("FAULT", red, v.Faults)
	p.faults("WARNING", yellow, v.Warnings)
}

// faults prints them one a line, those of one cause on many clusters together.
func (p *printer) faults(title, style string, faults []fleet.Fault) {
	shown, more := limited(p, fleet.GroupFaults(faults), 20)
	for _, f := range shown {
		p.fault(title, style, f, len(f.Clusters))
	}
	if more > 0 {
		p.linef("      … %d more (-o json has them all)", more)
	}
}

// fault prints one of so many clusters, of which it may name some only.
func (p *printer) fault(title, style string, f fleet.FaultGroup, clusters int) {
	text := p.paint(style, title)
	if f.Application != "" {
		text += " " + p.paint(bold, f.Application)
	}
	if named := len(f.Clusters); named > 0 && clusters > named {
		text += fmt.Sprintf(" on %d clusters, such as %s", clusters, p.names(f.Clusters))
	} else if clusters > 6 {
		text += fmt.Sprintf(" on %d clusters: %s", clusters, p.names(f.Clusters))
	} else if len(f.Clusters) > 0 {
		text += " on " + p.names(f.Clusters)
	}
	if place := f.Position(); place != "" {
		text += "  " + place
	}
	if f.Object != "" {
		text += "  " + f.Object + ":"
	}
	text += "  " + string(f.Reason) + ": " + oneLine(f.Message)
	if len(f.Remedies) > 0 {
		text += " → " + p.names(f.Remedies)
	}
	p.line(text)
}
