// Package render turns an application's content into the manifests of one cluster.
//
// In goes an Application, the file tree of one commit, a cluster, and what the cluster serves. Overrides are merged for the
// cluster, expressions are evaluated, the chart, overlay or plain YAML is rendered, and each manifest is checked: it has a
// kind that the cluster knows, a name, a namespace where it needs one, and it is there once. Out come canonical bytes, or
// one fleet.Fault that names file and line and quotes no value.
//
// The same input gives the same bytes, in any process: nothing here asks a cluster, a clock, the network or the environment.
// Random and time functions of templates are a fault when the output depends on them. Results are memoised by what was read,
// so that a thousand clusters share the few renders that differ.
//
// Charts and overlays are programs of those who may push, and nothing here bounds what they take. A Renderer gives them to an
// Engine as Jobs: engine.Local runs them in this process, and package renderworker in processes that it ends when they take too much.
package render
