package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"code.gitea.io/sdk/gitea"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test"
)

// reviewed is a fleet whose repository is on a real Git host.
type reviewed struct {
	*theFleet
	host *test.Gitea
	name string // of the check
	page string // host and port of the hub's page
}

const owner, fleetRepo = "acme", "fleet"

// newReviewed starts a hub and a Gitea: the hub is user muster there, alice writes changes, bob may approve, eve is a stranger. The hub
// looks once an hour: what is sooner, a webhook has announced.
func newReviewed(t *testing.T, archive string) *reviewed {
	t.Helper()
	g := test.NewGitea(t)
	g.Users("muster", "alice", "bob", "eve")
	admin := g.As(test.GiteaAdmin)
	must := func(_ any, _ *gitea.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.CreateOrg(gitea.CreateOrgOption{Name: owner, Visibility: gitea.VisibleTypePublic}))
	must(admin.CreateOrgRepo(owner, gitea.CreateRepoOption{Name: fleetRepo, DefaultBranch: "main"}))
	team, _, err := admin.CreateTeam(owner, gitea.CreateTeamOption{
		Name: "platform", Permission: gitea.AccessModeWrite, IncludesAllRepositories: true, Units: []gitea.RepoUnitType{gitea.RepoUnitCode, gitea.RepoUnitPulls, gitea.RepoUnitIssues},
	})
	must(team, nil, err)
	for _, user := range []string{"bob", "muster"} { // who asks for its members is one
		_, err := admin.AddTeamMember(team.ID, user)
		must(nil, nil, err)
	}
	write := gitea.AccessModeWrite
	for _, user := range []string{"muster", "alice", "bob"} {
		if _, err := admin.AddCollaborator(owner, fleetRepo, user, gitea.AddCollaboratorOption{Permission: &write}); err != nil {
			t.Fatal(err)
		}
	}
	webhooks := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	f := &reviewed{host: g, name: "muster/muster-system/fleet", page: fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))}
	f.theFleet = newFleet(t, archive, func(o *Options) {
		o.WebhookAddress, o.ReplanInterval, o.UIAddress, o.UIURL = webhooks, 200*time.Millisecond, f.page, "http://"+f.page
	})
	f.repo.Git("remote", "add", "origin", g.Remote("alice", owner+"/"+fleetRepo))
	f.repo.Git("push", "--quiet", "origin", "main")
	f.watch(webhooks, "")
	return f
}

// watch gives Gitea the hub's webhook, and the hub the repository.
func (f *reviewed) watch(webhooks, checkName string) {
	f.t.Helper()
	g := f.host
	if _, _, err := g.As(test.GiteaAdmin).CreateRepoHook(owner, fleetRepo, gitea.CreateHookOption{
		Type: "gitea", Active: true, Events: []string{"push", "pull_request", "pull_request_comment", "pull_request_review", "issue_comment"},
		Config: map[string]string{"url": "http://" + webhooks + "/webhook/muster-system/fleet", "content_type": "json", "secret": "s3cret"},
	}); err != nil {
		f.t.Fatal(err)
	}
	f.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet-git"},
		StringData: map[string]string{"username": "muster", "password": g.Token("muster"), "webhookToken": "s3cret"},
	})
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: g.URL + "/" + owner + "/" + fleetRepo + ".git", ServiceAccountName: "root", Interval: metav1.Duration{Duration: time.Hour},
			SecretRef: &musterv1alpha1.LocalReference{Name: "fleet-git"},
			Review: &musterv1alpha1.ReviewSpec{
				Name: checkName, Host: musterv1alpha1.HostGitea, Approvers: musterv1alpha1.ReviewApprovers{Teams: []string{owner + "/platform"}}, EnvironmentLabel: "env",
			},
		},
	})
	f.expectDelivered(strings.TrimSpace(f.repo.Git("rev-parse", "main")))
}

// propose pushes a branch with a change and opens a pull request of it, as alice; it gives the number and the head.
func (f *reviewed) propose(branch, archive string) (int64, string) {
	f.t.Helper()
	f.repo.Git("checkout", "--quiet", "-B", branch, "main")
	head := f.repo.Commit(archive)
	f.repo.Git("push", "--quiet", "--force", "origin", branch)
	return f.openRequest("alice", branch, branch), head
}

// openRequest opens a pull request once Gitea has noted the branch, which it does after the push.
func (f *reviewed) openRequest(user, branch, title string) (number int64) {
	f.t.Helper()
	f.eventually(func() string {
		pr, _, err := f.host.As(user).CreatePullRequest(owner, fleetRepo, gitea.CreatePullRequestOption{Head: branch, Base: "main", Title: title})
		if err != nil {
			return err.Error()
		}
		number = pr.Index
		return ""
	})
	return number
}

// checkOf is the newest status of a commit, as state and description.
func (f *reviewed) checkOf(commit, name string) string {
	f.t.Helper()
	list, _, err := f.host.As("alice").ListStatuses(owner, fleetRepo, commit, gitea.ListStatusesOption{})
	if err != nil {
		return err.Error()
	}
	var last *gitea.Status
	for _, s := range list {
		if s.Context == name && (last == nil || s.ID > last.ID) {
			last = s
		}
	}
	if last == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s", last.State, last.Description)
}

// expectCheck waits for a status of a commit.
func (f *reviewed) expectCheck(commit string, parts ...string) {
	f.t.Helper()
	f.expectStatus(commit, f.name, parts...)
}

func (f *reviewed) expectStatus(commit, name string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string { return has("status "+name, f.checkOf(commit, name), parts...) })
}

// comments of the hub on a pull request.
func (f *reviewed) comments(number int64) []*gitea.Comment {
	f.t.Helper()
	list, _, err := f.host.As("alice").ListIssueComments(owner, fleetRepo, number, gitea.ListIssueCommentOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	var ours []*gitea.Comment
	for _, c := range list {
		if c.Poster.UserName == "muster" {
			ours = append(ours, c)
		}
	}
	return ours
}

// expectComment waits until the hub's one comment has the parts.
func (f *reviewed) expectComment(number int64, parts ...string) *gitea.Comment {
	f.t.Helper()
	var comment *gitea.Comment
	f.eventually(func() string {
		list := f.comments(number)
		if len(list) != 1 {
			return fmt.Sprintf("%d comments, want one; status %+v", len(list), f.repository().Status.Review)
		}
		comment = list[0]
		return has("the comment", comment.Body, parts...)
	})
	return comment
}

func (f *reviewed) say(user string, number int64, text string) {
	f.t.Helper()
	if _, _, err := f.host.As(user).CreateIssueComment(owner, fleetRepo, number, gitea.CreateIssueCommentOption{Body: text}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *reviewed) merge(number int64) string {
	f.t.Helper()
	f.eventually(func() string { // Gitea computes whether it can be merged
		ok, _, err := f.host.As("bob").MergePullRequest(owner, fleetRepo, number, gitea.MergePullRequestOption{Style: gitea.MergeStyleMerge})
		if err != nil || !ok {
			return fmt.Sprintf("not merged: %v", err)
		}
		return ""
	})
	pr, _, err := f.host.As("bob").GetPullRequest(owner, fleetRepo, number)
	if err != nil || pr.MergedCommitID == nil {
		f.t.Fatalf("merged: %v %+v", err, pr)
	}
	f.repo.Git("fetch", "--quiet", "origin")
	f.repo.Git("checkout", "--quiet", "main")
	f.repo.Git("reset", "--quiet", "--hard", "origin/main")
	return *pr.MergedCommitID
}

func (f *reviewed) each(t *testing.T, name string, do func(f *reviewed)) {
	t.Helper()
	f.run(name, func(*theFleet) { do(f) })
}

func TestPullRequestsAreReviewed(t *testing.T) {
	t.Parallel()
	f := newReviewed(t, tenant+clusterFile("one", "tier: edge, site: a, env: prod")+clusterFile("two", "tier: edge, site: b, env: prod")+clusterFile("three", "tier: edge, site: c, env: dev")+
		placementFile("shops", everyEdge)+
		applicationFile("shop", "shops", "manifests/shop", "guard", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"))
	for _, name := range []string{"one", "two", "three"} {
		f.available(name, true)
	}
	f.eventually(func() string {
		if n := len(f.worksOf("retail/shop")); n != 3 {
			return fmt.Sprintf("%d works", n)
		}
		return ""
	})
	f.each(t, "a pull request gets one check and one comment, and a push edits them", prIsReviewed)
	f.each(t, "a policy of the base denies", policyDenies)
	f.each(t, "held deletions are approved by who may, and go ahead after the merge", approvedOnPullRequest)
	f.each(t, "what is merged otherwise than approved is held again", changedSinceReview)
	f.each(t, "a fork is planned only where the repository says so", forksAreIgnored)
	f.each(t, "a forged webhook changes nothing", forgedWebhook)
	f.each(t, "a webhook that is sent again, or late, doubles nothing", replayedWebhook)
	f.each(t, "a merged commit has the status of its delivery, and the pull request a summary", mergedIsTold)
	f.each(t, "the rules are those of the branch as it is", rulesOfTheBranch)
	f.each(t, "a merged removal that waits is not told as delivered", removalIsStuck)
	f.each(t, "a commit after which nothing is on a cluster is told too", nothingIsLeft)
	f.each(t, "a review shows nothing of a Secret that values come from", secretIsNotShown)
}

// secretIsNotShown: whoever proposes a chart that shows pieces of a password reads none of it in the review.
func secretIsNotShown(f *reviewed) {
	f.secretIn("retail", "db", map[string][]byte{"password": []byte("hunter22")})
	chart := func(template string) string {
		return "-- charts/db/templates/config.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {text: {{ " + template + " | quote }}}\n"
	}
	f.repo.Git("checkout", "--quiet", "main")
	revision := f.repo.Commit("-- charts/db/Chart.yaml --\napiVersion: v2\nname: db\nversion: 1.0.0\n" + chart(".Values.password | sha256sum") +
		"-- applications/retail/db/application.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: db, namespace: retail}\nspec:\n  placementRef: {name: shops}\n" +
		"  source: {path: charts/db}\n  helm: {valuesFrom: [{kind: Secret, name: db, valuesKey: password, targetPath: password, allowOutsideSecrets: true}]}\n")
	f.repo.Git("push", "--quiet", "origin", "main")
	f.expectDelivered(revision)
	number, _ := f.propose("curious", chart("trunc 6 .Values.password"))
	comment := f.expectComment(number, "ConfigMap retail/db", "data.text")
	if strings.Contains(comment.Body, "hunter") {
		f.t.Errorf("the review shows the password: %s", comment.Body)
	}
}

// rulesOfTheBranch: a change that leaves the branch where its rules were others is held against those of now.
func rulesOfTheBranch(f *reviewed) {
	f.repo.Git("checkout", "--quiet", "main")
	old := strings.TrimSpace(f.repo.Git("rev-parse", "main"))
	revision := f.repo.Commit("-- placements/policy.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ReviewPolicy\nmetadata: {name: quiet, namespace: muster-system}\n" +
		"spec:\n  validations:\n  - message: a freeze\n    expression: plan.updated == 0\n")
	f.repo.Git("push", "--quiet", "origin", "main")
	f.expectDelivered(revision)
	f.repo.Git("checkout", "--quiet", "-B", "late", old)
	head := f.repo.Commit(configMapFile("manifests/shop/config.yaml", "shop", "color", "lime"))
	f.repo.Git("push", "--quiet", "origin", "late")
	number := f.openRequest("alice", "late", "late")
	f.expectCheck(head, "failure", "denied by muster-system/quiet")
	f.expectComment(number, "a freeze")
}

// removalIsStuck: what a merged commit removes waits for an approval, so that it is stuck; and through when it is approved.
func removalIsStuck(f *reviewed) {
	number, head := f.propose("removal", "-- applications/retail/shop/application.yaml --\ndeleted\n")
	f.expectCheck(head, "failure", "held")
	merged := f.merge(number)
	f.expectDelivered(merged)
	status := f.name + ": removed applications"
	f.expectStatus(merged, status, "failure", "muster approve --plan")
	summary := func(mark string) {
		f.eventually(func() string {
			list := f.comments(number)
			if len(list) != 2 {
				return fmt.Sprintf("%d comments, want that of the review and the summary", len(list))
			}
			return has("summary", list[1].Body, mark, merged[:7])
		})
	}
	summary("❌ stuck")
	f.approve(f.repository(), f.repository().Status.Held)
	f.expectStatus(merged, status, "success")
	summary("✅ delivered")
}

// nothingIsLeft: a merged pull request comes to its end although there is nothing of which the delivery could be told.
func nothingIsLeft(f *reviewed) {
	number, head := f.propose("readme", "-- README.md --\nempty\n")
	f.expectCheck(head, "success")
	merged := f.merge(number)
	f.expectDelivered(merged)
	f.eventually(func() string {
		list := f.comments(number)
		if len(list) != 2 {
			return fmt.Sprintf("%d comments, want that of the review and the summary: %+v", len(list), f.repository().Status.Review)
		}
		return has("summary", list[1].Body, "✅ delivered "+merged[:7], "No application of this repository is on a cluster")
	})
}

func prIsReviewed(f *reviewed) {
	number, head := f.propose("blue", configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	f.expectCheck(head, "success", "1 of 1 application, +0 −0 clusters, 3 updates")
	wholeIsOnThePage(f, number, head)
	first := f.expectComment(number, "### Muster: ✅ 1 of 1 application", "ConfigMap guard/shop", "data.color: red", "data.color: blue", "3 clusters")
	head = f.repo.Commit(configMapFile("manifests/shop/config.yaml", "shop", "color", "green") + placementFile("shops", "{predicates: [{requiredClusterSelector: {labelSelector: {matchLabels: {sight: a}}}}]}") +
		"-- applications/broken.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: broken, namespace: retail}\nspec: {placementRef: {name: missing}, source: {path: manifests/shop}}\n")
	f.repo.Git("push", "--quiet", "origin", "blue")
	f.expectCheck(head, "failure", "−3 clusters", "1 fault", "3 held")
	second := f.expectComment(number, "❌", "applications/broken.yaml:4", "PlacementMissing", "/muster approve ", "label sight=a")
	f.eventually(func() string { // beside the line too
		reviews, _, err := f.host.As("alice").ListPullReviews(owner, fleetRepo, number, gitea.ListPullReviewsOptions{})
		if err != nil || len(reviews) != 1 {
			return fmt.Sprintf("%d reviews, %v", len(reviews), err)
		}
		comments, _, err := f.host.As("alice").ListPullReviewComments(owner, fleetRepo, number, reviews[0].ID)
		if err != nil || len(comments) != 1 {
			return fmt.Sprintf("%d notes, %v", len(comments), err)
		}
		return has("the note", fmt.Sprintf("%s:%d %s", comments[0].Path, comments[0].LineNum, comments[0].Body), "applications/broken.yaml:4", "PlacementMissing")
	})
	if first.ID != second.ID {
		f.t.Errorf("the comment %d was not edited: there is %d", first.ID, second.ID)
	}
	closed := gitea.StateClosed
	if _, _, err := f.host.As("alice").EditPullRequest(owner, fleetRepo, number, gitea.EditPullRequestOption{State: &closed}); err != nil {
		f.t.Fatal(err)
	}
	f.eventually(func() string {
		if r := f.repository().Status.Review; r == nil || len(r.PullRequests) > 0 {
			return fmt.Sprintf("a closed one is kept: %+v", r)
		}
		return ""
	})
}

// wholeIsOnThePage: the check links to the hub's page, which shows the plan to who may see it.
func wholeIsOnThePage(f *reviewed, number int64, head string) {
	f.t.Helper()
	list, _, err := f.host.As("alice").ListStatuses(owner, fleetRepo, head, gitea.ListStatusesOption{})
	if err != nil {
		f.t.Fatal(err)
	}
	path := fmt.Sprintf("/reviews/muster-system/fleet/%d", number)
	if !slices.ContainsFunc(list, func(s *gitea.Status) bool { return s.Context == f.name && s.TargetURL == "http://"+f.page+path }) {
		f.t.Errorf("no check links to %s: %+v", path, list[0])
	}
	viewer := rbacv1.PolicyRule{APIGroups: []string{"muster.dev"}, Resources: []string{"fleetrepositories"}, Verbs: []string{"list"}}
	token := f.token("muster-system", "viewer", viewer)
	f.eventually(func() string { return has("the page", f.read(path, token), "403", "namespace retail") }) // the cache of rights follows
	f.permit("retail", "viewer", "muster-system", rbacv1.PolicyRule{APIGroups: []string{"muster.dev"}, Resources: []string{"applications"}, Verbs: []string{"list"}})
	f.eventually(func() string {
		return has("the page", f.read(path, token), "200", "data.color", "#"+fmt.Sprint(number)+" blue", "retail/shop")
	})
	base := strings.TrimSpace(f.repo.Git("rev-parse", "main"))
	f.eventually(func() string { // what changes between two commits; the head's is known since it was fetched for the review
		return has("the comparison", f.read("/repositories/muster-system/fleet/plan?base="+base+"&application=retail/shop", token), "200", "Nothing changes", "What changes of retail/shop")
	})
}

func policyDenies(f *reviewed) {
	f.repo.Git("checkout", "--quiet", "main")
	revision := f.repo.Commit(`-- placements/policy.yaml --
apiVersion: muster.dev/v1alpha1
kind: ReviewPolicy
metadata: {name: quiet, namespace: muster-system}
spec:
  validations:
  - message: two clusters at most
    expression: plan.updated <= 2 || change.title == "really"
`)
	f.repo.Git("push", "--quiet", "origin", "main")
	f.expectDelivered(revision)
	number, head := f.propose("loud", configMapFile("manifests/shop/config.yaml", "shop", "color", "pink")+"-- placements/policy.yaml --\ndeleted\n")
	f.expectCheck(head, "failure", "denied by muster-system/quiet")
	f.expectComment(number, "⛔", "two clusters at most", "placements/policy.yaml:7")
	title := "really"
	if _, _, err := f.host.As("alice").EditPullRequest(owner, fleetRepo, number, gitea.EditPullRequestOption{Title: title}); err != nil {
		f.t.Fatal(err)
	}
	f.expectCheck(head, "success")
}

func onlySites(sites ...string) string {
	return placementFile("shops", fmt.Sprintf("{predicates: [{requiredClusterSelector: {labelSelector: {matchExpressions: [{key: site, operator: In, values: [%s]}]}}}]}", strings.Join(sites, ", ")))
}

func approvedOnPullRequest(f *reviewed) {
	number, head := f.propose("less", onlySites("a", "b"))
	f.expectCheck(head, "failure", "−1 clusters", "1 held")
	digest := digestIn(f, f.expectComment(number, "⏸ Held", "would leave 1 of 3 clusters").Body)
	f.say("alice", number, "/muster approve "+digest)
	f.say("eve", number, "/muster approve "+digest)
	f.say("bob", number, "/muster approve "+digest[:8])
	f.say("bob", number, "/muster approve ffffffffffffffff")
	f.say("bob", number, "> /muster approve "+digest)
	if got := f.checkOf(head, f.name); !strings.HasPrefix(got, "failure") {
		f.t.Fatalf("approved by its author, a stranger, a short digest, another plan or a quote: %s", got)
	}
	f.say("bob", number, "/muster approve "+digest)
	f.expectCheck(head, "success", "1 approved")
	f.expectComment(number, "approved by `bob`")
	merged := f.merge(number)
	f.expectDelivered(merged)
	f.eventually(func() string {
		if n := len(f.worksOf("retail/shop")); n != 2 {
			return fmt.Sprintf("%d works, want 2: %+v", n, f.repository().Status.Review)
		}
		return ""
	})
	f.expectHeld("retail/shop", 0)
}

func changedSinceReview(f *reviewed) {
	number, head := f.propose("lesser", onlySites("a"))
	f.expectCheck(head, "failure", "1 held")
	f.expectComment(number, "⏸ Held")
	if _, _, err := f.host.As("bob").CreatePullReview(owner, fleetRepo, number, gitea.CreatePullReviewOptions{State: gitea.ReviewStateApproved, CommitID: head, Body: "fine"}); err != nil {
		f.t.Fatal(err)
	}
	f.expectCheck(head, "success", "1 approved")
	// Main changes the same application meanwhile: what is merged is not what was approved.
	f.repo.Git("checkout", "--quiet", "main")
	f.repo.Commit(configMapFile("manifests/shop/config.yaml", "shop", "color", "violet"))
	f.repo.Git("push", "--quiet", "origin", "main")
	merged := f.merge(number)
	f.expectDelivered(merged)
	f.expectHeld("retail/shop", 1)
	f.eventually(func() string {
		r := f.repository().Status.Review
		if r == nil || r.Reason != "PlanChangedSinceReview" {
			return fmt.Sprintf("reviews: %+v", r)
		}
		return has("reviews", r.Message, "retail/shop", "bob approved", "muster approve --plan")
	})
	if n := len(f.worksOf("retail/shop")); n != 2 {
		f.t.Errorf("%d works: a plan that nobody approved was carried out", n)
	}
	f.approve(f.application("retail/shop"), f.application("retail/shop").Status.Held)
	f.expectHeld("retail/shop", 0)
	f.eventually(func() string {
		if r := f.repository().Status.Review; r == nil || r.Reason != "Succeeded" {
			return fmt.Sprintf("reviews: %+v", r)
		}
		return ""
	})
}

func digestIn(f *reviewed, body string) string {
	f.t.Helper()
	_, rest, _ := strings.Cut(body, "/muster approve ")
	digest, _, ok := strings.Cut(rest, "\n")
	if !ok || len(digest) < 16 {
		f.t.Fatalf("the comment names no digest: %s", body)
	}
	return strings.TrimSpace(digest)
}

func forksAreIgnored(f *reviewed) {
	eve := f.host.As("eve")
	if _, _, err := eve.CreateFork(owner, fleetRepo, gitea.CreateForkOption{}); err != nil {
		f.t.Fatal(err)
	}
	f.repo.Git("checkout", "--quiet", "-B", "evil", "main")
	head := f.repo.Commit(onlySites("nowhere") + "-- CODEOWNERS --\n.* @eve\n")
	f.eventually(func() string {
		if err := f.repo.Try("push", "--quiet", f.host.Remote("eve", "eve/"+fleetRepo), "evil"); err != nil {
			return err.Error()
		}
		return ""
	})
	gift := f.openRequest("eve", "eve:evil", "a gift")
	number, after := f.propose("after-the-fork", configMapFile("manifests/shop/config.yaml", "shop", "color", "grey"))
	f.expectComment(number, "Muster") // of what came later
	f.expectCheck(after, "success")
	if list := f.comments(gift); len(list) > 0 || f.checkOf(head, f.name) != "none" {
		f.t.Errorf("a fork was planned: %s", f.checkOf(head, f.name))
	}
	repo := f.repository()
	repo.Spec.Review.Forks = musterv1alpha1.ForksPlan
	repo.Spec.Review.Approvers.CodeOwners = true
	if err := f.client.Update(f.ctx, repo); err != nil {
		f.t.Fatal(err)
	}
	f.expectCheck(head, "failure", "held")
	digest := digestIn(f, f.expectComment(gift, "⏸ Held").Body)
	f.say("eve", gift, "/muster approve "+digest)
	f.say("muster", number, "looked") // a webhook later than hers
	f.eventually(func() string { return has("requests", fmt.Sprint(f.repository().Status.Review), fmt.Sprint(number)) })
	if got := f.checkOf(head, f.name); !strings.HasPrefix(got, "failure") {
		f.t.Errorf("a fork approved itself: %s", got)
	}
}

func mergedIsTold(f *reviewed) {
	f.join("one") // the others have left the placement
	status := f.name + ": retail (prod)"
	number, head := f.propose("last", configMapFile("manifests/shop/config.yaml", "shop", "color", "gold"))
	f.expectCheck(head, "success")
	f.agents["one"]() // the change waits on the hub
	merged := f.merge(number)
	f.expectDelivered(merged)
	f.expectStatus(merged, status, "pending", "applied on 0 of 1")
	f.startAgent("one")
	f.expectHealthy("retail/shop", merged, 1)
	f.expectStatus(merged, status, "success", "healthy on 1 cluster")
	f.eventually(func() string {
		list := f.comments(number)
		if len(list) != 2 {
			return fmt.Sprintf("%d comments, want that of the review and the summary: %+v", len(list), f.repository().Status.Review)
		}
		return has("summary", list[1].Body, "### Muster: ✅ delivered "+merged[:7], "**retail (prod)**", "healthy on 1 cluster")
	})
	f.eventually(func() string {
		for _, p := range f.repository().Status.Review.PullRequests {
			if p.Number == number {
				return "a pull request that is through is kept"
			}
		}
		return ""
	})
}

func forgedWebhook(f *reviewed) {
	known := func() (numbers []int64) { // others come and go while the hub looks at what went before
		for _, p := range f.repository().Status.Review.PullRequests {
			numbers = append(numbers, p.Number)
		}
		return numbers
	}
	before := known()
	if len(before) == 0 {
		f.t.Fatal("no pull request is known that a forgery could close")
	}
	hooks, _, err := f.host.As(test.GiteaAdmin).ListRepoHooks(owner, fleetRepo, gitea.ListHooksOptions{})
	if err != nil || len(hooks) != 1 {
		f.t.Fatalf("hooks: %v", err)
	}
	target, err := url.Parse(hooks[0].Config["url"])
	if err != nil {
		f.t.Fatal(err)
	}
	for signature, want := range map[string]int{"": 401, strings.Repeat("0", 64): 401} {
		if got := post(f.t, target.String(), signature, fmt.Sprintf(`{"action":"closed","number":%d}`, before[0])); got != want {
			f.t.Errorf("signature %q: %d, want %d", signature, got, want)
		}
	}
	if after := known(); !slices.Contains(after, before[0]) {
		f.t.Errorf("a forged webhook closed pull request %d: known are %d", before[0], after)
	}
	var secret corev1.Secret
	if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: "muster-system", Name: "fleet-git"}, &secret); err != nil {
		f.t.Fatal(err)
	}
	if strings.Contains(fmt.Sprintf("%+v", f.repository().Status), string(secret.Data["password"])) {
		f.t.Error("the token is in the status")
	}
}

// replayedWebhook: what Gitea has signed and somebody sends again, out of its order, makes the hub look and nothing more.
func replayedWebhook(f *reviewed) {
	number, head := f.propose("again", configMapFile("manifests/shop/config.yaml", "shop", "color", "beige"))
	f.expectCheck(head, "success")
	before := f.expectComment(number, head[:7])
	written := func() int {
		list, _, err := f.host.As("alice").ListStatuses(owner, fleetRepo, head, gitea.ListStatusesOption{})
		if err != nil {
			f.t.Fatal(err)
		}
		return len(list)
	}
	statuses := written()
	hooks, _, err := f.host.As(test.GiteaAdmin).ListRepoHooks(owner, fleetRepo, gitea.ListHooksOptions{})
	if err != nil || len(hooks) != 1 {
		f.t.Fatalf("hooks: %v", err)
	}
	for _, body := range []string{
		fmt.Sprintf(`{"action":"closed","number":%d}`, number), fmt.Sprintf(`{"action":"opened","number":%d}`, number),
		fmt.Sprintf(`{"ref":"refs/heads/again","after":%q}`, strings.Repeat("0", 40)), `{"ref":"refs/heads/main","before":"later"}`,
	} {
		mac := hmac.New(sha256.New, []byte("s3cret"))
		mac.Write([]byte(body))
		for range 3 {
			if got := post(f.t, hooks[0].Config["url"], hex.EncodeToString(mac.Sum(nil)), body); got != http.StatusAccepted {
				f.t.Errorf("%s: %d, want 202", body, got)
			}
		}
	}
	_, after := f.propose("after-the-replay", configMapFile("manifests/shop/config.yaml", "shop", "color", "ivory"))
	f.expectCheck(after, "success") // of what came later
	if now := f.expectComment(number, head[:7]); now.ID != before.ID || !now.Updated.Equal(before.Updated) || written() != statuses {
		f.t.Errorf("comment %d of %s became %d of %s, and %d statuses %d", before.ID, before.Updated, now.ID, now.Updated, statuses, written())
	}
}

// post sends a webhook with a signature and gives the answer's status.
func post(t testing.TB, target, signature, body string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Gitea-Signature", signature)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestTwoHubsReviewOneRepository: each has its own check and its own comment, edits only these, and an approval on the pull request is for
// both.
func TestTwoHubsReviewOneRepository(t *testing.T) {
	t.Parallel()
	archive := tenant + clusterFile("one", "tier: edge, site: a") + placementFile("shops", everyEdge) +
		applicationFile("shop", "shops", "manifests/shop", "guard", "") + configMapFile("manifests/shop/config.yaml", "shop", "color", "red")
	f := newReviewed(t, archive)
	webhooks := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	other := &reviewed{host: f.host, name: "muster/eu"}
	other.theFleet = newFleet(t, archive, func(o *Options) { o.WebhookAddress, o.ReplanInterval = webhooks, 200*time.Millisecond })
	other.repo = f.repo
	other.watch(webhooks, "eu")
	both := []*reviewed{f, other}
	for _, hub := range both {
		hub.available("one", true)
		hub.eventually(func() string {
			if n := len(hub.worksOf("retail/shop")); n != 1 {
				return fmt.Sprintf("%d works", n)
			}
			return ""
		})
	}
	number, head := f.propose("less", onlySites("b"))
	comments := func(parts ...string) (ids []int64) {
		t.Helper()
		f.eventually(func() string {
			ids = nil
			list := f.comments(number)
			if len(list) != 2 || strings.SplitN(list[0].Body, "\n", 2)[0] == strings.SplitN(list[1].Body, "\n", 2)[0] {
				return fmt.Sprintf("%d comments, want one of each hub", len(list))
			}
			for _, c := range list {
				if problem := has("a comment", c.Body, parts...); problem != "" {
					return problem
				}
				ids = append(ids, c.ID)
			}
			return ""
		})
		return ids
	}
	for _, hub := range both {
		hub.expectCheck(head, "failure", "1 held")
	}
	first := comments("⏸ Held", head[:7])
	head = f.repo.Commit(configMapFile("manifests/shop/config.yaml", "shop", "color", "blue"))
	f.repo.Git("push", "--quiet", "origin", "less")
	for _, hub := range both {
		hub.expectCheck(head, "failure", "1 held")
	}
	if second := comments("⏸ Held", head[:7]); !slices.Equal(first, second) {
		t.Errorf("comments %v became %v: they are edited and none is added", first, second)
	}
	if _, _, err := f.host.As("bob").CreatePullReview(owner, fleetRepo, number, gitea.CreatePullReviewOptions{State: gitea.ReviewStateApproved, CommitID: head, Body: "fine"}); err != nil {
		t.Fatal(err)
	}
	for _, hub := range both {
		hub.expectCheck(head, "success", "1 approved")
	}
	merged := f.merge(number)
	for _, hub := range both {
		hub.expectDelivered(merged)
		hub.eventually(func() string {
			if n := len(hub.worksOf("retail/shop")); n != 0 {
				return fmt.Sprintf("%d works, want none: %+v", n, hub.repository().Status.Review)
			}
			return ""
		})
	}
}
