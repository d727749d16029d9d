package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/test"
)

// TestOneHubLeads: of two hubs the leader acts. The standby is live, not ready, and takes no webhook and no tunnel; it takes over when
// the leader ends.
func TestOneHubLeads(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("leader")+clusterFile("one", "tier: edge"), func(o *Options) { o.LeaderElection = true })
	first := f.expectLeader("")
	endFirst, mirrors := f.stop, t.TempDir()
	health, webhooks, proxy := freeAddress(t), freeAddress(t), freeAddress(t)
	f.state, f.options = mirrors, append(f.options, func(o *Options) { o.HealthAddress, o.WebhookAddress, o.ProxyAddress = health, webhooks, proxy })
	f.startHub()
	endSecond := f.stop
	expect := func(url string, want int) {
		t.Helper()
		f.eventually(func() string {
			status, answer := ask(t, http.MethodGet, url, "", nil)
			return unlessStatus(status, want, answer)
		})
	}
	expect("http://"+health+"/healthz", http.StatusOK)
	expect("http://"+health+"/readyz", http.StatusInternalServerError)

	f.deliver()
	f.push("")
	f.push("-- README.md --\nagain\n")
	if entries, err := os.ReadDir(mirrors); err != nil || len(entries) > 0 {
		t.Errorf("the hub that does not lead has fetched: %v, %v", entries, err)
	}
	if now := f.expectLeader(""); now != first {
		t.Errorf("%s leads, and %s has not ended", now, first)
	}
	expect("http://"+health+"/readyz", http.StatusInternalServerError)
	for what, address := range map[string]string{"webhooks": webhooks, "tunnels of agents": proxy} {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			t.Errorf("the hub that does not lead listens for %s", what)
		}
	}

	endFirst()
	f.stop = endSecond
	f.expectLeader(first)
	expect("http://"+health+"/readyz", http.StatusOK)
	expect("http://"+webhooks+"/webhook/muster-system/unknown", http.StatusMethodNotAllowed)
	f.eventually(func() string {
		connection, err := net.Dial("tcp", proxy)
		if err != nil {
			return err.Error()
		}
		return message(connection.Close())
	})
	f.push("-- README.md --\nby the other one\n")
	if entries, err := os.ReadDir(mirrors); err != nil || len(entries) == 0 {
		t.Errorf("the hub that leads now has no mirror: %v", err)
	}
}

// expectLeader waits until a hub leads, another one than that; it returns which.
func (f *theFleet) expectLeader(other string) string {
	f.t.Helper()
	leader := ""
	f.eventually(func() string {
		var lease coordinationv1.Lease
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "muster-system", Name: "muster-hub"}, &lease); err != nil {
			return err.Error()
		}
		if lease.Spec.HolderIdentity != nil {
			leader = *lease.Spec.HolderIdentity
		}
		if leader == "" || leader == other {
			return fmt.Sprintf("%q leads", leader)
		}
		return ""
	})
	return leader
}

// TestWhatAHubServes: webhooks and metrics, and the Lease that says that it runs.
func TestWhatAHubServes(t *testing.T) {
	t.Parallel()
	webhooks, metrics := freeAddress(t), freeAddress(t)
	f := newFleet(t, shopIn("served")+clusterFile("one", "tier: edge"), func(o *Options) {
		o.WebhookAddress, o.MetricsAddress, o.HubCluster = webhooks, metrics, "local"
	})
	f.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "hook"}, StringData: map[string]string{"webhookToken": token},
	})
	other := test.NewRepository(t, "-- tenants/other.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n")
	f.run("a webhook with the right signature fetches, and one with a wrong one does not", func(f *theFleet) { webhookFetches(f, other, "http://"+webhooks) })
	f.run("metrics count renders and hits", func(f *theFleet) { rendersAreCounted(f, "http://"+metrics) })
	f.run("a Lease says that the hub runs, and which cluster it is", func(f *theFleet) {
		f.eventually(func() string {
			pulse, err := hub.ReadPulse(f.ctx, f.client, time.Now())
			if err != nil || !pulse.Fresh || pulse.HubCluster != "local" {
				return fmt.Sprintf("%+v, %v", pulse, err)
			}
			return ""
		})
	})
}

// token signs the webhooks.
const token = "of the webhook"

// hooked is a FleetRepository that nothing but a webhook wakes.
func (f *theFleet) hooked(name string, repo *test.Repository) {
	f.t.Helper()
	f.create(&musterv1alpha1.FleetRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: name},
		Spec: musterv1alpha1.FleetRepositorySpec{
			URL: repo.URL(), Ref: musterv1alpha1.GitRef{Branch: "main"}, ServiceAccountName: "root",
			Interval: metav1.Duration{Duration: time.Hour}, SecretRef: &musterv1alpha1.LocalReference{Name: "hook"},
		},
	})
}

func webhookFetches(f *theFleet, other *test.Repository, url string) {
	f.hooked("fleet", f.repo)
	f.hooked("other", other)
	head := func(r *test.Repository) string { return strings.TrimSpace(r.Git("rev-parse", "HEAD")) }
	first := head(f.repo)
	f.expectDelivered(first)
	f.expectDeliveredBy("other", head(other))

	f.eventually(func() string {
		status, answer := ask(f.t, http.MethodGet, url+"/webhook/muster-system/fleet", "", nil)
		return unlessStatus(status, http.StatusMethodNotAllowed, answer)
	})

	second := f.repo.Commit("-- README.md --\nchanged\n")
	news := other.Commit("-- README.md --\nchanged\n")
	push := func(name, key string, want int) {
		f.t.Helper()
		const body = `{"ref": "refs/heads/main"}`
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		signature := http.Header{"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}}
		status, answer := ask(f.t, http.MethodPost, url+"/webhook/muster-system/"+name, body, signature)
		if wrong := unlessStatus(status, want, answer); wrong != "" {
			f.t.Fatal(wrong)
		}
	}
	push("fleet", "of somebody else", http.StatusUnauthorized)
	push("other", token, http.StatusAccepted)
	f.expectDeliveredBy("other", news) // had the first one counted, it would be delivered by now
	if got := f.repository().Status.Revision; got != first {
		f.t.Errorf("%s is delivered, and its webhook was not signed with the token", got)
	}
	push("fleet", token, http.StatusAccepted)
	f.expectDelivered(second)
}

func (f *theFleet) expectDeliveredBy(name, revision string) {
	f.t.Helper()
	f.eventually(func() string {
		var r musterv1alpha1.FleetRepository
		if err := f.client.Get(f.ctx, types.NamespacedName{Namespace: "muster-system", Name: name}, &r); err != nil {
			return err.Error()
		}
		if r.Status.Revision != revision {
			return fmt.Sprintf("%s has delivered %q, want %s: %v", name, r.Status.Revision, revision, r.Status.Conditions)
		}
		return ""
	})
}

func rendersAreCounted(f *theFleet, url string) {
	f.available("one", true)
	f.expectWorkOn("one")
	f.eventually(func() string {
		status, text := ask(f.t, http.MethodGet, url+"/metrics", "", nil)
		if wrong := unlessStatus(status, http.StatusOK, text); wrong != "" {
			return wrong
		}
		for _, name := range []string{"muster_renders_total", "muster_render_hits_total"} {
			if !regexp.MustCompile(`(?m)^` + name + ` [1-9]`).MatchString(text) {
				return name + " does not count"
			}
		}
		return ""
	})
}

// ask makes one request; the status is 0 and the text the error when nobody answers.
func ask(t testing.TB, method, url, body string, header http.Header) (status int, text string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(data)
}

func unlessStatus(got, want int, answer string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("answered %d, want %d: %s", got, want, answer)
}
