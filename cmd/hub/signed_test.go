package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// signHead puts a signature into the newest commit, as git commit --gpg-sign does.
func (f *theFleet) signHead(signer ssh.Signer) string {
	f.t.Helper()
	commit := f.repo.Git("cat-file", "commit", "HEAD")
	signature, err := sshsig.Sign(strings.NewReader(commit), signer, sshsig.HashSHA512, "git")
	if err != nil {
		f.t.Fatal(err)
	}
	header, message, _ := strings.Cut(commit, "\n\n")
	armored := strings.ReplaceAll(strings.TrimSpace(string(sshsig.Armor(signature))), "\n", "\n ")
	file := filepath.Join(f.t.TempDir(), "commit")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s\ngpgsig %s\n\n%s", header, armored, message), 0o600); err != nil {
		f.t.Fatal(err)
	}
	signed := strings.TrimSpace(f.repo.Git("hash-object", "-t", "commit", "-w", file))
	f.repo.Git("reset", "--quiet", "--soft", signed)
	return signed
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestOnlySignedCommitsAreDelivered: a commit that nobody signed, or somebody else, is named and not delivered, over a restart too.
func TestOnlySignedCommitsAreDelivered(t *testing.T) {
	t.Parallel()
	ann, eve := newSigner(t), newSigner(t)
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge"))
	f.secretIn("muster-system", "signers", map[string][]byte{"ann.pub": ssh.MarshalAuthorizedKey(ann.PublicKey())})
	f.deliver()
	before := f.push("")
	repo := f.repository()
	repo.Spec.Verify = &musterv1alpha1.GitVerification{Verification: musterv1alpha1.Verification{SecretRef: &musterv1alpha1.LocalReference{Name: "signers"}}}
	if err := f.client.Update(f.ctx, repo); err != nil {
		t.Fatal(err)
	}
	stays := func(revision string, parts ...string) {
		f.t.Helper()
		f.expectRepository("Fetched", metav1.ConditionFalse, "NotSigned", parts...)
		if got := f.repository().Status; got.Revision != revision || got.FetchedRevision != revision {
			f.t.Errorf("delivered is %s, fetched %s, want %s", got.Revision, got.FetchedRevision, revision)
		}
	}
	stays(before, "commit "+before+" is not signed")
	signed := f.signHead(ann)
	f.expectDelivered(signed)

	f.repo.Commit("")
	f.signHead(eve)
	stays(signed, "is signed by SSH key "+ssh.FingerprintSHA256(eve.PublicKey()))
	f.stop()
	f.startHub()
	stays(signed, "is signed by SSH key")
	f.repo.Commit("")
	f.expectDelivered(f.signHead(ann))
}
