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

{{/* Two revisions: going back must not need a download. */}}
{{- define "gguf-server.volume.size" -}}
{{- if .Values.volume.size -}}
{{- .Values.volume.size }}
{{- else if gt (int64 .Values.model.sizeBytes) 0 -}}
{{- divf (addf (mulf 2 1.1 (float64 .Values.model.sizeBytes)) 1073741824) 1073741824 | ceil | int64 }}Gi
{{- else -}}
50Gi
{{- end }}
{{- end }}

{{/* A claim keeps the size it has: a smaller one is refused, so going back over a growth would be. */}}
{{- define "gguf-server.volume.claimSize" -}}
{{- $there := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (include "gguf-server.fullname" .) }}
{{- if and $there (not .Values.volume.grow) -}}
{{- $there.spec.resources.requests.storage }}
{{- else -}}
{{- include "gguf-server.volume.size" . }}
{{- end }}
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
