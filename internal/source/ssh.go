package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// sshSession is git-upload-pack on a host that ssh reaches. go-git's own ssh transport is not used: it reads the
// ssh_config and the agent of whoever runs the hub, and waits without end for a host that stops in the handshake.
type sshSession struct {
	client *ssh.Client
	stop   func() bool // detaches the connection from the context
	in     io.WriteCloser
	out    io.Reader
	stderr *firstLine // of the remote program
}

// errRefused says that the host did not accept the key.
var errRefused = errors.New("the key was refused")

// dialSSH connects, checks the host's key, authenticates and starts git-upload-pack. The connection ends with ctx.
func dialSSH(ctx context.Context, addr address, c Credentials) (*sshSession, error) {
	host := addr.host
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "22")
	}
	known, err := parseKnownHosts(c.data[keyKnownHosts])
	if err != nil {
		return nil, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	hostAccepted := false
	link, channels, requests, err := ssh.NewClientConn(raw, host, &ssh.ClientConfig{
		User:              addr.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(c.signer)},
		HostKeyAlgorithms: known.HostKeyAlgorithms(host),
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			err := known.HostKeyCallback()(name, remote, key)
			hostAccepted = err == nil
			return err
		},
	})
	if err != nil {
		stop()
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var network net.Error
		if hostAccepted && !errors.As(err, &network) && !errors.Is(err, io.EOF) {
			return nil, errRefused
		}
		return nil, err
	}
	s := &sshSession{client: ssh.NewClient(link, channels, requests), stop: stop, stderr: &firstLine{}}
	if err := s.start(addr.path); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// parseKnownHosts parses the content of a known_hosts file through a temporary file: the library reads files only.
func parseKnownHosts(content string) (*knownhosts.HostKeyDB, error) {
	file, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	db, err := knownhosts.NewDB(file.Name())
	if err != nil {
		return nil, fmt.Errorf("the Secret's key %q cannot be read: it wants lines as `ssh-keyscan` prints them", keyKnownHosts)
	}
	return db, nil
}

func (s *sshSession) start(path string) error {
	session, err := s.client.NewSession()
	if err != nil {
		return err
	}
	session.Stderr = s.stderr
	if s.in, err = session.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = session.StdoutPipe(); err != nil {
		return err
	}
	return session.Start("git-upload-pack " + shellQuote(path))
}

// shellQuote quotes a path for a remote shell as git does.
func shellQuote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

// AdvertisedReferencesContext reads the list of refs, which the host sends first.
func (s *sshSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(s.out)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && adv.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput):
		return nil, fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, s.stderr)
	case err != nil:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(adv.Capabilities)
	return adv, nil
}

// UploadPack asks for a pack. The caller closes the answer.
func (s *sshSession) UploadPack(ctx context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var ask bytes.Buffer
	if err := request.UploadRequest.Encode(&ask); err != nil {
		return nil, err
	}
	if err := request.UploadHaves.Encode(&ask, false); err != nil {
		return nil, err
	}
	ask.WriteString("0009done\n")
	if _, err := s.in.Write(ask.Bytes()); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(s.out)); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return response, nil
}

// Close ends the connection.
func (s *sshSession) Close() error {
	s.stop()
	return s.client.Close()
}

// firstLine keeps the beginning of what a program writes to stderr.
type firstLine struct {
	mu   sync.Mutex
	text []byte
}

func (f *firstLine) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(f.text, b[:min(len(b), 300-min(300, len(f.text)))]...)
	return len(b), nil
}

func (f *firstLine) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(f.text)), "\n")
	return line
}
