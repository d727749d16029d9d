package demo

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/test/forge"
)

// gitHost is a Git host in this process that speaks GitHub's API, as far as the hub does with a host: pull requests are there without GitHub.
type gitHost struct {
	*forge.Forge
	url    string
	server *http.Server
}

const (
	// checkName is what the hub's check is called.
	checkName = "muster/muster-system/fleet"
	// request is the number of the demo's pull request.
	request = 1
)

func (d *demo) serveGitHost() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve a Git host: %w", err)
	}
	f := forge.New()
	d.host = &gitHost{f, "http://" + listener.Addr().String() + "/api/v3", &http.Server{Handler: f.GitHub(), ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = d.host.server.Serve(listener) }() // it ends when it is closed
	d.typed("kubectl -n muster-system create secret generic reviews --from-literal token=$TOKEN")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "reviews"}, StringData: map[string]string{"token": f.Token}}
	if err := d.until("a Secret to be taken", func() error { return d.hub.Create(d.ctx, secret.DeepCopy()) }); err != nil {
		return err
	}
	d.answered("secret/reviews created")
	return nil
}

// endReviews leaves a fleet that runs on without reviews: the Git host ends with the demo.
func (d *demo) endReviews() error {
	if d.host == nil {
		return nil
	}
	r := &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "fleet"}}
	if err := d.hub.Patch(d.ctx, r, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"review":null}}`))); err != nil {
		return fmt.Errorf("end the reviews: %w", err)
	}
	return nil
}

// proposed pushes what is checked out, opens a pull request of it, and shows the check and the comment that the hub writes on it.
func (d *demo) proposed(title string) error {
	head, begin, err := d.pushed()
	if err != nil {
		return err
	}
	d.host.Do(func() {
		d.host.Open(request, head, false)
		d.host.Pulls[request].Title = title
	})
	d.say("Somebody opens pull request #%d of it. The Git host is one of the demo's own, which speaks GitHub's API.", request)
	var check forge.Check
	body := ""
	if err := d.until("the hub's check and comment", func() error {
		d.host.Do(func() {
			check = d.host.Checks[head][checkName]
			body = d.ours("muster:review")
		})
		if check.State == "" || check.State == "pending" || body == "" {
			return fmt.Errorf("the check is %+v, the comment %q", check, body)
		}
		return nil
	}); err != nil {
		return err
	}
	d.say("%.1fs after the push the hub has written the check", time.Since(begin).Seconds())
	d.answered(fmt.Sprintf("%s: %s: %s", checkName, check.State, check.Description))
	d.say("and the comment, which it edits when the head, the branch or the fleet moves:")
	d.answered(body)
	if check.State != "failure" || !strings.Contains(check.Description, "3 of 5 applications, +2 −2 clusters") {
		return fmt.Errorf("the check is %+v", check)
	}
	return contains(body, "### Muster: ❌ 3 of 5 applications", "**Placements**", "- `retail/shops`: 2 clusters", "−1 `eks-prod-1`", "**Applications**", "**⏸ Held**")
}

// mergedAs notes on the host that the pull request is merged.
func (d *demo) mergedAs(revision string) {
	d.host.Do(func() { d.host.Pulls[request].State, d.host.Pulls[request].Merged = "closed", revision })
}

// summarized shows what the hub says on the merged pull request.
func (d *demo) summarized() error {
	body := ""
	if err := d.until("the hub's word on the merged pull request", func() error {
		d.host.Do(func() { body = d.ours("muster:delivery") })
		return contains(body, "delivered")
	}); err != nil {
		return err
	}
	d.say("On the pull request the hub says how it went:")
	d.answered(body)
	return nil
}

// ours is the hub's comment of a kind, without the line that marks it. The host is locked.
func (d *demo) ours(kind string) string {
	for _, n := range d.host.Pulls[request].Notes {
		if mark, body, _ := strings.Cut(n.Body, "\n"); strings.HasPrefix(mark, "<!-- "+kind+" ") {
			return strings.TrimSpace(body)
		}
	}
	return ""
}

// contains says which of some texts is missing.
func contains(text string, wants ...string) error {
	for _, want := range wants {
		if !strings.Contains(text, want) {
			return fmt.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	return nil
}
