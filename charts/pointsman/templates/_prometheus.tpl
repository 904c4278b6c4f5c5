{{/*
Configuration of the bundled Prometheus. Pods are found by their labels, and scraped at the ports that every
installation has. Labels of ours (namespace, policy, …) stay as they are: no target label may cover them.
*/}}
{{- define "pointsman.prometheusConfig" -}}
global:
  scrape_interval: {{ .Values.prometheus.interval }}
  evaluation_interval: {{ .Values.prometheus.evidenceInterval }}
{{- if .Files.Glob "rules/*.yaml" }}
rule_files:
- /etc/prometheus/*.yaml
{{- end }}
scrape_configs:
{{- $evidence := .Values.prometheus.evidenceInterval }}
{{- $component := "__meta_kubernetes_pod_label_app_kubernetes_io_component" }}
{{- $gateway := "__meta_kubernetes_pod_label_pointsman_dev_gateway" }}
{{- $pool := "__meta_kubernetes_pod_label_pointsman_dev_pool" }}
{{- range list
  (list "operator" $component "operator" 9070 "/metrics")
  (list "xds" $component "xds" 9090 "/metrics")
  (list "evaluator" $component "evaluator" 9080 "/metrics")
  (list "envoy" $gateway ".+" 9902 "/stats/prometheus")
  (list "triton" $pool ".+" 8002 "/metrics")
  (list "triton-agent" $pool ".+" 9071 "/metrics") }}
- job_name: {{ index . 0 }}
  metrics_path: {{ index . 4 }}
  honor_labels: true
  {{- if eq (index . 0) "envoy" }}
  # Of thousands of policies' clusters nothing is asked for.
  params:
    filter: ['^(http\.entry\.|server\.|listener_manager\.|cluster_manager\.|overload\.)']
  {{- end }}
  {{- if eq (index . 0) "evaluator" }}
  scrape_interval: {{ $evidence }}
  {{- end }}
  kubernetes_sd_configs:
  - role: pod
    namespaces: {own_namespace: true}
  relabel_configs:
  - {action: keep, source_labels: [{{ index . 1 }}], regex: {{ index . 2 | quote }}}
  - {action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: Pending|Succeeded|Failed}
  - {action: drop, source_labels: [__meta_kubernetes_pod_container_init], regex: "true"}
  - {source_labels: [__meta_kubernetes_pod_ip], regex: "([0-9.]+)", target_label: __address__, replacement: "$1:{{ index . 3 }}"}
  - {source_labels: [__meta_kubernetes_pod_ip], regex: "(.*:.*)", target_label: __address__, replacement: "[$1]:{{ index . 3 }}"}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
  {{- if ne (index . 1) $component }}
  - {source_labels: [{{ index . 1 }}], target_label: {{ trimPrefix "__meta_kubernetes_pod_label_pointsman_dev_" (index . 1) }}}
  {{- end }}
{{- end }}
{{- end -}}
