{{/*
Names are the same whatever the release is called (operator/pointsman/install.py): one installation a namespace.
Selectors, and whatever else cannot be changed later, hold nothing of the chart's version or the release's name.
*/}}

{{/* What selects a part's pods. Argument: the component. */}}
{{- define "pointsman.selector" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* Labels of every object. Argument: [root, component]. */}}
{{- define "pointsman.labels" -}}
{{- $root := index . 0 -}}
{{ include "pointsman.selector" (index . 1) }}
app.kubernetes.io/part-of: pointsman
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* An image's reference. Argument: [root, image]. */}}
{{- define "pointsman.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* "true" where only some namespaces are served. */}}
{{- define "pointsman.namespaced" -}}
{{- if .Values.rbac.namespaces }}true{{ end -}}
{{- end -}}

{{/* "true" where the roles view, edit and admin shall speak of policies. */}}
{{- define "pointsman.aggregated" -}}
{{- $asked := .Values.rbac.aggregatedRoles -}}
{{- if kindIs "bool" $asked | ternary $asked (not .Values.rbac.namespaces) }}true{{ end -}}
{{- end -}}

{{/* "true" where the admission policy shall be made. */}}
{{- define "pointsman.admission" -}}
{{- $asked := .Values.admissionPolicy.enabled -}}
{{- if kindIs "bool" $asked | ternary $asked (not .Values.rbac.namespaces) }}true{{ end -}}
{{- end -}}

{{/* Names, one a line, of the Secrets with the certificates of the gateway's listeners. */}}
{{- define "pointsman.listenerSecrets" -}}
{{- $names := .Values.rbac.listenerSecrets -}}
{{- if .Values.gateway.enabled -}}
{{- range .Values.gateway.spec.listeners -}}
{{- range (.tls | default dict).certificateRefs -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | join "\n" -}}
{{- end -}}

{{/* Annotations that keep an object when the release goes, or the Application of Argo CD. Argument: whether to. */}}
{{- define "pointsman.keep" -}}
{{- if . }}
annotations:
  helm.sh/resource-policy: keep
  argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end }}
{{- end -}}
