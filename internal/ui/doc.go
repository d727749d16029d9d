// Package ui serves the page on which people look at a fleet: pages made on the server, and the same answers as JSON under
// /api/v1. It reads an index that informers fill, and never the API server for a list; whatever it does for a person, it does
// with that person's own client. It keeps nothing: what is shown is what the objects on the hub say, through
// internal/overview and internal/placement, as the CLI does.
//
//	request -> who asks (Access) -> view of the index (fleet.go, application.go, cluster.go, placement.go, ...) -> template or JSON
//	informers -> Changed -> one server-sent event a second at most -> the page asks for itself again
package ui
