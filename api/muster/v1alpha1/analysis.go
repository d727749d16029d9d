package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// RolloutAnalysis measures whether what a step has changed does well. It begins when every cluster of the step that answers is healthy,
// and the next step begins when minSuccessTime is over and every metric has count successful measurements.
type RolloutAnalysis struct {
	// Metrics that are measured, side by side.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:XValidation:rule="self.filter(m, has(m.job)).size() <= 1",message="a step has one job metric at most"
	Metrics []RolloutMetric `json:"metrics"`
}

// RolloutMetric is one thing that is measured. A measurement is a result and what the conditions, CEL over the variable result, say of it:
//
//	failureCondition is true                            it failed
//	successCondition is true                            it succeeded
//	successCondition is false, no failureCondition      it failed
//	failureCondition is false, no successCondition      it succeeded
//	neither is true, or there is no result, or an error it is inconclusive: the rollout pauses until one is not
//
// +kubebuilder:validation:XValidation:rule="(has(self.prometheus) ? 1 : 0) + (has(self.http) ? 1 : 0) + (has(self.clusters) ? 1 : 0) + (has(self.job) ? 1 : 0) == 1",message="a metric wants exactly one of prometheus, http, clusters and job"
// +kubebuilder:validation:XValidation:rule="has(self.http) || has(self.job) || has(self.successCondition) || has(self.failureCondition)",message="a metric of prometheus or clusters wants a successCondition or a failureCondition"
type RolloutMetric struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Interval between two measurements. Left out, a minute.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Count is how many measurements have to succeed. Left out, 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count,omitempty"`
	// FailureLimit is how many measurements may fail until the step has failed. Left out, none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailureLimit int32 `json:"failureLimit,omitempty"`
	// SuccessCondition and FailureCondition are CEL over result: result[0] < 0.05.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	SuccessCondition string `json:"successCondition,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	FailureCondition string `json:"failureCondition,omitempty"`
	// Prometheus evaluates PromQL. The result is a number for a scalar, and the list of the values for a vector.
	// +optional
	Prometheus *PrometheusMetric `json:"prometheus,omitempty"`
	// HTTP reads a URL. The result has status, body and, for an answer that is JSON, json. Without conditions a status below 300 is a
	// success, and any other a failure.
	// +optional
	HTTP *HTTPMetric `json:"http,omitempty"`
	// Clusters looks at what the clusters of the step report. The result is a list with name, healthy, drifted and feedback of each;
	// feedback is a list with kind, namespace, name and values of each object that reports some.
	// +optional
	Clusters *ClustersMetric `json:"clusters,omitempty"`
	// Job runs on each cluster of the step that answers, as the application does. The result is a list with cluster, succeeded and failed of
	// each. Without conditions it is a success when all have succeeded, and a failure when one has failed.
	// +optional
	Job *JobMetric `json:"job,omitempty"`
}

// DefaultMetricInterval is the time between two measurements of a metric that names none.
const DefaultMetricInterval = time.Minute

// Every is the time between two measurements, at least a second.
func (m *RolloutMetric) Every() time.Duration {
	if m.Interval == nil {
		return DefaultMetricInterval
	}
	return max(m.Interval.Duration, time.Second)
}

// PrometheusMetric is a query of a Prometheus HTTP API.
type PrometheusMetric struct {
	// Address of the API, to which /api/v1/query is added: https://prometheus.example.com.
	// +kubebuilder:validation:Pattern=`^https?://[^/].*$`
	Address string `json:"address"`
	// Query in PromQL. In it, ${{ clusters }} stands for the names of the step's clusters with | between them, ${{ revision }} for the
	// commit and ${{ step }} for the step.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	Query string `json:"query"`
	// SecretRef names a Secret of the application's namespace with bearerToken, or username and password, and ca.crt or
	// caFile for an authority of one's own.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}

// HTTPMetric reads a URL.
type HTTPMetric struct {
	// URL, with the same words as a query of prometheus.
	// +kubebuilder:validation:Pattern=`^https?://[^/].*$`
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// SecretRef as of prometheus.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}

// ClustersMetric is what the clusters of the step report. It has no fields.
type ClustersMetric struct{}

// JobMetric is a Job on the clusters of the step.
type JobMetric struct {
	// Namespace of the Job. Left out, the application's destination.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Spec of the Job.
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec runtime.RawExtension `json:"spec"`
}

// AnalysisPhase says what the measurements of a step amount to.
type AnalysisPhase string

// The phases of an analysis, and of each of its metrics.
const (
	AnalysisRunning      AnalysisPhase = "Running"
	AnalysisSuccessful   AnalysisPhase = "Successful"
	AnalysisFailed       AnalysisPhase = "Failed"
	AnalysisInconclusive AnalysisPhase = "Inconclusive"
)

// AnalysisRun is the analysis of one step of one rollout, and what was measured.
type AnalysisRun struct {
	// Revision and StartedAt are those of the rollout.
	Revision  string      `json:"revision"`
	StartedAt metav1.Time `json:"startedAt"`
	Step      string      `json:"step"`
	// Clusters that are measured.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Clusters []string `json:"clusters,omitempty"`
	// Since is when measuring began.
	Since metav1.Time `json:"since"`
	// Metrics as far as they were measured.
	// +optional
	// +listType=map
	// +listMapKey=name
	Metrics []MetricResult `json:"metrics,omitempty"`
}

// MetricResult is what was measured of one metric.
type MetricResult struct {
	Name string `json:"name"`
	// How many measurements had which outcome.
	// +optional
	Successful int32 `json:"successful,omitempty"`
	// +optional
	Failed int32 `json:"failed,omitempty"`
	// +optional
	Inconclusive int32 `json:"inconclusive,omitempty"`
	// At is when it was measured last, with the outcome, the result, shortened, and why it is not Successful.
	At metav1.Time `json:"at"`
	// Outcome is Successful, Failed or Inconclusive.
	Outcome AnalysisPhase `json:"outcome"`
	// +optional
	Value string `json:"value,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// AnalysisStatus is the analysis that a rollout is at. The results are also in the application's RolloutHistory.
type AnalysisStatus struct {
	Step string `json:"step"`
	// Phase is Running, Failed or Inconclusive.
	Phase AnalysisPhase `json:"phase"`
	// Message says what it waits for, or what failed.
	// +optional
	Message string `json:"message,omitempty"`
	// Clusters of the step that are measured: the first hundred of those that answer.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Clusters []string `json:"clusters,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	Metrics []MetricResult `json:"metrics,omitempty"`
}
