// Package fleet is the vocabulary of Muster: what a fleet repository says, what the hub knows, what could not be done.
//
// A Snapshot is one commit of a repository. Load reads it into Definitions. A World is what a hub, or a file, or the
// repository itself knows at one moment. A Fault says what could not be planned, where the cause stands and action required by
// it is. Everything here is a value: no client, no clock, no network.
package fleet
