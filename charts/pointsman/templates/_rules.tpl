{{/*
What each part may do. `rules` in every namespace that is served (a ClusterRole, or a Role in each), `clusterRules`
only where all are, `systemRules` in the namespace of this release. tests/chart holds them equal to deploy/rbac.yaml.
*/}}

{{- define "pointsman.rules.operator" -}}
- apiGroups: [pointsman.dev]
  resources: [routingpolicies]
  verbs: [get, list, watch]            # never update: the spec is the user's
- apiGroups: [pointsman.dev]
  resources: [rolloutactions]
  verbs: [list, watch]                 # people create them
- apiGroups: [pointsman.dev]
  resources: [routingpolicies/status, routingpolicyrevisions/status, rolloutactions/status]
  verbs: [patch]
- apiGroups: [pointsman.dev]
  resources: [routingpolicyrevisions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]                         # bundles, by name
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "pointsman.clusterRules.operator" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]                         # labels, for a pool's allowedNamespaces
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]                 # Kopf sees kinds come and go
{{- end -}}

{{- define "pointsman.systemRules.operator" -}}
- apiGroups: [pointsman.dev]
  resources: [routinggateways, tritonpools]
  verbs: [list, watch]
- apiGroups: [pointsman.dev]
  resources: [routinggateways/status, tritonpools/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]        # create and patch: server-side apply
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]  # the parts' certificates
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]                               # why a gateway or a pool is not ready
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]                               # replicas of the xds server
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- if include "pointsman.namespaced" . }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]                                    # about gateways and pools
{{- end }}
{{- end -}}

{{- define "pointsman.rules.xds" -}}
- apiGroups: [pointsman.dev]
  resources: [routingpolicies, routingpolicyrevisions]
  verbs: [list, watch]
{{- end -}}

{{- define "pointsman.clusterRules.xds" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]                 # labels, for a gateway's allowedNamespaces
{{- end -}}

{{- define "pointsman.systemRules.xds" -}}
- apiGroups: [pointsman.dev]
  resources: [routinggateways]
  verbs: [list, watch]
{{- with include "pointsman.listenerSecrets" . }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ splitList "\n" . | join ", " }}]
  verbs: [list, watch]                 # certificates of listeners; tiers' keys: each namespace's own Role
{{- end }}
{{- end -}}

{{- define "pointsman.rules.evaluator" -}}
- apiGroups: [pointsman.dev]
  resources: [routingpolicies, routingpolicyrevisions]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]                         # data sets and schemas of rubrics, by name
{{- end -}}

{{- define "pointsman.clusterRules.evaluator" -}}
{{- end -}}

{{- define "pointsman.systemRules.evaluator" -}}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]                 # Envoys, to count what is lost
{{- end -}}
