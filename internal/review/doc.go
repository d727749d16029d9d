// Package review tells what a change of a fleet repository does to the fleet, before it is merged.
//
// In go two plans that were built in the same world, the policies of the base and what the host knows of the change; out come a
// verdict in one line, the text of a comment, and the same as SARIF and JUnit. The same input gives the same bytes, whoever asks: the
// hub for a pull request, muster diff -o markdown, muster review in a CI job. Nothing in them is a sensitive value or a time.
package review
