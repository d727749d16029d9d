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
