//go:build !linux

package main

// unmapProgram does nothing where the pages of a program's file cannot be given back.
func unmapProgram() error { return nil }
