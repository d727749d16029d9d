// Package renderworker renders in a few child processes of a program, so that no chart and no overlay takes the program along.
//
// A Pool is a render.Engine. In goes a job; what the job reads of the commit and of the cluster's APIs is asked of the program
// over the pipes of the child, which has nothing else: no network address, no credential, no search path. Out comes what the job
// gives, or one fault. A child that takes more time, memory or output than a job may is killed and replaced. The job is tried
// once more, in a new process and while no other job is tried again; then it is a fault RenderTooExpensive that names the bound.
// One that something else killed both times is the Controller's to try again.
package renderworker
