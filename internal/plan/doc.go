// Package plan computes what one commit asks of the fleet.
//
// In go a snapshot of a fleet repository and the world it is planned in; out comes a Plan: the decisions of every placement,
// the works of every application on every cluster, and the faults of what could not be planned. The same input gives the same
// bytes, whoever asks: the hub, a pull request, a test.
package plan
