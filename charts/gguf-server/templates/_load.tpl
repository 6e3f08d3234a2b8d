{{/* The load that autoscaling follows. */}}

{{- define "gguf-server.load.metric" -}}
{{- ternary "vllm:num_requests_waiting" "gguf_server_num_requests_waiting" (not (empty (include "gguf-server.engine.isVllm" .))) }}
{{- end }}

{{/* The release's pods in Prometheus, whoever found them. Kubernetes cuts NAME-HASH- at 58 characters, a
     hash has up to 10, and appends 5. */}}
{{- define "gguf-server.load.selector" -}}
namespace="{{ .Release.Namespace }}", pod=~"
{{- if le (len (include "gguf-server.fullname" .)) 46 }}{{ include "gguf-server.fullname" . }}-[a-z0-9]+-[a-z0-9]{5}
{{- else }}{{ include "gguf-server.fullname" . | trunc 58 }}(-[a-z0-9]*)?-?[a-z0-9]{5}
{{- end }}"
{{- end }}

{{- define "gguf-server.load.behavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end }}
