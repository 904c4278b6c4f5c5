{{/* metadata of a part's pods. Argument: [root, the part's values, component]. */}}
{{- define "pointsman.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- with merge (dict) $part.podAnnotations $root.Values.pods.annotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
labels:
  {{- include "pointsman.selector" (index . 2) | nindent 2 }}
  app.kubernetes.io/part-of: pointsman
  {{- with merge (dict) $part.podLabels $root.Values.pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What the specs of all pods have in common. Argument: [root, the part's values, component]. */}}
{{- define "pointsman.podSpec" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $component := index . 2 -}}
{{- $pods := $root.Values.pods -}}
serviceAccountName: pointsman-{{ $component }}
# Service links would set POINTSMAN_XDS_… in the environment, where our own options are looked for.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with $pods.runAsUser }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName | default $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $part.nodeSelector | default $pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations | default $pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity | default $pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if hasKey $part "topologySpreadConstraints" }}
topologySpreadConstraints:
  {{- with $part.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "pointsman.selector" $component | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A container's securityContext, as the Pod Security Standard "restricted" asks, and a read-only root. */}}
{{- define "pointsman.securityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What the containers of operator, xds and evaluator have in common, but for args and ports. As podSpec. */}}
{{- define "pointsman.container" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
image: {{ include "pointsman.image" (list $root $root.Values.image) | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
env:
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- with $part.extraEnv }}
{{ toYaml . }}
{{- end }}
# Patient at the start (the evaluator reads its store first), quick afterwards.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 3
  timeoutSeconds: 3
resources:
  {{- toYaml $part.resources | nindent 2 }}
{{ include "pointsman.securityContext" . }}
{{- end -}}

{{/* --namespace for each namespace that is served, where not all are. */}}
{{- define "pointsman.namespaceArgs" -}}
{{- range .Values.rbac.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- end -}}

{{/* The volume of a part's certificate. Argument: [component, whether the pod may start before it is there]. */}}
{{- define "pointsman.tlsVolume" -}}
name: tls
secret:
  secretName: pointsman-{{ index . 0 }}-tls
  defaultMode: 0440
  {{- if index . 1 }}
  optional: true
  {{- end }}
{{- end -}}

{{/* A StatefulSet's volume. Nothing in it may change between versions. Argument: [name, persistence]. */}}
{{- define "pointsman.claim" -}}
{{- $store := index . 1 -}}
volumeClaimTemplates:
- metadata:
    name: {{ index . 0 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with $store.storageClassName }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests: {storage: {{ $store.size }}}
{{- end -}}
