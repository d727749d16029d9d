package main

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test/forge"
)

// TestApprovalsEnd: what counts is what a host says now. An approval that is dismissed or taken back, of an older head, or of somebody who has
// left the team, approves nothing any more; and one that comes just before the merge does.
func TestApprovalsEnd(t *testing.T) {
	t.Parallel()
	f := &forged{forge: forge.New()}
	archive := tenant + placementFile("shops", everyEdge) + applicationFile("shop", "shops", "manifests/shop", "guard", "") +
		configMapFile("manifests/shop/config.yaml", "shop", "color", "red")
	for _, site := range []string{"a", "b", "c", "d"} {
		archive += clusterFile("cluster-"+site, "tier: edge, site: "+site)
	}
	f.theFleet = newFleet(t, archive, func(o *Options) { o.ReplanInterval = 100 * time.Millisecond })
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "forge"}, StringData: map[string]string{"token": "good"}})
	for _, kind := range []string{musterv1alpha1.HostGitHub, musterv1alpha1.HostGitLab} {
		f.forge = forge.New()
		handler, api := f.forge.Handler(kind)
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		f.run(kind, func(*theFleet) {
			f.reviewOn(kind, server.URL+api)
			approvalsEnd(f, kind)
			codeOwnersApprove(f, kind)
			unknownTeam(f, kind)
		})
	}
}

// reviewOn lets the hub review the pull requests of a host, into which those of a team may approve.
func (f *forged) reviewOn(kind, api string) {
	f.t.Helper()
	spec := reviewedBy(f, kind, api)
	f.create(&musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}, Spec: spec})
	f.eventually(func() string {
		repo := f.repository()
		repo.Spec = spec
		if err := f.client.Update(f.ctx, repo); err != nil {
			return err.Error()
		}
		return ""
	})
	f.expectDelivered(strings.TrimSpace(f.repo.Git("rev-parse", "main")))
	for _, site := range []string{"a", "b", "c", "d"} {
		f.available("cluster-"+site, true)
	}
}

// reviewedBy is a repository whose pull requests are on a host, and may be approved by those of a team.
func reviewedBy(f *forged, kind, api string) musterv1alpha1.FleetRepositorySpec {
	return musterv1alpha1.FleetRepositorySpec{
		URL: f.repo.URL(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root", Interval: metav1.Duration{Duration: time.Second},
		Review: &musterv1alpha1.ReviewSpec{
			Host: kind, APIURL: api, Repository: "acme/fleet", SecretRef: &musterv1alpha1.LocalReference{Name: "forge"},
			Approvers: musterv1alpha1.ReviewApprovers{Teams: []string{"acme/platform"}},
		},
	}
}

// approves lets a user approve a head by a review of the host.
func (f *forged) approves(kind string, number int, user, head string) {
	f.t.Helper()
	f.forge.Do(func() {
		p := f.forge.Pulls[number]
		if kind == musterv1alpha1.HostGitLab { // which notes when, and not what
			f.forge.Comment(number, user, "approved this merge request").System = true
			p.Notes[len(p.Notes)-1].Created = time.Now()
			head = ""
		}
		p.Reviews = []forge.Review{{User: user, State: "APPROVED", Commit: head, At: time.Now()}}
	})
}

func approvalsEnd(f *forged, kind string) {
	works := len(f.worksOf("retail/shop"))
	if works < 2 {
		f.eventually(func() string {
			if works = len(f.worksOf("retail/shop")); works < 4 {
				return fmt.Sprintf("%d works", works)
			}
			return ""
		})
	}
	sites := []string{"a", "b", "c", "d"}[:works-1]
	number, head := f.propose(onlySites(sites...))
	f.expectReviewed(number, head, failed(kind), "⏸ Held", "one of `acme/platform`, who is not its author")

	f.approves(kind, number, "bob", head)
	f.expectReviewed(number, head, "success", "approved by `bob`")
	f.forge.Do(func() { // GitHub keeps a dismissed one, GitLab does not
		f.forge.Pulls[number].Reviews[0].State = "DISMISSED"
	})
	f.expectReviewed(number, head, failed(kind), "The approval of bob counts no more")

	f.approves(kind, number, "bob", head)
	f.expectReviewed(number, head, "success", "approved by `bob`")
	head = f.pushTo(number, "-- README.md --\nsomething else\n")
	f.expectReviewed(number, head, failed(kind), "The approval of bob counts no more")

	digest := ""
	f.forge.Do(func() {
		for _, n := range f.forge.Pulls[number].Notes {
			if _, rest, ok := strings.Cut(n.Body, "/muster approve "); ok {
				digest, _, _ = strings.Cut(rest, "\n")
			}
		}
		f.forge.Comment(number, "eve", "/muster approve "+digest)
		f.forge.Comment(number, "bob", "/muster approve "+digest)
	})
	f.expectReviewed(number, head, "success", "approved by `bob`")
	f.forge.Do(func() {
		f.forge.Pulls[number].Notes = slices.DeleteFunc(f.forge.Pulls[number].Notes, func(n *forge.Note) bool { return n.Author == "bob" && !n.System })
	})
	f.expectReviewed(number, head, failed(kind), "The approval of bob counts no more")

	f.approves(kind, number, "bob", head)
	f.expectReviewed(number, head, "success", "approved by `bob`")
	f.forge.Do(func() { f.forge.Teams["platform"] = nil })
	f.expectReviewed(number, head, failed(kind), "The approval of bob counts no more")

	// Approved and merged before the hub looks again.
	f.repo.Git("checkout", "--quiet", "main")
	f.repo.Git("merge", "--quiet", "--no-ff", "-m", "merge", fmt.Sprint("branch-", number))
	merged := strings.TrimSpace(f.repo.Git("rev-parse", "main"))
	f.approves(kind, number, "bob", head)
	f.forge.Do(func() {
		f.forge.Teams["platform"] = []string{"bob"}
		f.forge.Pulls[number].State, f.forge.Pulls[number].Merged = map[string]string{musterv1alpha1.HostGitHub: "closed", musterv1alpha1.HostGitLab: "merged"}[kind], merged
	})
	f.expectDelivered(merged)
	f.eventually(func() string {
		if n := len(f.worksOf("retail/shop")); n != works-1 {
			return fmt.Sprintf("%d works, want %d: %+v", n, works-1, f.repository().Status.Review)
		}
		return ""
	})
}

// codeOwnersApprove: those approve whom CODEOWNERS of the branch names for the file whose deletions are held, by themselves or as a team.
func codeOwnersApprove(f *forged, kind string) {
	f.eventually(func() string {
		repo := f.repository()
		repo.Spec.Review.Approvers = musterv1alpha1.ReviewApprovers{CodeOwners: true}
		if err := f.client.Update(f.ctx, repo); err != nil {
			return err.Error()
		}
		return ""
	})
	for user, owner := range map[string]string{"carol": "carol", "bob": "acme/platform"} {
		f.push(fmt.Sprintf("-- CODEOWNERS --\n* @eve\n/applications/retail/ @%s # %s\n", owner, kind))
		number, head := f.propose(onlySites("nowhere") + "-- CODEOWNERS --\n* @mallory\n")
		f.expectReviewed(number, head, failed(kind), "⏸ Held", "one of `CODEOWNERS`")
		f.approves(kind, number, "eve", head)
		digest := ""
		f.forge.Do(func() {
			_, rest, _ := strings.Cut(f.forge.Pulls[number].Notes[0].Body, "/muster approve ")
			digest, _, _ = strings.Cut(rest, "\n")
			f.forge.Comment(number, "mallory", "/muster approve "+digest)
			f.forge.Comment(number, user, "/muster approve "+digest)
		})
		f.expectReviewed(number, head, "success", "approved by `"+user+"`")
		f.forge.Do(func() { f.forge.Pulls[number].State = "closed" })
	}
}

// unknownTeam: a team that the host does not show approves nothing, and that is said where people wait for it.
func unknownTeam(f *forged, kind string) {
	f.eventually(func() string {
		repo := f.repository()
		repo.Spec.Review.Approvers = musterv1alpha1.ReviewApprovers{Teams: []string{"acme/nobody"}}
		if err := f.client.Update(f.ctx, repo); err != nil {
			return err.Error()
		}
		return ""
	})
	number, head := f.propose(onlySites("nowhere"))
	f.expectReviewed(number, head, failed(kind), "⏸ Held")
	f.approves(kind, number, "bob", head)
	f.expectReviewed(number, head, failed(kind), "the host shows no team acme/nobody to muster")
	f.expectReason("TeamUnknown")
	f.forge.Do(func() { f.forge.Pulls[number].State = "closed" })
	f.expectReason("Succeeded")
}

// failed is how a host calls it.
func failed(kind string) string {
	if kind == musterv1alpha1.HostGitLab {
		return "failed"
	}
	return "failure"
}

// TestStepIsApprovedOnPullRequest: the hub says on a merged pull request which step waits; one of the approvers lets it begin with a comment, and
// neither its author nor anybody else.
func TestStepIsApprovedOnPullRequest(t *testing.T) {
	t.Parallel()
	const kind = musterv1alpha1.HostGitHub
	f := &forged{forge: forge.New()}
	f.theFleet = newFleet(t, tenant+placementFile("shops", everyEdge)+clusterFile("cluster-a", "tier: edge, site: a")+
		applicationFile("shop", "shops", "manifests/shop", "gated", "  rollout: {type: Progressive, steps: [{name: prod, approval: Manual}]}")+colored("red"),
		func(o *Options) { o.ReplanInterval = 100 * time.Millisecond })
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "forge"}, StringData: map[string]string{"token": "good"}})
	handler, api := f.forge.Handler(kind)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	f.forge.Do(func() { f.forge.Teams["platform"] = []string{"bob"} })
	f.create(&musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}, Spec: reviewedBy(f, kind, server.URL+api)})
	f.expectDelivered(strings.TrimSpace(f.repo.Git("rev-parse", "main")))
	f.available("cluster-a", true)

	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success", "data.color: blue")
	f.repo.Git("merge", "--quiet", "--no-ff", "-m", "merge", fmt.Sprint("branch-", number))
	merged := strings.TrimSpace(f.repo.Git("rev-parse", "main"))
	f.forge.Do(func() { f.forge.Pulls[number].State, f.forge.Pulls[number].Merged = "closed", merged })
	f.expectDelivered(merged)
	f.expectApprovalNeeded(merged)
	command := "/muster approve retail/shop prod " + merged[:16]
	f.eventually(func() string {
		said := ""
		f.forge.Do(func() {
			for _, n := range f.forge.Pulls[number].Notes {
				said += n.Body
			}
		})
		return has("comments", said, command, "one of `acme/platform`, who is not the author")
	})
	f.forge.Do(func() {
		f.forge.Teams["platform"] = []string{"bob", "alice"}
		f.forge.Comment(number, "alice", command) // its author
		f.forge.Comment(number, "eve", command)
		f.forge.Comment(number, "bob", "/muster approve retail/shop prod "+strings.Repeat("0", 16))
	})
	asked := 0
	f.forge.Do(func() { asked = len(f.forge.Asked) })
	f.eventually(func() string { // comments are read twice more
		comments := 0
		f.forge.Do(func() {
			for _, request := range f.forge.Asked[asked:] {
				if strings.HasPrefix(request, "GET ") && strings.HasSuffix(request, fmt.Sprintf("/issues/%d/comments", number)) {
					comments++
				}
			}
		})
		if comments < 2 {
			return fmt.Sprintf("comments are read %d times", comments)
		}
		return ""
	})
	if r := f.application("retail/shop").Status.Rollout; r == nil || !r.WaitsForApproval || len(r.Approvals) > 0 {
		t.Fatalf("approved by who may not: %+v", r)
	}
	f.forge.Do(func() { f.forge.Comment(number, "bob", command) })
	f.eventually(func() string {
		r := f.application("retail/shop").Status.Rollout
		if r == nil || len(r.Approvals) != 1 || r.Approvals[0].Step != "prod" || r.Approvals[0].By != fmt.Sprintf("bob on pull request %d", number) {
			return fmt.Sprintf("rollout is %+v; reviews %+v", r, f.repository().Status.Review)
		}
		if len(f.works("cluster-a")) == 0 {
			return "nothing is written"
		}
		return ""
	})
}
