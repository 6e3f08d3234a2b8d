{{/* How a new version takes over: by replicas, GPUs and who can have the volume. */}}

{{- define "gguf-server.rollout.isScaled" -}}
{{- if ne .Values.autoscaling.type "none" }}true{{ end }}
{{- end }}

{{- define "gguf-server.rollout.mostReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicas (not (empty (include "gguf-server.rollout.isScaled" .))) | int }}
{{- end }}

{{- define "gguf-server.rollout.leastReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicas (not (empty (include "gguf-server.rollout.isScaled" .))) | int }}
{{- end }}

{{/* With auto the last good pod stays until the new one answers: it is never given up for a promise.
     Only a volume of one pod leaves no choice. */}}
{{- define "gguf-server.rollout.type" -}}
{{- if ne .Values.rollout.strategy "auto" }}
{{- .Values.rollout.strategy }}
{{- else if include "gguf-server.volume.isOfOnePod" . }}Recreate
{{- else }}RollingUpdate
{{- end }}
{{- end }}

{{/* GPUs are scarce: of several pods one makes room, a single one needs a second place. */}}
{{- define "gguf-server.rollout.makesRoom" -}}
{{- if and (gt (int .Values.gpu.count) 0) (gt (include "gguf-server.rollout.leastReplicas" . | int) 1) }}true{{ end }}
{{- end }}

{{- define "gguf-server.rollout.maxSurge" -}}
{{- if not (kindIs "invalid" .Values.rollout.maxSurge) }}{{ .Values.rollout.maxSurge }}
{{- else }}{{ ternary 0 1 (not (empty (include "gguf-server.rollout.makesRoom" .))) }}
{{- end }}
{{- end }}

{{- define "gguf-server.rollout.maxUnavailable" -}}
{{- if not (kindIs "invalid" .Values.rollout.maxUnavailable) }}{{ .Values.rollout.maxUnavailable }}
{{- else }}{{ ternary 1 0 (not (empty (include "gguf-server.rollout.makesRoom" .))) }}
{{- end }}
{{- end }}

{{- define "gguf-server.rollout.strategy" -}}
type: {{ include "gguf-server.rollout.type" . }}
{{- if eq (include "gguf-server.rollout.type" .) "RollingUpdate" }}
rollingUpdate:
  maxSurge: {{ include "gguf-server.rollout.maxSurge" . }}
  maxUnavailable: {{ include "gguf-server.rollout.maxUnavailable" . }}
{{- end }}
{{- end }}
