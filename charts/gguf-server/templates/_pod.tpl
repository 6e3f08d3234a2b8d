{{/* The pod that serves, and what a Job that fetches shares with it. */}}

{{- define "gguf-server.pod" -}}
{{- include "gguf-server.pod.common" . }}
enableServiceLinks: false # a Service named gguf would set GGUF_PORT
terminationGracePeriodSeconds: {{ include "gguf-server.terminationGracePeriodSeconds" . }}
{{- with .Values.gpu.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- include "gguf-server.scheduling" . }}
{{ include "gguf-server.scheduling.spread" . }}
{{- if or (ne (include "gguf-server.fetch.by" .) "none") .Values.extraInitContainers }}
initContainers:
  {{- if ne (include "gguf-server.fetch.by" .) "none" }}
  - {{ include "gguf-server.container.fetch" (dict "root" . "waits" (eq (include "gguf-server.fetch.by" .) "job")) | nindent 4 | trim }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  - {{ include "gguf-server.container.server" . | nindent 4 | trim }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if include "gguf-server.gpu.isDra" . }}
resourceClaims:
  - name: gpu
    resourceClaimTemplateName: {{ include "gguf-server.gpu.claimTemplateName" . }}
{{- end }}
volumes:
  {{- include "gguf-server.pod.volumes" . | nindent 2 }}
{{- end }}

{{- define "gguf-server.pod.common" -}}
serviceAccountName: {{ include "gguf-server.serviceAccountName" . }}
automountServiceAccountToken: false
{{- with include "gguf-server.imagePullSecrets" . | trim }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* {root, waits}: with waits somebody else fetches, and it ends when that has come. */}}
{{- define "gguf-server.container.fetch" -}}
{{- $root := .root }}
{{- $isVllm := include "gguf-server.engine.isVllm" $root }}
name: fetch
image: {{ include "gguf-server.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- if $isVllm }}
command: [python3, -c]
args:
  - {{ $root.Files.Get "files/snapshot.py" | toJson }}
  {{- if .waits }}
  - wait
  {{- end }}
{{- else if .waits }}
command: [sh, -c]
args: ["trap 'exit 143' TERM; until gguf-server fetch --offline; do sleep 10 & wait $!; done"] # process 1 ends at no signal by itself
{{- else }}
command: [gguf-server, fetch]
{{- end }}
env:
  {{- include "gguf-server.environment.fetch" . | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
{{- with $root.Values.fetch.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: models, mountPath: /models}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "gguf-server.container.server" -}}
name: server
image: {{ include "gguf-server.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if include "gguf-server.engine.isVllm" . }}
{{- if .Values.apiKey.existingSecret }}
command: [sh, -c, {{ .Files.Get "files/vllm.sh" | toJson }}, vllm]
{{- else }}
command: [vllm, serve]
{{- end }}
args:
  {{- include "gguf-server.container.vllmArgs" . | nindent 2 }}
lifecycle:
  preStop: # it ends at the signal, while it may still be sent requests
    exec: {command: [sleep, {{ .Values.drain.delaySeconds | quote }}]}
{{- else }}
command: [gguf-server, serve]
{{- with .Values.server.extraArgs }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
env:
  {{- include "gguf-server.environment.server" . | nindent 2 }}
{{- with .Values.server.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: 8000}
{{- include "gguf-server.probes" . }}
terminationMessagePolicy: FallbackToLogsOnError
{{- with include "gguf-server.container.resources" . | fromYaml }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "gguf-server.container.mounts" . | nindent 2 }}
{{- end }}

{{- define "gguf-server.container.vllmArgs" -}}
- {{ .Values.model.name }}
- --port=8000
- --served-model-name={{ include "gguf-server.model.servedName" . }}
{{- with .Values.model.revision }}
- --revision={{ . }}
{{- end }}
{{- if gt (int .Values.gpu.count) 1 }}
- --tensor-parallel-size={{ .Values.gpu.count }}
{{- end }}
{{- with .Values.server.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the user says, the GPUs, and the disk of the node that a model of the pod's own takes. */}}
{{- define "gguf-server.container.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- $requests := default dict $resources.requests }}
{{- $limits := default dict $resources.limits }}
{{- if include "gguf-server.gpu.isDevicePlugin" . }}{{ $_ := set $limits .Values.gpu.resourceName .Values.gpu.count }}{{ end }}
{{- if and (include "gguf-server.volume.isOnNodeDisk" .) (not (hasKey $requests "ephemeral-storage")) }}
{{- $_ := set $requests "ephemeral-storage" (include "gguf-server.volume.size" .) }}
{{- end }}
{{- if include "gguf-server.gpu.isDra" . }}{{ $_ := set $resources "claims" (list (dict "name" "gpu")) }}{{ end }}
{{- if $requests }}{{ $_ := set $resources "requests" $requests }}{{ end }}
{{- if $limits }}{{ $_ := set $resources "limits" $limits }}{{ end }}
{{- toYaml $resources }}
{{- end }}

{{- define "gguf-server.container.mounts" -}}
- {name: models, mountPath: /models, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "gguf-server.engine.isVllm" . }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- if .Values.apiKey.existingSecret }}
- {name: api-keys, mountPath: /etc/gguf-server/keys, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gguf-server.pod.volumes" -}}
- {{ include "gguf-server.volume" . | nindent 2 | trim }}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.temporarySize }}}
{{- if include "gguf-server.engine.isVllm" . }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.vllm.sharedMemory }}}
{{- end }}
{{- with .Values.apiKey.existingSecret }}
- name: api-keys
  secret: {secretName: {{ . }}, defaultMode: 288} # 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
