{{- define "klusterlet.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "muster.fullname" .) }}
{{- else -}}
{{ required "serviceAccount.create is false: set serviceAccount.name to an account of this namespace" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "klusterlet.bootstrapSecret" -}}
{{ .Values.bootstrap.existingSecret | default (printf "%s-bootstrap" (include "muster.fullname" .)) }}
{{- end -}}

{{/* The kubeconfig that the agent joins with. */}}
{{- define "klusterlet.bootstrapKubeconfig" -}}
{{- with .Values.bootstrap -}}
{{- if .kubeconfig -}}
{{ .kubeconfig }}
{{- else -}}
apiVersion: v1
kind: Config
current-context: hub
contexts:
- name: hub
  context: {cluster: hub, user: bootstrap}
clusters:
- name: hub
  cluster:
    server: {{ .server | quote }}
    {{- with .ca }}
    certificate-authority-data: {{ b64enc . }}
    {{- end }}
    {{- with .proxyURL }}
    proxy-url: {{ . | quote }}
    {{- end }}
    {{- with .tlsServerName }}
    tls-server-name: {{ . | quote }}
    {{- end }}
users:
- name: bootstrap
  user: {token: {{ .token | quote }}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The agents of the release, one for each hub, as contexts like the chart's own: for each of hubs, an instance with a name, a way and a Secret
of its own, under the same account. They are put into the dictionary that is given.
*/}}
{{- define "klusterlet.agents" -}}
{{- $root := .root -}}
{{- $agents := list $root -}}
{{- range $hub := $root.Values.hubs -}}
{{- $values := deepCopy $root.Values -}}
{{- $_ := set $values "clusterName" ($hub.clusterName | default $root.Values.clusterName) -}}
{{- $_ := set $values "bootstrap" $hub.bootstrap -}}
{{- $_ := set $values "roles" ($hub.roles | default $root.Values.roles) -}}
{{- $_ := set $values "hubKubeconfigSecret" (printf "%s-%s" $root.Values.hubKubeconfigSecret $hub.name) -}}
{{- $_ := set $values.serviceAccount "name" (include "klusterlet.account" $root) -}}
{{- with $values.fullnameOverride -}}{{- $_ := set $values "fullnameOverride" (printf "%s-%s" . $hub.name) -}}{{- end -}}
{{- $release := dict "Name" (printf "%s-%s" $root.Release.Name $hub.name) "Namespace" $root.Release.Namespace "Service" $root.Release.Service -}}
{{- $agents = append $agents (dict "Values" $values "Release" $release "Chart" $root.Chart "Capabilities" $root.Capabilities) -}}
{{- end -}}
{{- $_ := set . "agents" $agents -}}
{{- end -}}

{{/*
A template rendered for each agent of the release.
*/}}
{{- define "klusterlet.forEach" -}}
{{- $template := .template -}}
{{- include "klusterlet.agents" . -}}
{{- range .agents }}
{{- with include $template . }}
---
{{ . }}
{{- end }}
{{- end }}
{{- end -}}
