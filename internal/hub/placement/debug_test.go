package placement

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
)

// token is one of a service account of the tenant that may do the verbs with placements.
func (t tenant) token(ctx context.Context, name string, verbs ...string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: name}}
	Expect(hub.Create(ctx, account)).To(Succeed())
	if len(verbs) > 0 {
		meta := metav1.ObjectMeta{Namespace: t.name, Name: name}
		Expect(hub.Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{clusterv1beta1.GroupVersion.Group}, Resources: []string{"placements"}, Verbs: verbs},
		}})).To(Succeed())
		Expect(hub.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: t.name, Name: name}},
		})).To(Succeed())
	}
	for _, verb := range verbs { // the API server's own cache of bindings follows
		Eventually(func(g Gomega) {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + t.name + ":" + name,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: t.name, Verb: verb, Group: clusterv1beta1.GroupVersion.Group, Resource: "placements",
				},
			}}
			g.Expect(hub.Create(ctx, review)).To(Succeed())
			g.Expect(review.Status.Allowed).To(BeTrue())
		}).Should(Succeed())
	}
	request := &authenticationv1.TokenRequest{}
	Expect(hub.SubResource("token").Create(ctx, account, request)).To(Succeed())
	return request.Status.Token
}

// ask sends one request to the debug handler.
func ask(server *httptest.Server, method, path, token string, body []byte) (status int, text string) {
	GinkgoHelper()
	request, err := http.NewRequest(method, server.URL+path, bytes.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := server.Client().Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Header.Get("Content-Type")).To(Equal("application/json"))
	return response.StatusCode, strings.TrimSpace(string(data))
}

var _ = Describe("The debug endpoint", func() {
	var server *httptest.Server
	BeforeEach(func() {
		server = httptest.NewTLSServer(debug)
		DeferCleanup(server.Close)
	})

	// steadyEdge prefers what is chosen already among the clusters with tier=edge.
	steadyEdge := func(s *clusterv1beta1.PlacementSpec) {
		s.Predicates = make([]clusterv1beta1.ClusterPredicate, 1)
		s.Predicates[0].RequiredClusterSelector.LabelSelector.MatchLabels = map[string]string{"tier": "edge"}
		s.PrioritizerPolicy = clusterv1beta1.PrioritizerPolicy{Mode: clusterv1beta1.PrioritizerPolicyModeExact, Configurations: []clusterv1beta1.PrioritizerConfig{
			{Weight: 2, ScoreCoordinate: &clusterv1beta1.ScoreCoordinate{Type: clusterv1beta1.ScoreCoordinateTypeBuiltIn, BuiltIn: clusterv1beta1.PrioritizerSteady}},
		}}
	}

	It("tells those who may get a placement how it is scheduled", func(ctx SpecContext) {
		t := newTenant(ctx)
		a := t.cluster(ctx, "a", map[string]string{"tier": "edge"})
		t.cluster(ctx, "b", nil)
		p := t.placement(ctx, "edge", steadyEdge)
		expectChosen(ctx, p, a)
		reader := t.token(ctx, "reader", "get")
		var answer map[string]json.RawMessage
		Eventually(func(g Gomega) { // the handler's cache follows the decisions that were written
			status, text := ask(server, http.MethodGet, "/debug/placements/"+t.name+"/edge", reader, nil)
			g.Expect(status).To(Equal(http.StatusOK), text)
			answer = nil
			g.Expect(json.Unmarshal([]byte(text), &answer)).To(Succeed())
			g.Expect(answer["prioritizeResults"]).To(MatchJSON(`[{"name": "Steady", "weight": 2, "scores": {"` + a + `": 100}}]`))
		}).Should(Succeed())
		Expect(answer).NotTo(HaveKey("error"))
		Expect(answer["filteredPipelineResults"]).To(MatchJSON(`[
			{"name": "Predicate", "filteredClusters": ["` + a + `"]},
			{"name": "Predicate,TaintToleration", "filteredClusters": ["` + a + `"]}]`))
		Expect(answer["aggregatedScores"]).To(MatchJSON(`[{"clusterName": "` + a + `", "score": 200}]`))
		var echoed clusterv1beta1.Placement
		Expect(json.Unmarshal(answer["placement"], &echoed)).To(Succeed())
		Expect(echoed.Name).To(Equal("edge"))
		Expect(echoed.UID).To(BeEmpty(), "runtime metadata is left out")
		Expect(echoed.Status.Conditions).To(BeEmpty(), "the status is left out")
		Expect(echoed.Spec.Predicates).To(HaveLen(1))

		By("a right that comes with a group")
		Expect(hub.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: "everybody"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:" + t.name}},
		})).To(Succeed())
		member := t.token(ctx, "member")
		Eventually(func() int { // the API server's own cache of bindings follows
			status, _ := ask(server, http.MethodGet, "/debug/placements/"+t.name+"/edge", member, nil)
			return status
		}).Should(Equal(http.StatusOK))

		status, text := ask(server, http.MethodGet, "/debug/placements/"+t.name+"/absent", reader, nil)
		Expect(status).To(Equal(http.StatusNotFound))
		Expect(text).To(MatchJSON(`{"error": "placement 'absent' not found"}`))
	})

	It("tells those who may create a placement how it would be scheduled, and saves nothing", func(ctx SpecContext) {
		t := newTenant(ctx)
		a, b := t.cluster(ctx, "a", map[string]string{"tier": "edge"}), t.cluster(ctx, "b", map[string]string{"tier": "edge"})
		expectChosen(ctx, t.placement(ctx, "other", nil), a, b) // the cache has them
		p := &clusterv1beta1.Placement{ObjectMeta: metav1.ObjectMeta{Namespace: t.name, Name: "unsaved"}}
		steadyEdge(&p.Spec)
		body, err := json.Marshal(p)
		Expect(err).NotTo(HaveOccurred())
		creator := t.token(ctx, "creator", "create")
		status, text := ask(server, http.MethodPost, "/debug/placements/"+t.name+"/unsaved", creator, body)
		Expect(status).To(Equal(http.StatusOK), text)
		Expect(text).To(ContainSubstring(`"aggregatedScores":[{"clusterName":"` + a + `","score":0},{"clusterName":"` + b + `","score":0}]`))
		Expect(hub.Get(ctx, client.ObjectKeyFromObject(p), p)).To(MatchError(apierrors.IsNotFound, "not found"))

		By("a placement that is wrong")
		status, text = ask(server, http.MethodPost, "/debug/placements/"+t.name+"/wrong", creator, []byte(`{"spec": {"numberOfClusters": -1}}`))
		Expect(status).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring(`"error":":numberOfClusters -1 is negative"`))

		By("bodies that are none")
		status, text = ask(server, http.MethodPost, "/debug/placements/"+t.name+"/unsaved", creator, []byte("{"))
		Expect(status).To(Equal(http.StatusBadRequest))
		Expect(text).To(ContainSubstring("failed to unmarshal placement JSON"))
		status, text = ask(server, http.MethodPost, "/debug/placements/"+t.name+"/unsaved", creator, bytes.Repeat([]byte(" "), maxDebugBody+1))
		Expect(status).To(Equal(http.StatusBadRequest))
		Expect(text).To(ContainSubstring("request body too large: exceeds maximum of 1048576 bytes"))
	})

	It("turns away everybody else", func(ctx SpecContext) {
		t := newTenant(ctx)
		other := newTenant(ctx)
		t.placement(ctx, "edge", nil)
		path := "/debug/placements/" + t.name + "/edge"
		reader, creator, nobody := t.token(ctx, "reader", "get"), t.token(ctx, "creator", "create"), t.token(ctx, "nobody")
		rows := []struct {
			why, method, path, token string
			body                     []byte
			status                   int
		}{
			{"no token", http.MethodGet, path, "", nil, http.StatusUnauthorized},
			{"a token that the API server did not issue", http.MethodGet, path, "made-up", nil, http.StatusUnauthorized},
			{"no token for a POST either", http.MethodPost, path, "", []byte("{}"), http.StatusUnauthorized},
			{"no right at all", http.MethodGet, path, nobody, nil, http.StatusForbidden},
			{"the right to create is not the right to get", http.MethodGet, path, creator, nil, http.StatusForbidden},
			{"the right to get is not the right to create", http.MethodPost, path, reader, []byte("{}"), http.StatusForbidden},
			{"a right in another namespace", http.MethodGet, path, other.token(ctx, "reader", "get"), nil, http.StatusForbidden},
			{"the namespace in the body counts", http.MethodPost, path, creator, []byte(`{"metadata": {"namespace": "` + other.name + `", "name": "x"}}`), http.StatusForbidden},
			{"whoever may not get learns of no name", http.MethodGet, path + "-absent", nobody, nil, http.StatusForbidden},
			{"a path without a name", http.MethodGet, "/debug/placements/" + t.name, reader, nil, http.StatusBadRequest},
			{"another method", http.MethodDelete, path, reader, nil, http.StatusMethodNotAllowed},
		}
		for _, row := range rows {
			status, text := ask(server, row.method, row.path, row.token, row.body)
			Expect(status).To(Equal(row.status), "%s: %s", row.why, text)
			Expect(text).To(HavePrefix(`{"error":`), row.why)
		}
	})
})
