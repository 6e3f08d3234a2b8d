{{/* Variables. Each name once, the last one wins: server-side apply refuses two of a name. */}}

{{- define "gguf-server.environment.merged" -}}
{{- $last := dict }}
{{- range $index, $entry := . }}{{ $_ := set $last $entry.name $index }}{{ end }}
{{- $merged := list }}
{{- range $index, $entry := . }}
{{- if eq $index (get $last $entry.name) }}{{ $merged = append $merged $entry }}{{ end }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* Of the server: ours, then server.environment, then server.extraEnv. */}}
{{- define "gguf-server.environment.server" -}}
{{- $isVllm := include "gguf-server.engine.isVllm" . }}
{{- $ours := include (ternary "gguf-server.environment.vllm" "gguf-server.environment.llama" (not (empty $isVllm))) . | fromYamlArray }}
{{- $theirs := list }}
{{- range $name, $value := .Values.server.environment }}
{{- if not (and $isVllm (hasPrefix "GGUF_" $name)) }}
{{- $theirs = append $theirs (dict "name" $name "value" (toString $value)) }}
{{- end }}
{{- end }}
{{- include "gguf-server.environment.merged" (concat $ours $theirs .Values.server.extraEnv) }}
{{- end }}

{{- define "gguf-server.environment.llama" -}}
- name: MODEL_NAME
  value: {{ include "gguf-server.model.reference" . | quote }}
{{- with .Values.model.servedName }}
- name: GGUF_SERVED_MODEL_NAME
  value: {{ . | quote }}
{{- end }}
- name: GGUF_MODELS_DIR
  value: /models
- name: GGUF_OFFLINE # what fetch brought is what is served
  value: "on"
- name: GGUF_HOST
  value: 0.0.0.0
- name: GGUF_PORT
  value: "8000"
- name: GGUF_DEVICE # never silently on the other
  value: {{ ternary "gpu" "cpu" (gt (int .Values.gpu.count) 0) }}
- name: GGUF_DRAIN_DELAY_SECONDS
  value: {{ .Values.drain.delaySeconds | quote }}
- name: GGUF_DRAIN_GRACE_SECONDS
  value: {{ .Values.drain.graceSeconds | quote }}
{{- with .Values.plan }}
- name: GGUF_PLAN # not a ConfigMap: going back takes it along
  value: {{ replace "$(" "$$(" . | toJson }}
{{- end }}
{{- if .Values.apiKey.existingSecret }}
- name: GGUF_API_KEY_FILE
  value: /etc/gguf-server/keys/{{ .Values.apiKey.key }}
{{- end }}
{{- end }}

{{- define "gguf-server.environment.vllm" -}}
- name: HOME # caches of compiled kernels
  value: /tmp
- name: USER # PyTorch asks for the name of a user that the image does not know
  value: vllm
- name: HF_HOME
  value: /models/.huggingface
- name: VLLM_NO_USAGE_STATS
  value: "1"
- name: HF_HUB_OFFLINE # what fetch brought is what is served
  value: "1"
{{- if .Values.apiKey.existingSecret }}
- name: KEY_FILE # of files/vllm.sh
  value: /etc/gguf-server/keys/{{ .Values.apiKey.key }}
{{- end }}
{{- end }}

{{/* Of what fetches: the model's options, the hub's, and the token, which only it sees; {root, waits}
     as the container is asked for. */}}
{{- define "gguf-server.environment.fetch" -}}
{{- $hub := list }}
{{- if not .waits }}{{ $hub = include "gguf-server.environment.hub" .root | fromYamlArray }}{{ end }}
{{- with .root }}
{{- $isVllm := include "gguf-server.engine.isVllm" . }}
{{- $ours := include "gguf-server.environment.fetch.ours" . | fromYamlArray }}
{{- $theirs := list }}
{{- range $name, $value := merge dict .Values.fetch.environment .Values.server.environment }}
{{- if not (and $isVllm (hasPrefix "GGUF_" $name)) }}
{{- $theirs = append $theirs (dict "name" $name "value" (toString $value)) }}
{{- end }}
{{- end }}
{{- include "gguf-server.environment.merged" (concat $ours $hub $theirs .Values.fetch.extraEnv) }}
{{- end }}
{{- end }}

{{- define "gguf-server.environment.fetch.ours" -}}
{{- if include "gguf-server.engine.isVllm" . }}
- name: HOME
  value: /tmp
- name: HF_HOME
  value: /models/.huggingface
- name: MODEL_NAME
  value: {{ .Values.model.name | quote }}
- name: MODEL_REVISION
  value: {{ .Values.model.revision | quote }}
{{- else }}
- name: MODEL_NAME
  value: {{ include "gguf-server.model.reference" . | quote }}
- name: GGUF_MODELS_DIR
  value: /models
{{- end }}
{{- end }}

{{- define "gguf-server.environment.hub" -}}
{{- with .Values.fetch.endpoint }}
- name: HF_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.fetch.token.existingSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.fetch.token.key }}}
{{- end }}
{{- end }}
