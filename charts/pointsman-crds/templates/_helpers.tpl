{{/* Labels of every CustomResourceDefinition. */}}
{{- define "pointsman-crds.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: pointsman
app.kubernetes.io/component: crds
app.kubernetes.io/part-of: pointsman
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations of every CustomResourceDefinition; may be empty. */}}
{{- define "pointsman-crds.annotations" -}}
{{- if .Values.keep }}
helm.sh/resource-policy: keep
argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end }}
{{- with .Values.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}
