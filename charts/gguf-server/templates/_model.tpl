{{/* Which model, and who brings it. */}}

{{/* As gguf-server reads it: org/repo@commit:Q8_0, or a path. It is in the pod's template, so
     `kubectl rollout undo` goes back to the model, too. */}}
{{- define "gguf-server.model.reference" -}}
{{- $model := .Values.model -}}
{{- $model.name }}{{ with $model.revision }}@{{ . }}{{ end }}{{ with $model.quantization }}:{{ . }}{{ end }}
{{- end }}

{{/* As the API calls it, whoever serves. */}}
{{- define "gguf-server.model.servedName" -}}
{{- if .Values.model.servedName }}
{{- .Values.model.servedName }}
{{- else if include "gguf-server.model.isFile" . }}
{{- base .Values.model.name | trimSuffix ".gguf" }}
{{- else if include "gguf-server.engine.isVllm" . }}
{{- .Values.model.name }}
{{- else }}
{{- regexReplaceAll "@[^:]*" (include "gguf-server.model.reference" .) "" }}
{{- end }}
{{- end }}

{{- define "gguf-server.model.isFile" -}}
{{- if hasPrefix "/" .Values.model.name }}true{{ end }}
{{- end }}

{{/* Is it sure to be the same model at the next start? */}}
{{- define "gguf-server.model.isPinned" -}}
{{- if or (include "gguf-server.model.isFile" .) (regexMatch "@[0-9a-f]{40}(:|$)" (include "gguf-server.model.reference" .)) }}true{{ end }}
{{- end }}

{{/* none, init or job: what fetches. */}}
{{- define "gguf-server.fetch.by" -}}
{{- if or (not .Values.fetch.enabled) (eq .Values.volume.type "image") (include "gguf-server.model.isFile" .) }}none
{{- else if .Values.fetch.prefetch }}job
{{- else }}init
{{- end }}
{{- end }}

{{- define "gguf-server.engine.isVllm" -}}
{{- if eq .Values.engine "vllm" }}true{{ end }}
{{- end }}

{{- define "gguf-server.image" -}}
{{- $isVllm := include "gguf-server.engine.isVllm" . -}}
{{- $image := ternary .Values.vllm.image .Values.image (not (empty $isVllm)) -}}
{{- $variant := printf "%s-%s" .Chart.AppVersion (ternary "cuda" "cpu" (gt (int .Values.gpu.count) 0)) -}}
{{- with .Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}
{{- $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $variant $image.tag }}{{ end }}
{{- end }}

{{- define "gguf-server.imagePullSecrets" -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq }}
- name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
{{- end }}
{{- end }}
