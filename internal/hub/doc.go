// Package hub gathers what the hub's controllers look at: the world as the API server has it, and what each fleet
// repository says at the commit that is delivered.
//
// The controllers themselves are in the folders below, one a noun.
package hub
