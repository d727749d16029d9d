// Package health says how well an object does.
//
// Rules gives the condition rules that let any OCM agent say it: Evaluate computes them as that agent does, and FromManifest
// reads what it reported. A test holds them equal to Of, which looks at the object itself.
//
// An object that failed is Degraded and Progressing at once: OCM's rollouts take Progressing without Degraded for work
// under way, both for failed, and Progressing False for done, whatever Degraded says.
//
// Unknown means that nobody reported. An object that has nothing to report, because its kind has no status or its
// controller sets no condition, is Healthy as soon as it exists: else no application with, say, a ConfigMap or a
// ServiceMonitor would ever be healthy.
package health
