package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/muster-io/muster/internal/fleet"
)

// The media types of signatures, and what they say of themselves. sigstore's own libraries would link the clients of its public
// services; a signature that is made with a key needs none of them.
const (
	simpleSigning   = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureKey    = "dev.cosignproject.cosign/signature"
	bundleType      = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statementType   = "application/vnd.in-toto+json"
	signPredicate   = "https://sigstore.dev/cosign/sign/v1"
	provenanceLayer = "application/vnd.cncf.helm.chart.provenance.v1.prov"
	maxSignatures   = 50
)

// signed makes sure that one of the keys has signed a manifest, or the provenance of the chart that it holds.
func (a *artifact) signed(ctx context.Context, s *Signers, of *record) error {
	manifest, err := a.Resolve(ctx, of.Digest)
	what := a.shown + "@" + shortDigest(of.Digest)
	if err != nil {
		return a.unavailable(what, err)
	}
	if len(s.cosign) > 0 {
		for _, find := range []func(context.Context, *Signers, ocispec.Descriptor) (bool, error){a.bundles, a.simpleSigning} {
			found, err := find(ctx, s, manifest)
			if found || err != nil {
				return wrapSignature(a, what, err)
			}
		}
	}
	if of.Reference.Chart != nil && len(s.pgp) > 0 {
		return a.provenance(ctx, s, manifest, of, what)
	}
	if len(s.cosign) == 0 {
		return fmt.Errorf("%s: verify names no public key of cosign in PEM", what)
	}
	return fmt.Errorf("%s is not signed by one of the keys that verify names: sign it with `cosign sign --key`", what)
}

func wrapSignature(a *artifact, what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fleet.AsFault(err); ok {
		return err
	}
	return a.unavailable("the signatures of "+what, err)
}

// bundles looks for a signature in the bundles that refer to a manifest, as cosign keeps them since version 3.
func (a *artifact) bundles(ctx context.Context, s *Signers, manifest ocispec.Descriptor) (bool, error) {
	var list []ocispec.Descriptor
	err := a.Referrers(ctx, manifest, bundleType, func(referrers []ocispec.Descriptor) error {
		if list = append(list, referrers...); len(list) > maxSignatures {
			return fmt.Errorf("there are more than %d", maxSignatures)
		}
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	for i := 0; err == nil && i < len(list); i++ {
		var m *ocispec.Manifest
		if m, err = a.manifest(ctx, list[i]); err != nil || len(m.Layers) != 1 || m.Layers[0].Size > maxSignature {
			continue
		}
		var data []byte
		if data, err = a.read(ctx, m.Layers[0]); err == nil && s.bundle(data, manifest.Digest) {
			return true, nil
		}
	}
	return false, err
}

// simpleSigning looks for a signature under the tag that cosign used before.
func (a *artifact) simpleSigning(ctx context.Context, s *Signers, manifest ocispec.Descriptor) (bool, error) {
	signatures, err := a.Resolve(ctx, strings.Replace(manifest.Digest.String(), ":", "-", 1)+".sig")
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m, err := a.manifest(ctx, signatures)
	if err != nil {
		return false, err
	}
	for _, layer := range m.Layers[:min(len(m.Layers), maxSignatures)] {
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureKey])
		if err != nil || layer.MediaType != simpleSigning || layer.Size > maxSignature {
			continue
		}
		payload, err := a.read(ctx, layer)
		if err != nil {
			return false, err
		}
		if s.signedBy(payload, signature) && isAbout(payload, manifest.Digest) {
			return true, nil
		}
	}
	return false, nil
}

func (a *artifact) manifest(ctx context.Context, d ocispec.Descriptor) (*ocispec.Manifest, error) {
	var m ocispec.Manifest
	if d.Size > maxManifest {
		return &m, nil // it holds nothing that is looked for
	}
	data, err := a.read(ctx, d)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(data, &m) != nil {
		m = ocispec.Manifest{}
	}
	return &m, nil
}

// isAbout says whether a payload of cosign is about a manifest.
func isAbout(payload []byte, manifest digest.Digest) bool {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	return json.Unmarshal(payload, &p) == nil && p.Critical.Image.Digest == manifest.String() && p.Critical.Type == "cosign container image signature"
}

// bundle says whether a bundle of sigstore holds a signature of one of the keys for a manifest. An attestation, which says other things
// of it, is none.
func (s *Signers) bundle(data []byte, manifest digest.Digest) bool {
	var b struct {
		Envelope struct {
			Payload     []byte `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if json.Unmarshal(data, &b) != nil || b.Envelope.PayloadType != statementType {
		return false
	}
	e := b.Envelope
	encoded := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload) // what DSSE signs
	signed := false
	for _, signature := range e.Signatures[:min(len(e.Signatures), maxSignatures)] {
		signed = signed || s.signedBy(encoded, signature.Sig)
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if !signed || json.Unmarshal(e.Payload, &statement) != nil || statement.PredicateType != signPredicate {
		return false
	}
	for _, subject := range statement.Subject {
		if subject.Digest[manifest.Algorithm().String()] == manifest.Encoded() {
			return true
		}
	}
	return false
}

// provenance makes sure that the provenance file in a chart's manifest is signed. It is about the chart's archive.
func (a *artifact) provenance(ctx context.Context, s *Signers, manifest ocispec.Descriptor, of *record, what string) error {
	m, err := a.manifest(ctx, manifest)
	if err != nil {
		return a.unavailable("the manifest of "+what, err)
	}
	archive := *of
	var file *ocispec.Descriptor
	for i, layer := range m.Layers {
		switch layer.MediaType {
		case chartLayer:
			archive.Digest = layer.Digest.String()
		case provenanceLayer:
			file = &m.Layers[i]
		}
	}
	if file == nil || file.Size > maxSignature {
		return fmt.Errorf("%s is not signed by one of the keys that verify names, and holds no provenance file: `helm push` takes the one along that lies beside the chart", what)
	}
	data, err := a.read(ctx, *file)
	if err != nil {
		return a.unavailable("the provenance of "+what, err)
	}
	return wrapIf(what, s.provenance(data, &archive))
}
