package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test/forge"
)

// forged is a fleet whose pull requests are on a host that the test steers.
type forged struct {
	*theFleet
	forge *forge.Forge
	last  int // pull request
}

// newForged starts a fleet of one cluster and one application, whose pull requests are on a host like GitHub. A pull request is planned again
// after an interval at least.
func newForged(t *testing.T, interval time.Duration) *forged {
	t.Helper()
	f := &forged{forge: forge.New()}
	server := httptest.NewServer(f.forge.GitHub())
	t.Cleanup(server.Close)
	f.theFleet = newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("shops", everyEdge)+
		applicationFile("shop", "shops", "manifests/shop", "guard", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"),
		func(o *Options) { o.ReplanInterval = interval })
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "forge"}, StringData: map[string]string{"token": "good"}})
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: f.repo.URL(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root", Interval: metav1.Duration{Duration: time.Second},
			Review: &musterv1alpha1.ReviewSpec{
				Host: musterv1alpha1.HostGitHub, APIURL: server.URL + "/api/v3", Repository: "acme/fleet", SecretRef: &musterv1alpha1.LocalReference{Name: "forge"},
			},
		},
	})
	f.expectDelivered(strings.TrimSpace(f.repo.Git("rev-parse", "main")))
	f.available("one", true)
	return f
}

// TestReviewsSurviveFaults: whatever the host does, a pull request has one check and one comment in the end.
func TestReviewsSurviveFaults(t *testing.T) {
	t.Parallel()
	f := newForged(t, 100*time.Millisecond)
	for name, do := range map[string]func(*forged, int){
		"a comment that is deleted by hand is written again": commentIsDeleted,
		"a hub that starts over doubles nothing":             hubStartsOver,
		"a locked conversation keeps nothing from others":    conversationIsLocked,
		"a token that has expired":                           tokenExpires,
		"a secondary limit":                                  secondaryLimit,
		"a host that is away":                                hostIsAway,
		"closed while it is planned":                         closedWhilePlanned,
		"another hub has its own comment":                    anotherHub,
		"five hundred files":                                 manyFiles,
		"a head that cannot be fetched":                      unknownHead,
		"forks that are not planned take no room":            forksTakeNoRoom,
		"a fork makes the hub fetch nothing":                 forkFetchesNothing,
		"a GitHub App writes faults beside the lines":        appAnnotates,
		"the repository's own Secret may be a GitHub App's":  appOfTheRepository,
	} {
		f.run(name, func(*theFleet) {
			do(f, 1)
			f.forge.Do(func() {
				for n := range f.forge.Pulls {
					f.forge.Pulls[n].State = "closed"
				}
			})
			f.eventually(func() string {
				if r := f.repository().Status.Review; r == nil || r.Reason != "Succeeded" || len(r.PullRequests) > 0 {
					return fmt.Sprintf("closed ones are kept: %+v", r)
				}
				return ""
			})
		})
	}
}

// propose commits a change on a branch and opens a pull request of it.
func (f *forged) propose(archive string) (int, string) { return f.proposeFrom(false, archive) }

func (f *forged) proposeFrom(fork bool, archive string) (int, string) {
	f.t.Helper()
	return f.proposeAs(archive, func(p *forge.Pull) { p.Fork = fork })
}

func (f *forged) proposeAs(archive string, with func(*forge.Pull)) (int, string) {
	f.t.Helper()
	f.last++
	branch := fmt.Sprint("branch-", f.last)
	f.repo.Git("checkout", "--quiet", "-B", branch, "main")
	head := f.repo.Commit(archive)
	f.repo.Git("checkout", "--quiet", "main")
	f.forge.Do(func() {
		f.forge.Open(f.last, head, false)
		with(f.forge.Pulls[f.last])
	})
	return f.last, head
}

// push moves the head of a pull request.
func (f *forged) pushTo(number int, archive string) string {
	f.t.Helper()
	f.repo.Git("checkout", "--quiet", fmt.Sprint("branch-", number))
	head := f.repo.Commit(archive)
	f.repo.Git("checkout", "--quiet", "main")
	f.forge.Do(func() { f.forge.Pulls[number].Head = head })
	return head
}

func colored(color string) string {
	return configMapFile("manifests/shop/config.yaml", "shop", "color", color)
}

// expectReviewed waits until a head has its check, and the pull request the one comment about it.
func (f *forged) expectReviewed(number int, head, state string, parts ...string) {
	f.t.Helper()
	f.eventually(func() string {
		problem := ""
		f.forge.Do(func() {
			c := f.forge.Checks[head]["muster/muster-system/fleet"]
			ours, body := 0, ""
			for _, n := range f.forge.Pulls[number].Notes {
				if n.Author == "muster" && !strings.Contains(n.Body, "hub=another") {
					ours, body = ours+1, n.Body
				}
			}
			switch {
			case c.State != state:
				problem = fmt.Sprintf("check %+v, want %s; %+v", c, state, f.repository().Status.Review)
			case ours != 1:
				problem = fmt.Sprintf("%d comments", ours)
			default:
				problem = has("comment", body, append(parts, head[:7])...)
			}
		})
		return problem
	})
}

func (f *forged) expectReason(reason string) {
	f.t.Helper()
	f.eventually(func() string {
		if r := f.repository().Status.Review; r == nil || r.Reason != reason {
			return fmt.Sprintf("reviews: %+v, want %s", r, reason)
		}
		return ""
	})
}

func commentIsDeleted(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success", "data.color: blue")
	f.forge.Do(func() { f.forge.Pulls[number].Notes = nil; f.forge.Now = f.forge.Now.Add(time.Hour) })
	f.expectReviewed(number, head, "success", "data.color: blue")
}

// conversationIsLocked: one whose comment the host does not take has its check all the same, the others have both, and the status says it.
func conversationIsLocked(f *forged, _ int) {
	number, head := f.proposeAs(colored("blue"), func(p *forge.Pull) { p.Locked = true })
	other, second := f.propose(colored("green"))
	f.expectReviewed(other, second, "success", "data.color: green")
	f.expectReason("Forbidden")
	f.eventually(func() string {
		problem := ""
		f.forge.Do(func() {
			if c := f.forge.Checks[head]["muster/muster-system/fleet"]; c.State != "success" {
				problem = fmt.Sprintf("the check of the locked one is %+v", c)
			}
		})
		return problem
	})
	if r := f.repository().Status.Review; !strings.Contains(r.Message, "issue is locked") {
		f.t.Errorf("the status says %+v", r)
	}
	f.forge.Do(func() { f.forge.Pulls[number].Locked = false })
	f.expectReviewed(number, head, "success", "data.color: blue")
	f.expectReason("Succeeded")
}

func hubStartsOver(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success")
	context := "muster/muster-system/fleet"
	f.eventually(func() string { // the record is written after the host
		r, there := f.repository().Status.Review, forge.Check{}
		f.forge.Do(func() { there = f.forge.Checks[head][context] })
		if r == nil || len(r.PullRequests) != 1 || r.PullRequests[0].State != "Success" || r.PullRequests[0].Head != head || r.PullRequests[0].Summary != there.Description {
			return fmt.Sprintf("reviews: %+v, want the one at %s as the host has it, %+v", r, head, there)
		}
		return ""
	})
	f.stop()
	before := f.forge.Checks[head][context]
	looked := len(f.forge.Asked)
	f.startHub()
	f.eventually(func() string {
		n := 0
		f.forge.Do(func() {
			for _, a := range f.forge.Asked[looked:] {
				if strings.HasSuffix(a, "/comments") {
					n++
				}
			}
		})
		if n == 0 {
			return "the hub has not read the comments"
		}
		return ""
	})
	next := f.pushTo(number, colored("green")) // what is written from now on is about it
	f.expectReviewed(number, next, "success", "data.color: green")
	var again []string
	f.forge.Do(func() {
		for _, a := range f.forge.Asked[looked:] {
			if a == "POST /api/v3/repos/acme/fleet/statuses/"+head {
				again = append(again, a)
			}
		}
		if now := f.forge.Checks[head][context]; len(again) > 0 || now != before {
			f.t.Errorf("what the host had was written again: %q; the check is %+v, and was %+v", again, now, before)
		}
	})
}

func tokenExpires(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success")
	f.forge.Do(func() { f.forge.Token = "another" })
	f.expectReason("Unauthorized")
	if m := f.repository().Status.Review.Message; !strings.Contains(m, "put a new one into the Secret") || strings.Contains(m, "good") {
		f.t.Errorf("the message is %s", m)
	}
	if n := len(f.repository().Status.Review.PullRequests); n != 1 {
		f.t.Errorf("%d pull requests are known, want the one", n)
	}
	head = f.pushTo(number, colored("green"))
	f.forge.Do(func() { f.forge.Token = "good" })
	f.expectReviewed(number, head, "success", "data.color: green")
	f.expectReason("Succeeded")
}

func secondaryLimit(f *forged, _ int) {
	f.forge.Do(func() { f.forge.Limit, f.forge.RetryAfter = "secondary", 2 })
	number, head := f.propose(colored("blue"))
	f.expectReason("RateLimited")
	var asked int
	f.forge.Do(func() { asked = len(f.forge.Asked) })
	again := 0
	f.eventually(func() string { // the limit lasts: the hub asks again when it ends, and not before
		f.forge.Do(func() { again = len(f.forge.Asked) - asked })
		if again == 0 {
			return "the hub has not asked again"
		}
		return ""
	})
	f.forge.Do(func() { f.forge.Limit = "" })
	f.expectReviewed(number, head, "success")
}

func hostIsAway(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success")
	f.forge.Do(func() { f.forge.Away = true })
	f.expectReason("HostUnavailable")
	head = f.pushTo(number, colored("green"))
	f.push(configMapFile("manifests/other/config.yaml", "other", "a", "b")) // the fleet goes on
	f.forge.Do(func() { f.forge.Away = false })
	f.expectReviewed(number, head, "success", "data.color: green")
}

func closedWhilePlanned(f *forged, _ int) {
	f.forge.Do(func() {
		f.forge.OnCheck = func(sha string, c forge.Check) {
			for _, p := range f.forge.Pulls {
				if p.Head == sha && c.State == "pending" {
					p.State = "closed"
				}
			}
		}
	})
	number, head := f.propose(colored("blue"))
	f.eventually(func() string {
		state := ""
		f.forge.Do(func() { state = f.forge.Pulls[number].State })
		return map[bool]string{false: "it is still open"}[state == "closed"]
	})
	f.forge.Do(func() { f.forge.OnCheck = nil })
	other, second := f.propose(colored("green"))
	f.expectReviewed(other, second, "success")
	f.forge.Do(func() {
		if n := len(f.forge.Pulls[number].Notes); n > 0 {
			f.t.Errorf("a closed pull request got %d comments", n)
		}
		if c := f.forge.Checks[head]["muster/muster-system/fleet"]; c.State != "pending" {
			f.t.Errorf("its check is %+v", c)
		}
	})
}

func anotherHub(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	body := "<!-- muster:review hub=another repository=muster-system/fleet -->\n### Muster: of another hub"
	forgery := ""
	f.forge.Do(func() { f.forge.Comment(number, "muster", body) })
	f.expectReviewed(number, head, "success")
	f.forge.Do(func() {
		for _, n := range f.forge.Pulls[number].Notes {
			if !strings.Contains(n.Body, "hub=another") {
				forgery = n.Body
			}
		}
		f.forge.Comment(number, "eve", forgery) // somebody else's with our marker is not ours
	})
	head = f.pushTo(number, colored("green"))
	f.expectReviewed(number, head, "success", "data.color: green")
	f.forge.Do(func() {
		for _, n := range f.forge.Pulls[number].Notes {
			if n.Author == "eve" && n.Body != forgery || strings.Contains(n.Body, "hub=another") && n.Body != body {
				f.t.Errorf("another's comment was edited: %.80q", n.Body)
			}
		}
	})
}

func manyFiles(f *forged, _ int) {
	var archive strings.Builder
	for i := range 500 {
		archive.WriteString(configMapFile(fmt.Sprintf("manifests/shop/many-%d.yaml", i), fmt.Sprintf("many-%d", i), "text", strings.Repeat("x", 100)))
	}
	number, head := f.propose(archive.String())
	f.expectReviewed(number, head, "success", "488 objects more", "Not everything fits here")
	f.forge.Do(func() {
		for _, n := range f.forge.Pulls[number].Notes {
			if len(n.Body) > 65536 {
				f.t.Errorf("the comment has %d bytes", len(n.Body))
			}
		}
	})
}

func unknownHead(f *forged, _ int) {
	lost := strings.Repeat("ab", 20)
	f.forge.Do(func() { f.last++; f.forge.Open(f.last, lost, false) })
	broken := f.last
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success") // one that cannot be fetched does not stop the others
	f.eventually(func() string {
		var c forge.Check
		f.forge.Do(func() { c = f.forge.Checks[lost]["muster/muster-system/fleet"] })
		if c.State != "failure" {
			return fmt.Sprintf("the check of %d is %+v", broken, c)
		}
		return has("check", c.Description, "cannot be planned")
	})
}

// forksTakeNoRoom: strangers may open as many pull requests as they like, others are reviewed still.
func forksTakeNoRoom(f *forged, _ int) {
	number, head := f.propose(colored("blue"))
	f.expectReviewed(number, head, "success")
	f.forge.Do(func() {
		for range 60 {
			f.last++
			f.forge.Open(f.last, strings.Repeat("cd", 20), true)
		}
	})
	head = f.pushTo(number, colored("green"))
	f.expectReviewed(number, head, "success", "data.color: green")
}

// forkFetchesNothing: what a stranger writes does not make the hub ask a server, with a Secret or without; what the repository's own people
// write does.
func forkFetchesNothing(f *forged, _ int) {
	var asked atomic.Int32
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = other.Close() })
	go func() {
		for {
			connection, err := other.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = connection.Close()
		}
	}()
	f.secretIn("retail", "elsewhere", map[string][]byte{"username": []byte("muster"), "password": []byte("s3cret")})
	forks := func(is string) {
		f.eventually(func() string {
			repo := f.repository()
			repo.Spec.Review.Forks = is
			if err := f.client.Update(f.ctx, repo); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	forks(musterv1alpha1.ForksPlan)
	defer forks(musterv1alpha1.ForksIgnore)
	elsewhere := fmt.Sprintf("-- applications/elsewhere.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: elsewhere, namespace: retail}\n"+
		"spec: {placementRef: {name: shops}, source: {git: {url: %q, secretRef: {name: elsewhere}}}, destination: {namespace: guard}}\n", "https://"+other.Addr().String()+"/fleet.git")
	number, head := f.proposeFrom(true, elsewhere)
	f.expectReviewed(number, head, "failure", "applications/elsewhere.yaml")
	if n := asked.Load(); n != 0 {
		f.t.Errorf("a fork made the hub ask %d times", n)
	}
	own, ownHead := f.propose(elsewhere)
	f.expectReviewed(own, ownHead, "failure", "applications/elsewhere.yaml")
	f.eventually(func() string {
		if asked.Load() == 0 {
			note := ""
			f.forge.Do(func() { note = f.forge.Pulls[own].Notes[0].Body })
			return "what somebody of the repository proposes is not fetched: " + note
		}
		return ""
	})
}

// appAnnotates: the hub signs in with the key of a GitHub App, and faults are at their lines, once however often it looks.
func appAnnotates(f *forged, _ int) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "app"}, StringData: map[string]string{
		"githubAppID": "3", "githubAppInstallationID": "5", "githubAppPrivateKey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}})
	use := func(secret, token string) {
		f.forge.Do(func() { f.forge.Token = token })
		f.eventually(func() string {
			repo := f.repository()
			repo.Spec.Review.SecretRef.Name = secret
			if err := f.client.Update(f.ctx, repo); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	use("app", "installation")
	defer use("forge", "good")
	number, head := f.propose("-- applications/broken.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: broken, namespace: retail}\n" +
		"spec: {placementRef: {name: missing}, source: {path: manifests/shop}}\n")
	f.eventually(func() (problem string) {
		f.forge.Do(func() {
			check, runs := f.forge.Checks[head]["muster/muster-system/fleet"], f.forge.Runs[head]
			switch {
			case check.State != "failure" || len(runs) != 1 || len(f.forge.Pulls[number].Notes) != 1:
				problem = fmt.Sprintf("check %+v, %d check runs, %d comments; %+v", check, len(runs), len(f.forge.Pulls[number].Notes), f.repository().Status.Review)
			case runs[0].Name != "muster/muster-system/fleet: faults" || len(runs[0].Annotations) != 1:
				problem = fmt.Sprintf("%+v", runs[0])
			default:
				problem = has("the annotation", runs[0].Annotations[0], "applications/broken.yaml:4", "PlacementMissing")
			}
		})
		return problem
	})
	head = f.pushTo(number, "-- applications/broken.yaml --\ndeleted\n"+colored("blue"))
	f.eventually(func() (problem string) {
		f.forge.Do(func() {
			if c := f.forge.Checks[head]["muster/muster-system/fleet"]; c.State != "success" || len(f.forge.Runs[head]) > 0 {
				problem = fmt.Sprintf("check %+v, runs %+v", c, f.forge.Runs[head])
			}
		})
		return problem
	})
}

// appOfTheRepository: the key that opens the repository to Git signs in for its reviews too.
func appOfTheRepository(f *forged, _ int) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	server := httptest.NewTLSServer(f.forge.GitHub())
	f.t.Cleanup(server.Close)
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "git-app"}, StringData: map[string]string{
		"githubAppID": "3", "githubAppInstallationID": "5", "githubAppBaseURL": server.URL + "/api/v3",
		"githubAppPrivateKey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"ca.crt":              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	}})
	was := f.repository().Spec
	use := func(token string, change func(*musterv1alpha1.FleetRepositorySpec)) {
		f.forge.Do(func() { f.forge.Token = token })
		f.eventually(func() string {
			repo := f.repository()
			change(&repo.Spec)
			if err := f.client.Update(f.ctx, repo); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	use("installation", func(s *musterv1alpha1.FleetRepositorySpec) {
		s.SecretRef, s.Review.SecretRef, s.Review.APIURL = &musterv1alpha1.LocalReference{Name: "git-app"}, nil, server.URL+"/api/v3"
	})
	defer use("good", func(s *musterv1alpha1.FleetRepositorySpec) { *s = was })
	number, head := f.propose(colored("blue"))
	f.eventually(func() (problem string) {
		f.forge.Do(func() {
			check, notes := f.forge.Checks[head]["muster/muster-system/fleet"], f.forge.Pulls[number].Notes
			if check.State != "success" || len(notes) != 1 || notes[0].Author != "muster[bot]" {
				problem = fmt.Sprintf("check %+v, comments %+v; %+v", check, notes, f.repository().Status.Review)
			}
		})
		return problem
	})
}
