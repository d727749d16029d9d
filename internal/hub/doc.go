// Package hub reads what the hub's controllers decide on: the state of the fleet on the API server, and the content of each
// fleet repository at its delivered commit.
//
// The controllers are in the folders below, one folder for each.
package hub
