package source

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"helm.sh/helm/v4/pkg/provenance"
)

// maxSignature bounds a signature that is fetched, in bytes.
const maxSignature = 1 << 20

// Signers are public keys, one of which has to have signed what is fetched.
type Signers struct {
	pgp    openpgp.EntityList
	ssh    []ssh.PublicKey
	cosign []crypto.PublicKey
	sum    [sha256.Size]byte
}

// The beginnings of keys and signatures.
const (
	pgpKeyBlock  = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	pgpSignature = "-----BEGIN PGP SIGNATURE-----"
	sshSignature = "-----BEGIN SSH SIGNATURE-----"
)

// SignersFrom reads public keys: those of a Secret's values, whatever their names are, and those that are written down.
func SignersFrom(secret map[string][]byte, keys []string) (*Signers, error) {
	s := &Signers{}
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		if err := s.add(string(secret[name])); err != nil {
			return nil, fmt.Errorf("the Secret's key %q %w", name, err)
		}
	}
	for i, key := range keys {
		if err := s.add(key); err != nil {
			return nil, fmt.Errorf("keys[%d] %w", i, err)
		}
	}
	if len(s.pgp)+len(s.ssh)+len(s.cosign) == 0 {
		return nil, errors.New("there is no public key: nothing can be signed by one of none")
	}
	return s, nil
}

// fingerprint is equal for equal keys, and only for them.
func (s *Signers) fingerprint() string { return hex.EncodeToString(s.sum[:16]) }

// errNoKey never quotes the text: it may be a private key.
var errNoKey = errors.New("holds no public key: it wants one as gpg --export --armor, id_ed25519.pub or cosign public-key give it")

func (s *Signers) add(text string) error {
	s.sum = sha256.Sum256(fmt.Appendf(nil, "%x%q", s.sum, text))
	text = strings.TrimSpace(text)
	switch {
	case strings.Contains(text, "PRIVATE KEY"):
		return errors.New("holds a private key: put the public one there, and think of the private one as known")
	case strings.Contains(text, pgpKeyBlock):
		for _, block := range strings.Split(text, pgpKeyBlock)[1:] {
			entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(pgpKeyBlock + block))
			if err != nil {
				return fmt.Errorf("is no OpenPGP key that can be read: %w", err)
			}
			s.pgp = append(s.pgp, entities...)
		}
		return nil
	case strings.HasPrefix(text, "-----BEGIN "):
		return s.addPEM([]byte(text))
	}
	return s.addSSH(text)
}

func (s *Signers) addPEM(rest []byte) error {
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errNoKey
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return errNoKey
		}
		s.cosign = append(s.cosign, key)
	}
	return nil
}

func (s *Signers) addSSH(text string) error {
	found := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return errNoKey
		}
		if len(options) > 0 { // a limit that would not hold
			return errors.New("has something before an SSH key, as a line of allowed_signers or authorized_keys may: write TYPE KEY COMMENT only")
		}
		s.ssh, found = append(s.ssh, key), true
	}
	if !found {
		return errNoKey
	}
	return nil
}

// verify makes sure that the commit of an object is signed, or with VerifyTag the tag that the object is.
func (m *mirror) verify(object plumbing.Hash, remote Remote) error {
	kind, data, err := m.packs.read(object)
	if err != nil {
		return err
	}
	if remote.VerifyTag {
		if kind != plumbing.TagObject {
			return fmt.Errorf("tag %s holds no signature, it is only a name for commit %s: `git tag --sign` makes one that does", remote.Ref.Tag, shortHash(object.String()))
		}
		return remote.Verify.tag(remote.Ref.Tag, data)
	}
	c, err := commit(m.packs, object)
	if err != nil {
		return err
	}
	if _, data, err = m.packs.read(c.Hash); err != nil {
		return err
	}
	payload, signature := splitCommit(data)
	return remote.Verify.git("commit "+c.Hash.String(), payload, signature)
}

// tag makes sure that an annotated tag is signed, and is the one that it is called: a signature for one tag is none for another.
func (s *Signers) tag(name string, data []byte) error {
	payload, signature := splitTag(data)
	if err := s.git("tag "+name, payload, signature); err != nil {
		return err
	}
	header, _, _ := bytes.Cut(payload, []byte("\n\n"))
	if own := headerOf(header, "tag "); own != name {
		return fmt.Errorf("tag %s is in truth the signed tag %s under another name: make a tag of its own", name, shorten(own))
	}
	return nil
}

func headerOf(header []byte, key string) string {
	for line := range bytes.Lines(header) {
		if value, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return strings.TrimSuffix(string(value), "\n")
		}
	}
	return ""
}

// splitCommit splits a commit into what was signed and the signature. As in Git, the headers that hold signatures are no part of what
// was signed. The object's own bytes count: what is parsed and written again may be something else.
func splitCommit(data []byte) (payload []byte, signature string) {
	var signed, found bytes.Buffer
	in, ours := bufio.NewReader(bytes.NewReader(data)), false
	dropped := false
	for {
		line, err := in.ReadBytes('\n')
		if err != nil || len(line) == 1 { // the end of the headers
			signed.Write(line)
			_, _ = in.WriteTo(&signed) // into memory
			return signed.Bytes(), found.String()
		}
		if line[0] != ' ' {
			ours = bytes.HasPrefix(line, []byte("gpgsig "))
			dropped = ours || bytes.HasPrefix(line, []byte("gpgsig-sha256 "))
			line = bytes.TrimPrefix(line, []byte("gpgsig "))
		} else if ours {
			line = line[1:]
		}
		switch {
		case ours:
			found.Write(line)
		case !dropped:
			signed.Write(line)
		}
	}
}

// splitTag splits a tag into what was signed and the signature, which is at its end.
func splitTag(data []byte) (payload []byte, signature string) {
	at := -1
	for _, begin := range []string{pgpSignature, sshSignature} {
		if i := bytes.LastIndex(data, []byte("\n"+begin)); i > at {
			at = i
		}
	}
	if at < 0 {
		return data, ""
	}
	payload, _ = splitCommit(data[:at+1])
	return payload, string(data[at+1:])
}

// git makes sure that one of the keys has made a signature of Git.
func (s *Signers) git(what string, payload []byte, signature string) error {
	switch {
	case signature == "":
		return fmt.Errorf("%s is not signed: sign it with one of the keys that verify names", what)
	case strings.HasPrefix(signature, sshSignature):
		return s.checkSSH(what, payload, signature)
	case strings.HasPrefix(signature, pgpSignature):
		return s.checkPGP(what, payload, signature)
	}
	return fmt.Errorf("%s has a signature that is neither of OpenPGP nor of SSH", what)
}

// checkSSH checks a signature that ssh-keygen has made for Git.
func (s *Signers) checkSSH(what string, payload []byte, signature string) error {
	parsed, err := sshsig.Unarmor([]byte(signature))
	if err != nil {
		return fmt.Errorf("%s has an SSH signature that cannot be read", what)
	}
	for _, key := range s.ssh {
		if bytes.Equal(key.Marshal(), parsed.PublicKey.Marshal()) {
			if parsed.Signature.Format == ssh.KeyAlgoRSA { // with SHA-1, which the format forbids
				return fmt.Errorf("%s is signed with SHA-1", what)
			}
			if err := sshsig.Verify(bytes.NewReader(payload), parsed, key, parsed.HashAlgorithm, "git"); err != nil {
				return fmt.Errorf("%s: the SSH signature is not valid: it was changed after it was signed", what)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is signed by SSH key %s, which is none of those that verify names", what, ssh.FingerprintSHA256(parsed.PublicKey))
}

// checkPGP checks a detached signature.
func (s *Signers) checkPGP(what string, payload []byte, signature string) error {
	block, err := armor.Decode(strings.NewReader(signature))
	if err != nil {
		return fmt.Errorf("%s has an OpenPGP signature that cannot be read", what)
	}
	return s.checkBlock(what, payload, block)
}

func (s *Signers) checkBlock(what string, payload []byte, block *armor.Block) error {
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(block.Body); err != nil {
		return fmt.Errorf("%s has an OpenPGP signature that cannot be read", what)
	}
	_, err := openpgp.CheckDetachedSignature(s.pgp, bytes.NewReader(payload), bytes.NewReader(raw.Bytes()), &packet.Config{})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return fmt.Errorf("%s is signed by OpenPGP key %s, which is none of those that verify names", what, issuer(raw.Bytes()))
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return fmt.Errorf("%s is signed by OpenPGP key %s, which has expired: prolong it and put it anew where verify names it", what, issuer(raw.Bytes()))
	}
	return fmt.Errorf("%s: the OpenPGP signature of key %s is not valid: %s", what, issuer(raw.Bytes()), shorten(err.Error()))
}

// issuer names the key of a signature.
func issuer(raw []byte) string {
	p, err := packet.Read(bytes.NewReader(raw))
	if signature, ok := p.(*packet.Signature); err == nil && ok && signature.IssuerKeyId != nil {
		return fmt.Sprintf("%016X", *signature.IssuerKeyId)
	}
	return "(unknown)"
}

// provenance makes sure that Helm's provenance file is signed, and is about the archive.
func (s *Signers) provenance(file []byte, of *record) error {
	name := of.Reference.Chart.Name + "-" + of.Version + ".tgz"
	if len(s.pgp) == 0 {
		return errors.New("verify names no OpenPGP key, and the provenance of a chart is signed with one")
	}
	block, _ := clearsign.Decode(file)
	if block == nil {
		return errors.New("it is no provenance file: helm package --sign makes one")
	}
	if err := s.checkBlock("the provenance", block.Bytes, block.ArmoredSignature); err != nil {
		return err
	}
	var sums provenance.SumCollection
	if err := provenance.ParseMessageBlock(block.Plaintext, nil, &sums); err != nil {
		return errors.New("the provenance cannot be read")
	}
	if got := sums.Files[name]; got != of.Digest {
		return fmt.Errorf("the provenance is not of this %s: it says %s of it, and it has %s", name, shortDigest(got), shortDigest(of.Digest))
	}
	return nil
}

// signedBy says whether one of the keys has made a signature of cosign.
func (s *Signers) signedBy(payload, signature []byte) bool {
	sum := sha256.Sum256(payload)
	return slices.ContainsFunc(s.cosign, func(key crypto.PublicKey) bool {
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			return ecdsa.VerifyASN1(key, sum[:], signature)
		case ed25519.PublicKey:
			return ed25519.Verify(key, payload, signature)
		case *rsa.PublicKey:
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
		}
		return false
	})
}
