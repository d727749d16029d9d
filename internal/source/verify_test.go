package source

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"helm.sh/helm/v4/pkg/provenance"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/test/charts"
	"github.com/muster-io/muster/internal/test/registry"
)

// TestMain is the program that git calls to sign, where a test asks for it: what git has signed is git's, and only the arithmetic ours.
func TestMain(m *testing.M) {
	if key := os.Getenv("MUSTER_TEST_SIGN"); key != "" {
		if err := signForGit(key, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// signForGit does what git expects of gpg and of ssh-keygen.
func signForGit(keyFile string, args []string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	if args[0] == "-Y" { // ssh-keygen -Y sign -n git -f KEY FILE
		signer, err := ssh.ParsePrivateKey(key)
		if err != nil {
			return err
		}
		file := args[len(args)-1]
		payload, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		signature, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, "git")
		if err != nil {
			return err
		}
		return os.WriteFile(file+".sig", sshsig.Armor(signature), 0o600)
	}
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(key))
	if err != nil {
		return err
	}
	payload, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "\n[GNUPG:] SIG_CREATED D 22 10 00 1 1")
	defer fmt.Println() // as gpg ends its lines
	return openpgp.ArmoredDetachSign(os.Stdout, ring[0], bytes.NewReader(payload), nil)
}

// pgpKey makes an OpenPGP key: the public one, and the file of the private one.
func pgpKey(t *testing.T, name string) (*openpgp.Entity, string, string) {
	t.Helper()
	entity, err := openpgp.NewEntity(name, "", name+"@example.com", nil)
	must(t, err)
	armored := func(kind string, write func(io.Writer) error) string {
		var out bytes.Buffer
		w, err := armor.Encode(&out, kind, nil)
		must(t, err)
		must(t, write(w))
		must(t, w.Close())
		return out.String()
	}
	private := filepath.Join(t.TempDir(), "private.asc")
	must(t, os.WriteFile(private, []byte(armored(openpgp.PrivateKeyType, func(w io.Writer) error { return entity.SerializePrivate(w, nil) })), 0o600))
	return entity, armored(openpgp.PublicKeyType, entity.Serialize), private
}

// sshKey makes an SSH key in the same way.
func sshKey(t *testing.T) (public, private string) {
	t.Helper()
	signer, key := newKey(t)
	private = filepath.Join(t.TempDir(), "id_ed25519")
	must(t, os.WriteFile(private, key, 0o600))
	return string(ssh.MarshalAuthorizedKey(signer.PublicKey())), private
}

// gitSigned runs git with a key to sign with.
func gitSigned(t *testing.T, dir, format, key string, args ...string) string {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	setting := map[string]string{"openpgp": "gpg.program", "ssh": "gpg.ssh.program"}[format]
	signing := []string{"-c", "gpg.format=" + format, "-c", setting + "=" + program, "-c", "user.signingKey=" + key}
	t.Setenv("MUSTER_TEST_SIGN", key)
	defer t.Setenv("MUSTER_TEST_SIGN", "")
	return gitRun(t, dir, append(signing, args...)...)
}

// TestSignaturesOfGit: what git itself has signed is taken, and what is unsigned, signed by another or changed is not, and says so: from a
// folder, over HTTP and over SSH.
func TestSignaturesOfGit(t *testing.T) {
	_, pgpPublic, pgpPrivate := pgpKey(t, "ann")
	_, _, pgpOther := pgpKey(t, "eve")
	sshPublic, sshPrivate := sshKey(t)
	_, sshOther := sshKey(t)
	keys := []string{pgpPublic, "# the team\n" + sshPublic}
	root := t.TempDir()
	dir := filepath.Join(root, "repo")
	gitRun(t, root, "init", "--quiet", "--initial-branch=main", dir)
	commit := func(args ...string) []string { return append([]string{"commit", "--quiet", "--allow-empty"}, args...) }
	signedCommit, signedTag := commit("--gpg-sign", "-m", "signed\n\nof two paragraphs"), []string{"tag", "--sign", "-m", "signed", "v1"}
	plain := func(t *testing.T) { gitRun(t, dir, commit("-m", "plain")...) }
	plain(t)
	host := serveSSH(t)
	transports := map[string]Credentials{
		"file://" + dir: {},
		serveHTTP(t, root, basic("ann", "hunter2")).URL + "/repo/.git": credentials(t, "username", "ann", "password", "hunter2"),
		"ssh://git@" + host.address + dir:                              credentials(t, "identity", string(host.identity), "known_hosts", string(host.knownHosts)),
	}
	cases := map[string]struct {
		make func(t *testing.T)
		tag  bool
		want string // empty: it is taken
	}{
		"OpenPGP":            {make: func(t *testing.T) { gitSigned(t, dir, "openpgp", pgpPrivate, signedCommit...) }},
		"SSH":                {make: func(t *testing.T) { gitSigned(t, dir, "ssh", sshPrivate, signedCommit...) }},
		"unsigned":           {make: plain, want: "is not signed: sign it with one of the keys"},
		"OpenPGP of another": {make: func(t *testing.T) { gitSigned(t, dir, "openpgp", pgpOther, signedCommit...) }, want: "which is none of those that verify names"},
		"SSH of another":     {make: func(t *testing.T) { gitSigned(t, dir, "ssh", sshOther, signedCommit...) }, want: "is signed by SSH key SHA256:"},
		"tag by OpenPGP":     {tag: true, make: func(t *testing.T) { plain(t); gitSigned(t, dir, "openpgp", pgpPrivate, signedTag...) }},
		"tag by SSH":         {tag: true, make: func(t *testing.T) { plain(t); gitSigned(t, dir, "ssh", sshPrivate, signedTag...) }},
		"tag of another":     {tag: true, make: func(t *testing.T) { plain(t); gitSigned(t, dir, "ssh", sshOther, signedTag...) }, want: "is signed by SSH key SHA256:"},
		"unsigned tag":       {tag: true, make: func(t *testing.T) { gitRun(t, dir, "tag", "-m", "plain", "v1") }, want: "tag v1 is not signed"},
		"tag that is a name": {tag: true, make: func(t *testing.T) { gitRun(t, dir, "tag", "v1") }, want: "it is only a name for commit"},
		"tag under another one": {tag: true, want: "tag v1 is in truth the signed tag v0", make: func(t *testing.T) {
			gitSigned(t, dir, "ssh", sshPrivate, "tag", "--sign", "-m", "signed", "v0")
			gitRun(t, dir, "update-ref", "refs/tags/v1", "refs/tags/v0")
		}},
		"commit that was changed": {want: "the SSH signature is not valid", make: func(t *testing.T) {
			gitSigned(t, dir, "ssh", sshPrivate, signedCommit...)
			changed := filepath.Join(t.TempDir(), "changed")
			must(t, os.WriteFile(changed, []byte(strings.Replace(gitRun(t, dir, "cat-file", "commit", "HEAD"), "of two", "of three", 1)+"\n"), 0o600))
			gitRun(t, dir, "reset", "--soft", gitRun(t, dir, "hash-object", "-t", "commit", "-w", changed))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, tag := range []string{"v0", "v1"} {
				must(t, os.RemoveAll(filepath.Join(dir, ".git", "refs", "tags", tag)))
			}
			c.make(t)
			signers, err := SignersFrom(map[string][]byte{"a.asc": []byte(keys[0])}, keys[1:])
			must(t, err)
			for url, login := range transports {
				s := &Store{Dir: t.TempDir(), Local: []string{root}}
				remote := Remote{URL: url, Credentials: login, Ref: Ref{Branch: "main"}, Verify: signers, Owner: "someone"}
				if c.tag {
					remote.Ref, remote.VerifyTag = Ref{Tag: "v1"}, true
				}
				revision, err := s.Fetch(t.Context(), remote)
				if c.want == "" {
					if err != nil || revision != gitRun(t, dir, "rev-parse", "HEAD") {
						t.Errorf("%s: fetched %q, %v", url, revision, err)
					}
					continue
				}
				if fault, ok := fleet.AsFault(err); !ok || fault.Reason != fleet.NotSigned || !strings.Contains(err.Error(), c.want) || revision != "" {
					t.Errorf("%s: fetched %q, %v; want %q", url, revision, err, c.want)
				}
				if fetched, err := s.HasFetched(remote.URL, "someone", gitRun(t, dir, "rev-parse", "HEAD")); err != nil || fetched {
					t.Errorf("%s: a commit that was refused counts as fetched: %v, %v", url, fetched, err)
				}
			}
		})
	}
}

// TestOnlySignedSourcesAreTaken: a commit, a chart and an artifact that are not signed are not taken; what was fetched stays.
func TestOnlySignedSourcesAreTaken(t *testing.T) {
	public, private := sshKey(t)
	root := t.TempDir()
	dir := filepath.Join(root, "charts")
	gitRun(t, root, "init", "--quiet", "--initial-branch=main", dir)
	gitSigned(t, dir, "ssh", private, "commit", "--quiet", "--allow-empty", "--gpg-sign", "-m", "one")
	first := gitRun(t, dir, "rev-parse", "HEAD")
	s := newShelf(t)
	s.Git.Local = []string{root}
	s.secrets["retail/signers"] = map[string][]byte{"ann.pub": []byte(public)}
	of := func(v musterv1alpha1.Verification) *fleet.Reference {
		return fleet.ReferenceOf("retail", musterv1alpha1.Source{Git: &musterv1alpha1.GitSource{URL: "file://" + dir, Verify: &musterv1alpha1.GitVerification{Verification: v}}})
	}
	verified := of(musterv1alpha1.Verification{SecretRef: &musterv1alpha1.LocalReference{Name: "signers"}})
	if found := s.finds(verified, ""); found.Digest != first {
		t.Errorf("found %+v", found)
	}
	gitRun(t, dir, "commit", "--quiet", "--allow-empty", "-m", "two")
	found, err := s.look(verified)
	if err != nil || found.Digest != first || !strings.Contains(found.Problem, "is not signed") {
		t.Errorf("after an unsigned commit: %+v, %v", found, err)
	}
	other, _ := sshKey(t)
	if found, err := s.look(of(musterv1alpha1.Verification{Keys: []string{other}})); err == nil {
		t.Errorf("without a signature from the start: %+v", found)
	}
	delete(s.secrets, "retail/signers")
	if found, err = s.look(verified); err != nil || found.Digest != first || !strings.Contains(found.Problem, "read Secret retail/signers") {
		t.Errorf("without the Secret: %+v, %v", found, err)
	}
}

// cosignKey is a key as `cosign generate-key-pair` makes it.
func cosignKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

func signECDSA(t *testing.T, key *ecdsa.PrivateKey, payload []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(payload)
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(t, err)
	return signature
}

// simpleSignature puts a signature where cosign puts it up to version 2.
func simpleSignature(t *testing.T, r *registry.Registry, name, of string, key *ecdsa.PrivateKey, about string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, name, about)
	signature := base64.StdEncoding.EncodeToString(signECDSA(t, key, payload))
	r.PushArtifact(name, strings.Replace(of, ":", "-", 1)+".sig", registry.Artifact{Layers: []registry.Layer{
		{MediaType: simpleSigning, Data: payload, Annotations: map[string]string{signatureKey: signature}},
	}})
}

// bundleSignature puts one where cosign puts it since version 3.
func bundleSignature(t *testing.T, r *registry.Registry, name, of string, key *ecdsa.PrivateKey, predicate string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, strings.TrimPrefix(of, "sha256:"), predicate)
	signature := signECDSA(t, key, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(statementType), statementType, len(payload), payload))
	bundle, err := json.Marshal(map[string]any{"mediaType": bundleType, "dsseEnvelope": map[string]any{
		"payload": payload, "payloadType": statementType, "signatures": []any{map[string]any{"sig": signature}},
	}})
	must(t, err)
	r.PushArtifact(name, "", registry.Artifact{Type: bundleType, Subject: of, Layers: []registry.Layer{{MediaType: bundleType, Data: bundle}}})
}

func TestSignaturesOfCosign(t *testing.T) {
	key, public := cosignKey(t)
	other, _ := cosignKey(t)
	const name = "fleet/shops"
	cases := map[string]struct {
		sign func(t *testing.T, r *registry.Registry, digest string)
		want string
	}{
		"simple":            {sign: func(t *testing.T, r *registry.Registry, d string) { simpleSignature(t, r, name, d, key, d) }},
		"bundle":            {sign: func(t *testing.T, r *registry.Registry, d string) { bundleSignature(t, r, name, d, key, signPredicate) }},
		"none":              {sign: func(*testing.T, *registry.Registry, string) {}, want: "is not signed by one of the keys"},
		"simple, another's": {sign: func(t *testing.T, r *registry.Registry, d string) { simpleSignature(t, r, name, d, other, d) }, want: "is not signed by one of the keys"},
		"bundle, another's": {sign: func(t *testing.T, r *registry.Registry, d string) {
			bundleSignature(t, r, name, d, other, signPredicate)
		}, want: "is not signed by one of the keys"},
		"of something else": {sign: func(t *testing.T, r *registry.Registry, d string) {
			simpleSignature(t, r, name, d, key, "sha256:"+strings.Repeat("ab", 32))
		}, want: "is not signed by one of the keys"},
		"an attestation": {sign: func(t *testing.T, r *registry.Registry, d string) {
			bundleSignature(t, r, name, d, key, "https://spdx.dev/Document")
		}, want: "is not signed by one of the keys"},
		"another, then ours": {sign: func(t *testing.T, r *registry.Registry, d string) {
			bundleSignature(t, r, name, d, other, signPredicate)
			bundleSignature(t, r, name, d, key, signPredicate)
		}},
	}
	for label, c := range cases {
		t.Run(label, func(t *testing.T) {
			r, s := private(t)
			digest := r.Push(name, "stable", registry.Flux, charts.Archive(map[string]string{"a.yaml": "b: c"}))
			c.sign(t, r, digest)
			reference := ociOf(r, name, func(o *musterv1alpha1.OCISource) {
				o.Tag, o.Verify = "stable", &musterv1alpha1.Verification{Keys: []string{public}}
			})
			found, err := s.look(reference)
			if c.want == "" {
				must(t, err)
				r.Seen()
				if s.Look(t.Context(), remoteName(reference)); len(r.Seen()) > 4 {
					t.Errorf("what is known to be signed was looked at again")
				}
				return
			}
			if fault, ok := fleet.AsFault(err); !ok || fault.Reason != fleet.NotSigned || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %+v, %v; want %q", found, err, c.want)
			}
		})
	}
}

func TestProvenanceOfCharts(t *testing.T) {
	ann, public, _ := pgpKey(t, "ann")
	eve, _, _ := pgpKey(t, "eve")
	sign := func(by *openpgp.Entity, version string, archive []byte) []byte {
		text, err := (&provenance.Signatory{Entity: by, KeyRing: openpgp.EntityList{by}}).ClearSign(archive, "web-"+version+".tgz", []byte("name: web\n"))
		must(t, err)
		return []byte(text)
	}
	archive := charts.Pack("web", "4.11.2", webChart)
	cases := map[string]struct {
		provenance []byte
		want       string
	}{
		"signed":             {provenance: sign(ann, "4.11.2", archive)},
		"by another":         {provenance: sign(eve, "4.11.2", archive), want: "which is none of those that verify names"},
		"of another archive": {provenance: sign(ann, "4.11.2", []byte("other")), want: "the provenance is not of this web-4.11.2.tgz"},
		"of another version": {provenance: sign(ann, "4.11.1", archive), want: "the provenance is not of this web-4.11.2.tgz"},
		"changed":            {provenance: bytes.Replace(sign(ann, "4.11.2", archive), []byte("name: web"), []byte("name: wob"), 1), want: "is not valid"},
		"none":               {want: "provenance file"},
	}
	for name, c := range cases {
		check := func(t *testing.T, s *shelf, reference *fleet.Reference) {
			t.Helper()
			found, err := s.look(reference)
			if c.want == "" {
				must(t, err)
			} else if f, _ := fleet.AsFault(err); f.Reason != fleet.NotSigned || f.ActionRequiredBy != fleet.User || !strings.Contains(err.Error(), c.want) {
				t.Errorf("found %+v, %v; want NotSigned: %q", found, err, c.want)
			}
		}
		verify := &musterv1alpha1.Verification{Keys: []string{public}}
		t.Run(name+" in a repository", func(t *testing.T) {
			repo := charts.New(t)
			repo.PublishArchive("web", "4.11.2", archive)
			repo.Change(func(s *charts.State) { s.Provenance = c.provenance })
			s := newShelf(t)
			s.secrets["retail/ca"] = map[string][]byte{"ca.crt": repo.CA()}
			reference := chartOf(repo, "retail", "4.11.2", "ca")
			reference.Chart.Verify = verify
			check(t, s, reference)
		})
		t.Run(name+" in a registry", func(t *testing.T) {
			r, s := private(t)
			layers := []registry.Layer{{MediaType: registry.Chart, Data: archive}}
			if c.provenance != nil {
				layers = append(layers, registry.Layer{MediaType: provenanceLayer, Data: c.provenance})
			}
			r.PushArtifact("charts/web", "4.11.2", registry.Artifact{Layers: layers})
			reference := chartIn(r, "4.11.2")
			reference.Chart.Verify = verify
			check(t, s, reference)
		})
	}
}

func TestKeysThatAreNone(t *testing.T) {
	_, private, _ := pgpKey(t, "ann")
	cases := map[string]struct{ key, want string }{
		"nothing":         {"", "holds no public key"},
		"nonsense":        {"hello", "holds no public key"},
		"private":         {strings.ReplaceAll(private, "PUBLIC", "PRIVATE"), "holds a private key"},
		"allowed signers": {`ann@example.com namespaces="git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn5FRjYzz1Mw3cqCkVAbjbB4bGcRzaR8UC5C0BjlPsW`, "public key"},
		"a limit":         {`cert-authority ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHn5FRjYzz1Mw3cqCkVAbjbB4bGcRzaR8UC5C0BjlPsW`, "before an SSH key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := SignersFrom(map[string][]byte{"ann.pub": []byte(c.key)}, nil); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"ann.pub"`) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := SignersFrom(nil, nil); err == nil {
		t.Error("no key at all")
	}
}
