{{/* How long things may take. The rules and rates are those of `gguf-deploy plan` for a cloud's disk;
     a plan says it better. Our own stall detector speaks before any of these. */}}

{{/* Seconds from the process to a ready model. */}}
{{- define "gguf-server.startup.seconds" -}}
{{- $size := float64 .Values.model.sizeBytes }}
{{- if .Values.startupProbe.failureThreshold -}}
{{- mul .Values.startupProbe.failureThreshold .Values.startupProbe.periodSeconds }}
{{- else if $size -}}
{{- $isGpu := gt (int .Values.gpu.count) 0 }}
{{- $process := add 3 (mul 3 (int .Values.gpu.count)) }}
{{- $load := divf $size 250000000 | ceil | int64 }}
{{- $warmUp := ternary 10 (divf $size 300000000 | ceil | int64) $isGpu }}
{{- max 1800 (mul 3 (add $process $load 2 $warmUp)) }}
{{- else -}}
3600
{{- end }}
{{- end }}

{{- define "gguf-server.startup.failureThreshold" -}}
{{- divf (include "gguf-server.startup.seconds" .) .Values.startupProbe.periodSeconds | ceil | int64 }}
{{- end }}

{{- define "gguf-server.fetch.seconds" -}}
{{- if eq (include "gguf-server.fetch.by" .) "none" -}}
0
{{- else if gt (int64 .Values.model.sizeBytes) 0 -}}
{{- mul 3 (divf (float64 .Values.model.sizeBytes) 100000000 | ceil | int64) }}
{{- else -}}
3600
{{- end }}
{{- end }}

{{/* A node from zero takes its time, too. */}}
{{- define "gguf-server.progressDeadlineSeconds" -}}
{{- if .Values.progressDeadlineSeconds -}}
{{- int64 .Values.progressDeadlineSeconds }}
{{- else -}}
{{- add (include "gguf-server.startup.seconds" .) (include "gguf-server.fetch.seconds" .) 900 }}
{{- end }}
{{- end }}

{{/* Kubernetes says first what is wrong; helm only that time is up. */}}
{{- define "gguf-server.helmTimeoutSeconds" -}}
{{- if .Values.helmTimeoutSeconds -}}
{{- int64 .Values.helmTimeoutSeconds }}
{{- else -}}
{{- add (include "gguf-server.progressDeadlineSeconds" .) 300 }}
{{- end }}
{{- end }}

{{- define "gguf-server.terminationGracePeriodSeconds" -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{- int64 .Values.terminationGracePeriodSeconds }}
{{- else -}}
{{- add .Values.drain.delaySeconds .Values.drain.graceSeconds 15 }}
{{- end }}
{{- end }}

{{- define "gguf-server.probes" -}}
{{- $isVllm := include "gguf-server.engine.isVllm" . }}
startupProbe:
  httpGet: {path: {{ ternary "/health" "/startupz" (not (empty $isVllm)) }}, port: http}
  periodSeconds: {{ .Values.startupProbe.periodSeconds }}
  timeoutSeconds: {{ .Values.startupProbe.timeoutSeconds }}
  failureThreshold: {{ include "gguf-server.startup.failureThreshold" . }}
readinessProbe:
  httpGet: {path: {{ ternary "/health" "/readyz" (not (empty $isVllm)) }}, port: http}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: {{ ternary "/health" "/livez" (not (empty $isVllm)) }}, port: http}
  {{- toYaml .Values.livenessProbe | nindent 2 }}
{{- end }}
