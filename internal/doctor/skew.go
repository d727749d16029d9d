package doctor

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Skew says what is wrong with an agent of one version at a hub of another one; empty when nothing is.
//
//	the same minor version, or the one before     supported
//	older                                         the hub may ask for what the agent does not do
//	newer than the hub                            upgrade the hub first
//	a version that is no release                  nothing is known, and nothing is said
func Skew(hub, agent string) string {
	h, hubErr := version.ParseSemantic(strings.TrimPrefix(hub, "v"))
	a, agentErr := version.ParseSemantic(strings.TrimPrefix(agent, "v"))
	if hubErr != nil || agentErr != nil {
		return ""
	}
	switch {
	case a.Major() < h.Major() || a.Major() == h.Major() && a.Minor()+1 < h.Minor():
		return fmt.Sprintf("older than hub %s supports: upgrade the agent", hub)
	case a.Major() > h.Major() || a.Major() == h.Major() && a.Minor() > h.Minor():
		return fmt.Sprintf("newer than hub %s: upgrade the hub first", hub)
	}
	return ""
}
