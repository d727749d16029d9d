package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
)

// servicesSocket is the environment variable that names the socket through which the API server reaches services: it is the proxy of an
// egress selector. Without it nothing is answered.
const servicesSocket = "CONTROLPLANE_SERVICES_SOCKET"

// services answers the API server in place of the pods that are behind services, which do not run. It is an API server for
// every group that an APIService names, with no kinds but those of the metrics API.
type services struct {
	clients  kubernetes.Interface
	own      tls.Certificate // where the pods of a service would have none
	accepted chan net.Conn
}

// answerServices listens at the socket until ctx ends, and returns when the metrics API is registered.
func answerServices(ctx context.Context, kubeconfig, socket string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	s := &services{accepted: make(chan net.Conn)}
	if s.clients, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	pem, key, err := cert.GenerateSelfSignedCertKey("services.invalid", nil, nil)
	if err != nil {
		return err
	}
	if s.own, err = tls.X509KeyPair(pem, key); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) { // of a run that was killed
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(s.clients, 0)
	m := metrics{pods: factory.Core().V1().Pods().Lister(), nodes: factory.Core().V1().Nodes().Lister()}
	factory.Start(ctx.Done())
	proxy := &http.Server{Handler: http.HandlerFunc(s.connect), ReadHeaderTimeout: time.Minute}
	answers := &http.Server{Handler: s.handler(m), TLSConfig: &tls.Config{GetCertificate: s.certificate}, ReadHeaderTimeout: time.Minute}
	go func() { complain(proxy.Serve(listener)) }()
	go func() { complain(answers.ServeTLS(s, "", "")) }()
	factory.WaitForCacheSync(ctx.Done())
	return register(ctx, s.clients.Discovery().RESTClient())
}

func complain(err error) { fmt.Fprintf(os.Stderr, "services: %v\n", err) }

func (s *services) handler(m metrics) http.Handler {
	mux := http.NewServeMux()
	m.handle(mux)
	mux.HandleFunc("GET /apis/{group}/{version}", func(w http.ResponseWriter, r *http.Request) {
		answerKinds(w, r.PathValue("group")+"/"+r.PathValue("version"))
	})
	mux.HandleFunc("GET /openapi/v3", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"paths": map[string]any{}}) })
	mux.HandleFunc("GET /openapi/v2", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"swagger": "2.0", "info": map[string]any{"title": "services", "version": "1"}, "paths": map[string]any{}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "nothing runs in the pods of a fake node", http.StatusNotFound)
	})
	return mux
}

// answerKinds answers what kinds an API has.
func answerKinds(w http.ResponseWriter, groupVersion string, kinds ...metav1.APIResource) {
	answer(w, metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: groupVersion, APIResources: append([]metav1.APIResource{}, kinds...),
	})
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object) // the client may have gone
}

// connect takes the connection that the API server asks for. One to this machine leads there: a test may have a kubelet. Any other one is
// answered by the server that s is the listener of.
func (s *services) connect(w http.ResponseWriter, r *http.Request) {
	var to net.Conn
	if host, _, _ := net.SplitHostPort(r.URL.Host); net.ParseIP(host).IsLoopback() {
		var err error
		if to, err = net.Dial("tcp", r.URL.Host); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n") // whoever reads from it finds out that it has ended
	if to == nil {
		s.accepted <- conn
		return
	}
	go func() {
		_, _ = io.Copy(to, conn) // until one of them ends
		to.Close()
	}()
	_, _ = io.Copy(conn, to)
	conn.Close()
}

// Accept implements net.Listener over what connect has taken.
func (s *services) Accept() (net.Conn, error) { return <-s.accepted, nil }

// Close implements net.Listener. The process ends with it.
func (s *services) Close() error { return nil }

// Addr implements net.Listener.
func (s *services) Addr() net.Addr { return &net.UnixAddr{Name: "services", Net: "unix"} }

// certificate is what the pods of the service would show: a certificate for its name that lies in a Secret of its namespace, so that
// the API server trusts it by the caBundle that a chart has made with it.
func (s *services) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, isService := strings.CutSuffix(hello.ServerName, ".svc")
	_, namespace, named := strings.Cut(name, ".")
	if !isService || !named {
		return &s.own, nil
	}
	secrets, err := s.clients.CoreV1().Secrets(namespace).List(hello.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, secret := range secrets.Items {
		pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
		if err == nil && pair.Leaf.VerifyHostname(hello.ServerName) == nil {
			return &pair, nil
		}
	}
	return &s.own, nil
}
