package ui

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/muster-io/muster/internal/fleet"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// Works is the index of live works, as hub.Works is one.
type Works interface {
	Of(owner fleet.Owner) []fleet.LiveWork
	OnCluster(cluster string) []fleet.LiveWork
}

// Server is the page.
type Server struct {
	// Reader is a cache of the hub's objects. What it gives is shared and is not changed.
	Reader client.Reader
	// Works is the index of works.
	Works Works
	// Plans has the plans of pull requests and commits; nil where no hub is in this process.
	Plans Plans
	// Access says who asks.
	Access Access
	// Version of the program, which every page shows.
	Version string
	// Log takes errors that no person is told.
	Log logr.Logger
	// Now is the time, so that ages can be tested.
	Now func() time.Time

	changes   changes
	questions questions
	pages     map[string]*template.Template
	assets    map[string]string // name of a static file -> its name with its hash
}

// Access says who sends a request, and lets people in.
type Access interface {
	// Person gives the person who asks, or an error that says what to do. It may have answered the request itself, as
	// by sending the person to a page where they log in; then the person is nil without an error.
	Person(w http.ResponseWriter, r *http.Request) (*Person, error)
}

// Person is who looks at the page.
type Person struct {
	// Name for the page's corner.
	Name string
	// Client has the person's own rights: reads of single objects and every action go through it.
	Client client.Client
	// May says whether the person may list a resource in a namespace ("" is all namespaces), by the person's rights on the hub.
	May func(ctx context.Context, group, resource, namespace string) bool
}

// Handler serves every path of the page.
func (s *Server) Handler() (http.Handler, error) {
	if err := s.parse(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", s.static)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	for pattern, view := range s.views() {
		mux.HandleFunc("GET "+pattern, s.page(view))
		mux.HandleFunc("GET /api/v1"+strings.TrimSuffix(pattern, "{$}"), s.api(view))
	}
	mux.HandleFunc("GET /api/v1/openapi.json", s.openAPI)
	mux.HandleFunc("GET /api/v1/watch", s.watch)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET "+oidcPath, s.oidcLogin)
	mux.HandleFunc("GET "+callbackPath, s.oidcCallback)
	mux.HandleFunc("POST /logout", s.logout)
	for pattern, act := range actions {
		mux.HandleFunc("POST "+pattern, s.act(act))
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, nil, notFound("there is no page %s", r.URL.Path))
	})
	return s.secured(mux), nil
}

// secured sets the headers that keep other pages from using this one, and refuses requests that other sites make.
func (s *Server) secured(next http.Handler) http.Handler {
	protected := http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if !strings.HasPrefix(r.URL.Path, "/static/") {
			h.Set("Cache-Control", "no-store")
		}
		protected.ServeHTTP(w, r)
	})
}

// view makes what a page shows. The value is what the API answers with.
type view struct {
	// template is the file in templates/ without its ending.
	template string
	// title and section of the page, for the browser's tab and the menu.
	title   func(*http.Request) string
	section string
	// resource that the person must be allowed to list, as group/resource; in the namespace of the path where that has one.
	resource string
	make     func(ctx context.Context, p *Person, r *http.Request) (any, error)
	// still is a page that does not follow the fleet: making it is work.
	still bool
}

// layout is what a template gets.
type layout struct {
	Title, Section, Version, Person, URL string
	In                                   bool // somebody is let in
	LogOut                               bool // there is a login to leave
	Partial                              bool // only the main part, which htmx puts in place
	Still                                bool // it does not follow the fleet
	Data                                 any
	Problem                              string
}

func (s *Server) page(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		person, data, err := s.answer(w, r, v)
		switch {
		case err != nil:
			s.fail(w, r, person, err)
		case person != nil:
			s.render(w, r, v.template, layout{Title: v.title(r), Section: v.section, Person: person.Name, In: true, Data: data, Still: v.still}, http.StatusOK)
		}
	}
}

func (s *Server) api(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		person, data, err := s.answer(w, r, v)
		if err != nil {
			status, message := statusOf(err)
			writeJSON(w, r, status, map[string]string{"message": message})
			return
		}
		if person != nil {
			writeJSON(w, r, http.StatusOK, data)
		}
	}
}

// answer finds out who asks and what there is to show. Without an error and a person, the request is answered already.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v view) (*Person, any, error) {
	person, err := s.Access.Person(w, r)
	if err != nil || person == nil {
		return nil, nil, err
	}
	if group, resource, ok := strings.Cut(v.resource, "/"); ok && !person.May(r.Context(), group, resource, r.PathValue("namespace")) {
		return person, nil, apiError{http.StatusForbidden, fmt.Sprintf("you have no right to list %s; whoever runs the hub can give it to you", v.resource)}
	}
	data, err := v.make(r.Context(), person, r)
	return person, data, err
}

// apiError is an error with the status that HTTP has for it.
type apiError struct {
	status  int
	message string
}

func (e apiError) Error() string { return e.message }

func notFound(format string, args ...any) error {
	return apiError{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func statusOf(err error) (int, string) {
	var ours apiError
	var theirs apierrors.APIStatus
	switch {
	case errors.As(err, &ours):
		return ours.status, ours.message
	case errors.As(err, &theirs) && theirs.Status().Code > 0:
		return int(theirs.Status().Code), err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}

// fail shows an error as a page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, person *Person, err error) {
	status, message := statusOf(err)
	if status == http.StatusInternalServerError {
		s.Log.Error(err, "show a page", "path", r.URL.Path)
	}
	l := layout{Title: http.StatusText(status), Problem: message}
	if person != nil {
		l.Person, l.In = person.Name, true
	}
	s.render(w, r, "problem", l, status)
}

// render executes a template. htmx asks for the main part only.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, l layout, status int) {
	l.Version, l.URL = s.Version, r.URL.RequestURI()
	l.Partial = r.Header.Get("HX-Request") == "true"
	_, l.LogOut = s.Access.(*Tokens)
	t := s.pages[name]
	root := "page"
	if l.Partial {
		root = "part"
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, root, l); err != nil {
		s.Log.Error(err, "render a page", "template", name)
		http.Error(w, "the page could not be made; the log of the server says why", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "HX-Request")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the person has gone
}

// writeJSON answers with a value, or with 304 when the person has the same value already.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	if status == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client has gone
}

// parse reads the templates and names the static files by their content, so that browsers keep them.
func (s *Server) parse() error {
	s.assets = map[string]string{}
	files, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		base, ending, _ := strings.Cut(f.Name(), ".")
		s.assets[f.Name()] = base + "." + hex.EncodeToString(sum[:6]) + "." + ending
	}
	shared, err := template.New("").Funcs(s.functions()).ParseFS(templateFiles, "templates/_*.html")
	if err != nil {
		return fmt.Errorf("read the templates: %w", err)
	}
	s.pages = map[string]*template.Template{}
	entries, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return err
	}
	for _, path := range entries {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "templates/"), ".html")
		if strings.HasPrefix(name, "_") {
			continue
		}
		t, err := shared.Clone()
		if err == nil {
			_, err = t.ParseFS(templateFiles, path)
		}
		if err != nil {
			return fmt.Errorf("read template %s: %w", name, err)
		}
		s.pages[name] = t
	}
	return nil
}

func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	for name, hashed := range s.assets {
		if r.PathValue("name") != hashed {
			continue
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		http.ServeFileFS(w, r, staticFiles, "static/"+name)
		return
	}
	http.NotFound(w, r)
}

// linkTo joins parts of a path, each of them escaped.
func linkTo(parts ...string) string {
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return "/" + strings.Join(parts, "/")
}
