package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	rules "github.com/muster-io/muster/internal/registration"
)

// Options of a klusterlet. Flags that OCM's agents have too carry OCM's names.
type Options struct {
	Roles []string
	// SpokeKubeconfig of the managed cluster; empty is the cluster that it runs in.
	SpokeKubeconfig string
	// BootstrapKubeconfig is how to reach the hub for the first time.
	BootstrapKubeconfig string
	// HubDir holds the hub's kubeconfig and the agent's certificate.
	HubDir string
	// HubKubeconfig is the file of the hub's kubeconfig for role work; kubeconfig in HubDir when empty.
	HubKubeconfig string
	// WorkSource is how works reach the agent: kube, OCM's default, and nothing else.
	WorkSource string
	// HubSecret, as namespace/name, mirrors HubDir on the managed cluster.
	HubSecret string
	// ClusterName and AgentID; made up when empty.
	ClusterName, AgentID string
	// ExternalServerURLs of the managed cluster, told to the hub.
	ExternalServerURLs []string
	// ClusterAnnotations for the ManagedCluster, only those under agent.open-cluster-management.io.
	ClusterAnnotations map[string]string
	// MaxCustomClaims is how many claims are reported beside the reserved ones, whose names may end in ReservedClaimSuffixes.
	MaxCustomClaims       int
	ReservedClaimSuffixes []string
	// Install puts the agent's CRDs on the managed cluster first.
	Install bool
	// Namespace of the agent on the managed cluster: of its Lease, and of the ConfigMap that holds applying.
	Namespace string
	// LeaderElection lets one at a time work of several agents for one hub on one cluster.
	LeaderElection bool
	// Addresses to listen on; empty is not at all.
	MetricsAddress, HealthAddress string
	// OTLPEndpoint is the URL of a receiver of traces; empty is that of OpenTelemetry's environment variables, if any.
	OTLPEndpoint string
	// ExecutorOnly applies works as the accounts that they name, with the right to impersonate them and no other on what works hold.
	ExecutorOnly bool
	// FeatureGates by OCM's names.
	FeatureGates map[string]string
	// HealthPeriod between reports about the cluster; SyncInterval between looks at objects that no watch reports; StatusInterval
	// between status writes of one work; ResyncInterval between looks at everything; EvictionGrace for works that the hub
	// no longer has.
	HealthPeriod, SyncInterval, StatusInterval, ResyncInterval, EvictionGrace time.Duration
	// MaxJSONRawLength bounds a feedback value that is a map or list, in bytes; MaxFeedbackWatch the watches for feedback.
	MaxJSONRawLength, MaxFeedbackWatch int
	CertificateSeconds                 int32
	// ManagementKubeconfig of the cluster where the agents of hosted add-ons run; empty is the cluster that this agent runs in.
	ManagementKubeconfig string
	// AddonAuth is how the agents of add-ons authenticate on the hub, csr or token; AddonTokenSeconds the life of their tokens.
	AddonAuth         string
	AddonTokenSeconds int64
	Verbosity         int
	// serving is called when role work begins to apply; nil but in tests.
	serving func()
}

// olderNames of flags are names that they had before, or that another agent of OCM has for the same.
var olderNames = map[string]string{
	"kubeconfig": "spoke-kubeconfig", "cluster-name": "spoke-cluster-name", "workload-source-config": "hub-kubeconfig",
}

func (o *Options) flags(f *pflag.FlagSet) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if current, ok := olderNames[name]; ok {
			name = current
		}
		return pflag.NormalizedName(name)
	})
	f.StringSliceVar(&o.Roles, "roles", defaultRoles, "roles to run: "+strings.Join(roles, ", "))
	f.StringVar(&o.SpokeKubeconfig, "spoke-kubeconfig", "", "kubeconfig of the managed cluster; left out, the cluster it runs in")
	f.StringVar(&o.BootstrapKubeconfig, "bootstrap-kubeconfig", "", "kubeconfig of the hub for an identity that may join")
	f.StringVar(&o.HubDir, "hub-kubeconfig-dir", "hub-kubeconfig", "folder for the hub's kubeconfig and the agent's certificate")
	f.StringVar(&o.HubKubeconfig, "hub-kubeconfig", "", "kubeconfig of the hub for role work, also --workload-source-config; left out, the one in --hub-kubeconfig-dir")
	f.StringVar(&o.WorkSource, "workload-source-driver", "kube", "how works reach the agent: kube")
	f.StringVar(&o.HubSecret, "hub-kubeconfig-secret", "", "namespace/name of a Secret on the managed cluster that mirrors that folder")
	f.StringVar(&o.ClusterName, "spoke-cluster-name", "", "name of the cluster; left out, the one it joined with, else a new UUID")
	f.StringVar(&o.AgentID, "agent-id", "", "name of the agent; left out, the one it joined with, else five characters")
	f.StringSliceVar(&o.ExternalServerURLs, "spoke-external-server-urls", nil, "https URLs of the managed cluster that the hub is told")
	f.StringToStringVar(&o.ClusterAnnotations, "cluster-annotations", nil, "annotations for the ManagedCluster, under agent.open-cluster-management.io")
	f.IntVar(&o.MaxCustomClaims, "max-custom-cluster-claims", 20, "claims that are reported beside the reserved ones")
	f.StringSliceVar(&o.ReservedClaimSuffixes, "reserved-cluster-claim-suffixes", nil, "ends of the names of further reserved claims")
	f.BoolVar(&o.Install, "install", false, "put the agent's CRDs on the managed cluster first")
	f.StringVar(&o.Namespace, "namespace", ownNamespace(), "namespace of the agent on the managed cluster: of its Lease and of ConfigMap muster-hold")
	f.BoolVar(&o.LeaderElection, "leader-elect", true, "let one at a time work of several agents for one hub")
	f.StringVar(&o.MetricsAddress, "metrics-address", "", "address for metrics; left out, none")
	f.StringVar(&o.HealthAddress, "health-address", "", "address for /healthz and /readyz; left out, none")
	f.StringVar(&o.OTLPEndpoint, "otlp-endpoint", "", "URL of a receiver of traces by OTLP over HTTP, such as http://collector:4318/v1/traces; left out, that of OTEL_EXPORTER_OTLP_ENDPOINT, if any")
	f.BoolVar(&o.ExecutorOnly, "executor-only", false, "apply each work as the service account that it names (serviceAccountName of an application), and refuse works that name none")
	f.StringToStringVar(&o.FeatureGates, "feature-gates", nil, "OCM's feature gates: "+strings.Join(slices.Sorted(maps.Keys(gates)), ", "))
	f.DurationVar(&o.HealthPeriod, "cluster-healthcheck-period", time.Minute, "time between two reports about the cluster")
	f.DurationVar(&o.SyncInterval, "status-sync-interval", 10*time.Second, "time between two looks at objects that no watch reports")
	f.DurationVar(&o.StatusInterval, "status-interval", 10*time.Second, "least time between two status writes of one work while nothing flips")
	f.DurationVar(&o.ResyncInterval, "resync-interval", 4*time.Minute, "time between two looks at everything, and up to half as much again")
	f.DurationVar(&o.EvictionGrace, "appliedmanifestwork-eviction-grace-period", time.Hour, "how long works that the hub no longer has stay applied")
	f.IntVar(&o.MaxJSONRawLength, "max-json-raw-length", 1024, "bytes of a feedback value that is a map or list (gate RawFeedbackJsonString)")
	f.IntVar(&o.MaxFeedbackWatch, "max-feedback-watch", 50, "watches for feedback rules with feedbackScrapeType Watch; beyond them objects are polled")
	f.StringVar(&o.ManagementKubeconfig, "management-kubeconfig", "", "kubeconfig of the cluster where hosted add-ons run; left out, the cluster this agent runs in")
	f.StringVar(&o.AddonAuth, "addon-kubeclient-registration-auth", rules.DriverCSR, "how add-ons authenticate on the hub: csr or token")
	f.Int64Var(&o.AddonTokenSeconds, "addon-token-expiration-seconds", 31536000, "life of add-ons' tokens that is asked for, at least 600")
	f.Int32Var(&o.CertificateSeconds, "client-cert-expiration-seconds", 0, "life of the certificate that is asked for, at least 3600; 0 leaves it to the hub")
	f.IntVarP(&o.Verbosity, "verbosity", "v", 0, "0 says what happened, 1 says more")
}

// ownNamespace is the namespace of the pod that the agent runs in; outside of a pod, the one that OCM's agents run in.
func ownNamespace() string {
	if namespace := os.Getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	if data, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
		return strings.TrimSpace(string(data))
	}
	return "open-cluster-management-agent"
}

const (
	// rawFeedback is the gate that reports maps and lists as JSON.
	rawFeedback = "RawFeedbackJsonString"
	// addonManagement is the gate of role addon.
	addonManagement = "AddonManagement"
)

// enabledByDefault are gates that are on unless a flag says otherwise, as in OCM.
var enabledByDefault = map[string]bool{addonManagement: true}

// gates are OCM's feature gates of agents, with the values that this agent accepts: those of which the behaviour is there.
var gates = map[string][]bool{
	rawFeedback:                    {true, false},
	"ExecutorValidatingCaches":     {true, false}, // rights are asked for at every look, and caching changes no answer
	"ClusterClaim":                 {true},
	"V1beta1CSRAPICompatibility":   {false},
	addonManagement:                {true, false},
	"MultipleHubs":                 {false},
	"ClusterProperty":              {false},
	"CleanUpCompletedManifestWork": {true, false}, // the hub deletes them
}

// check finds what cannot be run, and says what can.
func (o *Options) check() error {
	if len(o.Roles) == 0 {
		return fmt.Errorf("--roles names none: it takes %s", strings.Join(roles, ", "))
	}
	for _, role := range o.Roles {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("there is no role %q: --roles takes %s", role, strings.Join(roles, ", "))
		}
	}
	if o.WorkSource != "kube" && o.WorkSource != "" {
		return fmt.Errorf("--workload-source-driver %s: works come from the hub's API server, with driver kube, and no other way", o.WorkSource)
	}
	if o.AddonAuth != "" && o.AddonAuth != rules.DriverCSR && o.AddonAuth != rules.DriverToken {
		return fmt.Errorf("--addon-kubeclient-registration-auth takes csr or token, not %q", o.AddonAuth)
	}
	if o.AddonTokenSeconds != 0 && o.AddonTokenSeconds < 600 {
		return fmt.Errorf("--addon-token-expiration-seconds %d: an API server issues no token for less than 600 seconds", o.AddonTokenSeconds)
	}
	for name, text := range o.FeatureGates {
		values, known := gates[name]
		value, err := strconv.ParseBool(text)
		switch {
		case !known:
			return fmt.Errorf("--feature-gates: there is no gate %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(gates)), ", "))
		case err != nil:
			return fmt.Errorf("--feature-gates: %s takes true or false, not %q", name, text)
		case !slices.Contains(values, value):
			return fmt.Errorf("--feature-gates: this agent runs with %s=%t only", name, values[0])
		}
	}
	return nil
}

func (o *Options) enabled(gate string) bool {
	text, given := o.FeatureGates[gate]
	if !given {
		return enabledByDefault[gate]
	}
	value, _ := strconv.ParseBool(text)
	return value
}
