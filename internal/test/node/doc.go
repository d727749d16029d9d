// Package node tests the charts on a real node: containerd, a kubelet, and pods that are containers of the program's own images.
// `make node-test` builds what it needs and runs it.
package node
