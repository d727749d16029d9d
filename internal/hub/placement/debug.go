package placement

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/muster-io/muster/api/cluster/v1beta1"
	"github.com/muster-io/muster/internal/placement"
)

// DebugPath is the path of Debug: GET and POST DebugPath<namespace>/<name>.
const DebugPath = "/debug/placements/"

// maxDebugBody is how large the placement of a POST may be, in bytes.
const maxDebugBody = 1 << 20

// Debug answers how a placement would be scheduled now, in the format of OCM's debug server, and changes nothing. GET asks about a placement
// that exists and needs the right to get it; POST asks about the placement in its body and needs the right to create it.
// A caller shows a bearer token of the API server.
type Debug struct {
	// Reader of the fleet, from a cache.
	Reader client.Reader
	// Reviews creates TokenReviews and SubjectAccessReviews.
	Reviews client.Client
	// Now is the clock.
	Now func() time.Time
}

// debugAnswer has the JSON shape of OCM's debug server.
type debugAnswer struct {
	Placement         *clusterv1beta1.Placement `json:"placement,omitempty"`
	FilterResults     []debugFilter             `json:"filteredPipelineResults,omitempty"`
	PrioritizeResults []debugPrioritizer        `json:"prioritizeResults,omitempty"`
	AggregatedScores  []debugScore              `json:"aggregatedScores,omitempty"`
	Error             string                    `json:"error,omitempty"`
}

type debugFilter struct {
	Name             string   `json:"name"`
	FilteredClusters []string `json:"filteredClusters"`
}

type debugPrioritizer struct {
	Name   string           `json:"name"`
	Weight int32            `json:"weight"`
	Scores map[string]int64 `json:"scores"`
}

type debugScore struct {
	ClusterName string `json:"clusterName"`
	Score       int64  `json:"score"`
}

// refusal is an error with the status that a request is answered with.
type refusal struct {
	status int
	error
}

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// ServeHTTP answers one request.
func (d *Debug) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	answer, err := d.answer(w, request)
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		var refused refusal
		if errors.As(err, &refused) {
			status = refused.status
		}
		answer = &debugAnswer{Error: err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the caller has closed the connection
}

// answer authenticates the caller, reads the placement and schedules it.
func (d *Debug) answer(w http.ResponseWriter, request *http.Request) (*debugAnswer, error) {
	ctx := request.Context()
	user, err := d.authenticate(ctx, request)
	if err != nil {
		return nil, err
	}
	var p *clusterv1beta1.Placement
	switch request.Method {
	case http.MethodGet:
		p, err = d.existing(ctx, user, request)
	case http.MethodPost:
		p, err = d.unsaved(ctx, user, w, request)
	default:
		err = refuse(http.StatusMethodNotAllowed, "%s: only GET and POST are answered", request.Method)
	}
	if err != nil {
		return nil, err
	}
	return d.schedule(ctx, p)
}

// authenticate asks the API server for the user of the token.
func (d *Debug) authenticate(ctx context.Context, request *http.Request) (*authenticationv1.UserInfo, error) {
	scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return nil, refuse(http.StatusUnauthorized, "no bearer token")
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: strings.TrimSpace(token)}}
	if err := d.Reviews.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("review the token: %w", err)
	}
	if !review.Status.Authenticated {
		return nil, refuse(http.StatusUnauthorized, "the token is not valid")
	}
	return &review.Status.User, nil
}

// authorize asks the API server whether the user may use a verb on placements of a namespace. An empty name means any placement.
func (d *Debug) authorize(ctx context.Context, user *authenticationv1.UserInfo, verb, namespace, name string) error {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Name: name, Verb: verb,
			Group: clusterv1beta1.GroupVersion.Group, Version: clusterv1beta1.GroupVersion.Version, Resource: "placements",
		},
	}}
	if err := d.Reviews.Create(ctx, review); err != nil {
		return fmt.Errorf("review the access: %w", err)
	}
	if !review.Status.Allowed {
		return refuse(http.StatusForbidden, "user does not have permission to %s placements in namespace %s", verb, namespace)
	}
	return nil
}

// existing is the placement that the path names.
func (d *Debug) existing(ctx context.Context, user *authenticationv1.UserInfo, request *http.Request) (*clusterv1beta1.Placement, error) {
	key, err := keyOf(request)
	if err != nil {
		return nil, err
	}
	if err := d.authorize(ctx, user, "get", key.Namespace, key.Name); err != nil {
		return nil, err
	}
	var p clusterv1beta1.Placement
	if err := d.Reader.Get(ctx, key, &p); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, refuse(http.StatusNotFound, "placement '%s' not found", key.Name)
		}
		return nil, err
	}
	return &p, nil
}

// unsaved is the placement in the body. The path supplies its namespace and name where the body has none.
func (d *Debug) unsaved(ctx context.Context, user *authenticationv1.UserInfo, w http.ResponseWriter, request *http.Request) (*clusterv1beta1.Placement, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxDebugBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refuse(http.StatusBadRequest, "request body too large: exceeds maximum of %d bytes", maxDebugBody)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "failed to read request body: %w", err)
	}
	var p clusterv1beta1.Placement
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, refuse(http.StatusBadRequest, "failed to unmarshal placement JSON: %w", err)
	}
	if p.Namespace == "" || p.Name == "" {
		key, err := keyOf(request)
		if err != nil {
			return nil, err
		}
		p.Namespace, p.Name = cmp.Or(p.Namespace, key.Namespace), cmp.Or(p.Name, key.Name)
	}
	return &p, d.authorize(ctx, user, "create", p.Namespace, "")
}

func keyOf(request *http.Request) (client.ObjectKey, error) {
	namespace, name, ok := strings.Cut(strings.TrimPrefix(request.URL.Path, DebugPath), "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return client.ObjectKey{}, refuse(http.StatusBadRequest, "invalid debug path: namespace and name required")
	}
	return client.ObjectKey{Namespace: namespace, Name: name}, nil
}

// schedule runs the scheduler on the fleet as it is now.
func (d *Debug) schedule(ctx context.Context, p *clusterv1beta1.Placement) (*debugAnswer, error) {
	w, err := (&facts{reader: d.Reader}).observe(ctx)
	if err != nil {
		return nil, err
	}
	var pages clusterv1beta1.PlacementDecisionList
	if err := d.Reader.List(ctx, &pages, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("read the decisions: %w", err)
	}
	w.Decisions = pages.Items
	w.Time = d.Now()
	result := placement.Schedule(p, w)
	plain := &clusterv1beta1.Placement{
		TypeMeta:   p.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, Labels: p.Labels, Annotations: p.Annotations},
		Spec:       p.Spec,
	}
	return answerOf(plain, &result), nil
}

// answerOf converts a result to OCM's format.
func answerOf(p *clusterv1beta1.Placement, result *placement.Result) *debugAnswer {
	answer := &debugAnswer{Placement: p, Error: result.Misconfigured()}
	for _, f := range result.Filters {
		answer.FilterResults = append(answer.FilterResults, debugFilter{f.Name, f.Clusters})
	}
	for _, x := range result.Prioritizers {
		scores := make(map[string]int64, len(x.Scores))
		for i, s := range x.Scores {
			scores[result.Candidates[i]] = s
		}
		answer.PrioritizeResults = append(answer.PrioritizeResults, debugPrioritizer{x.Name, x.Weight, scores})
	}
	for i, c := range result.Candidates {
		answer.AggregatedScores = append(answer.AggregatedScores, debugScore{c, result.Totals[i]})
	}
	slices.SortStableFunc(answer.AggregatedScores, func(a, b debugScore) int { return cmp.Compare(b.Score, a.Score) })
	return answer
}
