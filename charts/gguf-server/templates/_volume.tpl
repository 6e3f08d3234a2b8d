{{/* Where the model lies. */}}

{{/* Seen from several nodes at once, or each pod or node has its own. */}}
{{- define "gguf-server.volume.isShared" -}}
{{- $modes := .Values.volume.accessModes }}
{{- if or (not (has .Values.volume.type (list "pvc" "existingClaim"))) (has "ReadWriteMany" $modes) (has "ReadOnlyMany" $modes) }}true{{ end }}
{{- end }}

{{- define "gguf-server.volume.isOfOnePod" -}}
{{- if and (not (include "gguf-server.volume.isShared" .)) (has "ReadWriteOncePod" .Values.volume.accessModes) }}true{{ end }}
{{- end }}

{{/* Two pods can have it at once, if they are on one node. */}}
{{- define "gguf-server.volume.isOfOneNode" -}}
{{- if not (or (include "gguf-server.volume.isShared" .) (include "gguf-server.volume.isOfOnePod" .)) }}true{{ end }}
{{- end }}

{{/* Two revisions: going back must not need a download. A pod's own volume is gone with the pod, so it
     has one. A tenth is what a file system keeps for itself, and 1 GiB is for tokenizers and manifests. */}}
{{- define "gguf-server.volume.size" -}}
{{- if .Values.volume.size -}}
{{- .Values.volume.size }}
{{- else if gt (int64 .Values.model.sizeBytes) 0 -}}
{{- $revisions := ternary 1 2 (eq .Values.volume.type "ephemeral") }}
{{- divf (addf (mulf $revisions 1.1 (float64 .Values.model.sizeBytes)) 1073741824) 1073741824 | ceil | int64 }}Gi
{{- else -}}
50Gi
{{- end }}
{{- end }}

{{/* A claim keeps the size it has: a smaller one is refused, so going back over a growth would be. */}}
{{- define "gguf-server.volume.claimSize" -}}
{{- $there := include "gguf-server.volume.sizeThere" . }}
{{- $wanted := include "gguf-server.volume.size" . }}
{{- if not $there }}{{ $wanted }}
{{- else if and .Values.volume.grow (lt (include "gguf-server.volume.bytes" $there | float64) (include "gguf-server.volume.bytes" $wanted | float64)) }}{{ $wanted }}
{{- else }}{{ $there }}
{{- end }}
{{- end }}

{{/* Of the release's claim; empty where there is none, or no cluster to ask (helm template). */}}
{{- define "gguf-server.volume.sizeThere" -}}
{{- $there := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (include "gguf-server.fullname" .) }}
{{- with $there }}{{ .spec.resources.requests.storage }}{{ end }}
{{- end }}

{{/* The claim has not the room that this model wants. */}}
{{- define "gguf-server.volume.isTooSmall" -}}
{{- if eq .Values.volume.type "pvc" }}
{{- if lt (include "gguf-server.volume.bytes" (include "gguf-server.volume.claimSize" .) | float64) (include "gguf-server.volume.bytes" (include "gguf-server.volume.size" .) | float64) }}true{{ end }}
{{- end }}
{{- end }}

{{/* Of a quantity such as 42Gi: Kubernetes writes some of them in another way than they were given. */}}
{{- define "gguf-server.volume.bytes" -}}
{{- $number := regexFind "^[0-9.]+" . }}
{{- $unit := trimPrefix $number . }}
{{- $base := ternary 1024.0 1000.0 (hasSuffix "i" $unit) }}
{{- $bytes := float64 $number }}
{{- range until (index (dict "" 0 "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6) (trimSuffix "i" $unit)) }}{{ $bytes = mulf $bytes $base }}{{ end }}
{{- printf "%.0f" $bytes }}
{{- end }}

{{- define "gguf-server.volume.claimSpec" -}}
accessModes: {{ .accessModes | toJson }}
{{- with .storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{- define "gguf-server.volume" -}}
{{- $volume := .Values.volume }}
name: models
{{- if eq $volume.type "pvc" }}
persistentVolumeClaim:
  claimName: {{ include "gguf-server.fullname" . }}
{{- else if eq $volume.type "existingClaim" }}
persistentVolumeClaim:
  claimName: {{ $volume.existingClaim }}
  {{- if eq (join "," $volume.accessModes) "ReadOnlyMany" }}
  readOnly: true
  {{- end }}
{{- else if eq $volume.type "hostPath" }}
hostPath:
  path: {{ $volume.hostPath }}
  type: Directory
{{- else if eq $volume.type "image" }}
image:
  reference: {{ $volume.image }}
  pullPolicy: IfNotPresent
{{- else if $volume.storageClassName }}
ephemeral:
  volumeClaimTemplate:
    spec:
      {{- include "gguf-server.volume.claimSpec" (dict "accessModes" (list "ReadWriteOnce") "storageClassName" $volume.storageClassName "size" (include "gguf-server.volume.size" .)) | nindent 6 }}
{{- else }}
emptyDir:
  sizeLimit: {{ include "gguf-server.volume.size" . }}
{{- end }}
{{- end }}

{{/* The node's disk is asked for as much as may be written to it. */}}
{{- define "gguf-server.volume.isOnNodeDisk" -}}
{{- if and (eq .Values.volume.type "ephemeral") (not .Values.volume.storageClassName) }}true{{ end }}
{{- end }}
