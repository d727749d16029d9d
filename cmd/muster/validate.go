package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
)

// rendererBytes bounds what a command remembers of charts and manifests.
const rendererBytes = 512 << 20

// validation is the answer of validate.
type validation struct {
	World        worldNote     `json:"world"`
	Plan         string        `json:"plan"`
	Definitions  int           `json:"definitions"`
	Clusters     int           `json:"clusters"`
	Placements   int           `json:"placements"`
	Applications int           `json:"applications"`
	Renders      int64         `json:"renders"`
	Faults       []fleet.Fault `json:"faults"`
}

func validateCommand(c *cli) *cobra.Command {
	var flags worldFlags
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Plan a fleet repository's files for every cluster and tell what is wrong, with file and line",
		Long: "Reads the fleet in DIR (default: this folder, or the nearest above it with a muster.yaml), decides every placement and\n" +
			"renders every application for every cluster it belongs on. Exits 1 when something is wrong.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := folderOf(args)
			if err != nil {
				return err
			}
			v, err := c.validate(cmd.Context(), s, flags)
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
func folderOf(args []string) (fleet.Snapshot, error) {
	if len(args) > 0 {
		return openFolder(args[0])
	}
	here, err := realPath(".")
	if err != nil {
		return fleet.Snapshot{}, fmt.Errorf("find this folder: %w", err)
	}
	if root := fleetRoot(here, "/"); root != "/" {
		here = root
	}
	return openFolder(here)
}

func (c *cli) validate(ctx context.Context, s fleet.Snapshot, flags worldFlags) (*validation, error) {
	w, note, err := c.worldOf(ctx, flags, nil, "")
	if err != nil {
		return nil, err
	}
	s.Repository = note.Repository
	planner := &plan.Planner{Renderer: render.New(rendererBytes)}
	p, err := planner.Build(ctx, s, w.World)
	if err != nil {
		return nil, err
	}
	return &validation{
		World: note, Plan: p.Digest, Definitions: len(p.Definitions.All), Clusters: len(p.World.Clusters),
		Placements: len(p.Placements), Applications: len(p.Applications), Renders: planner.Renderer.Stats().Renders,
		Faults: append([]fleet.Fault{}, p.Faults...),
	}, nil
}

func printValidation(p *printer, v *validation, world string) {
	p.linef("plan %s · %s · %s", short(v.Plan), world, count(v.Clusters, "cluster"))
	p.linef("%s · %s · %s · %s · %s", count(v.Definitions, "definition"), count(v.Placements, "placement"),
		count(v.Applications, "application"), count(int(v.Renders), "render"), count(len(v.Faults), "fault"))
	p.faults("FAULT", red, v.Faults)
}

// faults prints them one a line, those of one cause on many clusters together.
func (p *printer) faults(title, style string, faults []fleet.Fault) {
	type cause struct {
		reason                   fleet.Reason
		app, at, object, message string
	}
	var order []cause
	clusters := map[cause][]string{}
	for _, f := range faults {
		at := cause{f.Reason, f.Application, f.Position(), f.Object, f.Message}
		if _, ok := clusters[at]; !ok {
			order = append(order, at)
		}
		clusters[at] = append(clusters[at], f.Cluster)
	}
	shown, more := limited(p, order, 20)
	for _, f := range shown {
		text := p.paint(style, title)
		if f.app != "" {
			text += " " + p.paint(bold, f.app)
		}
		if on := clusters[f]; on[0] != "" {
			text += " on " + p.names(on)
		}
		if f.at != "" {
			text += "  " + f.at
		}
		if f.object != "" {
			text += "  " + f.object + ":"
		}
		p.line(text, " "+string(f.reason)+": "+oneLine(f.message))
	}
	if more > 0 {
		p.linef("      … %d more", more)
	}
}
