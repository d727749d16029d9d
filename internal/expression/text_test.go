package expression

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func cluster(name string, labels map[string]string) *clusterv1.ManagedCluster {
	return &clusterv1.ManagedCluster{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

var application = &musterv1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "storefront", Namespace: "retail"}}

func TestExpressions(t *testing.T) {
	tests := map[string]struct {
		source string
		want   any
		fails  string
		why    string
	}{
		"no expression":       {source: "plain", want: "plain", why: "a text is itself"},
		"another's template":  {source: "{{ $labels.instance }} is down", want: "{{ $labels.instance }} is down", why: "Prometheus' templates pass through"},
		"label":               {source: `${{ label("region") }}`, want: "eu", why: "a label is text"},
		"without spaces":      {source: `${{label('region')}}`, want: "eu", why: "spaces and quotation marks are free"},
		"label in a text":     {source: `values/${{ label("region") }}.yaml`, want: "values/eu.yaml", why: "a text stays text"},
		"two in a text":       {source: `${{ label("env") }}-${{ label("region") }}`, want: "prod-eu", why: "and is no single expression"},
		"label with slash":    {source: `${{ label("topology.kubernetes.io/region") }}`, want: "eu-west", why: "any label key"},
		"claim":               {source: `${{ claim("id.k8s.io") }}`, want: "4711", why: "a claim is text, even of digits"},
		"name":                {source: `${{ cluster.name }}`, want: "edge-7", why: "a fact of the cluster"},
		"application":         {source: `${{ application.namespace }}/${{ application.name }}`, want: "retail/storefront", why: "what a default in muster.yaml is for"},
		"labels":              {source: `${{ cluster.labels.region }}`, want: "eu", why: "labels whose key is a word"},
		"labels by key":       {source: `${{ cluster.labels["topology.kubernetes.io/region"] }}`, want: "eu-west", why: "and others"},
		"claims by key":       {source: `${{ cluster.claims["id.k8s.io"] }}`, want: "4711", why: "claims by name"},
		"all labels":          {source: `${{ cluster.labels }}`, want: map[string]any{"region": "eu", "env": "prod", "replicas": "3", "topology.kubernetes.io/region": "eu-west"}, why: "a map stays a map"},
		"has":                 {source: `${{ has(cluster.labels.zone) || "zone" in cluster.labels }}`, want: false, why: "what is asked for is not missing"},
		"optional":            {source: `${{ cluster.labels[?"zone"].orValue("z") }}`, want: "z", why: "CEL's optional values"},
		"integer":             {source: `${{ int(label("replicas")) + 1 }}`, want: int64(4), why: "one expression keeps its type"},
		"integer in spaces":   {source: `  ${{ int(label("replicas")) }}`, want: "  3", why: "more than the expression is text"},
		"double in a text":    {source: `v${{ 1.5 }}`, want: "v1.5", why: "numbers are written as CEL writes them"},
		"boolean":             {source: `${{ label("region") == "eu" }}`, want: true, why: "comparison gives a boolean"},
		"null":                {source: `${{ null }}`, want: nil, why: "null stays null"},
		"list":                {source: `${{ "a,b".split(",") }}`, want: []any{"a", "b"}, why: "one expression keeps its type"},
		"map":                 {source: `${{ {"a": {"b": [1, true, null]}} }}`, want: map[string]any{"a": map[string]any{"b": []any{int64(1), true, nil}}}, why: "its braces do not end the expression"},
		"braces in a string":  {source: `${{ "}}" + '}}' + r"\" }}!`, want: `}}}}\!`, why: "nor do those in its strings"},
		"delimiter":           {source: `a ${{ "${{" }} b`, want: "a ${{ b", why: "the delimiter itself can be written"},
		"default argument":    {source: `${{ label("zone", "z1") }}`, want: "z1", why: "the design's form of a default"},
		"default of a type":   {source: `${{ label("zone", 3) }}`, want: int64(3), why: "a default keeps its type"},
		"default of a claim":  {source: `${{ claim("zone", label("region")) }}`, want: "eu", why: "a default is an expression"},
		"default not needed":  {source: `${{ label("region", "z1") }}`, want: "eu", why: "a label that is there wins"},
		"functions":           {source: `${{ label("region").upperAscii().replace("E", "A") }}`, want: "AU", why: "functions of strings"},
		"format":              {source: `${{ "%s-%d".format([cluster.name, 7]) }}`, want: "edge-7-7", why: "functions of strings"},
		"library":             {source: `${{ quantity("2Gi").isGreaterThan(quantity("1Gi")) }}`, want: true, why: "Kubernetes' libraries"},
		"shared":              {source: `${{ '{"a": 1}'.parseJSON().a }}`, want: 1.0, why: "the functions of placements"},
		"duration":            {source: `${{ duration("90s") }}`, want: "90s", why: "as CEL writes it"},
		"conditional":         {source: `${{ label("env") == "prod" ? 5 : 1 }}`, want: int64(5), why: "values by condition"},
		"missing label":       {source: `a ${{ label("zone") }}`, fails: `${{ label("zone") }}: label "zone" is missing on cluster edge-7: set it in the cluster's file, or give a default: label("zone", "x")`, why: "the next step is named"},
		"missing field":       {source: `a ${{ cluster.labels.zone }}`, fails: `${{ cluster.labels.zone }}: label "zone" is missing on cluster edge-7: set it in the cluster's file`, why: "however it is asked for"},
		"missing index":       {source: `${{ cluster.claims["zone"].size() }}`, fails: `claim "zone" is not reported by cluster edge-7: create the ClusterClaim there`, why: "however it is asked for"},
		"missing claim":       {source: `${{ claim("zone") }}`, fails: `claim "zone" is not reported by cluster edge-7`, why: "the next step is named"},
		"missing in a branch": {source: `${{ false ? label("zone") : "ok" }}`, want: "ok", why: "what is not asked for is not missing"},
		"missing elsewhere":   {source: `${{ label("zone", "") + {"a": "b"}[label("region")] }}`, fails: "fails: no such key: eu", why: "a key of the author's own map is none of the cluster's"},
		"unknown fact":        {source: `${{ cluster.region.x }}`, fails: `${{ cluster.region.x }}: is not valid CEL`, why: "what does not exist yet is no empty text"},
		"not a number":        {source: `${{ int(label("region")) }}`, fails: "fails: ", why: "and the value is not quoted"},
		"null in a text":      {source: `a-${{ null }}`, fails: "gives null_type, which cannot stand in a text", why: "no text can be meant by it"},
		"list in a text":      {source: `a-${{ [1] }}`, fails: "gives list, which cannot stand in a text", why: "no text can be meant by it"},
		"no value":            {source: `${{ type(1) }}`, fails: "gives type, which is no value of YAML", why: "no value can be meant by it"},
		"keys":                {source: `${{ {1: 2} }}`, fails: "gives a map whose keys are not strings", why: "YAML could have it and JSON cannot"},
		"not an expression":   {source: `${{ label( }}`, fails: "is not valid CEL", why: "the author sees what is wrong"},
		"not closed":          {source: `${{ label("region") }`, fails: "the closing }} is missing", why: "the author sees what is wrong"},
		"template":            {source: `${{ label "region" }}`, fails: `is not valid CEL, such as label("region")`, why: "what Helm's users may write first"},
		"unknown function":    {source: `${{ env("HOME") }}`, fails: `undeclared reference to 'env'`, why: "nothing of the environment"},
		"no time":             {source: `${{ now() }}`, fails: `undeclared reference to 'now'`, why: "nothing of the clock"},
	}
	c := cluster("edge-7", map[string]string{"region": "eu", "env": "prod", "replicas": "3", "topology.kubernetes.io/region": "eu-west"})
	c.Status.ClusterClaims = []clusterv1.ManagedClusterClaim{{Name: "id.k8s.io", Value: "4711"}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := NewScope(application, c, nil).Value(test.source)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), `"eu"`) {
					t.Errorf("%s: got %v, %v", test.why, got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.why, diff)
			}
		})
	}
}

// TestExpressionsOfSeveralClustersAtATime holds that what is compiled once is evaluated for each cluster by itself.
func TestExpressionsOfSeveralClustersAtATime(t *testing.T) {
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			name := fmt.Sprintf("edge-%d", i)
			s := NewScope(application, cluster(name, map[string]string{"name": name}), nil)
			got, err := s.Value(`${{ label("name") }}/${{ cluster.name }}`)
			if want := name + "/" + name; err != nil || got != want {
				t.Errorf("got %v, %v, want %s", got, err, want)
			}
			if _, err := s.Value(`${{ label("zone") }}`); err == nil || !strings.Contains(err.Error(), "on cluster "+name+":") || !errors.Is(err, ErrLabelMissing) {
				t.Errorf("the fault of %s is %v", name, err)
			}
		})
	}
	group.Wait()
}
