// Package overview says for people how a fleet is: what the objects on a hub tell of clusters, repositories and applications,
// what waits for a person with the next step, and why an application is or is not on a cluster. The CLI prints it and the page
// shows it, so that both say the same.
package overview
