{{- define "muster.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "muster.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "muster.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "muster.selectorLabels" -}}
app.kubernetes.io/name: {{ include "muster.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "muster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "muster.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/part-of: muster
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of pods have no version in them: a pod that does not change is not restarted. */}}
{{- define "muster.podLabels" -}}
{{ include "muster.selectorLabels" . }}
app.kubernetes.io/part-of: muster
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "muster.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* An object that outlives the release: Helm upgrades it and never deletes it. */}}
{{- define "muster.kept" -}}
{{- $object := .object -}}
{{- $metadata := $object.metadata | default dict -}}
{{- $labels := merge (dict) (include "muster.labels" .root | fromYaml) ($metadata.labels | default dict) -}}
{{- $annotations := merge (dict "helm.sh/resource-policy" "keep") ($metadata.annotations | default dict) -}}
{{- $_ := set $object "metadata" (merge (dict "labels" $labels "annotations" $annotations) $metadata) -}}
{{ toYaml $object }}
{{- end -}}

{{- define "muster.environment" -}}
env:
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- with .Values.proxy.httpsProxy }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.httpProxy }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- if or .Values.proxy.httpsProxy .Values.proxy.httpProxy }}
- {name: NO_PROXY, value: {{ .Values.proxy.noProxy | default "localhost,127.0.0.1,.svc,.cluster.local" | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether the hub follows repositories: only then it takes webhooks. */}}
{{- define "muster.webhooks" -}}
{{- if and .Values.webhook.enabled (or (has "*" .Values.controllers) (has "fleetrepository" .Values.controllers)) -}}true{{- end -}}
{{- end -}}

{{/* Whether the hub converts add-ons between their versions: not with kinds of somebody else, who converts them. */}}
{{- define "muster.conversion" -}}
{{- if and .Values.addonConversion.enabled .Values.crds.install (dig "ocm" true .Values.crds) -}}true{{- end -}}
{{- end -}}

{{/* Where pods run. Replicas are apart by default, where the nodes allow it. */}}
{{- define "muster.scheduling" -}}
{{- with .Values.nodeSelector -}}
nodeSelector: {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with .Values.tolerations -}}
tolerations: {{- toYaml . | nindent 0 }}
{{ end -}}
{{- with .Values.affinity -}}
affinity: {{- toYaml . | nindent 2 }}
{{ end -}}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
{{ toYaml .Values.topologySpreadConstraints }}
{{- else }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "muster.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}
