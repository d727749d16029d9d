package registration

import (
	"fmt"
	"slices"
	"strings"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
)

// UserName is the user of an agent on the hub, and the common name of its certificate.
func UserName(cluster, agent string) string { return Group(cluster) + ":" + agent }

// Group is the group on the hub of the agents of one cluster, and an organization of their certificates.
func Group(cluster string) string { return clusterv1.SubjectPrefix + cluster }

// Organizations of the certificate of a cluster's agent.
func Organizations(cluster string) []string {
	return []string{Group(cluster), clusterv1.ManagedClustersGroup}
}

// ParseUserName splits the user name of an agent. It is false for any other user, those of addons included.
func ParseUserName(user string) (cluster, agent string, ok bool) {
	rest, ok := strings.CutPrefix(user, clusterv1.SubjectPrefix)
	if !ok {
		return "", "", false
	}
	cluster, agent, ok = strings.Cut(rest, ":")
	if !ok || cluster == "" || agent == "" || strings.Contains(agent, ":") {
		return "", "", false
	}
	return cluster, agent, true
}

// ClusterOf is the cluster that an agent is of, by its user name and the group of the cluster, which has to be among its groups.
func ClusterOf(user string, groups []string) (string, error) {
	cluster, _, ok := ParseUserName(user)
	if !ok || !slices.Contains(groups, Group(cluster)) {
		return "", fmt.Errorf("%s is no agent of a cluster", user)
	}
	return cluster, nil
}
